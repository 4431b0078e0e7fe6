// F: every operator as a function, under the names users know. Where a function takes `Operand`, a
// number stands for a tensor of that value. Most come from the operator table.

export * from '../generated/functions.js'
export { addLayerNorm, addRmsNorm } from './add-norm.js'
export { type AttentionOptions, scaledDotProductAttention } from './attention.js'
export { where } from './elementwise.js'
export { type LinearCrossEntropyOptions, linearCrossEntropy } from './linear-cross-entropy.js'
export { flatten } from './view.js'
