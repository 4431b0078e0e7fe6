// Communication and the part of it that no computation covered, in a set of spans of one device. The summary
// asks for the whole snapshot, steps.ts for each step. Pure.
import { isWork, type Span } from './timeline.js'

/** A copy or sum that belongs to a collective. */
const communicates = ({ event }: Span) =>
  event.kind === 'collective_combine' || (event.kind === 'copy' && event.name !== undefined)

/** Length of the union of communication, and of its part that no other work overlaps. */
export function communicationOf(spans: readonly Span[]): { ns: number; exposedNs: number } {
  const edges = spans.flatMap((span) => {
    if (!isWork(span.event) || span.endNs <= span.startNs) return []
    const comm = communicates(span)
    return [
      { at: span.startNs, comm, by: 1 },
      { at: span.endNs, comm, by: -1 },
    ]
  })
  edges.sort((a, b) => a.at - b.at)
  let [communicating, computing, ns, exposedNs, before] = [0, 0, 0, 0, 0]
  for (const { at, comm, by } of edges) {
    if (communicating > 0) ns += at - before
    if (communicating > 0 && computing === 0) exposedNs += at - before
    if (comm) communicating += by
    else computing += by
    before = at
  }
  return { ns, exposedNs }
}
