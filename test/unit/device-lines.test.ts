// What `weft devices` and `weft doctor` say about links and NVIDIA software, from facts alone.
import { expect, test } from 'vitest'
import {
  architecture,
  describeLink,
  deviceRows,
  placeRows,
  sourceLine,
  versionLines,
} from '../../src/cli/devices.js'
import { describeCuda } from '../../src/cli/doctor.js'
import type { DeviceInfo } from '../../src/fabric/devices.js'

const pair = { from: 'cuda:0', to: 'cuda:1', peerAccess: true }
const untold = {
  ...{ gbps: 0, lanes: 0, nominalGbps: 0, through: '' },
  ...{ nativeAtomics: false, performanceRank: -1 },
}
const missing = { found: false, driverVersion: '', detail: 'libnvidia-ml.so.1: no such file' }

test('a link tells its kind before anything was measured', () => {
  expect(
    describeLink({
      ...{ ...pair, ...untold },
      ...{ kind: 'nvlink', lanes: 18, nominalGbps: 478.1, through: 'NVSwitch', gbps: 381.4 },
    }),
  ).toBe('nvlink x18 through NVSwitch, 478 GB/s nominal, 381 measured')
  expect(describeLink({ ...pair, ...untold, kind: 'nvlink' })).toBe('nvlink')
  expect(describeLink({ ...pair, ...untold, kind: 'memory', gbps: 7.4 })).toBe(
    'memory, 7 GB/s measured',
  )
  expect(describeLink({ ...pair, ...untold, kind: 'staged', peerAccess: false })).toBe(
    'staged, no peer access',
  )
})

test('a device tells its architecture, memory, place and its links by kind and number', () => {
  const gpu = (ordinal: number): DeviceInfo => ({
    ...{ index: ordinal, name: `cuda:${ordinal}`, driver: 'cuda', ordinal, virtualIndex: -1 },
    ...{ model: 'H200', totalBytes: 2 ** 37, multiprocessors: 132 },
    ...{ capabilityMajor: 9, capabilityMinor: 0, uuid: `GPU-${ordinal}`, numaNode: ordinal - 1 },
    ...{ pci: `0000:${ordinal}b:00.0`, driverVersion: '580.1', runtimeVersion: '13.0' },
  })
  const devices = [0, 1, 2].map(gpu)
  const nvlink = { ...untold, kind: 'nvlink', lanes: 18, through: 'NVSwitch' }
  const links = [
    { ...nvlink, peerAccess: true, from: 'cuda:0', to: 'cuda:1' },
    { ...untold, kind: 'staged', peerAccess: false, from: 'cuda:0', to: 'cuda:2' },
    ...['cuda:0', 'cuda:2'].map((to) => ({ ...nvlink, peerAccess: true, from: 'cuda:1', to })),
  ]
  const names = devices.map(({ name }) => name)
  const topology = { devices: names, links, ring: names, cliques: [names] }
  expect(deviceRows(devices.map((each) => ({ ...each, freeBytes: 0 })))[0]).toEqual([
    ...['cuda:0', 'cuda', 'H200', 'sm_90', '128 GiB', '', '132'],
  ])
  expect(placeRows(devices, topology)).toEqual([
    ['cuda:0', '0000:0b:00.0', 'GPU-0', '-', '1 nvlink x18 through NVSwitch, 1 staged'],
    ['cuda:1', '0000:1b:00.0', 'GPU-1', '0', '2 nvlink x18 through NVSwitch'],
    ['cuda:2', '0000:2b:00.0', 'GPU-2', '1', '-'],
  ])
  expect(architecture({ ...devices[0]!, driver: 'host' })).toBe(process.arch)
})

test('it is said which tests of pairs are old, and how to make new ones', () => {
  expect(sourceLine({ tested: 2, remembered: 0, since: '' })).toBe(
    'tests of ordered pairs: 2 tested now',
  )
  expect(sourceLine({ tested: 2, remembered: 4, since: '2026-11-25T10:00:00Z' })).toMatch(
    /2 tested now, 4 remembered, since 2026-11-25T10:00:00Z: --again tests anew/,
  )
})

test('without NVML the table says where its kinds come from', () => {
  const gpu = { driver: 'cuda', driverVersion: '580.1', runtimeVersion: '13.0' } as DeviceInfo
  const found = { found: true, driverVersion: '580.1', detail: 'libnvidia-ml.so.1' }
  expect(versionLines([gpu], found)).toEqual(['NVIDIA driver 580.1, CUDA runtime 13.0'])
  expect(versionLines([gpu], missing)[1]).toContain('NVML is missing (libnvidia-ml.so.1: no such')
  expect(versionLines([{ ...gpu, driver: 'host' }], found)).toEqual([])
})

test('the doctor tells the driver and whether NVML is there', () => {
  const there = { found: true, driverVersion: '580.1', detail: 'libnvidia-ml.so.1' }
  const lines = describeCuda({ driver: '580.1', built: true, deviceCode: '90a', nvml: there })
  expect(lines.map((each) => each.detail)).toEqual([
    'NVIDIA driver 580.1; the addon has the cuda driver and device code for 90a',
    'found: libnvidia-ml.so.1, driver 580.1',
  ])
  const none = describeCuda({ driver: undefined, built: false, deviceCode: '', nvml: missing })
  expect(none[1]?.detail).toBe('not found: libnvidia-ml.so.1: no such file')
  expect(none.every((each) => each.state === 'note')).toBe(true)
})
