// Says before and after the tests by which effort and seed they ran, so that a failing sample can be drawn again.
import type { TestProject } from 'vitest/node'

export default function announce(project: TestProject): (() => void) | undefined {
  // The others have the same.
  if (!project.isRootProject()) return undefined
  const { HOLDFAST_EFFORT, HOLDFAST_SEED } = project.config.env
  const line = `the same sample again: HOLDFAST_EFFORT=${HOLDFAST_EFFORT} HOLDFAST_SEED=${HOLDFAST_SEED}`
  console.log(line)
  return () => console.log(line)
}
