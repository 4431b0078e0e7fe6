// Tests of pairs of devices as a program asks for them: what works is measured, what fails is named and not used.
import { afterEach, expect, test } from 'vitest'
import { openFabric, type Topology } from '../../../dist/index.js'
import { faults } from '../../../dist/testing.js'

afterEach(() => {
  faults.clear()
  faults.forgetProbes()
})

function link(topology: Topology, from: string, to: string) {
  return topology.links.find((each) => each.from === from && each.to === to)!
}

test('each pair is measured by copy engine and by kernel', async () => {
  const fabric = await openFabric({ devices: 'host:0-2' })
  const topology = await fabric.probe()
  expect(topology.links).toHaveLength(6)
  for (const { probe, gbps } of topology.links) {
    expect(probe).toMatchObject({
      reason: '',
      copy: { state: 'works' },
      kernel: { state: 'works' },
    })
    expect(probe!.copy.latencyUs).toBeGreaterThan(0)
    expect(gbps).toBe(probe!.copy.gbps)
  }
})

test('a pair that hangs ends at the deadline, is named and staged', async () => {
  faults.setPairFault(0, 1, 'hangs')
  const fabric = await openFabric({ devices: 'host:0-1' })
  const topology = await fabric.probe({ timeoutMs: 300 })
  expect(link(topology, 'host:0', 'host:1')).toMatchObject({
    kind: 'staged',
    peerAccess: false,
    probe: { copy: { state: 'hangs' }, reason: expect.stringContaining('300 ms') },
  })
  expect(topology.cliques).toEqual([['host:0'], ['host:1']])
})
