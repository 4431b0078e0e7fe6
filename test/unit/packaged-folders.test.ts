// The published package builds the addon where it is installed, so it brings every folder of the build.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const read = (name: string) =>
  readFileSync(fileURLToPath(new URL(`../../${name}`, import.meta.url)), 'utf8')

test('the package has every folder that CMakeLists.txt adds, but for the tests', () => {
  const { files } = JSON.parse(read('package.json')) as { files: string[] }
  const added = [...read('CMakeLists.txt').matchAll(/add_subdirectory\(([^/)]+)/g)].map(
    ([, folder]) => folder!,
  )
  expect(added).toEqual(expect.arrayContaining(['fabric', 'native', 'plugins', 'test']))
  for (const folder of added) if (folder !== 'test') expect(files).toContain(folder)
})
