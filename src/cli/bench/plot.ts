// A plot of two panels, latency and bus bandwidth over the size, as an SVG file. `weft bench allreduce --svg` writes
// it. Pure.
import {
  colorOf,
  decadeAxis,
  drawLegend,
  drawPanel,
  type Line,
  linearAxis,
  powerAxis,
  svgDocument,
} from '../../metrics/line-chart.js'
import { formatBytes } from '../format-bytes.js'
import type { ReduceRow } from './figures.js'

const panel = { width: 520, height: 360, left: 70, top: 50, gap: 110 }

function linesOf(rows: readonly ReduceRow[], value: (row: ReduceRow) => number | undefined) {
  const labels = [...new Set(rows.map((row) => row.label))]
  return labels.map((label, i): Line => {
    const points = rows
      .filter((row) => row.label === label && row.error === undefined)
      .flatMap((row) => {
        const y = value(row)
        return y !== undefined && y > 0 ? [{ x: row.bytes, y }] : []
      })
    return { label, points, color: colorOf(i) }
  })
}

/** Sizes in powers of two; times in powers of ten, rates from 0 on. */
function draw(title: string, lines: readonly Line[], left: number, logY: boolean): string[] {
  const all = lines.flatMap((line) => line.points)
  if (all.length === 0) return []
  const xs = all.map((p) => p.x)
  const ys = all.map((p) => p.y)
  const label = (bytes: number) => formatBytes(Math.round(bytes))
  const x = powerAxis(Math.min(...xs), Math.max(...xs), label)
  const y = logY ? decadeAxis(Math.min(...ys), Math.max(...ys)) : linearAxis(0, Math.max(...ys))
  return drawPanel(title, { ...panel, left }, lines, { x, y })
}

/** Times of graphs where there are some, else of calls. */
export function plotReduces(title: string, rows: readonly ReduceRow[]): string {
  const latency = linesOf(rows, (row) => (row.graph ?? row.eager)?.median)
  const bandwidth = linesOf(rows, (row) => row.busGBs)
  const second = panel.left + panel.width + panel.gap
  const width = second + panel.width + 30
  const legendTop = panel.top + panel.height + 50
  const height = legendTop + 20 * latency.length + 10
  return svgDocument(title, width, height, [
    ...draw('µs a call, median', latency, panel.left, true),
    ...draw('bus bandwidth, GB/s', bandwidth, second, false),
    ...drawLegend(panel.left, legendTop, latency),
  ])
}
