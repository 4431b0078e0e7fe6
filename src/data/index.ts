// The public names of `data`.
export { Loader, type LoaderOptions, loader } from './loader.js'
export { randomStream, type SamplerOptions, sampleIndices } from './sampler.js'
export {
  type SequenceBatch,
  type SequenceOptions,
  TokenFile,
  type TokenFileOptions,
  tokenFile,
} from './token-file.js'
export { type Tokenizer, type WriteTokensOptions, writeTokens } from './write-tokens.js'
