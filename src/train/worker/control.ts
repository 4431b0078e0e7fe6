// The words that coordinator and workers of a run share, and the gate before each step. Any thread may
// write at any time; what must hold is that all ranks begin the same steps, or those that began wait for
// the others until the timeout.
//
// The gate is one word: the last step that any rank has begun, and a stop bit. A rank begins a step by
// putting its number there, unless another rank has; a stop sets the bit. As both lie in one word, a step
// begins either on all ranks or on none: it begins on all when its number came before the bit. Ranks meet
// in every step, so they are at most one step apart and equality of numbers is enough, also when they wrap.

/** The gate. */
const CONTROL_GATE = 0
/** Grows with every step and batch of any rank; standing still means that nothing moves. */
export const CONTROL_BEATS = 1
/** `control[CONTROL_STEPS + rank]` is the step (from 1) that the rank works on, 0 before the first. */
export const CONTROL_STEPS = 2

const STOP = 1

/** The words of a run of so many ranks. */
export function makeControl(ranks: number): Int32Array {
  const words = CONTROL_STEPS + ranks
  return new Int32Array(new SharedArrayBuffer(words * Int32Array.BYTES_PER_ELEMENT))
}

/** No step begins any more that no rank has begun. */
export function closeGate(control: Int32Array): void {
  Atomics.or(control, CONTROL_GATE, STOP)
}

/** Does this rank begin `step` (from 1)? Every rank gets the same answer for the same step. */
export function passGate(control: Int32Array, step: number): boolean {
  const begun = step << 1
  for (;;) {
    const seen = Atomics.load(control, CONTROL_GATE)
    if ((seen & ~STOP) === begun) return true
    if ((seen & STOP) !== 0) return false
    if (Atomics.compareExchange(control, CONTROL_GATE, seen, begun) === seen) return true
  }
}
