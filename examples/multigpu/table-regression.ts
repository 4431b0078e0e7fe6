// A regression of one column of a table on the others, over whatever reads the table: parquet.ts and arrow.ts.
import { data, defineTask, nn, optim, type Tensor, UsageError } from 'weft'

/** The columns of a file, each an array of numbers as long as the table. */
export type Columns = Map<string, Float32Array>

/** What a file format brings. */
export interface TableFormat {
  name: string
  /** Of errors. */
  file: string
  /** The column to predict. */
  target: string
  /** Names of all columns, without reading what they hold. */
  names: () => Promise<string[]>
  read: () => Promise<Columns>
}

/** Mean 0 and variance 1, in place. */
function standardize(values: Float32Array): void {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
  const scale = 1 / Math.sqrt(variance || 1)
  for (let i = 0; i < values.length; i++) values[i] = (values[i]! - mean) * scale
}

class Net extends nn.Module {
  readonly first: nn.Linear
  readonly second = new nn.Linear(64, 64)
  readonly last = new nn.Linear(64, 1)

  constructor(width: number) {
    super()
    this.first = new nn.Linear(width, 64)
  }

  forward(x: Tensor): Tensor {
    return this.last.forward(this.second.forward(this.first.forward(x).gelu()).gelu())
  }
}

const squared = (model: Net, x: Tensor, y: Tensor) => model.forward(x).sub(y).pow(2)

/** The task. The file is read once, by rank 0, into arrays that all ranks share; the last tenth of the rows is held out. */
export function tableTask({ name, file, target, names, read }: TableFormat) {
  /** Names of the columns to predict from. */
  async function inputNames(): Promise<string[]> {
    const found = await names()
    if (!found.includes(target)) {
      throw new UsageError(
        `${file} has the columns ${found.join(', ')}, no ${target}: set WEFT_TARGET`,
      )
    }
    if (found.length === 1) throw new UsageError(`${file} has no column but ${target}`)
    return found.filter((each) => each !== target)
  }

  /** Features (rows, columns) and targets (rows), standardized by column. */
  async function readTable() {
    const wanted = await inputNames()
    const columns = await read()
    for (const values of columns.values()) standardize(values)
    const inputs = wanted.map((each) => columns.get(each)!)
    const y = columns.get(target)!
    const x = Float32Array.from({ length: y.length * inputs.length }, (_, i) => {
      return inputs[i % inputs.length]![Math.floor(i / inputs.length)]!
    })
    return { x, y }
  }

  return defineTask({
    name,
    unit: 'rows',
    // Each rank has the names from the file itself.
    model: async () => new Net((await inputNames()).length),
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
}
