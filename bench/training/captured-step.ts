// A training step as a captured graph: the one place of the benchmark that knows that API. bench/training.ts
// calls it for --graph.
import * as weft from 'weft'

/** A step that runs again without its operators being called. */
export interface CapturedStep {
  replay(): void
  dispose(): void
}

type Capture = (body: () => void, options: { device: string }) => CapturedStep

/** Captures `step`, which must have run before; throws where this build cannot capture. */
export function captureStep(
  step: () => void,
  optimizer: weft.optim.Optimizer,
  device: string,
): CapturedStep {
  // GRAPH CAPTURE: becomes `import { captureGraph } from 'weft'` and `optimizer.prepare()` when both exist.
  const capture = (weft as unknown as { captureGraph?: Capture }).captureGraph
  if (capture === undefined) {
    throw new weft.UsageError(
      '--graph: this build of weft cannot capture a step; leave --graph out',
    )
  }
  ;(optimizer as unknown as { prepare?: () => void }).prepare?.()
  return capture(step, { device })
}
