// A plot of two panels, latency and bus bandwidth over the size, as an SVG file. `weft bench allreduce --svg` writes
// it. Pure.
import { formatBytes } from '../format-bytes.js'
import type { ReduceRow } from './figures.js'

const colors = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000', '#888']
const panel = { width: 520, height: 360, left: 70, top: 50, gap: 110 }

interface Point {
  x: number
  y: number
}
interface Line {
  label: string
  points: Point[]
}

const escapeText = (text: string) =>
  text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;')

const text = (x: number, y: number, content: string, anchor = 'middle', extra = '') =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}"${extra}>${escapeText(content)}</text>`

function linesOf(rows: readonly ReduceRow[], value: (row: ReduceRow) => number | undefined) {
  const labels = [...new Set(rows.map((row) => row.label))]
  return labels.map((label): Line => {
    const points = rows
      .filter((row) => row.label === label && row.error === undefined)
      .flatMap((row) => {
        const y = value(row)
        return y !== undefined && y > 0 ? [{ x: row.bytes, y }] : []
      })
    return { label, points }
  })
}

/** Powers of ten from at most `low` to at least `high`. */
function decades(low: number, high: number): number[] {
  const first = Math.floor(Math.log10(low))
  const last = Math.max(first + 1, Math.ceil(Math.log10(high)))
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i))
}

/** Round steps from 0 to at least `high`. */
function steps(high: number): number[] {
  const rough = high / 5
  const unit = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= rough) as number
  return Array.from({ length: Math.ceil(high / step) + 1 }, (_, i) => i * step)
}

function drawPanel(title: string, lines: readonly Line[], left: number, logY: boolean): string[] {
  const all = lines.flatMap((line) => line.points)
  if (all.length === 0) return []
  const xs = all.map((p) => p.x)
  const ys = all.map((p) => p.y)
  const [low, high] = [Math.log2(Math.min(...xs)), Math.log2(Math.max(...xs))]
  const marks = logY ? decades(Math.min(...ys), Math.max(...ys)) : steps(Math.max(...ys))
  const scale = (y: number) => (logY ? Math.log10(y) : y)
  const [bottom, top] = [scale(marks[0] as number), scale(marks.at(-1) as number)]
  const x = (bytes: number) =>
    left + ((Math.log2(bytes) - low) / Math.max(1, high - low)) * panel.width
  const y = (value: number) =>
    panel.top + panel.height * (1 - (scale(value) - bottom) / (top - bottom))
  const end = panel.top + panel.height
  const parts = [text(left + panel.width / 2, panel.top - 18, title, 'middle', ' font-size="15"')]
  for (const mark of marks) {
    parts.push(
      `<line x1="${left}" x2="${left + panel.width}" y1="${y(mark).toFixed(1)}" y2="${y(mark).toFixed(1)}" stroke="#ddd"/>`,
      text(left - 8, y(mark) + 4, String(Number(mark.toPrecision(3))), 'end'),
    )
  }
  const every = Math.max(1, Math.ceil((high - low) / 7))
  for (let power = low; power <= high + 1e-9; power += every) {
    parts.push(text(x(2 ** power), end + 20, formatBytes(Math.round(2 ** power))))
  }
  parts.push(
    `<rect x="${left}" y="${panel.top}" width="${panel.width}" height="${panel.height}" fill="none" stroke="#444"/>`,
  )
  lines.forEach(({ points }, i) => {
    if (points.length === 0) return
    const path = points.map((p) => `${x(p.x).toFixed(1)},${y(p.y).toFixed(1)}`).join(' ')
    const color = colors[i % colors.length]
    parts.push(
      `<polyline points="${path}" fill="none" stroke="${color}" stroke-width="1.8"/>`,
      ...points.map(
        (p) =>
          `<circle cx="${x(p.x).toFixed(1)}" cy="${y(p.y).toFixed(1)}" r="2.4" fill="${color}"/>`,
      ),
    )
  })
  return parts
}

/** Times of graphs where there are some, else of calls. */
export function plotReduces(title: string, rows: readonly ReduceRow[]): string {
  const latency = linesOf(rows, (row) => (row.graph ?? row.eager)?.median)
  const bandwidth = linesOf(rows, (row) => row.busGBs)
  const second = panel.left + panel.width + panel.gap
  const width = second + panel.width + 30
  const legendTop = panel.top + panel.height + 50
  const height = legendTop + 20 * latency.length + 10
  const legend = latency.flatMap(({ label }, i) => {
    const y = legendTop + 20 * i
    const color = colors[i % colors.length]
    return [
      `<line x1="${panel.left}" x2="${panel.left + 26}" y1="${y}" y2="${y}" stroke="${color}" stroke-width="3"/>`,
      text(panel.left + 34, y + 4, label, 'start'),
    ]
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="12" role="img" aria-label="${escapeText(title)}">`,
    `<title>${escapeText(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    text(width / 2, 18, title, 'middle', ' font-size="14"'),
    ...drawPanel('µs a call, median', latency, panel.left, true),
    ...drawPanel('bus bandwidth, GB/s', bandwidth, second, false),
    ...legend,
    '</svg>',
    '',
  ].join('\n')
}
