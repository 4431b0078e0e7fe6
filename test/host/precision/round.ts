// Numbers as bf16 and f16 hold them, rounded to nearest even by arithmetic on doubles alone.

/** `value` with `bits` bits of mantissa (the leading one counted), at least `smallest` apart. */
function rounded(value: number, bits: number, smallest: number): number {
  if (value === 0 || !Number.isFinite(value)) return value
  const exponent = Math.floor(Math.log2(Math.abs(value)))
  const step = Math.max(2 ** (exponent - bits + 1), smallest)
  const steps = value / step
  const below = Math.floor(steps)
  const rest = steps - below
  const up = rest > 0.5 || (rest === 0.5 && below % 2 !== 0)
  return (up ? below + 1 : below) * step
}

/** The f32 nearest to `value`, rounded to bf16. */
export const toBf16 = (value: number) => rounded(Math.fround(value), 8, 2 ** -133)

/** The f32 nearest to `value`, rounded to f16; beyond its range an infinity. */
export function toF16(value: number): number {
  const near = rounded(Math.fround(value), 11, 2 ** -24)
  return Math.abs(near) > 65504 ? Math.sign(near) * Number.POSITIVE_INFINITY : near
}
