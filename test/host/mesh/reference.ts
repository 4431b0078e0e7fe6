// The single-device program that distributed tensors are compared with: whole tensors on one device, the
// same tensors over a mesh, one function run on both, and both's values and gradients compared.
import { expect } from 'vitest'
import {
  type DistributedTensor,
  distribute,
  distributed,
  functional as F,
  type Mesh,
  type Placements,
  replicated,
  type Tensor,
  tensor,
} from 'weft'

/** What the programs compared here see, of either kind: what Tensor and DistributedTensor both can. */
export type Either = Tensor

/** The functions of F and of `distributed` under one type. */
export type Functions = typeof F
export const wholeFunctions: Functions = F
export const meshFunctions = distributed as unknown as Functions

/** Numbers that differ from each other, the same at each call. */
export function numbers(shape: readonly number[], seed = 1): Float32Array {
  const out = new Float32Array(shape.reduce((n, size) => n * size, 1))
  let state = seed * 2_654_435_761
  for (let i = 0; i < out.length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    out[i] = state / 2 ** 31 - 1
  }
  return out
}

export interface Operand {
  shape: readonly number[]
  placements?: Placements
  /** Class numbers or indices below this: i64, without gradients. */
  below?: number
}

/** A whole operand; floating ones ask for gradients. */
export function wholeOperand(operand: Operand, i: number, device: string): Tensor {
  const { shape, below } = operand
  const values = numbers(shape, i + 1)
  if (below === undefined) return tensor(values, { shape, device, requiresGrad: true })
  const indices = BigInt64Array.from(values, (v) => BigInt(Math.floor(((v + 1) / 2) * below)))
  return tensor(indices, { shape, device })
}

function flat(value: unknown): number[] {
  return [value].flat(Infinity).map(Number)
}

export function expectClose(actual: unknown, expected: unknown, what: string): void {
  const [a, b] = [flat(actual), flat(expected)]
  expect(a.length, what).toBe(b.length)
  for (let i = 0; i < a.length; i++) {
    const bound = 2e-5 + 2e-4 * Math.abs(b[i] as number)
    const near = Math.abs((a[i] as number) - (b[i] as number)) <= bound
    if (!near) expect(a, `${what}, element ${i}`).toEqual(b)
  }
}

/**
 * Runs `program` on whole tensors and over `mesh` and compares the results and all gradients, of the weighted sum of
 * the result. Returns the distributed result's placements.
 */
export async function compare(
  mesh: Mesh,
  operands: readonly Operand[],
  program: (inputs: Either[], F: Functions) => Either,
): Promise<Placements> {
  const device = mesh.devices[0] as string
  const whole = operands.map((operand, i) => wholeOperand(operand, i, device))
  const parts = operands.map((operand, i) => {
    const made = distribute(whole[i]!.detach(), mesh, operand.placements)
    return operand.below === undefined ? made.requiresGrad_() : made
  })
  const expected = program(whole as unknown as Either[], wholeFunctions) as unknown as Tensor
  const actual = program(
    parts as unknown as Either[],
    meshFunctions,
  ) as unknown as DistributedTensor
  expect(actual.shape).toEqual(expected.shape)
  expectClose(await actual.toArray(), await expected.toArray(), 'result')

  const weights = tensor(numbers(expected.shape, 99), { shape: expected.shape, device })
  expected.backward(weights)
  actual.backward(distribute(weights, mesh, {}))
  for (const [i, operand] of operands.entries()) {
    if (operand.below !== undefined) continue
    const grad = parts[i]!.grad
    expectClose(await grad?.toArray(), await whole[i]!.grad?.toArray(), `gradient ${i}`)
    for (const axis of mesh.axes) {
      const placement = operand.placements?.[axis] ?? replicated()
      const terms = placement.kind === 'partial' && placement.op === 'sum'
      const dual = {
        replicated: 'partial',
        partial: terms ? 'replicated' : 'partial',
        sharded: 'sharded',
      }
      expect(grad?.placements[axis]?.kind).toBe(dual[placement.kind])
    }
  }
  return actual.placements
}
