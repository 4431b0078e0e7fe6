// The Trainer's options for checkpoints and resuming: their schema, documentation and defaults. options.ts takes
// the schema into its own.
import type * as Zod from 'zod'

/** The keys that Trainer options have for this. */
export function checkpointSchema({ z }: typeof Zod) {
  const count = z.int().positive()
  return {
    checkpoint: z
      .strictObject({
        everySteps: count.optional(),
        everyMinutes: z.number().positive().optional(),
        keep: count.default(2),
        best: z
          .strictObject({ metric: z.string().min(1), mode: z.enum(['min', 'max']) })
          .optional(),
      })
      .optional(),
    resume: z.union([z.boolean(), z.string().min(1)]).default(false),
    restarts: z.int().nonnegative().default(0),
  }
}

/**
 * When checkpoints are taken and which stay:
 *  - everySteps, everyMinutes: how often; besides, one is taken where the run ends or is stopped
 *  - keep: so many of the newest stay (default 2)
 *  - best: one is taken whenever an evaluation's `metric` is better than ever, and stays until a better one
 */
export type CheckpointOptions = NonNullable<
  Zod.output<Zod.ZodObject<ReturnType<typeof checkpointSchema>>>['checkpoint']
>
