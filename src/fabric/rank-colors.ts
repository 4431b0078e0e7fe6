// Which ranks of a group belong together, and in which order: the rules of Group.split.
import { UsageError } from '../native/errors.js'

/** Ranks by colour, each list in the order of `keys`, then of the ranks; `undefined` is no colour. */
export function ranksByColor(
  size: number,
  colors: readonly (number | undefined)[],
  keys: readonly number[],
): Map<number, number[]> {
  const lists = { colors, keys }
  for (const [name, list] of Object.entries(lists)) {
    if (list.length !== size) {
      throw new UsageError(`split: ${size} ranks need ${size} ${name}, ${list.length} were given`)
    }
  }
  const ranks = new Map<number, number[]>()
  colors.forEach((color, rank) => {
    const key = keys[rank] as number
    if (color !== undefined && !Number.isInteger(color)) {
      throw new UsageError(
        `split: the colour of rank ${rank} is ${color}: use an integer, or undefined for none`,
      )
    }
    if (!Number.isFinite(key)) {
      throw new UsageError(`split: the key of rank ${rank} is ${key}: use a number`)
    }
    if (color === undefined) return
    const list = ranks.get(color)
    if (list) list.push(rank)
    else ranks.set(color, [rank])
  })
  for (const list of ranks.values()) {
    list.sort((a, b) => (keys[a] as number) - (keys[b] as number) || a - b)
  }
  return ranks
}
