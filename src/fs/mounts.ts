// Which file system a path lies on, from Linux's /proc/self/mountinfo (proc_pid_mountinfo(5)):
//
//   36 35 98:0 /mnt1 /mnt/parent rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//         |          |           |          |        | |    |         |
//         device     mount point options    optional   type source    options of the file system

/** One mounted file system. */
export interface Mount {
  /** `major:minor` */
  device: string
  mountPoint: string
  type: string
  options: string[]
}

/** The mounts listed, in order; malformed lines are skipped. */
export function parseMounts(text: string): Mount[] {
  const mounts: Mount[] = []
  for (const line of text.split('\n')) {
    const [before, after] = line.split(' - ')
    const [, , device, , mountPoint, options] = (before ?? '').split(' ')
    const [type, , superOptions] = (after ?? '').split(' ')
    if (device === undefined || mountPoint === undefined || options === undefined || !type) continue
    const all = [...options.split(','), ...(superOptions ?? '').split(',')]
    mounts.push({ device, mountPoint: unescapeOctal(mountPoint), type, options: all })
  }
  return mounts
}

/**
 * The mount that `path` (real and absolute) lies on, or null. The deepest mount point wins. Of several mounts at one
 * point the last wins, because it hides the others. The device distinguishes mounts that were hidden by a mount above
 * them; devices of btrfs subvolumes and overlays are not listed.
 */
export function mountOf(mounts: readonly Mount[], path: string, dev: bigint): Mount | null {
  const above = mounts.filter(
    ({ mountPoint }) => mountPoint === '/' || path === mountPoint || path.startsWith(`${mountPoint}/`),
  )
  const same = above.filter(({ device }) => device === deviceName(dev))
  return (same.length > 0 ? same : above).reduce<Mount | null>(
    (best, next) => (best === null || next.mountPoint.length >= best.mountPoint.length ? next : best),
    null,
  )
}

/** As in `gnu_dev_major` and `gnu_dev_minor` of glibc's <sys/sysmacros.h>. */
function deviceName(dev: bigint): string {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn)
  const minor = (dev & 0xffn) | ((dev >> 12n) & ~0xffn)
  return `${major}:${minor}`
}

/** Space, tab, newline and backslash are written as three octal digits. */
function unescapeOctal(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_whole, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
}
