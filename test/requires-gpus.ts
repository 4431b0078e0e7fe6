// Set-up file of the projects cuda1 and cuda2: skips every test, with the reason, where there are too few
// GPUs. WEFT_TEST_GPUS says how many the tests may use.
import { beforeEach } from 'vitest'

const needed = Number(process.env.WEFT_TEST_NEEDS_GPUS ?? 0)
const present = Number(process.env.WEFT_TEST_GPUS ?? 0)

beforeEach((context) => {
  context.skip(present < needed, `needs ${needed} GPU(s), WEFT_TEST_GPUS is ${present}`)
})
