// Rates, shares and time left from timed chunks.
import { describe, expect, it } from 'vitest'
import { Meter } from '../../src/metrics/meter.js'

describe('Meter', () => {
  it('knows nothing before the first chunk', () => {
    const meter = new Meter({ totalSteps: 10 })
    expect(meter.reading()).toEqual({
      steps: 0,
      samplesPerSecond: 0,
      stepsPerSecond: 0,
      communicationShare: 0,
      etaSeconds: undefined,
    })
    expect(meter.totals().samplesPerSecond).toBe(0)
  })

  it('gives rates, the share of waiting and the time left', () => {
    const meter = new Meter({ totalSteps: 100 })
    meter.record({ steps: 10, samples: 640, seconds: 2, waitSeconds: 0.5 })
    const reading = meter.reading()
    expect(reading.steps).toBe(10)
    expect(reading.samplesPerSecond).toBe(320)
    expect(reading.stepsPerSecond).toBe(5)
    expect(reading.communicationShare).toBe(0.25)
    expect(reading.etaSeconds).toBe(18)
  })

  it('forgets chunks that lie before the window, but not in the totals', () => {
    const meter = new Meter({ totalSteps: 1000, windowSeconds: 5 })
    meter.record({ steps: 10, samples: 10, seconds: 100, waitSeconds: 0 })
    for (let i = 0; i < 5; i++) {
      meter.record({ steps: 10, samples: 100, seconds: 1, waitSeconds: 0.1 })
    }
    expect(meter.reading().samplesPerSecond).toBeCloseTo(100, 9)
    expect(meter.reading().communicationShare).toBeCloseTo(0.1, 9)
    expect(meter.totals().seconds).toBe(105)
    expect(meter.totals().samples).toBe(510)
  })

  it('has no time left without a total, and none after it', () => {
    const open = new Meter()
    open.record({ steps: 5, samples: 5, seconds: 1, waitSeconds: 0 })
    expect(open.reading().etaSeconds).toBeUndefined()
    const past = new Meter({ totalSteps: 3 })
    past.record({ steps: 5, samples: 5, seconds: 1, waitSeconds: 0 })
    expect(past.reading().etaSeconds).toBe(0)
  })

  it('never reports a share above one', () => {
    const meter = new Meter()
    meter.record({ steps: 1, samples: 1, seconds: 1, waitSeconds: 4 })
    expect(meter.reading().communicationShare).toBe(1)
    expect(meter.totals().communicationShare).toBe(1)
  })
})
