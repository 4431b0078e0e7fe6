// Ctrl-C for a training run: the first signal asks for a clean stop after the current step, the
// second ends the run at once. The CLI installs it around Trainer.fit(); the library itself never
// touches the process's signals.

/** What the signals act on; {@link Trainer} is one. */
export interface Stoppable {
  /** Asks every rank to stop after the step in progress. */
  stop(): void
  /** Ends the run without waiting for the step. */
  abort(reason: string): void
}

/** Called as signals arrive, so that a program can say what happens. */
export interface StopListener {
  /** The first signal came: the run stops after the step in progress. */
  onStop?(): void
  /** The second came: the run ends at once. */
  onAbort?(): void
}

type SignalSource = Pick<NodeJS.EventEmitter, 'on' | 'off'>

/**
 * Stops `run` on SIGINT and SIGTERM: cleanly on the first, at once on the second. Returns a function
 * that takes the handlers away; a third signal then has the system's own effect.
 */
export function stopOnSignals(
  run: Stoppable,
  listener: StopListener = {},
  source: SignalSource = process,
): () => void {
  let signals = 0
  const onSignal = () => {
    signals++
    if (signals === 1) {
      listener.onStop?.()
      run.stop()
      return
    }
    release()
    listener.onAbort?.()
    run.abort('interrupted twice')
  }
  const release = () => {
    source.off('SIGINT', onSignal)
    source.off('SIGTERM', onSignal)
  }
  source.on('SIGINT', onSignal)
  source.on('SIGTERM', onSignal)
  return release
}
