// docs/precision.md lists what autocast.def says, operator by operator.
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { autocastClasses } from '../../dist/native/autocast-classes.js'

test('the documented classes of operators are those of the table', () => {
  const text = readFileSync(new URL('../../docs/precision.md', import.meta.url), 'utf8')
  const documented = Object.fromEntries(
    ['low', 'f32', 'rounded', 'rounded_sum', 'inside'].flatMap((cls) => {
      const row = new RegExp(`^\\| ${cls} \\| ([^|]*)\\|`, 'm').exec(text)
      return [...row![1]!.matchAll(/`(\w+)`/g)].map((match) => [match[1]!, cls])
    }),
  )
  expect(documented).toEqual(autocastClasses)
})
