// What compiled libraries need of the system they are loaded on, read from their version tables by readelf: the oldest
// glibc, and whether they ask for a shared C++ runtime. platform-package.mjs refuses to pack what asks for too much.
import { execFileSync } from 'node:child_process'
import { basename } from 'node:path'
import { SetupError } from '../setup.mjs'

/** The oldest glibc that platform packages may ask for: that of RHEL 9 and Ubuntu 22.04. */
export const glibcLimit = '2.34'

const byNumber = (a, b) => {
  const [left, right] = [a, b].map((each) => each.split('.').map(Number))
  return left[0] - right[0] || left[1] - right[1]
}

/**
 * From what `readelf --version-info` printed: the newest glibc version that is asked for ('0.0': none), and the
 * versions of libstdc++ that are.
 *
 * @param {string} text
 * @returns {{ glibc: string, libstdcxx: string[] }}
 */
export function versionNeeds(text) {
  // What a library defines itself stands in another section.
  const needs = text.slice(Math.max(0, text.indexOf('.gnu.version_r')))
  const named = (prefix) => [
    ...new Set(
      [...needs.matchAll(new RegExp(`\\b${prefix}_(\\d+(?:\\.\\d+)+)`, 'g'))].map((m) => m[1]),
    ),
  ]
  const glibc = named('GLIBC').sort(byNumber).at(-1) ?? '0.0'
  return { glibc, libstdcxx: [...named('GLIBCXX'), ...named('CXXABI')].sort(byNumber) }
}

/** The oldest glibc that all `files` load on; throws SetupError where one needs more than may be asked for. */
export function neededGlibc(files) {
  let glibc = '0.0'
  for (const file of files) {
    const text = execFileSync('readelf', ['--wide', '--version-info', file], {
      encoding: 'utf8',
      timeout: 60_000,
      maxBuffer: 2 ** 26,
    })
    const needs = versionNeeds(text)
    const name = basename(file)
    if (needs.libstdcxx.length > 0) {
      throw new SetupError(
        `${name} needs a shared libstdc++ (${needs.libstdcxx.at(-1)}): build it where the compiler has libstdc++.a`,
      )
    }
    if (byNumber(needs.glibc, glibcLimit) > 0) {
      throw new SetupError(
        `${name} needs glibc ${needs.glibc}, but packages are made for ${glibcLimit}: build it on an older system`,
      )
    }
    if (byNumber(needs.glibc, glibc) > 0) glibc = needs.glibc
  }
  return glibc
}
