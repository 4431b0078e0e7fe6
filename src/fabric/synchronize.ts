// Waiting for a device without blocking the event loop.
import { native } from '../native/addon.js'
import { UsageError } from '../native/errors.js'
import { withDeadline } from './deadline.js'
import { defaultDevice, deviceIndex } from './devices.js'
import { requireTimeout } from './option-checks.js'

/**
 * Resolves when everything enqueued so far on all streams of the device is done. Rejects with what
 * kernels found (UsageError), with FabricPoisonedError, or with UsageError after `timeoutMs`
 * (default 60 000).
 */
export async function synchronize(
  device?: string,
  options: { timeoutMs?: number } = {},
): Promise<void> {
  const name = device ?? defaultDevice()
  const limit = requireTimeout(options.timeoutMs ?? 60_000)
  await withDeadline(native.synchronize(deviceIndex(name)), limit, () => {
    throw new UsageError(
      `${name} was not done after ${limit} ms; raise timeoutMs or look at a snapshot`,
    )
  })
}
