// What openFabric's `devices` and `virtual`, and the command line's --devices, mean.
import { expect, test } from 'vitest'
import { deviceNames } from '../../src/fabric/device-names.js'
import { DeviceError, UsageError } from '../../src/native/errors.js'

const none = { cuda: false, gpus: 0, hosts: 64 }
const two = { cuda: true, gpus: 2, hosts: 64 }

test.each([
  ['auto', 0, none, ['host:0', 'host:1', 'host:2', 'host:3']],
  ['auto', 0, two, ['cuda:0', 'cuda:1']],
  ['cuda', 0, two, ['cuda:0', 'cuda:1']],
  ['host', 0, two, ['host:0', 'host:1', 'host:2', 'host:3']],
  [['cuda:1', 'host:0'], 0, two, ['cuda:1', 'host:0']],
  ['cuda', 1, two, ['cuda:0', 'cuda:1']],
  ['cuda:1', 3, two, ['cuda:1/0', 'cuda:1/1', 'cuda:1/2']],
  ['cuda:0/2', 3, two, ['cuda:0/2']],
])('%j split %d ways', (choice, virtual, facts, names) => {
  expect(deviceNames(choice, virtual, facts)).toEqual(names)
})

test.each(['host:0', 'host:1', 'host:4', 'cuda:0', 'cuda:1'])('%s is that one device', (name) => {
  expect(deviceNames(name, 0, two)).toEqual([name])
  expect(deviceNames([name], 0, two)).toEqual([name])
})

test('ranges have both ends, and join with names in a list or between commas', () => {
  expect(deviceNames('host:0-3', 0, none)).toEqual(deviceNames('host', 0, none))
  expect(deviceNames('host:2-2', 0, none)).toEqual(['host:2'])
  const mixed = ['cuda:0', 'host:1', 'host:2']
  expect(deviceNames('cuda:0,host:1-2', 0, two)).toEqual(mixed)
  expect(deviceNames('cuda:0, host:1-2', 0, two)).toEqual(mixed)
  expect(deviceNames(['cuda:0', 'host:1-2'], 0, two)).toEqual(mixed)
})

test('GPUs that are not there are a DeviceError with a way out', () => {
  expect(() => deviceNames('cuda', 0, none)).toThrow(DeviceError)
  expect(() => deviceNames('cuda', 0, none)).toThrow(/WEFT_CUDA=on/)
  expect(() => deviceNames(['cuda:0'], 0, { ...two, gpus: 0 })).toThrow(/nvidia-smi/)
  expect(() => deviceNames('cuda:2', 0, two)).toThrow(/no cuda:2.*cuda:0 to cuda:1/)
  expect(() => deviceNames('cuda:0-2', 0, two)).toThrow(/no cuda:2/)
})

test('no device of that name is a DeviceError, before any other is opened', () => {
  for (const choice of [
    'gpu',
    'host:x',
    'host:-1',
    '',
    'host:0,',
    'host:01',
    'host:64',
    'host:0-64',
  ]) {
    expect(() => deviceNames(choice, 0, none)).toThrow(DeviceError)
  }
})

test('choices without sense are a UsageError', () => {
  for (const choice of [[], ['host:1', 'host:1'], 'host:1,host:0-2', 'host:3-1', 4, [1]]) {
    expect(() => deviceNames(choice as string, 0, none)).toThrow(UsageError)
  }
  expect(() => deviceNames('auto', 1.5, none)).toThrow(UsageError)
})
