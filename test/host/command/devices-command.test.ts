// `weft devices` as a user runs it: one name is one device, more are a range or a list.
import { execFileSync, spawnSync } from 'node:child_process'
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

test('a device that is not there is one line and exit code 1', () => {
  const ended = spawnSync(process.execPath, [command, 'devices', '-d', 'host:99'], options)
  expect(ended.status).toBe(1)
  expect(ended.stderr).toMatch(/^weft: DeviceError .*no host:99.*host:0 to host:63.*\n$/)
})
