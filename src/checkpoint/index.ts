// The public names of `safetensors`.
export { header, type LoadOptions, load, type SafetensorsInfo, save } from './tensor-files.js'
