// curves.svg in a run's folder: its learning curves, drawn when it ends, however it ends. The coordinator calls this.
import { existsSync } from 'node:fs'
import { basename, join } from 'node:path'
import { writeAtomically } from '../checkpoint/atomic-write.js'
import { plotCurves } from '../metrics/curve-plot.js'
import { readCurves } from '../metrics/curves.js'

/**
 * Draws what the run's metrics.jsonl holds; a run that logged nothing has no plot. Never throws: gives the line that
 * says why there is none.
 */
export async function writePlot(run: string | undefined): Promise<string | undefined> {
  if (run === undefined) return undefined
  const file = join(run, 'curves.svg')
  try {
    const metrics = join(run, 'metrics.jsonl')
    if (!existsSync(metrics)) return undefined
    const name = basename(run)
    const svg = plotCurves(name, [{ name, curves: readCurves(metrics) }])
    if (svg !== undefined) await writeAtomically(file, [svg])
    return undefined
  } catch (error) {
    return `${file} was not written: ${(error as Error).message}`
  }
}
