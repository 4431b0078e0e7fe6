// The regression with NaN in the inputs of rank 1 in the batches that WEFT_TEST_NAN lists by number, from 1: '7,9' or
// '5-'. In the data and not in JavaScript's loss, so that captured steps see it too.
import { defineTask } from 'weft'
import { parts, shares } from './regression.mjs'

const listed = process.env.WEFT_TEST_NAN ?? ''
const [first] = listed.split('-').map(Number)
const due = (batch) =>
  listed.endsWith('-') ? batch >= first : listed.split(',').map(Number).includes(batch)

export default defineTask({
  ...parts,
  name: 'non-finite-data',
  data: (request) => {
    const all = shares(request)
    if (request.split !== 'train' || request.rank !== 1) return all
    const from = (start) => ({
      async *[Symbol.asyncIterator]() {
        let batch = start
        for await (const each of all.startingAt(start)) {
          batch++
          if (due(batch)) each.x.data.fill(Number.NaN)
          yield each
        }
      },
    })
    return { ...from(0), length: all.length, startingAt: from }
  },
})
