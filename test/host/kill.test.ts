// A lost device and a killed process, on host devices: the rehearsal of test/cuda1/kill.test.ts.
import { killTests } from '../kill/promises.js'

killTests('host:0')
