// A lost context and a killed process, on a GPU. WEFT_TEST_DEVICE names the device.
import { killTests } from '../kill/promises.js'

killTests(process.env['WEFT_TEST_DEVICE'] ?? 'cuda:0')
