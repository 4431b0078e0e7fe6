// The operators on distributed tensors that are functions, as F's are on tensors: exported as `distributed`.
export {
  distributedAddLayerNorm as addLayerNorm,
  distributedAddRmsNorm as addRmsNorm,
} from './rules/add-norm.js'
export { distributedAttention as scaledDotProductAttention } from './rules/attention.js'
export { distributedEmbedding as embedding } from './rules/embedding.js'
export { distributedLinear as linear, distributedMatmul as matmul } from './rules/matrix.js'
export {
  distributedCrossEntropy as crossEntropy,
  distributedLayerNorm as layerNorm,
  distributedLinearCrossEntropy as linearCrossEntropy,
  distributedLogSoftmax as logSoftmax,
  distributedRmsNorm as rmsNorm,
  distributedSoftmax as softmax,
} from './rules/rows.js'
