// One run from start to end: opens the devices, starts a worker on each, checks that the replicas
// agree, has them trained, and writes what the run leaves behind. The replicas themselves live in the
// workers. Trainer makes one for each fit().

import type { Manifest } from '../checkpoint/manifest.js'
import { type Fabric, openFabric } from '../fabric/fabric.js'
import type { Group } from '../fabric/group.js'
import { packageVersion } from '../native/load.js'
import { requireSameHash, requireSameState } from './agreement.js'
import { Checkpoints } from './checkpoints.js'
import { ChoiceKeeper } from './choice-keeper.js'
import { closeRun } from './closing.js'
import { Crew } from './crew.js'
import { earlyStopOf } from './early-stop.js'
import type { TrainEvent, TrainResult } from './events.js'
import { FlightRecorder } from './flight-recorder.js'
import { TrainMesh } from './mesh.js'
import { locateTask } from './module-loader.js'
import {
  type CheckedOptions,
  logInterval,
  type RunSettings,
  runSettings,
  settleEvaluation,
} from './options.js'
import { applyTf32, precisionOf } from './precision.js'
import { ProfileWindow } from './profile-window.js'
import { Recorder } from './recorder.js'
import { changes, requireFits, resumeState } from './restoring.js'
import { findResumption, type Resumption } from './resume.js'
import { checkpointsFolder, RunDirectory, trimMetrics } from './run-directory.js'
import { thisProcess, writeFailure, writeResult } from './run-outcome.js'
import { writePlot } from './run-plot.js'
import { sinkRun } from './sinks/run-settings.js'
import type { RunEnd } from './sinks/sink.js'
import { Sinks } from './sinks/sinks.js'
import { NonFiniteWatch } from './skipped-steps.js'
import { Training } from './training.js'
import type { LoadReply } from './worker/protocol.js'

/** What is known once the workers have loaded the task. */
interface Loaded {
  task: LoadReply
  settings: RunSettings
  totalSteps: number | undefined
}

/** Runs one task once. */
export class Coordinator {
  #options: CheckedOptions
  #resumption: Resumption | undefined
  #directory: RunDirectory | undefined
  #crew: Crew | undefined
  #choices: ChoiceKeeper | undefined
  #sinks: Sinks | undefined
  #profile: ProfileWindow | undefined
  #stopRequested = false
  #abortedWith: Error | undefined
  /** That of the latest event. */
  #step = 0

  /** `restarts`: attempts of this run before this one. */
  constructor(
    options: CheckedOptions,
    readonly restarts = 0,
  ) {
    this.#options = options
  }

  /** Folder of the run, once there is one. */
  get runFolder(): string | undefined {
    return this.#directory?.path
  }

  /** Stops all ranks after the step in progress. */
  stop(): void {
    this.#stopRequested = true
    this.#crew?.requestStop()
  }

  /** Ends the run with `error`. */
  abort(error: Error): void {
    this.#abortedWith ??= error
    this.#crew?.fail(error)
  }

  /** The whole run. However it ends, all workers have ended and the group is gone afterwards. */
  async run(): Promise<TrainResult> {
    const location = await locateTask(this.#options.task)
    this.#resumption = await findResumption(this.#options, location.source)
    if (this.#resumption) this.#options = this.#resumption.options
    const sinks = await Sinks.prepare(this.#options.sinks, this.#note)
    this.#sinks = sinks
    const fabric = await this.#openFabric()
    const { multiprocessors } = this.#options
    const group = fabric.group(undefined, multiprocessors === undefined ? {} : { multiprocessors })
    let mesh: TrainMesh | undefined
    const flight = new FlightRecorder(fabric)
    const crew = new Crew({
      devices: fabric.devices.map((device) => device.name),
      stallMs: this.#options.stallMs,
      abortGroup: (error) => {
        flight.take() // before the abort ends the calls that it is to tell of
        ;(mesh ?? group).abort(error)
      },
    })
    this.#crew = crew
    if (this.#stopRequested) crew.requestStop()
    if (this.#abortedWith) crew.fail(this.#abortedWith)
    let end: RunEnd = 'failed'
    const restoreTf32 = applyTf32(this.#options.precision)
    try {
      mesh = new TrainMesh(group, this.#options.mesh)
      const loaded = await this.#load(crew, fabric, location)
      const totalSteps = await this.#begin(crew, group, mesh, loaded)
      const directory = await this.#openDirectory(fabric, loaded, location.source)
      if (directory.path) flight.start()
      const result = await this.#train(crew, fabric, directory, { ...loaded, totalSteps })
      const unplotted = await writePlot(directory.path)
      if (unplotted !== undefined) this.#note(unplotted)
      await writeResult(result)
      end = result.stopped ? 'stopped' : 'finished'
      return result
    } catch (error) {
      await this.#choices?.close().catch(() => {}) // the run's own failure says more
      const file = await flight.write(this.#directory, error)
      if (file !== undefined)
        this.#note(`what happened before is in ${file}: weft inspect reads it`)
      await writePlot(this.runFolder)
      await writeFailure(this.runFolder, error)
      throw error
    } finally {
      restoreTf32()
      this.#profile?.close()
      flight.close()
      this.#directory?.close()
      await Promise.all([sinks.close(end), crew.destroy()])
      mesh?.dispose()
      group.dispose()
      this.#crew = undefined
    }
  }

  /** Every worker loads the task and builds its replica; their parameters must match. */
  async #load(crew: Crew, fabric: Fabric, location: { source: string; url: string }) {
    const { seed } = this.#options
    const control = crew.control.buffer as SharedArrayBuffer
    const replies = await crew.sendAll<'load'>((rank) => ({
      kind: 'load',
      module: location.url,
      source: location.source,
      device: fabric.devices[rank]!.name,
      rank,
      world: crew.size,
      seed,
      control,
      dataThread: this.#options.dataThread,
    }))
    requireSameState(replies)
    const task = replies[0]!
    const { checkpoint } = this.#resumption ?? {}
    if (checkpoint) await requireFits(checkpoint, task)
    return { task, settings: runSettings(this.#options, task.defaults) }
  }

  /** Rank 0's weights go to all ranks; returns the steps of the whole run where they are known. */
  async #begin(
    crew: Crew,
    group: Group,
    mesh: TrainMesh,
    { task, settings }: Omit<Loaded, 'totalSteps'>,
  ) {
    const { bucketMegabytes, timeoutMs, lr, graph, checkpoint, gradNorm, unusedParameters } =
      this.#options
    const { batchSize, accumulate, clipNorm, steps } = settings
    const from = this.#resumption?.checkpoint
    const replies = await crew.sendAll<'begin'>((rank) => ({
      kind: 'begin',
      group: group.id,
      batchSize,
      accumulate,
      clipNorm,
      gradNorm,
      unusedParameters,
      skipNonFinite: this.#options.nonFinite === 'skip',
      precision: precisionOf(this.#options.precision),
      lr,
      bucketBytes: Math.round(bucketMegabytes * 2 ** 20),
      timeoutMs,
      shared: task.shared,
      graph,
      steps,
      epochs: settings.epochs,
      checkpoints: checkpoint !== undefined,
      resume: from && resumeState(from, settings, crew.size, rank),
      sharding: mesh.place(rank),
    }))
    requireSameHash(
      replies.map((reply) => reply.hash),
      'after the broadcast of rank 0',
    )
    const { totalSteps, epochSteps } = replies[0]!
    settleEvaluation(settings, epochSteps)
    return totalSteps
  }

  async #openFabric(): Promise<Fabric> {
    const { devices, virtual, deterministic, gemmChoices, plugins } = this.#options
    return openFabric({
      devices,
      plugins,
      ...(virtual === undefined ? {} : { virtual }),
      ...(deterministic === undefined ? {} : { deterministic }),
      ...(gemmChoices === undefined ? {} : { gemmChoices }),
    })
  }

  async #openDirectory(
    fabric: Fabric,
    { task, settings }: Omit<Loaded, 'totalSteps'>,
    source: string,
  ) {
    const { runsFolder, run, task: asked, onEvent: _, resume, restarts, ...options } = this.#options
    const { run: existing, checkpoint } = this.#resumption ?? {}
    const step = checkpoint?.manifest.step ?? 0
    if (existing !== undefined) await trimMetrics(existing, step)
    const directory = new RunDirectory({
      folder: runsFolder,
      name: run,
      task: task.task,
      existing,
    })
    this.#directory = directory
    await directory.config({
      task: task.task,
      module: asked instanceof URL ? asked.href : asked,
      source,
      ...(checkpoint ? { resumed: { step, from: checkpoint.path } } : {}),
      options,
      settings,
      devices: fabric.devices,
      parameters: task.parameterCount,
      deterministic: fabric.deterministic,
      started: new Date().toISOString(),
      process: thisProcess(),
      node: process.version,
    })
    return directory
  }

  async #train(crew: Crew, fabric: Fabric, directory: RunDirectory, loaded: Loaded) {
    const { task, settings, totalSteps } = loaded
    const { restarts } = this
    this.#sinks?.open(
      sinkRun({ options: this.#options, settings, task, fabric, directory, restarts }),
    )
    this.#choices = new ChoiceKeeper({
      used: () => fabric.gemmChoices(),
      write: (choices) => directory.gemmChoices(choices),
    })
    this.#emit({
      kind: 'start',
      task: task.task,
      unit: task.unit,
      tokensPerSample: task.tokensPerSample,
      devices: fabric.devices,
      parameters: task.parameterCount,
      parameterTensors: task.parameters.length,
      batchSize: settings.batchSize,
      accumulate: settings.accumulate,
      totalSteps,
      run: directory.path,
    })
    const resumed = this.#tellResumed(crew, settings)
    const recorder = new Recorder({
      totalSteps,
      firstStep: resumed?.step ?? 0,
      logEvery: logInterval(settings, totalSteps),
      directory,
      emit: this.#emit,
    })
    const { evaluates } = task
    const checkpoints = this.#checkpoints(crew, fabric, directory, loaded)
    await checkpoints?.open(resumed?.step ?? 0)
    this.#profile = ProfileWindow.of(fabric, directory.path, this.#options.profile, this.#note)
    const { nonFinite, maxSkippedInARow } = this.#options
    const training = new Training({
      crew,
      recorder,
      settings,
      totalSteps,
      evaluates,
      checkpoints,
      resumed,
      profile: this.#profile,
      nonFinite: new NonFiniteWatch(nonFinite, maxSkippedInARow, this.#note),
      earlyStop: earlyStopOf(this.#options.earlyStop, directory.evaluations(), settings),
    })
    const stopped = await training.run()
    const early = training.earlyStop
    if (early !== undefined) this.#note(early)
    if (stopped) {
      this.#emit({ kind: 'stopped', step: training.steps })
      // Before the evaluation, which the run that goes on does not have here.
      await checkpoints?.last(training)
    }
    await training.evaluate()
    if (!stopped) await checkpoints?.last(training)
    return closeRun({
      ...{ crew, fabric, directory, task, recorder, stopped },
      options: this.#options,
      choices: this.#choices,
      emit: this.#emit,
    })
  }

  /** Says from where the run goes on, and what will not be as without an interruption. */
  #tellResumed(crew: Crew, settings: RunSettings): Manifest | undefined {
    if (this.#resumption === undefined) return undefined
    const { checkpoint, notes } = this.#resumption
    const step = checkpoint?.manifest.step ?? 0
    const { bucketMegabytes } = this.#options
    const precision = precisionOf(this.#options.precision)
    const now = { world: crew.size, bucketMegabytes, precision }
    if (checkpoint) {
      notes.push(...changes(checkpoint.manifest, settings, now))
      this.#emit({ kind: 'resumed', step, path: checkpoint.path })
    }
    for (const line of notes) this.#emit({ kind: 'note', step, line })
    return checkpoint?.manifest
  }

  #checkpoints(
    crew: Crew,
    fabric: Fabric,
    directory: RunDirectory,
    { task, settings, totalSteps }: Loaded,
  ): Checkpoints | undefined {
    const { checkpoint: options, bucketMegabytes } = this.#options
    if (options === undefined || directory.path === undefined) return undefined
    const { seed, batchSize, accumulate } = settings
    return new Checkpoints({
      crew,
      folder: checkpointsFolder(directory.path),
      options,
      base: {
        weft: packageVersion(),
        task: task.task,
        seed,
        world: crew.size,
        devices: fabric.devices.map((device) => device.name),
        precision: precisionOf(this.#options.precision),
        settings: { batchSize, accumulate, bucketMegabytes, totalSteps: totalSteps ?? null },
      },
      emit: this.#emit,
    })
  }

  #emit = (event: TrainEvent): void => {
    if (event.kind === 'log') this.#choices?.look()
    if ('step' in event) this.#step = event.step
    this.#options.onEvent?.(event)
    this.#sinks?.take(event)
  }

  #note = (line: string): void => this.#emit({ kind: 'note', step: this.#step, line })
}
