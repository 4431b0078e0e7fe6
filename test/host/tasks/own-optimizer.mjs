// The regression with an optimizer of its own, which changes nothing.
import { defineTask } from 'weft'
import { parts, shares } from './regression.mjs'

export default defineTask({
  ...parts,
  name: 'own-optimizer',
  data: shares,
  optimizer: () => ({ lr: 1, step() {}, zeroGrad() {}, dispose() {} }),
})
