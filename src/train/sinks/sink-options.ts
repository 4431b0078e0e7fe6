// How a Trainer's options and `weft train --sink` name sinks: as text, or as an object with a kind. options.ts takes the
// schema into its own; sinks.ts opens what comes out.
import type * as Zod from 'zod'

/** A sink as one word, with what it needs behind a colon: a port, host:port or file for Prometheus, a server for MLflow. */
export type SinkText =
  | 'tensorboard'
  | 'prometheus'
  | `prometheus:${string}`
  | 'mlflow'
  | `mlflow:${string}`

/** A sink as an option of the Trainer. */
export type SinkOption =
  | SinkText
  | { kind: 'tensorboard' }
  | {
      kind: 'prometheus'
      /** Serves GET /metrics there; 0: one that is free, told by a line. Default 9464 where there is no `file`. */
      port?: number
      /** Address to listen on. Default 127.0.0.1: this machine alone. */
      host?: string
      /** Writes the text there at every log line, for node_exporter's textfile collector. */
      file?: string
    }
  | {
      kind: 'mlflow'
      /** http(s) address of the server. Default MLFLOW_TRACKING_URI. */
      trackingUri?: string
      /** Name of the experiment, made where it is missing. Default MLFLOW_EXPERIMENT_NAME, else the task's name. */
      experiment?: string
      /** Limit of each request. Default 10 000. */
      timeoutMs?: number
    }

/** What is named where a text is none of these. */
export const sinkForms =
  'tensorboard, prometheus, prometheus:<port>, prometheus:<host>:<port>, prometheus:<file>, mlflow, mlflow:<address>'

/** A sink's text as an object, not checked; undefined where it names none. */
export function readSinkText(text: string): Record<string, unknown> | undefined {
  const [, kind, rest] = /^(\w+)(?::(.+))?$/s.exec(text) ?? []
  if (kind === 'tensorboard' && rest === undefined) return { kind }
  if (kind === 'mlflow') return rest === undefined ? { kind } : { kind, trackingUri: rest }
  if (kind !== 'prometheus') return undefined
  if (rest === undefined) return { kind }
  if (/^\d+$/.test(rest)) return { kind, port: Number(rest) }
  const [, host, port] = /^\[?([^/]+?)\]?:(\d+)$/.exec(rest) ?? []
  return host === undefined ? { kind, file: rest } : { kind, host, port: Number(port) }
}

function makeSettings({ z }: typeof Zod) {
  const address = z.url({ protocol: /^https?$/, error: 'it must be an http or https address' })
  return z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('tensorboard') }),
    z.strictObject({
      kind: z.literal('prometheus'),
      port: z.int().min(0).max(65_535).optional(),
      host: z.string().min(1).default('127.0.0.1'),
      file: z.string().min(1).optional(),
    }),
    z.strictObject({
      kind: z.literal('mlflow'),
      trackingUri: address.optional(),
      experiment: z.string().min(1).optional(),
      timeoutMs: z.int().positive().max(600_000).default(10_000),
    }),
  ])
}

/** A sink after the check, defaults filled in. */
export type SinkSettings = Zod.output<ReturnType<typeof makeSettings>>

/** The key that Trainer options have for this. */
export function sinkSchema(zod: typeof Zod) {
  const { z } = zod
  const settings = makeSettings(zod)
  const sink = z.custom<SinkOption>().transform((option, context): SinkSettings => {
    const parsed = typeof option === 'string' ? readSinkText(option) : option
    const result = settings.safeParse(parsed)
    if (result.success) return result.data
    const message =
      parsed === undefined
        ? `${JSON.stringify(option)} is no sink: use ${sinkForms}`
        : result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join(', ')
    context.addIssue({ code: 'custom', message })
    return z.NEVER
  })
  return { sinks: z.array(sink).default([]) }
}
