// A regression on the columns of a Parquet file, read by hyparquet (npm install hyparquet). WEFT_PARQUET names the file,
// WEFT_TARGET the column to predict ('target'); every other column is a number too. The last tenth of the rows is held out.
//
//     WEFT_PARQUET=houses.parquet WEFT_TARGET=price npx weft train examples/multigpu/parquet.ts --devices host:0-1
//
// The file is read once, by rank 0, column by column into typed arrays that all ranks share. Files in other codecs than
// snappy need the package hyparquet-compressors beside it (its README says how).
import { asyncBufferFromFile, parquetMetadataAsync, parquetRead, parquetSchema } from 'hyparquet'
import { data, defineTask, nn, optim, type Tensor, UsageError } from 'weft'

const file = process.env.WEFT_PARQUET ?? ''
const target = process.env.WEFT_TARGET ?? 'target'

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

/** Mean 0 and variance 1, in place. */
function standardize(values: Float32Array): void {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
  const scale = 1 / Math.sqrt(variance || 1)
  for (let i = 0; i < values.length; i++) values[i] = (values[i]! - mean) * scale
}

/** Features (rows, columns) and targets (rows), standardized by column. */
async function readTable() {
  if (file === '') throw new UsageError('WEFT_PARQUET must name a Parquet file')
  const buffer = await asyncBufferFromFile(file)
  const metadata = await parquetMetadataAsync(buffer)
  const names = parquetSchema(metadata).children.map(({ element }) => element.name)
  if (!names.includes(target)) {
    throw new UsageError(
      `${file} has the columns ${names.join(', ')}, no ${target}: set WEFT_TARGET`,
    )
  }
  const rows = Number(metadata.num_rows)
  const columns = new Map(names.map((name) => [name, new Float32Array(rows)]))
  await parquetRead({
    file: buffer,
    metadata,
    onChunk: ({ columnName, columnData, rowStart }) =>
      numbers(columnName, columnData, columns.get(columnName)!, rowStart),
  })
  for (const values of columns.values()) standardize(values)
  const inputs = names.filter((name) => name !== target).map((name) => columns.get(name)!)
  const x = Float32Array.from({ length: rows * inputs.length }, (_, i) => {
    return inputs[i % inputs.length]![Math.floor(i / inputs.length)]!
  })
  return { x, y: columns.get(target)! }
}

let width = 0

class Net extends nn.Module {
  readonly first = new nn.Linear(width, 64)
  readonly second = new nn.Linear(64, 64)
  readonly last = new nn.Linear(64, 1)

  forward(x: Tensor): Tensor {
    return this.last.forward(this.second.forward(this.first.forward(x).gelu()).gelu())
  }
}

const squared = (model: Net, x: Tensor, y: Tensor) => model.forward(x).sub(y).pow(2)

export default defineTask({
  name: 'parquet',
  unit: 'rows',
  // Asked for before the model is made, on rank 0; the others have it from the file's footer.
  model: async () => {
    const metadata = await parquetMetadataAsync(await asyncBufferFromFile(file))
    width = parquetSchema(metadata).children.length - 1
    return new Net()
  },
  shared: readTable,
  data: ({ shared, split, ...request }) => {
    const { x, y } = shared as { x: Float32Array; y: Float32Array }
    const training = Math.floor(y.length * 0.9)
    const first = split === 'train' ? 0 : training
    return data.loader({
      ...request,
      split,
      length: split === 'train' ? training : y.length - training,
      collate: (indices) => {
        const features = x.length / y.length
        const rows = Array.from(indices, (index) => first + index)
        const values = new Float32Array(rows.length * features)
        for (const [i, row] of rows.entries()) {
          values.set(x.subarray(row * features, (row + 1) * features), i * features)
        }
        return {
          x: { data: values, shape: [rows.length, features] },
          y: { data: Float32Array.from(rows, (row) => y[row]!), shape: [rows.length, 1] },
        }
      },
    })
  },
  loss: (model, { x, y }) => squared(model, x!, y!).mean(),
  evaluate: (model, { x, y }) => ({ error: squared(model, x!, y!).sum(), count: x!.shape[0]! }),
  optimizer: (parameters) => optim.adamw(parameters, { lr: 3e-3 }),
  defaults: { epochs: 3, batchSize: 64 },
})
