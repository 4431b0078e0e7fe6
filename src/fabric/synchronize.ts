// Waiting for a device without blocking the event loop.
import { native } from '../native/addon.js'
import { UsageError } from '../native/errors.js'
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
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(
        new UsageError(
          `${name} was not done after ${limit} ms; raise timeoutMs or look at a snapshot`,
        ),
      )
    }, limit)
  })
  const done = native.synchronize(deviceIndex(name))
  done.catch(() => {}) // reported through the race
  try {
    await Promise.race([done, deadline])
  } finally {
    clearTimeout(timer)
  }
}
