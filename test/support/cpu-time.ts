// Processor time of this process. It tells how much work something is, also while other processes use the processors,
// and so it is what a test compares with a limit. The wall clock tells how long somebody waits.

/** Starts to count; the function answers the milliseconds since, of all threads of this process. */
export function cpuTimer(): () => number {
  const before = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1000
  }
}
