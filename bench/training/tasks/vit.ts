// The `vit` workload as a task: `npx weft bench scaling bench/training/tasks/vit.ts`.
import { fixedTask } from '../fixed-task.js'

export default fixedTask('vit')
