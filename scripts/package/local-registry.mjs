// A registry for npm on this machine that holds the archives of one scope, so that an installation is tried as it will
// be from npm's own: names, versions, os and cpu fields and all. Called by check-package.mjs.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { basename } from 'node:path'
import { runChild } from '../children.mjs'
import { SetupError } from '../setup.mjs'

/** package.json of an archive that npm made. */
async function manifestOf(archive) {
  const args = ['-xzOf', archive, 'package/package.json']
  const result = await runChild('tar', args, { limitSeconds: 60 })
  if (result.code !== 0) throw new SetupError(`${archive} is no package: ${result.output}`)
  return JSON.parse(result.output)
}

/** What a registry tells of a package that has one version. */
function listing(manifest, archive, url) {
  const integrity = `sha512-${createHash('sha512').update(readFileSync(archive)).digest('base64')}`
  const dist = { tarball: `${url}/-/${basename(archive)}`, integrity }
  const { name, version } = manifest
  return { name, 'dist-tags': { latest: version }, versions: { [version]: { ...manifest, dist } } }
}

/**
 * Serves `archives` (paths by package name) until `close()`. Other names are not found.
 *
 * @param {Map<string, string>} archives
 * @returns {Promise<{ url: string, close(): Promise<void> }>}
 */
export async function serveArchives(archives) {
  const manifests = new Map()
  for (const [name, archive] of archives) manifests.set(name, await manifestOf(archive))
  const files = new Map([...archives.values()].map((archive) => [basename(archive), archive]))
  let url = ''
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '/', url).pathname).slice(1)
    const file = files.get(path.replace(/^-\//, ''))
    if (file !== undefined) {
      response.setHeader('content-type', 'application/octet-stream')
      response.end(readFileSync(file))
      return
    }
    const manifest = manifests.get(path)
    response.setHeader('content-type', 'application/json')
    if (manifest === undefined) response.statusCode = 404
    response.end(JSON.stringify(manifest ? listing(manifest, archives.get(path), url) : {}))
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${server.address().port}`
  return {
    url,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
