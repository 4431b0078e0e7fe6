// Line charts as SVG: panels with axes, lines and a legend. The plots of benches (cli/bench/plot.ts) and of learning
// curves (curve-plot.ts) are made of it. Pure.

/** A place in a panel, in the units of its axes. */
export interface Point {
  x: number
  y: number
}

/** One line; its label stands in the legend. */
export interface Line {
  label: string
  points: readonly Point[]
  color: string
  dashed?: boolean
}

/** Where values lie on an axis, and its marks. */
export interface Axis {
  /** A value as a share of the axis, 0 … 1. */
  place: (value: number) => number
  marks: readonly { value: number; label: string }[]
}

/** Where a panel stands, in pixels. */
export interface PanelBox {
  left: number
  top: number
  width: number
  height: number
}

/** Colours that people who see some colours alike can tell apart. */
export const chartColors = [
  ...['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000', '#888'],
] as const

/** The colour of the n-th line. */
export const colorOf = (index: number) => chartColors[index % chartColors.length]!

/** More points than this are drawn without a dot each. */
const dottedPoints = 60

// biome-ignore lint/suspicious/noControlCharactersInRegex: XML has no way to write these
const unwritable = /[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g

const escapeText = (text: string) =>
  text
    .replace(unwritable, '\ufffd')
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;')
    .replace(/>/g, '&gt;')
    .replace(/"/g, '&quot;')

/** A text; `anchor` says which end of it stands at x. */
export function chartText(x: number, y: number, content: string, anchor = 'middle', size?: number) {
  const extra = size === undefined ? '' : ` font-size="${size}"`
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}"${extra}>${escapeText(content)}</text>`
}

const short = (value: number) => String(Number(value.toPrecision(3)))

/** An axis from a to b. */
function between(from: number, to: number, scale: (value: number) => number) {
  const [low, high] = [scale(from), scale(to)]
  return (value: number) => (scale(value) - low) / (high - low || 1)
}

/** Round steps of 1, 2 or 5 from at most `low` to at least `high`, about five of them. */
export function linearAxis(low: number, high: number, label?: (value: number) => string): Axis {
  const rough = (high > low ? high - low : Math.abs(high) || 1) / 5
  const unit = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= rough * (1 - 1e-9))!
  const first = Math.floor(low / step + 1e-9)
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9))
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9))
  const plain = (value: number) =>
    digits > 6 ? value.toExponential(2) : String(Number(value.toFixed(digits)))
  const marks = Array.from({ length: last - first + 1 }, (_, i) => {
    const value = (first + i) * step
    return { value, label: (label ?? plain)(value) }
  })
  return { place: between(first * step, last * step, (value) => value), marks }
}

/** Powers of ten from at most `low` to at least `high`. Both must be above 0. */
export function decadeAxis(low: number, high: number): Axis {
  const first = Math.floor(Math.log10(low))
  const last = Math.max(first + 1, Math.ceil(Math.log10(high)))
  const marks = Array.from({ length: last - first + 1 }, (_, i) => {
    const value = 10 ** (first + i)
    return { value, label: short(value) }
  })
  return { place: between(marks[0]!.value, marks.at(-1)!.value, Math.log10), marks }
}

/** Powers of two between `low` and `high`, at most eight marks. Both must be above 0. */
export function powerAxis(low: number, high: number, label: (value: number) => string): Axis {
  const [from, to] = [Math.log2(low), Math.log2(high)]
  const every = Math.max(1, Math.ceil((to - from) / 7))
  const marks = []
  for (let power = from; power <= to + 1e-9; power += every) {
    marks.push({ value: 2 ** power, label: label(2 ** power) })
  }
  return { place: between(low, Math.max(high, low * 2), Math.log2), marks }
}

/** One panel; nothing where its lines have no points. */
export function drawPanel(
  title: string,
  box: PanelBox,
  lines: readonly Line[],
  axes: { x: Axis; y: Axis },
): string[] {
  const { left, top, width, height } = box
  const x = (value: number) => left + axes.x.place(value) * width
  const y = (value: number) => top + height * (1 - axes.y.place(value))
  const parts = [chartText(left + width / 2, top - 18, title, 'middle', 15)]
  for (const { value, label } of axes.y.marks) {
    const at = y(value)
    parts.push(
      `<line x1="${left}" x2="${left + width}" y1="${at.toFixed(1)}" y2="${at.toFixed(1)}" stroke="#ddd"/>`,
      chartText(left - 8, at + 4, label, 'end'),
    )
  }
  for (const { value, label } of axes.x.marks) {
    parts.push(chartText(x(value), top + height + 20, label))
  }
  parts.push(
    `<rect x="${left}" y="${top}" width="${width}" height="${height}" fill="none" stroke="#444"/>`,
  )
  for (const { points, color, dashed } of lines) {
    if (points.length === 0) continue
    const path = points.map((p) => `${x(p.x).toFixed(1)},${y(p.y).toFixed(1)}`).join(' ')
    const dash = dashed ? ' stroke-dasharray="6 4"' : ''
    parts.push(
      `<polyline points="${path}" fill="none" stroke="${color}" stroke-width="1.8"${dash}/>`,
    )
    if (points.length > dottedPoints) continue
    for (const p of points) {
      parts.push(
        `<circle cx="${x(p.x).toFixed(1)}" cy="${y(p.y).toFixed(1)}" r="2.4" fill="${color}"/>`,
      )
    }
  }
  return parts
}

/** One row a line: its colour and its label. */
export function drawLegend(
  left: number,
  top: number,
  lines: readonly Omit<Line, 'points'>[],
): string[] {
  return lines.flatMap(({ label, color, dashed }, i) => {
    const y = top + 20 * i
    const dash = dashed ? ' stroke-dasharray="6 4"' : ''
    return [
      `<line x1="${left}" x2="${left + 26}" y1="${y}" y2="${y}" stroke="${color}" stroke-width="3"${dash}/>`,
      chartText(left + 34, y + 4, label, 'start'),
    ]
  })
}

/** The whole file, with the title for people who do not see it, too. */
export function svgDocument(
  title: string,
  width: number,
  height: number,
  parts: readonly string[],
): string {
  const told = escapeText(title)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="12" role="img" aria-label="${told}">`,
    `<title>${told}</title>`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    chartText(width / 2, 18, title, 'middle', 14),
    ...parts,
    '</svg>',
    '',
  ].join('\n')
}
