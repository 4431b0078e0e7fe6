// Learning-rate schedules: pure functions of the step that give a factor of the optimizer's own rate.
// The trainer multiplies; nothing here holds state, so a resumed run needs only its step.
import { UsageError } from '../native/errors.js'

/** Factor at `step` (from 0). */
export type Schedule = (step: number) => number

/** Always 1. */
export const constant: Schedule = () => 1

/** Rises from 0 to 1 over the first `steps` steps, then follows `after` (from its own step 0). */
export function warmup(steps: number, after: Schedule = constant): Schedule {
  check(steps >= 0, 'warmup', steps)
  return (step) => (step < steps ? (step + 1) / steps : after(step - steps))
}

/** Falls from 1 to `floor` along half a cosine over `steps` steps, then stays (Loshchilov and Hutter 2017). */
export function cosine(steps: number, floor = 0): Schedule {
  check(steps > 0, 'cosine', steps)
  return (step) => {
    const t = Math.min(1, step / steps)
    return floor + (1 - floor) * 0.5 * (1 + Math.cos(Math.PI * t))
  }
}

/** Falls from 1 to `floor` in a straight line over `steps` steps, then stays. */
export function linear(steps: number, floor = 0): Schedule {
  check(steps > 0, 'linear', steps)
  return (step) => Math.max(floor, 1 - ((1 - floor) * Math.min(step, steps)) / steps)
}

/** Multiplies by `gamma` every `every` steps. */
export function step(every: number, gamma = 0.1): Schedule {
  check(every > 0, 'step', every)
  return (at) => gamma ** Math.floor(at / every)
}

function check(ok: boolean, name: string, steps: number): void {
  if (!ok || !Number.isFinite(steps)) {
    throw new UsageError(`schedule ${name}: steps must be a positive number, it is ${steps}`)
  }
}
