// Packages that a sink needs and weft does not bring: optional peer dependencies. prometheus.ts asks.
import { UsageError } from '../../native/errors.js'

/** The module `name`. Throws UsageError, saying what to install, where there is none. */
export async function optionalPackage<T>(name: string, wants: string, range: string): Promise<T> {
  try {
    return (await import(name)) as T
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new UsageError(`${wants} needs the package ${name}: npm install ${name}@${range}`, {
      package: name,
    })
  }
}
