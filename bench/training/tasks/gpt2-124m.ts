// The `gpt2-124m` workload as a task: `npx weft bench scaling bench/training/tasks/gpt2-124m.ts --precision bf16`.
import { fixedTask } from '../fixed-task.js'

export default fixedTask('gpt2-124m')
