// The Trainer's options for its loop besides length and sizes: their schema and what they mean. options.ts takes the
// schema into its own.
import type * as Zod from 'zod'

/** What becomes of parameters that a step's loss does not use. */
export type UnusedParameters = 'error' | 'zero'

/** What becomes of steps whose loss or gradients are not finite. */
export type NonFinite = 'error' | 'skip' | 'ignore'

/** The keys that Trainer options have for this. */
export function loopSchema({ z }: typeof Zod) {
  return {
    evaluateEvery: z.union([z.int().nonnegative(), z.literal('epoch')]).optional(),
    gradNorm: z.boolean().default(false),
    unusedParameters: z.enum(['error', 'zero']).default('error'),
    nonFinite: z.enum(['error', 'skip', 'ignore']).default('error'),
    maxSkippedInARow: z.int().positive().default(20),
    earlyStop: z
      .strictObject({
        metric: z.string().min(1),
        mode: z.enum(['min', 'max']),
        patience: z.int().positive().default(3),
        minDelta: z.number().nonnegative().default(0),
      })
      .optional(),
  }
}

/**
 * When a run ends before its length: after `patience` evaluations (default 3) none of which improved `metric` by more
 * than `minDelta` (default 0) over the best before.
 */
export type EarlyStopOptions = NonNullable<
  Zod.output<Zod.ZodObject<ReturnType<typeof loopSchema>>>['earlyStop']
>
