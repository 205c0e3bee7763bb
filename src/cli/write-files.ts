// What `restore` takes from the library. One module, loaded when it is used: in the bundle each module that is loaded
// by itself may cut what the entries share into smaller files.

export { engineFile } from '../engines/engine-file.ts'
export { nodeFileSystem } from '../fs/node.ts'
export { createBlobDirectory } from '../load/blob-directory.ts'
