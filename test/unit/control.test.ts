// The gate before each step: whenever a stop comes, every rank begins the same steps.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { closeGate, makeControl, passGate } from '../../src/train/worker/control.js'

/** Ranks that meet in each step, in the order that `turns` gives, and a stop after `stopAfter` turns. */
function stepsBegun(ranks: number, turns: number[], stopAfter: number, first = 1): number[] {
  const control = makeControl(ranks)
  const begun = Array.from({ length: ranks }, () => first - 1)
  const stopped = Array.from({ length: ranks }, () => false)
  for (const [at, turn] of turns.entries()) {
    if (at === stopAfter) closeGate(control)
    const rank = turn % ranks
    // It has begun a step that another has not: it waits there.
    if (stopped[rank] || begun[rank]! > Math.min(...begun)) continue
    if (passGate(control, begun[rank]! + 1)) begun[rank]!++
    else stopped[rank] = true
  }
  closeGate(control)
  // Whoever is behind goes on until nobody may.
  for (let moved = true; moved; ) {
    moved = false
    for (let rank = 0; rank < ranks; rank++) {
      if (begun[rank]! > Math.min(...begun)) continue
      if (!passGate(control, begun[rank]! + 1)) continue
      begun[rank]!++
      moved = true
    }
  }
  return begun
}

describe('the gate', () => {
  it('lets all ranks begin the same steps, wherever between their turns a stop comes', () => {
    const turns = fc.array(fc.nat(3), { maxLength: 40 })
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), turns, fc.nat(40), (ranks, order, stop) => {
        const begun = stepsBegun(ranks, order, stop)
        expect(new Set(begun).size).toBe(1)
      }),
    )
  })

  it('lets no step begin after a stop that no rank had begun', () => {
    const control = makeControl(2)
    expect(passGate(control, 1)).toBe(true)
    closeGate(control)
    // Rank 1 follows into the step in progress; then both stop.
    expect(passGate(control, 1)).toBe(true)
    expect(passGate(control, 2)).toBe(false)
    expect(passGate(control, 2)).toBe(false)
  })

  it('lets nothing begin when the stop came first', () => {
    const control = makeControl(1)
    closeGate(control)
    expect(passGate(control, 1)).toBe(false)
  })

  it('goes on when numbers of steps no longer fit the word', () => {
    const around = 2 ** 30
    expect(stepsBegun(2, [0, 1, 0, 1, 0], 4, around - 1)).toEqual([around, around])
  })
})
