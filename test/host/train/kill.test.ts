// A lost device and a killed process, on host devices: the rehearsal of test/cuda1/kill.test.ts.
import { killTests } from '../../kill/promises.js'
import { device, hostOnly, onGpu } from '../device.js'

if (onGpu) hostOnly('test/cuda1/kill.test.ts is its twin for a GPU')('kill tests', () => {})
else killTests(device)
