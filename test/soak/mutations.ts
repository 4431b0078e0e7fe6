// Damage for the fuzz of files: to bytes, and to the JSON inside them. A random stream decides everything.

/** Whole numbers below `bound`. */
export type Draw = (bound: number) => number

/** 1 to 4 changes of bytes: flipped, replaced, removed, inserted, cut off, copied over. */
export function damageBytes(bytes: Uint8Array, draw: Draw): Uint8Array {
  let out: Buffer = Buffer.from(bytes)
  for (let n = 1 + draw(4); n > 0; n--) out = damageOnce(out, draw)
  return out
}

function damageOnce(bytes: Buffer, draw: Draw): Buffer {
  const at = draw(bytes.byteLength + 1)
  switch (draw(6)) {
    case 0:
      if (at < bytes.byteLength) bytes[at]! ^= 1 << draw(8)
      return bytes
    case 1:
      if (at < bytes.byteLength) bytes[at] = draw(256)
      return bytes
    case 2:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + draw(9))])
    case 3: {
      const more = Buffer.from(Array.from({ length: 1 + draw(9) }, () => draw(256)))
      return Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at)])
    }
    case 4:
      return bytes.subarray(0, at)
    default: {
      const from = draw(bytes.byteLength + 1)
      return Buffer.concat([
        bytes.subarray(0, at),
        bytes.subarray(from, from + 40),
        bytes.subarray(at),
      ])
    }
  }
}

const odd: unknown[] = [
  null,
  true,
  -1,
  0,
  0.5,
  1e300,
  2 ** 53,
  2 ** 53 + 2,
  '',
  '8',
  'F32',
  'F99',
  [],
  [0],
  [0, 8],
  [8, 0],
  [-8, 0],
  [2 ** 40, 2 ** 40],
  {},
  { dtype: 'F32', shape: [1], data_offsets: [0, 4] },
]

/** A JSON value with one part replaced, removed, doubled or nudged. */
export function damageJson(value: unknown, draw: Draw): unknown {
  if (typeof value === 'number' && draw(3) > 0) return value + [1, -1, 4, -4, 8, 2 ** 32][draw(6)]!
  if (typeof value !== 'object' || value === null || draw(8) === 0) return odd[draw(odd.length)]
  if (Array.isArray(value)) {
    const list = [...value]
    const at = draw(list.length + 1)
    if (at === list.length) list.push(odd[draw(odd.length)])
    else if (draw(5) === 0) list.splice(at, 1)
    else list[at] = damageJson(list[at], draw)
    return list
  }
  const entries = Object.entries(value)
  const at = draw(entries.length + 1)
  const entry = entries[at]
  const kind = draw(6)
  if (entry === undefined)
    entries.push([['w', '__metadata__', '__proto__', ''][draw(4)]!, odd[draw(odd.length)]])
  else if (kind === 0) entries.splice(at, 1)
  else if (kind === 1) entries.push([`${entry[0]}2`, entry[1]])
  else entry[1] = damageJson(entry[1], draw)
  return Object.fromEntries(entries)
}
