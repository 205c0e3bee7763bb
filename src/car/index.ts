// The entry `holdfast/car`: a snapshot as one file that other programs can read, and back.

export { type ExportOptions, exportCar } from './export.ts'
export { type CarSource, type ImportOptions, importCar } from './import.ts'
