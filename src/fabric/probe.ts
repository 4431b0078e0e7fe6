// Tests of pairs of devices: which are tested now, which an earlier process tested. Fabric.probe() calls it;
// the file of earlier results is probe-cache.ts.
import { native, words } from '../native/addon.js'
import { UsageError } from '../native/errors.js'
import type { PairProbe } from '../native/link-types.js'
import type { DeviceInfo } from './devices.js'
import { requireKnownOptions, requireTimeout } from './option-checks.js'
import { type KeptPair, keepPairs, keptPairs, pairKey } from './probe-cache.js'

const cacheModes = ['off', 'cached', 'force'] as const

/** What Fabric.probe() may be told. */
export interface ProbeOptions {
  /** Test also pairs that this process or an earlier one tested. */
  again?: boolean
  /** Bound of each wait of a pair's test; default 2000. */
  timeoutMs?: number
  /**
   * Results of earlier processes: 'cached' (default) takes them and keeps new ones, 'force' tests anew and keeps, 'off'
   * does neither. WEFT_PROBE says the same.
   */
  cache?: (typeof cacheModes)[number]
}

/** Where the results of a probe came from. */
export interface ProbeSource {
  /** Ordered pairs tested by this call. */
  tested: number
  /** Those taken from an earlier process, and the oldest of their tests (ISO 8601; '' when none). */
  remembered: number
  since: string
}

/** Tests each ordered pair of different devices of one driver that nobody has tested. */
export async function probePairs(
  devices: readonly DeviceInfo[],
  options: ProbeOptions,
): Promise<ProbeSource> {
  requireKnownOptions('probe', options, ['again', 'timeoutMs', 'cache'])
  const limit = Math.ceil(requireTimeout(options.timeoutMs ?? 2000))
  const mode = cacheMode(options)
  const again = options.again === true || mode === 'force'
  const kept = mode === 'off' || again ? new Map<string, KeptPair>() : keptPairs()
  const taken = pairsOf(devices).flatMap(([from, to]) => {
    const known = kept.get(pairKey(from, to))
    return known !== undefined && remember(from, to, known) ? [known.tested] : []
  })
  const before = found(devices)
  const tested = await native.probePeers(
    devices.map((device) => device.index),
    again,
    limit,
  )
  if (mode !== 'off' && tested > 0) {
    const fresh = [...found(devices)].filter(([key]) => again || !before.has(key))
    keepPairs(new Map(fresh))
  }
  return { tested, remembered: taken.length, since: taken.sort()[0] ?? '' }
}

function cacheMode(options: ProbeOptions): (typeof cacheModes)[number] {
  const asked = options.cache ?? (process.env.WEFT_PROBE || 'cached')
  const mode = cacheModes.find((each) => each === asked)
  if (mode !== undefined) return mode
  const whose = options.cache === undefined ? 'WEFT_PROBE' : 'probe({ cache })'
  throw new UsageError(`${whose} is ${JSON.stringify(asked)}: use ${cacheModes.join(', ')}`)
}

function pairsOf(devices: readonly DeviceInfo[]): [DeviceInfo, DeviceInfo][] {
  return devices.flatMap((from) =>
    devices.flatMap((to): [DeviceInfo, DeviceInfo][] =>
      from.driver === to.driver && from.ordinal !== to.ordinal ? [[from, to]] : [],
    ),
  )
}

function remember(from: DeviceInfo, to: DeviceInfo, { copy, kernel, reason }: PairProbe): boolean {
  const paths = [copy, kernel].flatMap((path) => [path.gbps, path.bothGbps, path.latencyUs])
  paths.forEach((value, i) => {
    words[i] = value
  })
  return native.rememberPair(from.index, to.index, copy.state, kernel.state, reason)
}

/** What this process knows of the pairs now, by their names in the file. */
function found(devices: readonly DeviceInfo[]): Map<string, PairProbe> {
  const byIndex = new Map(devices.map((device) => [device.index, device]))
  const links = native.topology([...byIndex.keys()])
  return new Map(
    links.flatMap(({ from, to, probe }): [string, PairProbe][] =>
      probe === undefined ? [] : [[pairKey(byIndex.get(from)!, byIndex.get(to)!), probe]],
    ),
  )
}
