// Learning-rate schedules: pure functions of the step that give a factor of the optimizer's own rate.
// The trainer multiplies; nothing here holds state, so a resumed run needs only its step.
import { UsageError } from '../native/errors.js'
import { requireNumber } from './options.js'

/** Factor at `step` (from 0). */
export type Schedule = (step: number) => number

/** Always 1. */
export const constant: Schedule = () => 1

/** Rises from 0 to 1 over the first `steps` steps, then follows `after` (from its own step 0). */
export function warmup(steps: number, after: Schedule = constant): Schedule {
  requireNumber('schedule warmup: steps', steps, { from: 0 })
  if (typeof after !== 'function') throw new UsageError('schedule warmup: after must be a schedule')
  return (step) => (step < steps ? (step + 1) / steps : after(step - steps))
}

/** Falls from 1 to `floor` along half a cosine over `steps` steps, then stays (Loshchilov and Hutter 2017). */
export function cosine(steps: number, floor = 0): Schedule {
  requireNumber('schedule cosine: steps', steps, { from: 0, above: true })
  requireNumber('schedule cosine: floor', floor, { from: 0 })
  return (step) => {
    const t = Math.min(1, step / steps)
    return floor + (1 - floor) * 0.5 * (1 + Math.cos(Math.PI * t))
  }
}

/** Falls from 1 to `floor` in a straight line over `steps` steps, then stays. */
export function linear(steps: number, floor = 0): Schedule {
  requireNumber('schedule linear: steps', steps, { from: 0, above: true })
  requireNumber('schedule linear: floor', floor, { from: 0 })
  return (step) => Math.max(floor, 1 - ((1 - floor) * Math.min(step, steps)) / steps)
}

/** Multiplies by `gamma` every `every` steps. */
export function step(every: number, gamma = 0.1): Schedule {
  requireNumber('schedule step: every', every, { from: 0, above: true })
  requireNumber('schedule step: gamma', gamma, { from: 0 })
  return (at) => gamma ** Math.floor(at / every)
}
