// The regression with the data that WEFT_TEST_DATA names; worker threads see the environment of the moment in which
// they were started.
import { isMainThread } from 'node:worker_threads'
import { defineTask, zeros } from 'weft'
import { parts, shares } from './regression.mjs'

const forms = {
  /** Batches are views of one dataset, which handing them on must not take away. */
  async *views() {
    const x = new Float32Array(64 * 8).fill(0.5)
    const y = new Float32Array(64)
    for (let b = 0; b < 6; b++) {
      if (x.length !== 512 || y.length !== 64) throw new Error('the dataset is gone')
      yield {
        x: { data: x.subarray(b * 64, b * 64 + 64), shape: [8, 8] },
        y: { data: y.subarray(b * 8, b * 8 + 8), shape: [8, 1] },
      }
    }
  },
  async *broken(request) {
    yield* shares(request)
    throw new TypeError('the data is broken')
  },
  async *endless(request) {
    do yield* shares(request)
    while (request.split === 'train')
  },
  exits: () => process.exit(isMainThread ? 1 : 7),
  tensors: () => [{ x: zeros([4, 8]), y: zeros([4, 1]) }],
  none: () => 5,
}

export default defineTask({ ...parts, name: 'data-forms', data: forms[process.env.WEFT_TEST_DATA] })
