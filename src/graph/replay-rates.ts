// What a captured step needs anew for each run: the learning rate and step count of every optimizer
// call in it. While a capture goes on in this thread the optimizers add their calls here; the graph
// asks for the values before each replay.

/** Tells {lr, step} of one or several optimizer calls of the next run, and counts that run. */
export type RateSource = () => readonly number[]

/** The optimizer calls of one captured step. */
export class ReplayRates {
  readonly #sources: { device: string; values: RateSource }[] = []
  readonly #counters: (() => void)[] = []

  /** Adds an optimizer's calls on `device`, in the order in which they are captured. */
  add(device: string, values: RateSource): void {
    this.#sources.push({ device, values })
  }

  /** Calls `count` once for every run. */
  onReplay(count: () => void): void {
    this.#counters.push(count)
  }

  /** Values of the next run: those of the first device, then of the second, and so on. */
  next(devices: readonly string[]): Float64Array {
    for (const count of this.#counters) count()
    const byDevice = new Map<string, number[]>(devices.map((device) => [device, []]))
    for (const { device, values } of this.#sources) byDevice.get(device)?.push(...values())
    return Float64Array.from([...byDevice.values()].flat())
  }
}

let active: ReplayRates | undefined

/** The rates of the capture that goes on in this thread; undefined outside one. */
export function activeRates(): ReplayRates | undefined {
  return active
}

/** Runs `body` with optimizers adding their calls to `rates`. */
export function collectRates<T>(rates: ReplayRates, body: () => T): T {
  const before = active
  active = rates
  try {
    return body()
  } finally {
    active = before
  }
}
