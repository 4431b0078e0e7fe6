// The public names of `data`.
export { Loader, type LoaderOptions, loader } from './loader.js'
export { randomStream, type SamplerOptions, sampleIndices } from './sampler.js'
