// A regression on the columns of an Arrow file, read by apache-arrow (npm install apache-arrow). WEFT_ARROW names the file
// (IPC file or stream, Feather version 2), WEFT_TARGET the column to predict ('target'); every other column is a number too.
//
//     WEFT_ARROW=houses.arrow WEFT_TARGET=price npx weft train examples/multigpu/arrow.ts --devices host:0-1
//
// The file is read once, by rank 0, column by column into typed arrays that all ranks share; the others read
// the schema at its head alone.
import { open, readFile } from 'node:fs/promises'
import { DataType, type Field, Precision, RecordBatchReader, tableFromIPC } from 'apache-arrow'
import { UsageError } from 'weft'
import { tableTask } from './table-regression.js'

const file = process.env.WEFT_ARROW ?? ''

/** Integers of any width, and floats that JavaScript has arrays of. */
function requireNumbers({ name, type }: Field): void {
  const isNumber =
    DataType.isInt(type) || (DataType.isFloat(type) && type.precision !== Precision.HALF)
  if (!isNumber) throw new UsageError(`${file}: column ${name} is ${type}, no numbers`)
}

async function names(): Promise<string[]> {
  if (file === '') throw new UsageError('WEFT_ARROW must name an Arrow file')
  const handle = await open(file)
  try {
    const reader = await RecordBatchReader.from(handle)
    await reader.open()
    return reader.schema.fields.map(({ name }) => name)
  } finally {
    await handle.close().catch(() => {}) // the reader may have closed it
  }
}

export default tableTask({
  name: 'arrow',
  file,
  target: process.env.WEFT_TARGET ?? 'target',
  names,
  read: async () => {
    const table = tableFromIPC(await readFile(file))
    return new Map(
      table.schema.fields.map((field) => {
        requireNumbers(field)
        const column = table.getChild(field.name)!
        if (column.nullCount > 0) {
          throw new UsageError(`${file}: column ${field.name} lacks ${column.nullCount} values`)
        }
        const values: ArrayLike<number | bigint> = column.toArray()
        return [field.name, Float32Array.from(values, Number)]
      }),
    )
  },
})
