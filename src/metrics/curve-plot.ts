// Learning curves as one SVG: a panel for each quantity, held-out values dashed in the panel of their training
// values. The coordinator writes one into a run's folder; `weft runs compare --svg` lays runs over each other. Pure.
import { type Curve, type Curves, HELD_OUT } from './curves.js'
import { colorOf, drawLegend, drawPanel, type Line, linearAxis, svgDocument } from './line-chart.js'

/** A run as a plot names it. */
export interface PlottedRun {
  name: string
  curves: Curves
}

const panel = { width: 460, height: 260, left: 90, top: 60, gapX: 110, gapY: 80 }
const columns = 2

/** Quantities that a plot leaves out, and those that stand last. */
const leftOut = new Set(['communicationShare', 'skippedSteps'])
const last = ['gradNorm', 'lr', 'lossScale', 'samplesPerSecond']
const titles: Record<string, string> = {
  gradNorm: 'gradient norm',
  lr: 'learning rate',
  lossScale: 'loss scale',
  samplesPerSecond: 'samples a second',
}

/** A curve of more points is drawn by the least and the greatest of each of so many stretches. */
const stretches = 500

/** At most two points a stretch, so that the file stays small and no peak is lost. */
export function thinned(curve: Curve): Curve {
  if (curve.length <= 2 * stretches) return curve
  return Array.from({ length: stretches }, (_, i) => {
    const from = Math.floor((i * curve.length) / stretches)
    const part = curve.slice(from, Math.floor(((i + 1) * curve.length) / stretches))
    const least = part.reduce((a, b) => (b.value < a.value ? b : a))
    const greatest = part.reduce((a, b) => (b.value > a.value ? b : a))
    if (least === greatest) return [least]
    return least.step < greatest.step ? [least, greatest] : [greatest, least]
  }).flat()
}

/** The loss first, the task's own metrics, then what tells how the run went. */
function quantities(runs: readonly PlottedRun[]): string[] {
  const names = runs.flatMap(({ curves }) => Object.keys(curves))
  const bare = new Set(names.map((name) => name.replace(HELD_OUT, '')))
  const rank = (name: string) => (name === 'loss' ? -1 : last.indexOf(name) + 1)
  return [...bare].filter((name) => !leftOut.has(name)).sort((a, b) => rank(a) - rank(b))
}

/** Training and held-out values of one quantity; a single run has a colour for each, of several each has its own. */
function linesOf(quantity: string, runs: readonly PlottedRun[]): Line[] {
  return runs.flatMap(({ name, curves }, i) =>
    [quantity, HELD_OUT + quantity].flatMap((key, heldOut): Line[] => {
      const curve = curves[key]
      if (curve === undefined) return []
      const kind = heldOut ? 'held-out' : 'training'
      return [
        {
          label: runs.length === 1 ? kind : `${name}, ${kind}`,
          points: thinned(curve).map(({ step, value }) => ({ x: step, y: value })),
          color: colorOf(runs.length === 1 ? heldOut : i),
          dashed: heldOut === 1,
        },
      ]
    }),
  )
}

/** The plot; undefined where the runs have no curves yet. */
export function plotCurves(title: string, runs: readonly PlottedRun[]): string | undefined {
  const panels = quantities(runs).map((name) => ({ name, lines: linesOf(name, runs) }))
  if (panels.length === 0) return undefined
  const parts = panels.flatMap(({ name, lines }, i) => {
    const points = lines.flatMap((line) => line.points)
    const range = (of: (p: (typeof points)[number]) => number) => {
      const values = points.map(of)
      return [Math.min(...values), Math.max(...values)] as const
    }
    const box = {
      ...panel,
      left: panel.left + (i % columns) * (panel.width + panel.gapX),
      top: panel.top + Math.floor(i / columns) * (panel.height + panel.gapY),
    }
    const x = linearAxis(0, range((p) => p.x)[1], (step) => step.toLocaleString('en-US'))
    return drawPanel(titles[name] ?? name, box, lines, { x, y: linearAxis(...range((p) => p.y)) })
  })
  const legend = new Map(panels.flatMap(({ lines }) => lines.map((line) => [line.label, line])))
  const used = Math.min(columns, panels.length)
  const width = panel.left + used * panel.width + (used - 1) * panel.gapX + 40
  const rows = Math.ceil(panels.length / columns)
  const legendTop = panel.top + rows * (panel.height + panel.gapY) - 30
  const height = legendTop + 20 * legend.size + 10
  parts.push(...drawLegend(panel.left, legendTop, [...legend.values()]))
  return svgDocument(title, width, height, parts)
}
