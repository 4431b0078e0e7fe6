// The public names of `optim`.
export { AdamW, type AdamWOptions, adamw } from './adamw.js'
export { clipGradNorm } from './clip.js'
export { GradScaler, type GradScalerOptions } from './grad-scaler.js'
export { Optimizer, type ParameterGroup, type Parameters } from './optimizer.js'
export { type GroupRule, parameterGroups } from './parameter-groups.js'
export * as schedule from './schedule.js'
export { SGD, type SgdOptions, sgd } from './sgd.js'
export type { OptimizerState } from './state.js'
