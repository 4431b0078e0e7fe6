// The curves of a run: what its metrics.jsonl says of each quantity, by step. `weft runs` compares them, curve-plot.ts
// draws them. Needs no addon.
import { readJsonLines } from './jsonl.js'

/** Values of one quantity by step. */
export type Curve = { step: number; value: number }[]

/** 'loss', 'lr' … of training steps; 'held-out accuracy' … of evaluations. */
export type Curves = Record<string, Curve>

/** What the names of evaluations' curves begin with. */
export const HELD_OUT = 'held-out '

/** What of a line is no curve. */
const plain = new Set(['kind', 'step', 'timeMs'])

/** Reads the curves of a metrics.jsonl. Throws what reading or parsing throws. */
export function readCurves(path: string): Curves {
  const curves: Curves = {}
  for (const line of readJsonLines(path)) {
    const prefix = line.kind === 'evaluation' ? HELD_OUT : ''
    const step = Number(line.step)
    const numbers = { ...line, ...((line.metrics as object | undefined) ?? {}) }
    for (const [key, value] of Object.entries(numbers)) {
      if (plain.has(key) || typeof value !== 'number') continue
      curves[prefix + key] ??= []
      const curve = curves[prefix + key]!
      // A run that was stopped and resumed evaluates a step twice: what came last holds.
      if (curve.at(-1)?.step === step) curve.pop()
      curve.push({ step, value })
    }
  }
  return curves
}
