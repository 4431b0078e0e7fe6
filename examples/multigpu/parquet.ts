// A regression on the columns of a Parquet file, read by hyparquet (npm install hyparquet). WEFT_PARQUET names the file,
// WEFT_TARGET the column to predict ('target'); every other column is a number too. The last tenth of the rows is held out.
//
//     WEFT_PARQUET=houses.parquet WEFT_TARGET=price npx weft train examples/multigpu/parquet.ts --devices host:0-1
//
// The file is read once, by rank 0, column by column into typed arrays that all ranks share. Files in other codecs than
// snappy need the package hyparquet-compressors beside it (its README says how).
import { asyncBufferFromFile, parquetMetadataAsync, parquetRead, parquetSchema } from 'hyparquet'
import { UsageError } from 'weft'
import { tableTask } from './table-regression.js'

const file = process.env.WEFT_PARQUET ?? ''

/** The values of a column as numbers; one that is none is a UsageError. */
function numbers(
  column: string,
  values: ArrayLike<unknown>,
  into: Float32Array,
  from: number,
): void {
  for (let row = 0; row < values.length; row++) {
    const value = values[row]
    const number = typeof value === 'bigint' ? Number(value) : value
    if (typeof number !== 'number') {
      throw new UsageError(
        `${file}: column ${column} has ${String(value)} in row ${from + row}, no number`,
      )
    }
    into[from + row] = number
  }
}

/** The file and its footer. */
async function open() {
  if (file === '') throw new UsageError('WEFT_PARQUET must name a Parquet file')
  const buffer = await asyncBufferFromFile(file)
  const metadata = await parquetMetadataAsync(buffer)
  const names = parquetSchema(metadata).children.map(({ element }) => element.name)
  return { buffer, metadata, names }
}

export default tableTask({
  name: 'parquet',
  file,
  target: process.env.WEFT_TARGET ?? 'target',
  names: async () => (await open()).names,
  read: async () => {
    const { buffer, metadata, names } = await open()
    const rows = Number(metadata.num_rows)
    const columns = new Map(names.map((name) => [name, new Float32Array(rows)]))
    await parquetRead({
      file: buffer,
      metadata,
      onChunk: ({ columnName, columnData, rowStart }) =>
        numbers(columnName, columnData, columns.get(columnName)!, rowStart),
    })
    return columns
  },
})
