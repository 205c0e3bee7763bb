/** Version of every structure in `docs/format.md`, apart from the two below. */
export const FORMAT_VERSION = 1
/** Highest version of a manifest. Version 1 has its blobs in the manifest itself. */
export const MANIFEST_VERSION = 2
/** Of HEAD.json. Version 1 named the current snapshot in a field `head`, version 2 listed each pack of a snapshot. */
export const HEAD_VERSION = 3

/** Bytes of a BLAKE3 digest. */
export const DIGEST_BYTES = 32

/** Bytes of a blob under one segment digest. */
export const SEGMENT_BYTES = 4_194_304

/** Bytes of one block before compression, of whatever kind. */
export const BLOCK_BYTES_MAX = 16_777_216

/** Children after which a node may end, and after which it must. */
export const NODE_CHILDREN_MIN = 64
export const NODE_CHILDREN_MAX = 1024

/** Levels of nodes above the chunks of a blob. */
export const DAG_DEPTH_MAX = 8

/** Bytes of one blob. One segment short of 2 TiB: the segments block of a full 2 TiB would exceed `BLOCK_BYTES_MAX`. */
export const BLOB_BYTES_MAX = 2 ** 41 - SEGMENT_BYTES

/**
 * Highest revision and sequence. A writer adds to them, and a repair a million at once: so that no sum leaves the
 * integers that are exact, a file that claims more is damaged.
 */
export const COUNTER_MAX = 2 ** 48

/** Highest pack id in a HEAD: tables keep ids in 32 bits. */
export const PACK_ID_MAX = 2 ** 31 - 1

/**
 * What all items of one dag-cbor block may weigh once decoded. An item takes one byte on the disk and a hundred in
 * memory: 16 MiB of empty byte strings would be gigabytes. 65,536 blobs weigh two thirds of it.
 */
export const VALUE_WEIGHT_MAX = 2 ** 22

/** Blobs of one snapshot. */
export const BLOBS_MAX = 65_536

/** Up to so many blobs are listed in the manifest itself. More have a blob list in blocks of its own. */
export const BLOBS_IN_MANIFEST = 256

/** Items of a block of a blob list after which it may end, and after which it must. */
export const LIST_ITEMS_MIN = 16
export const LIST_ITEMS_MAX = 256

/** Levels of a blob list, its leaves included. 65,536 blobs, 16 to a block, are four. */
export const LIST_DEPTH_MAX = 4

/**
 * UTF-8 bytes of all names and media types of a blob list. They are known before any blob is read; what else an entry
 * takes is at most 200 bytes, so a list stays below 26 MB.
 */
export const LIST_TEXT_BYTES_MAX = 12_582_912

/** UTF-8 bytes of a blob's name. */
export const NAME_BYTES_MAX = 1024

/** Lists and maps around a value, the value itself included. */
export const VALUE_DEPTH_MAX = 64

/** Snapshots in one HEAD. */
export const SNAPSHOTS_MAX = 1024

/**
 * Pack ids of all snapshots of one HEAD together. In the file they are ranges, and in memory each takes four bytes or
 * eight.
 */
export const PACK_IDS_MAX = 2 ** 23

/** Bytes of one JSON file. */
export const JSON_BYTES_MAX = 16_777_216

/** Write ids that HEAD remembers. */
export const WRITES_KEPT = 64

/** Bytes of one pack file: its offsets are 32-bit. */
export const PACK_BYTES_MAX = 2 ** 32 - 1

/** Bytes of the parts of a pack. */
export const HEADER_BYTES = 64
export const FOOTER_BYTES = 64
export const FANOUT_BYTES = 1024
export const ENTRY_BYTES = 56

/** Bytes of a store id, and of a pack's nonce. */
export const STORE_ID_BYTES = 16
export const NONCE_BYTES = 16

/** Bytes of a journal's id. */
export const JOURNAL_ID_BYTES = 16

/** Bytes of BLAKE3 over a compressed block's stored bytes that an index entry keeps. */
export const CHECK_BYTES = 8

/**
 * A pack is completed at so many blocks, however small they are: whoever wants one of them reads and checks the whole
 * index, 56 bytes for each. Pages of 4 KiB reach it with the size limit of a pack.
 */
export const PACK_BLOCKS_MAX = 65_536
