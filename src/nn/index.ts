// The public names of `nn`.
export { Dropout, GELU, ReLU, SiLU, Tanh } from './activation.js'
export { type AttentionOptions, MultiHeadAttention } from './attention.js'
export { Embedding } from './embedding.js'
export { normal, type ParameterOptions, parameter, uniform } from './init.js'
export { Linear, type LinearOptions } from './linear.js'
export { Module } from './module.js'
export { LayerNorm, RMSNorm } from './norm.js'
export { Sequential } from './sequential.js'
