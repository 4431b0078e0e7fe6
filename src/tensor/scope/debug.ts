// Debug mode: remembers where each tensor was made, so that DisposedError and leak reports can say
// it. Off by default (WEFT_DEBUG=1 or setDebug(true)); then tensors cost a stack trace each.
import { native } from '../../native/addon.js'
import { DisposedError } from '../../native/errors.js'
import { packageRoot } from '../../native/load.js'
import type { TensorObject } from '../tensor-object.js'

export const debugMode: { on: boolean } = { on: process.env.WEFT_DEBUG === '1' }

// With source maps a frame tells its place in src/.
const ownFolders = [`${packageRoot}dist/`, `${packageRoot}src/`]

interface Site {
  handle: number
  stack: string
}

const sites = new WeakMap<TensorObject, Site>()
const leaked: string[] = []
let registry: FinalizationRegistry<Site> | undefined

/** Turns debug mode on or off for tensors made from now on. */
export function setDebug(on: boolean): void {
  debugMode.on = on
}

/** Creation sites of tensors that were garbage collected without dispose(), in debug mode. */
export function leaks(): readonly string[] {
  return leaked
}

/** @internal Notes where `tensor` is being made. */
export function recordSite(tensor: TensorObject): void {
  const stack = (new Error().stack ?? '').split('\n').filter(isUserFrame).slice(0, 4).join('\n')
  const site = { handle: tensor.raw, stack }
  sites.set(tensor, site)
  registry ??= new FinalizationRegistry(report)
  registry.register(tensor, site)
}

/** @internal The error for a use of `tensor` after dispose(). */
export function disposedError(tensor: TensorObject): DisposedError {
  const site = sites.get(tensor)
  const where = site ? `; it was made at\n${site.stack}` : ' (WEFT_DEBUG=1 tells where it was made)'
  return new DisposedError(`this tensor was disposed of${where}`, site ? { site: site.stack } : {})
}

function isUserFrame(line: string): boolean {
  return line.includes(' at ') && !ownFolders.some((folder) => line.includes(folder))
}

function report(site: Site): void {
  if (!native.alive(site.handle)) return
  leaked.push(site.stack)
  native.release(site.handle)
  process.emitWarning(
    `a tensor was garbage collected without dispose(); it was made at\n${site.stack}`,
    {
      code: 'WEFT_LEAK',
    },
  )
}
