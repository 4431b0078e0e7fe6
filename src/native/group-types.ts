// The native functions of groups, their calls and works: part of the addon's interface in types.ts.
// src/fabric/{group,rank-group,work}.ts call them.
import type { Handle } from './types.js'

export interface GroupFunctions {
  /** Makes a group of devices; returns its id, good on every thread. */
  /** `multiprocessors` 0: no limit. */
  groupCreate(devices: number[], name: string, multiprocessors: number): number
  groupMultiprocessors(group: number): number
  /** Device indices by rank. */
  groupDevices(group: number): number[]
  /** Arrives for all ranks: words hold one input a rank, then one output a rank (0: none). Each
   * rank's current stream waits for the result. An uneven all-to-all has the rows of its counts behind
   * them. Returns a work id. */
  groupSubmitAll(
    group: number,
    kind: number,
    op: number,
    root: number,
    timeoutMs: number,
    resultMs: number,
  ): number
  /** Arrives for one rank; the last rank to arrive launches for all. Of an uneven all-to-all the words
   * hold what it sends each rank, then what it receives. Returns a work id. */
  groupSubmit(
    group: number,
    rank: number,
    kind: number,
    op: number,
    root: number,
    input: Handle,
    output: Handle,
    vote: number,
    timeoutMs: number,
    resultMs: number,
  ): number
  /** Opens a block of this thread: calls of the group for all ranks (`rank` -1) or for one become parts
   * of one call. Returns the work id of all of them. */
  coalesceBegin(group: number, rank: number): number
  /** Makes the block's calls as one. */
  coalesceEnd(timeoutMs: number, resultMs: number, vote: number): void
  /** Makes none of them. */
  coalesceDrop(): void
  /** Rank `from` sends `input`, rank `to` gets it in `output`: both ends from one thread. */
  groupTransfer(
    group: number,
    from: number,
    to: number,
    input: Handle,
    output: Handle,
    timeoutMs: number,
    resultMs: number,
  ): number
  /** Arrives as the sender; launched once the receiver has arrived too. Returns a work id. */
  groupSend(
    group: number,
    from: number,
    to: number,
    input: Handle,
    timeoutMs: number,
    resultMs: number,
  ): number
  /** Arrives as the receiver. */
  groupReceive(
    group: number,
    from: number,
    to: number,
    output: Handle,
    timeoutMs: number,
    resultMs: number,
  ): number
  /** An event of kind redistribute: `bytes` a device were moved for operator `op`. */
  logRedistribution(device: number, op: number, bytes: number): void
  /** A collective that makes new tensors and has gradients: words hold the inputs' handles, then the
   * results'. Returns how many. */
  jointCollective(
    group: number,
    kind: number,
    op: number,
    root: number,
    timeoutMs: number,
    resultMs: number,
    count: number,
  ): number
  /** Resolves when the result is there; rejects with the call's error. */
  workDone(work: number): Promise<void>
  /** Is the result there? */
  workIsDone(work: number): boolean
  /** BLOCKS this thread until all ranks arrived, or the deadline passes. */
  workWaitLaunched(work: number): void
  /** The current stream of the work's device waits for the result; the work must be launched. */
  workStreamWait(work: number): void
  /** Bitwise or of all ranks' votes; the work must be launched. */
  workVotes(work: number): number
  /** Forgets the work. Its call goes on. */
  workRelease(work: number): void
  /** Fails every open, launched and later call until groupReset(). */
  groupAbort(group: number, code: number, message: string, fieldsJson: string): void
  groupReset(group: number): void
  /** Writes calls, bytes, desyncs, timeouts to words. */
  groupStats(group: number): void
  groupDispose(group: number): void
}
