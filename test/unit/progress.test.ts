// Progress as plain lines and as a bar, on streams that only collect text.
import { Writable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import {
  createProgress,
  formatDuration,
  formatLine,
  formatRate,
  formatRates,
  type ProgressState,
} from '../../src/metrics/progress.js'

class Collector extends Writable {
  text = ''
  columns = 120
  readonly isTTY: boolean

  constructor(isTTY: boolean) {
    super()
    this.isTTY = isTTY
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString()
    done()
  }

  cursorTo(): boolean {
    return true
  }
  moveCursor(): boolean {
    return true
  }
  clearLine(): boolean {
    return true
  }
}

const state: ProgressState = {
  step: 20,
  total: 500,
  loss: 1.23456,
  samplesPerSecond: 4210.4,
  communicationShare: 0.031,
  etaSeconds: 125,
}

describe('formats', () => {
  it('writes durations as people do', () => {
    expect([0.123, 7.36, 59.4, 60, 185, 3729].map(formatDuration)).toEqual([
      '0.12 s',
      '7.4 s',
      '59 s',
      '1:00',
      '3:05',
      '1:02:09',
    ])
  })

  it('keeps three digits of a rate', () => {
    expect([3.456, 87.12, 123.4, 12345.6].map(formatRate)).toEqual([
      '3.46',
      '87.1',
      '123',
      '12,346',
    ])
  })

  it('has step, loss, rate, communication and time left', () => {
    expect(formatLine(state, { unit: 'images' })).toBe(
      'step 20/500  loss 1.2346  4,210 images/s  comm 3.1 %  ETA 2:05',
    )
    expect(
      formatLine({ ...state, total: undefined, etaSeconds: undefined }, { unit: 'samples' }),
    ).toBe('step 20  loss 1.2346  4,210 samples/s  comm 3.1 %  ETA –')
  })
})

describe('rates', () => {
  it('are in the unit of the task, and in tokens where a sample has some', () => {
    expect(formatRates(4210.4, { unit: 'images' })).toBe('4,210 images/s')
    expect(formatRates(12.5, { unit: 'sequences', tokensPerSample: 64 })).toBe(
      '12.5 sequences/s  800 tokens/s',
    )
    expect(formatRates(12.5, { unit: 'tokens', tokensPerSample: 64 })).toBe('800 tokens/s')
    expect(formatRates(800, { unit: 'tokens' })).toBe('800 tokens/s')
  })
})

describe('createProgress', () => {
  it('writes whole lines where there is no terminal', () => {
    const stream = new Collector(false)
    const progress = createProgress({ stream, unit: 'images' })
    progress.update(state)
    progress.note('held-out accuracy 0.97')
    progress.update({ ...state, step: 40 })
    progress.end()
    expect(stream.text.split('\n')).toEqual([
      expect.stringMatching(/^step 20\/500 /),
      'held-out accuracy 0.97',
      expect.stringMatching(/^step 40\/500 /),
      '',
    ])
  })

  it('writes lines on a terminal too when the bar is off', () => {
    const stream = new Collector(true)
    const progress = createProgress({ stream, unit: 'images', bar: false })
    progress.update(state)
    progress.end()
    expect(stream.text).toBe(`${formatLine(state, { unit: 'images' })}\n`)
  })

  it('draws a bar on a terminal and keeps notes apart from it', () => {
    const stream = new Collector(true)
    const progress = createProgress({ stream, unit: 'images' })
    progress.update(state)
    progress.note('a note')
    progress.update({ ...state, step: 500 })
    progress.end()
    progress.end()
    expect(stream.text).toContain('step 20/500')
    expect(stream.text).toContain('\na note\n')
    expect(stream.text).toContain('step 500/500')
  })
})
