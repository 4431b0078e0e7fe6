// The `minigpt` workload as a task: `npx weft bench scaling bench/training/tasks/minigpt.ts`.
import { fixedTask } from '../fixed-task.js'

export default fixedTask('minigpt')
