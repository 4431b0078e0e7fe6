// Runner of the projects cuda1 and cuda2: where there are too few GPUs, no test and no hook of theirs runs.
// WEFT_TEST_GPUS says how many GPUs the tests may use; scripts/check/vitest-counts.mjs tells the reason.
import { type RunnerTask, type RunnerTestFile, TestRunner } from 'vitest'

const needed = Number(process.env.WEFT_TEST_NEEDS_GPUS ?? 0)
const present = Number(process.env.WEFT_TEST_GPUS ?? 0)

function skipAll(tasks: RunnerTask[]): void {
  for (const task of tasks) {
    task.mode = 'skip'
    if (task.type === 'suite') skipAll(task.tasks)
  }
}

export default class GpuRunner extends TestRunner {
  onCollected(files: RunnerTestFile[]): void {
    if (present < needed) skipAll(files)
  }
}
