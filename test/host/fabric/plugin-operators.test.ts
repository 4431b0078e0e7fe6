// Operators of a plugin in C: called from TypeScript, with gradients, views and errors; the faults that
// such a plugin can have, each a PluginError that leaves the process as it was.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect } from 'vitest'
import { full, noGrad, openFabric, ops, PluginError, type Tensor, tensor, UsageError } from 'weft'
import { compilePlugin, compileText, fixture, hostPluginTest as test } from './compiled-plugin.js'

const folder = mkdtempSync(join(tmpdir(), 'weft-operators-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const faults = [
  'none',
  'duplicate',
  'schema',
  'noKernel',
  'halfWay',
  'noResult',
  'size',
  'gradient',
  'default',
  'defaultType',
]

function compiled(fault: string): string {
  const flags = [`-DBAD=${faults.indexOf(fault)}`]
  return compilePlugin(folder, fixture('scaled_add.c'), { name: fault, flags })
}

const device = 'host:0'
const add = (a: Tensor, b: Tensor, options = {}) => ops.demo!.scaled_add!(a, b, options) as Tensor

async function withPlugin(body: () => Promise<void>, fault = 'none'): Promise<void> {
  const fabric = await openFabric({ devices: 'host:0-1' })
  fabric.loadPlugin(compiled(fault))
  try {
    await body()
  } finally {
    fabric.unloadPlugin('scaled-add')
  }
}

test('an operator of a plugin in C is callable at once, listed, and gone after unloading', async () => {
  const fabric = await openFabric({ devices: 'host:0-1' })
  const info = fabric.loadPlugin(compiled('none'))
  expect(info.operators).toEqual(['demo::scaled_add'])
  const a = tensor(
    [
      [1, 2, 3],
      [4, 5, 6],
    ],
    { device },
  )
  const row = tensor([10, 20, 30], { device })
  expect(await add(a, row, { alpha: 2 }).toArray()).toEqual([
    [21, 42, 63],
    [24, 45, 66],
  ])
  expect(await add(a, row).toArray()).toEqual([
    [11, 22, 33],
    [14, 25, 36],
  ])
  const column = tensor([[1], [2], [3]], { device })
  expect(await add(a.transpose(0, 1), column).toArray()).toEqual([
    [2, 5],
    [4, 7],
    [6, 9],
  ])
  fabric.unloadPlugin('scaled-add')
  expect(() => add(a, row)).toThrow(PluginError)
  expect(() => add(a, row)).toThrow(/no plugin brought an operator demo::scaled_add/)
})

test('the plugin needs no C++ runtime', () => {
  const needed = execFileSync('readelf', ['-d', compiled('none')], { encoding: 'utf8' })
  expect(needed).not.toMatch(/NEEDED.*(stdc\+\+|gcc_s|weft|libc\+\+)/)
})

test('the gradient agrees with finite differences, broadcast inputs summed', () =>
  withPlugin(async () => {
    const at = [
      [0.5, -1, 2],
      [1, 3, -2],
    ]
    const bs = [0.25, 1, -1]
    const run = async (x: number[][], y: number[]) => {
      const s = add(tensor(x, { device }), tensor(y, { device }), { alpha: 3 })
      return s.mul(s).sum().item()
    }
    const a = tensor(at, { device, requiresGrad: true })
    const b = tensor(bs, { device, requiresGrad: true })
    const s = add(a, b, { alpha: 3 })
    s.mul(s).sum().backward()
    const h = 1 / 64
    const shifted = (k: number, by: number) => bs.map((v, i) => (i === k ? v + by : v))
    const grads = (await b.grad!.toArray()) as number[]
    for (let k = 0; k < 3; k++) {
      const numeric = ((await run(at, shifted(k, h))) - (await run(at, shifted(k, -h)))) / (2 * h)
      expect(grads[k]).toBeCloseTo(numeric, 2)
    }
    const one = at.map((r, i) => r.map((v, j) => (i + j === 0 ? v + h : v)))
    const less = at.map((r, i) => r.map((v, j) => (i + j === 0 ? v - h : v)))
    const numeric = ((await run(one, bs)) - (await run(less, bs))) / (2 * h)
    expect(((await a.grad!.toArray()) as number[][])[0]![0]).toBeCloseTo(numeric, 2)
    noGrad(() => expect(add(a, b).requiresGrad).toBe(false))
  }))

test('a function that was kept calls the plugin that is loaded now', async () => {
  const fabric = await openFabric({ devices: 'host:0-1' })
  const kept = ops.demo!.scaled_add!
  const a = tensor([1, 2], { device })
  for (let round = 0; round < 3; round++) {
    fabric.loadPlugin(compiled('none'))
    expect(await (kept(a, a) as Tensor).toArray()).toEqual([2, 4])
    fabric.unloadPlugin('scaled-add')
    expect(() => kept(a, a)).toThrow(/no plugin brought an operator demo::scaled_add/)
  }
})

test('a graph keeps the library of a plugin that was unloaded', async () => {
  const a = tensor([1, 2], { device, requiresGrad: true })
  let out: Tensor | undefined
  await withPlugin(async () => {
    out = add(a, a, { alpha: 4 })
  })
  out!.sum().backward()
  expect(await a.grad!.toArray()).toEqual([5, 5])
})

test('arguments are checked by the schema; errors name plugin and operator', () =>
  withPlugin(async () => {
    const a = tensor([1, 2], { device })
    const call = ops.demo!.scaled_add!
    expect(() => call(a)).toThrow(/b is missing/)
    expect(() => call(a, a, { beta: 1 })).toThrow(/no argument beta/)
    expect(() => call(a, a, 'x')).toThrow(UsageError)
    expect(() => call(a, a, 1, 2)).toThrow(/too many arguments/)
    expect(() => call(a, 3)).toThrow(/a Tensor is needed/)
    const other = tensor([1, 2], { device: 'host:1' })
    expect(() => add(a, other)).toThrow(/tensors are on host:0 and host:1/)
    const f64 = full([2], 1, { device, dtype: 'f64' })
    const text = /plugin scaled-add: operator demo::scaled_add could not run: a and b must be f32/
    expect(() => add(a, f64)).toThrow(text)
    expect(() => add(a, f64)).toThrow(PluginError)
    expect(() => add(a, tensor([1, 2, 3], { device }))).toThrow(PluginError)
    expect(await add(a, a).toArray()).toEqual([2, 4])
  }))

test('wrong plugins are refused by name and leave nothing behind', async () => {
  const fabric = await openFabric({ devices: 'host:0-1' })
  const refused: [string, RegExp][] = [
    ['duplicate', /demo::scaled_add exists already/],
    ['schema', /bad schema .*'Matrix b' is no argument/],
    ['noKernel', /demo::scaled_add has no kernel/],
    ['default', /'float alpha = \.5' is no argument/],
    ['defaultType', /alpha is int, its default is not/],
    ['size', /lies about its size/],
  ]
  for (const [fault, why] of refused) {
    const library = compiled(fault)
    expect(() => fabric.loadPlugin(library)).toThrow(PluginError)
    expect(() => fabric.loadPlugin(library)).toThrow(why)
    expect(fabric.plugins()).toEqual([])
  }
  await withPlugin(async () => {
    expect(await add(tensor([1], { device }), tensor([2], { device })).toArray()).toEqual([3])
  })
})

test('an operator that fails half-way, or makes no result, is a PluginError', async () => {
  const a = tensor([1, 2], { device, requiresGrad: true })
  await withPlugin(async () => {
    expect(() => add(a, a)).toThrow(/scaled_add could not run: the second half is missing/)
  }, 'halfWay')
  await withPlugin(async () => {
    expect(() => add(a, a)).toThrow(/did not make result 0/)
  }, 'noResult')
  await withPlugin(async () => {
    expect(() => add(a, a).sum().backward()).toThrow(/the gradient of input 0 is f32 \(17,\)/)
  }, 'gradient')
  expect(await a.add(1).toArray()).toEqual([2, 3])
})

test('a plugin of version 1.0 loads, one of a newer minor is refused with both numbers', async () => {
  const fabric = await openFabric({ devices: 'host:0-1' })
  const source = readFileSync(fixture('rank_sum.c'), 'utf8')
  const ofMinor = (minor: string): string => {
    return compileText(folder, `minor-${minor}`, source.replaceAll('WEFT_ABI_MINOR', minor))
  }
  expect(fabric.loadPlugin(ofMinor('0u'))).toMatchObject({ abi: '1.0', operators: [] })
  fabric.unloadPlugin('rank-sum')
  expect(() => fabric.loadPlugin(ofMinor('4u'))).toThrow(/needs version 1\.4 .* this weft has 1\.3/)
  expect(fabric.plugins()).toEqual([])
})

test('an exception that leaves an operator is a PluginError, and the next call works', async () => {
  const fabric = await openFabric({ devices: 'host:0-1' })
  const path = join(folder, 'throws.cc')
  writeFileSync(
    path,
    `#include <fabric/plugin_abi.h>
#include <stdexcept>
static WeftStatus forward(void*, const WeftOperatorCall*) { throw std::runtime_error("thrown"); }
static WeftStatus open_plugin(const WeftHost* host, WeftRegistration* to) {
  WeftOperator op = {};
  op.size = sizeof op;
  op.schema = "bad::throws(Tensor a) -> 1";
  op.host = forward;
  return host->register_operator(to, &op);
}
extern "C" const WeftPlugin weft_plugin = {sizeof(WeftPlugin), 1, 1, 0, "throws", "1", open_plugin, nullptr};
`,
  )
  fabric.loadPlugin(compilePlugin(folder, path, { name: 'throws' }))
  const a = tensor([1, 2], { device })
  expect(() => ops.bad!.throws!(a)).toThrow(PluginError)
  expect(() => ops.bad!.throws!(a)).toThrow(/operator bad::throws: an exception left it .*thrown/)
  expect(await a.add(1).toArray()).toEqual([2, 3])
  fabric.unloadPlugin('throws')
})
