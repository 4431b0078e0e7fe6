// `weft devices` as a user runs it: one name is one device, more are a range or a list.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const command = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url))
const options = { encoding: 'utf8', timeout: 30_000 } as const

function listed(choice: string): string[] {
  const args = [command, 'devices', '-d', choice, '--json']
  const { devices } = JSON.parse(execFileSync(process.execPath, args, options))
  return devices.map((device: { name: string }) => device.name)
}

test.each([
  ['host:1', ['host:1']],
  ['host:0', ['host:0']],
  ['host:1-3', ['host:1', 'host:2', 'host:3']],
  ['host:5,host:2', ['host:5', 'host:2']],
])('-d %s opens exactly that', (choice, names) => {
  expect(listed(choice)).toEqual(names)
})

test('--probe tests each pair once and remembers it; --again tests anew', () => {
  const cache = mkdtempSync(join(tmpdir(), 'weft-devices-'))
  const env = { ...process.env, WEFT_CACHE: cache }
  const text = (...flags: string[]) =>
    execFileSync(process.execPath, [command, 'devices', '-d', 'host:0-1', ...flags], {
      ...options,
      env,
    })
  expect(text()).not.toContain('tests of')
  const first = text('--probe')
  expect(first).toContain('tests of ordered pairs: 2 tested now')
  expect(first).toMatch(/host:0 .* host:1 .* GB\/s/)
  expect(text('--probe')).toMatch(/pairs: 2 remembered, since 20/)
  expect(text('--again')).toContain('2 tested now')
  rmSync(cache, { recursive: true })
})

test('a device that is not there is one line and exit code 1', () => {
  const ended = spawnSync(process.execPath, [command, 'devices', '-d', 'host:99'], options)
  expect(ended.status).toBe(1)
  expect(ended.stderr).toMatch(/^weft: DeviceError .*no host:99.*host:0 to host:63.*\n$/)
})
