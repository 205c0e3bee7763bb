import { describe, expect, test } from 'vitest'
import { mountOf, parseMounts } from '../../src/fs/mounts.ts'

const table = `21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
22 21 0:5 / /dev rw shared:2 master:3 - devtmpfs devtmpfs rw
36 21 0:31 / /mnt/a\\040b\\134c rw,noatime - nfs4 server:/export rw,vers=4.2
37 21 0:40 / /data rw - overlay overlay rw,volatile
38 21 0:41 / /data rw - tmpfs tmpfs rw
39 21 8:17 /sub /srv/deep rw - xfs /dev/sdb1 rw,nobarrier
40 21 8:33 / /srv rw - btrfs /dev/sdc1 rw
this is no mount
`
const mounts = parseMounts(table)

/** As the kernel packs it for small numbers. */
const dev = (major: number, minor: number) => BigInt(major * 256 + minor)

describe('the mount of a path', () => {
  test('is the deepest one above it, and of those at one place the last', () => {
    const type = (path: string) => mountOf(mounts, path, dev(0, 0))?.type
    expect(type('/home/x')).toBe('ext4')
    expect(type('/')).toBe('ext4')
    expect(type('/dev/shm')).toBe('devtmpfs')
    expect(type('/device')).toBe('ext4')
    expect(type('/data')).toBe('tmpfs')
    expect(type('/data/store')).toBe('tmpfs')
  })

  test('may have spaces and backslashes in its name', () => {
    expect(mountOf(mounts, '/mnt/a b\\c/store', dev(0, 0))).toMatchObject({ type: 'nfs4', mountPoint: '/mnt/a b\\c' })
  })

  test('hidden by a later one above it is told by the device', () => {
    expect(mountOf(mounts, '/srv/deep/x', dev(8, 33))?.type).toBe('btrfs')
    expect(mountOf(mounts, '/srv/deep/x', dev(8, 17))?.type).toBe('xfs')
    // A subvolume's device is in no list.
    expect(mountOf(mounts, '/srv/other', dev(0, 77))?.type).toBe('btrfs')
  })

  test('has large device numbers unpacked as the C library does', () => {
    const large = parseMounts('1 1 259:70000 / /x rw - ext4 a rw\n2 1 259:1 / /x/y rw - xfs b rw')
    // makedev(259, 70000): minor 0x11170 is 0x70 low and 0x111 high.
    const packed = (259n << 8n) | 0x70n | (0x111n << 20n)
    expect(mountOf(large, '/x/y', packed)?.type).toBe('ext4')
  })

  test('has the options of the mount and those of the file system', () => {
    expect(mountOf(mounts, '/srv/deep', dev(8, 17))?.options).toEqual(['rw', 'rw', 'nobarrier'])
  })

  test('is null when nothing is known', () => {
    expect(mountOf(parseMounts('nonsense'), '/x', 0n)).toBeNull()
    expect(mountOf(parseMounts('1 1 0:1 / /y rw - ext4 a rw'), '/x', 0n)).toBeNull()
  })
})
