// Tensors of more than 2^31 elements on a device: elementwise, copies and reductions, dense and strided.
// Skipped with the reason where the device's memory does not hold them. WEFT_TEST_DEVICE names the device.
import { beforeAll, describe, expect, test } from 'vitest'
import { full, openFabric, releaseCached, scope, type Tensor } from 'weft'

const device = process.env['WEFT_TEST_DEVICE'] ?? 'cuda:0'
const count = 2 ** 31 + 4102
let totalBytes = 0

beforeAll(async () => {
  if (device.startsWith('cuda') && Number(process.env['WEFT_TEST_GPUS'] ?? 0) < 1) return // each test skips
  const fabric = await openFabric({ devices: [device] })
  totalBytes = fabric.devices.find((d) => d.name === device)!.totalBytes
})

/** A test that needs `gigabytes` of device memory; what it makes is freed. */
function large(name: string, gigabytes: number, body: () => Promise<void>) {
  test(name, { timeout: 300_000 }, async (context) => {
    context.skip(
      totalBytes < gigabytes * 1.1e9,
      `needs ${gigabytes} GB, ${device} has ${(totalBytes / 1e9).toFixed(1)}`,
    )
    try {
      await body()
    } finally {
      releaseCached(device)
    }
  })
}

/** Elements at both ends and around 2^31. */
async function samples(t: Tensor): Promise<number[]> {
  const out: number[] = []
  for (const at of [0, 2 ** 31 - 2, 2 ** 31, count - 3]) {
    using part = t.narrow(0, at, 3)
    out.push(...Array.from((await part.data()) as ArrayLike<number>, Number))
  }
  return out
}
const all = (value: number) => Array.from({ length: 12 }, () => value)

describe('u8', () => {
  large('elementwise', 7, async () => {
    using a = full([count], 3, { dtype: 'u8', device })
    using b = a.add(a)
    expect(await samples(b)).toEqual(all(6))
    using c = b.mul(7)
    expect(await samples(c)).toEqual(all(42))
  })

  large('comparison and bool sum', 7, async () => {
    using a = full([count], 3, { dtype: 'u8', device })
    using less = a.lt(4)
    using n = less.sum()
    expect(await n.item()).toBe(count)
  })

  large('sums are exact', 5, async () => {
    using a = full([count], 3, { dtype: 'u8', device })
    using total = a.sum()
    expect(await total.item()).toBe(3 * count)
    using matrix = a.view([2, count / 2])
    using columns = matrix.sum(1)
    expect(await columns.toArray()).toEqual([(3 * count) / 2, (3 * count) / 2])
    using top = a.max()
    expect(await top.item()).toBe(3)
  })

  large('strided views', 7, async () => {
    using a = full([count], 1, { dtype: 'u8', device })
    scope(() => {
      a.narrow(0, count - 2, 2).fill_(9)
    })
    using matrix = a.view([2, count / 2])
    using turned = matrix.transpose(0, 1)
    using copy = turned.contiguous()
    using total = copy.sum()
    expect(await total.item()).toBe(count + 16)
    using last = copy.narrow(0, count / 2 - 2, 2)
    expect(await last.toArray()).toEqual([
      [1, 9],
      [1, 9],
    ])
  })
})

describe('bf16', () => {
  large('elementwise', 14, async () => {
    using a = full([count], 1.5, { dtype: 'bf16', device })
    using b = a.mul(a)
    expect(await samples(b)).toEqual(all(2.25))
    using c = b.relu()
    expect(await samples(c)).toEqual(all(2.25))
  })

  large('broadcast rows', 14, async () => {
    using a = full([2, count / 2], 1.5, { dtype: 'bf16', device })
    using row = full([count / 2], 0.5, { dtype: 'bf16', device })
    using sum = a.add(row)
    using flat = sum.view([count])
    expect(await samples(flat)).toEqual(all(2))
  })

  large('reductions', 10, async () => {
    using a = full([count], 1, { dtype: 'bf16', device })
    using mean = a.mean()
    expect(await mean.item()).toBe(1)
    using matrix = a.view([count / 2, 2])
    using columns = matrix.mean(0)
    expect(await columns.toArray()).toEqual([1, 1])
    using variance = a.variance()
    expect(await variance.item()).toBe(0)
    scope(() => {
      a.narrow(0, count - 1, 1).fill_(2)
    })
    using at = a.argmax()
    expect(await at.item()).toBe(count - 1)
  })

  large('conversion', 18, async () => {
    using a = full([count], 1.5, { dtype: 'bf16', device })
    using b = a.to({ dtype: 'f32' })
    expect(await samples(b)).toEqual(all(1.5))
  })
})
