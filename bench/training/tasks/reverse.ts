// The `reverse` workload as a task: `npx weft bench scaling bench/training/tasks/reverse.ts`.
import { fixedTask } from '../fixed-task.js'

export default fixedTask('reverse')
