// The floor of an operator call: a launch that computes nothing. Benchmarks measure against it.
import { native } from '../native/addon.js'
import { deviceIndex } from './devices.js'

/**
 * A function that puts one empty kernel (on a host device an empty task) on the device's current
 * stream, with nothing around it: what a launch from JavaScript costs at least.
 */
export function launchProbe(device?: string): () => void {
  const index = deviceIndex(device)
  const launch = native.emptyLaunch
  return () => launch(index)
}
