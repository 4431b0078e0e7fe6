// Bytes as people read them. The tables of the command line use it.

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/** 1536 is "1.5 KiB"; at most one decimal. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${Number(value.toFixed(1))} ${units[unit]}`
}
