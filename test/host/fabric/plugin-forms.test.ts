// Operators of plugins with several results, lists of tensors and a first argument that is written in
// place: values, gradients, guards; and the forms that weft refuses when the plugin is loaded.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect } from 'vitest'
import {
  type Fabric,
  noGrad,
  openFabric,
  ops,
  PluginError,
  type Tensor,
  tensor,
  UsageError,
} from 'weft'
import { canCompile, compilePlugin, fixture, hostPluginTest as test } from './compiled-plugin.js'

const folder = mkdtempSync(join(tmpdir(), 'weft-plugin-forms-'))
const device = 'host:0'
const compiled = (name: string, flags: string[] = []) =>
  compilePlugin(folder, fixture('several.c'), { name, flags })
const leaf = (values: number[]) => tensor(values, { device, requiresGrad: true })
const grad = (t: Tensor) => t.grad!.toArray()

const split = (a: Tensor) => ops.many!.split!(a) as [Tensor, Tensor]
const product = (parts: Tensor[], factor = 1) => ops.many!.product!(parts, { factor }) as Tensor
const scale = (a: Tensor, b: Tensor) => ops.many!.scale_!(a, b) as Tensor

let fabric: Fabric
beforeAll(async () => {
  if (!canCompile) return
  fabric = await openFabric({ devices: 'host:0-1' })
  fabric.loadPlugin(compiled('several'))
})
afterAll(() => {
  if (canCompile) fabric.unloadPlugin('several')
  rmSync(folder, { recursive: true, force: true })
})

test('several results are an array, each with its gradient, also when only one is used', async () => {
  const a = leaf([1, -2, 3, -4])
  const [plus, minus] = split(a)
  expect(await plus.toArray()).toEqual([1, 0, 3, 0])
  expect(await minus.toArray()).toEqual([0, -2, 0, -4])
  plus.mul(10).add(minus.mul(7)).sum().backward()
  expect(await grad(a)).toEqual([10, 7, 10, 7])
  const b = leaf([1, -2])
  split(b)[1].mul(5).sum().backward()
  expect(await grad(b)).toEqual([0, 5])
})

test('a list of tensors and one that may be absent, with the gradients of those that want one', async () => {
  const [a, c] = [leaf([1, 2]), leaf([5, 6])]
  const b = tensor([3, 4], { device })
  const out = product([a, b, c], 2)
  expect(await out.toArray()).toEqual([30, 96])
  out.sum().backward()
  expect(await grad(a)).toEqual([30, 48])
  expect(await grad(c)).toEqual([6, 16])
  expect(b.grad).toBeNull()
  const last = leaf([10, 100])
  const five = ops.many!.product!([b, b], last) as Tensor
  expect(await five.toArray()).toEqual([90, 1600])
  five.sum().backward()
  expect(await grad(last)).toEqual([9, 16])
  expect(await product([b]).toArray()).toEqual([3, 4])
  const many = Array.from({ length: 40 }, () => leaf([1, 1]))
  product(many).sum().backward()
  expect(await grad(many[39]!)).toEqual([1, 1])
})

test('a list is checked: tensors of one device, at least one', () => {
  const a = tensor([1, 2], { device })
  expect(() => product([])).toThrow(UsageError)
  expect(() => product([])).toThrow(/many::product.*at least one tensor/)
  expect(() => product(a as unknown as Tensor[])).toThrow(/a list of tensors is needed/)
  expect(() => product([a, 3 as unknown as Tensor])).toThrow(/a Tensor is needed/)
  const other = tensor([1, 2], { device: 'host:1' })
  expect(() => product([a, other])).toThrow(/tensors are on host:0 and host:1/)
})

test('an operator that writes in place returns its argument, with a gradient through what it was', async () => {
  const [x, b] = [leaf([1, 2, 3]), leaf([4, 5, 6])]
  const a = x.mul(10)
  expect(scale(a, b)).toBe(a)
  expect(await a.toArray()).toEqual([40, 100, 180])
  a.mul(2).sum().backward()
  expect(await grad(x)).toEqual([80, 100, 120])
  expect(await grad(b)).toEqual([20, 40, 60])
})

test('in place, built-in guards hold: leaves, saved values, and noGrad', async () => {
  const [x, b] = [leaf([1, 2]), tensor([3, 3], { device })]
  expect(() => scale(x, b)).toThrow(/many::scale_: a leaf that requires gradients/)
  expect(await x.toArray()).toEqual([1, 2])
  const y = x.mul(1)
  const squared = y.mul(y)
  scale(y, b)
  expect(() => squared.sum().backward()).toThrow(/changed in place|many::scale_/)
  noGrad(() => scale(x, b))
  expect(await x.toArray()).toEqual([3, 6])
})

test('what the interface cannot carry is refused at load, with a sentence', () => {
  const refused: [string, string[], RegExp][] = [
    ['dtype', ['-DSCHEMA="no::op(Tensor a, dtype to) -> 1"'], /a dtype cannot be passed/],
    ['view', ['-DSCHEMA="no::op(Tensor(a) x) -> 1"'], /a view of an argument cannot be returned/],
    [
      'any',
      ['-DSCHEMA="no::op(Tensor a) -> *"'],
      /results are new tensors, .* counts them, 1 to 4/,
    ],
    ['keep', ['-DKEEP=2'], /many::product has a Tensor\[\], .* keep_inputs is WEFT_KEEP_ALL or 0/],
  ]
  fabric.unloadPlugin('several')
  for (const [name, flags, why] of refused) {
    const library = compiled(name, flags)
    expect(() => fabric.loadPlugin(library)).toThrow(PluginError)
    expect(() => fabric.loadPlugin(library)).toThrow(why)
    expect(fabric.plugins()).toEqual([])
  }
  fabric.loadPlugin(compiled('several'))
})
