// What openFabric's `devices` and `virtual` mean.
import { expect, test } from 'vitest'
import { deviceNames } from '../../src/fabric/device-names.js'
import { DeviceError, UsageError } from '../../src/native/errors.js'

const none = { cuda: false, gpus: 0 }
const two = { cuda: true, gpus: 2 }

test.each([
  ['auto', 0, none, ['host:0', 'host:1', 'host:2', 'host:3']],
  ['auto', 0, two, ['cuda:0', 'cuda:1']],
  ['cuda', 0, two, ['cuda:0', 'cuda:1']],
  ['cuda:1', 0, two, ['cuda:0']],
  ['host:2', 0, two, ['host:0', 'host:1']],
  [['cuda:1', 'host:0'], 0, two, ['cuda:1', 'host:0']],
  ['cuda:1', 3, two, ['cuda:0/0', 'cuda:0/1', 'cuda:0/2']],
  ['cuda', 1, two, ['cuda:0', 'cuda:1']],
])('%j split %d ways', (choice, virtual, facts, names) => {
  expect(deviceNames(choice, virtual, facts)).toEqual(names)
})

test('GPUs that are not there are a DeviceError with a way out', () => {
  expect(() => deviceNames('cuda', 0, none)).toThrow(DeviceError)
  expect(() => deviceNames('cuda', 0, none)).toThrow(/WEFT_CUDA=on/)
  expect(() => deviceNames(['cuda:0'], 0, { cuda: true, gpus: 0 })).toThrow(/nvidia-smi/)
  expect(() => deviceNames('cuda:3', 0, two)).toThrow(/3 GPUs, this machine has 2/)
})

test('choices without sense are a UsageError', () => {
  for (const choice of ['gpu', 'host:0', 'host:x', [], ['host:1', 'host:1']]) {
    expect(() => deviceNames(choice, 0, none)).toThrow(UsageError)
  }
  expect(() => deviceNames('auto', 1.5, none)).toThrow(UsageError)
})
