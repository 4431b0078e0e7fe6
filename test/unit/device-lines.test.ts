// What `weft devices` and `weft doctor` say about links and NVIDIA software, from facts alone.
import { expect, test } from 'vitest'
import { describeLink, versionLines } from '../../src/cli/devices.js'
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
