// Learning curves as SVG: every quantity has its panel and every run its lines, at the places that its values say; long
// curves keep their peaks; whatever a quantity is called, the file is XML.
import { expect, it } from 'vitest'
import { plotCurves, thinned } from '../../src/metrics/curve-plot.js'
import { linearAxis } from '../../src/metrics/line-chart.js'

const curve = (...values: number[]) => values.map((value, i) => ({ step: (i + 1) * 10, value }))
const polylines = (svg: string) =>
  [...svg.matchAll(/<polyline points="([^"]+)"([^>]*)\/>/g)].map(([, points, rest]) => ({
    points: points!.split(' ').map((point) => point.split(',').map(Number) as [number, number]),
    dashed: rest!.includes('dasharray'),
  }))

it('draws training and held-out loss in one panel, lower values lower', () => {
  const svg = plotCurves('run', [
    {
      name: 'run',
      curves: { loss: curve(4, 3, 1), 'held-out loss': curve(2), communicationShare: curve(0.5) },
    },
  ])!
  const [training, heldOut, ...others] = polylines(svg)
  expect(others).toEqual([])
  expect(heldOut!.dashed).toBe(true)
  const [[x0, y0], [x1, y1], [x2, y2]] = training!.points as [
    [number, number],
    [number, number],
    [number, number],
  ]
  expect(x1 - x0).toBeCloseTo(x2 - x1, 0)
  expect(y0).toBeLessThan(y1)
  expect((y2 - y1) / (y1 - y0)).toBeCloseTo(2, 1)
  expect(heldOut!.points[0]![1]).toBeCloseTo((y1 + y2) / 2, 0)
  for (const label of ['training', 'held-out']) expect(svg).toContain(`>${label}</text>`)
})

it('gives each quantity a panel and each of several runs its lines, loss first', () => {
  const one = { lr: curve(1), accuracy: curve(0, 1), loss: curve(2, 1) }
  const svg = plotCurves('a, b', [
    { name: 'a', curves: one },
    { name: 'b', curves: { loss: curve(3, 1) } },
  ])!
  expect(polylines(svg)).toHaveLength(4)
  const panels = [...svg.matchAll(/font-size="15">([^<]+)</g)].map(([, title]) => title)
  expect(panels).toEqual(['loss', 'accuracy', 'learning rate'])
  expect(svg).toContain('a, training')
  expect(svg).toContain('b, training')
})

it('has a title and a role, and escapes what it is told', () => {
  const svg = plotCurves('"a" <b> & \u0001', [{ name: 'x', curves: { '<m>': curve(1, 2) } }])!
  expect(svg).toMatch(/^<svg [^>]*role="img" aria-label="&quot;a&quot; &lt;b&gt; &amp; \ufffd">/)
  expect(svg).toContain('<title>&quot;a&quot; &lt;b&gt; &amp; \ufffd</title>')
  expect(svg).toContain('>&lt;m&gt;</text>')
})

it('draws flat, single, tiny and huge values without NaN, and nothing for nothing', () => {
  for (const values of [[0], [5, 5, 5], [1e-12, 2e-12], [1e30, -1e30], [-3, -3]]) {
    const svg = plotCurves('x', [{ name: 'x', curves: { loss: curve(...values) } }])!
    expect(svg).not.toMatch(/NaN|Infinity|undefined/)
  }
  expect(plotCurves('x', [{ name: 'x', curves: {} }])).toBeUndefined()
})

it('thins a long curve to its extremes, in order', () => {
  const long = curve(...Array.from({ length: 100_000 }, (_, i) => (i === 54_321 ? 9 : i % 2)))
  const thin = thinned(long)
  expect(thin.length).toBeLessThanOrEqual(1000)
  expect(Math.max(...thin.map(({ value }) => value))).toBe(9)
  expect(thin.map(({ step }) => step)).toEqual(thin.map(({ step }) => step).sort((a, b) => a - b))
})

it('marks an axis in round steps whose labels differ', () => {
  const labels = (low: number, high: number) =>
    linearAxis(low, high).marks.map(({ label }) => label)
  expect(labels(0, 10)).toEqual(['0', '2', '4', '6', '8', '10'])
  expect(labels(1.0001, 1.0003)).toEqual(['1.0001', '1.00015', '1.0002', '1.00025', '1.0003'])
  expect(linearAxis(0.31, 0.92).marks.map(({ label }) => label)).toEqual([
    '0.2',
    '0.4',
    '0.6',
    '0.8',
    '1',
  ])
})
