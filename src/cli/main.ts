#!/usr/bin/env node
// The `weft` command: registers the subcommands and turns what they throw into one line and an exit code
// (1: it failed, 2: it was called wrongly). Run as the package's bin and by scripts/start.mjs.
import { Command, CommanderError } from 'commander'
import { UsageError } from '../native/errors.js'
import { packageVersion } from '../native/load.js'
import { benchCommand } from './bench.js'
import { devicesCommand } from './devices.js'
import { doctorCommand } from './doctor.js'
import { errorLines } from './error-report.js'
import { inspectCommand } from './inspect.js'
import { runsCommand } from './runs.js'
import { tuneCommand } from './tune.js'

const commandLineErrorCode = 2

/** The trainer loads the addon; where that fails, the command says so when it is run. */
async function addTrain(program: Command): Promise<void> {
  try {
    const { trainCommand } = await import('./train.js')
    trainCommand(program)
  } catch (error) {
    program
      .command('train')
      .description('train a task data-parallel, one replica a device')
      .argument('[arguments...]')
      .allowUnknownOption()
      .helpOption(false)
      .action(() => {
        throw error
      })
  }
}

async function makeProgram(args: readonly string[]): Promise<Command> {
  const program = new Command('weft')
    .description('multi-GPU runtime for TypeScript')
    .version(packageVersion())
    .exitOverride()
    .showHelpAfterError('(--help tells more)')
    .configureOutput({
      outputError: (text, write) => write(text.replace(/^error: /, 'weft: ')),
    })
  doctorCommand(program)
  devicesCommand(program)
  inspectCommand(program)
  runsCommand(program)
  benchCommand(program)
  tuneCommand(program)
  // `weft doctor` must run where the addon crashes on loading.
  if (args.find((arg) => !arg.startsWith('-')) !== 'doctor') await addTrain(program)
  return program
}

/** Prints an error, with its places in the user's files, and answers with the exit code. */
function reportError(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : commandLineErrorCode
  console.error(errorLines(error, Boolean(process.env.WEFT_DEBUG)).join('\n'))
  return error instanceof UsageError ? commandLineErrorCode : 1
}

// A reader that closes the pipe (`weft devices | head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  throw error
})

try {
  const args = process.argv.slice(2)
  const program = await makeProgram(args)
  if (args.length === 0) program.outputHelp()
  else await program.parseAsync(args, { from: 'user' })
} catch (error) {
  process.exitCode = reportError(error)
}
