// A dataset that all ranks read in one memory. WEFT_TEST_SHARED names the file that counts its readings, or what is wrong.
import { appendFileSync } from 'node:fs'
import { data, defineTask } from 'weft'
import { parts } from './regression.mjs'

const about = process.env.WEFT_TEST_SHARED ?? ''
const samples = 256

function read() {
  appendFileSync(about, 'read\n')
  const next = data.randomStream(5)
  return {
    x: Float32Array.from({ length: samples * 8 }, () => next() / 2 ** 31 - 1),
    y: new Float32Array(samples).fill(0.25),
  }
}

export default defineTask({
  ...parts,
  name: 'shared-data',
  shared: () => (about === 'number' ? { x: 5 } : about === 'none' ? 5 : read()),
  data: (request) => {
    const { x, y } = request.shared
    for (const array of [x, y]) {
      if (!(array.buffer instanceof SharedArrayBuffer)) throw new Error('a copy of its own')
    }
    return data.loader({
      ...request,
      length: samples,
      collate: (indices) => ({
        x: {
          data: Float32Array.from(
            { length: indices.length * 8 },
            (_, i) => x[indices[i >> 3] * 8 + (i & 7)],
          ),
          shape: [indices.length, 8],
        },
        y: { data: Float32Array.from(indices, (i) => y[i]), shape: [indices.length, 1] },
      }),
    })
  },
  finish: ({ print }) => print('done'),
})
