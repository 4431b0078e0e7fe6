// native/dispatch/operators.def as data: the rows with their schemas and TypeScript signatures parsed. What a
// row may say stands at the head of that file. scripts/tables/generate-tables.mjs reads it.

/**
 * @typedef {object} Argument of a schema
 * @property {string} type `Tensor`, `Tensor?`, `Tensor!`, `Tensor[]`, `float`, `int`, `int[]`, `bool`, …
 * @property {string} name in camelCase
 *
 * @typedef {object} Parameter of a TypeScript signature
 * @property {string} name
 * @property {boolean} optional written with `?`
 * @property {string | undefined} type where the signature says one
 * @property {string[] | undefined} choices where the type is a choice of strings
 * @property {string | undefined} initial the default, an expression
 * @property {boolean} option one of the `{ ... }`
 *
 * @typedef {object} Row
 * @property {string} section
 * @property {string} name
 * @property {string} schema
 * @property {Argument[]} args
 * @property {'0' | '1' | '2' | '*'} results
 * @property {string | undefined} doc
 * @property {string | undefined} functionName in F
 * @property {string | undefined} methodName of Tensor
 * @property {Parameter[]} parameters
 * @property {string[]} numberCalls the calls for numbers as operands
 */

const camelCase = (name) => name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase())

/** Splits at `separator` outside brackets and quotes. */
function splitOutside(text, separator) {
  const parts = ['']
  let depth = 0
  let quoted = false
  for (const [i, letter] of [...text].entries()) {
    if (letter === "'") quoted = !quoted
    if (!quoted && '([{'.includes(letter)) depth++
    if (!quoted && ')]}'.includes(letter)) depth--
    if (!quoted && depth === 0 && letter === separator) parts.push('')
    else parts[parts.length - 1] += [...text][i]
  }
  return parts.map((part) => part.trim()).filter((part) => part !== '')
}

function parseSchema(schema) {
  const [, inside, results] = /\((.*)\) -> ([012*])$/.exec(schema) ?? []
  if (inside === undefined) throw new Error(`operators.def: cannot read the schema ${schema}`)
  const args = splitOutside(inside, ',').map((each) => {
    const [type, name] = each.split(' ')
    return { type, name: camelCase(name) }
  })
  return { args, results }
}

function parseParameter(text, option) {
  const match = /^(\w+)(\?)?(?::\s*([^=]+?))?(?:\s*=\s*(.+))?$/.exec(text)
  if (!match) throw new Error(`operators.def: cannot read the parameter ${text}`)
  const [, name, question, type, initial] = match
  const choices = type?.startsWith("'")
    ? [...type.matchAll(/'(\w+)'/g)].map((m) => m[1])
    : undefined
  return { name, optional: question !== undefined, type, choices, initial, option }
}

function parseSignature(text) {
  const [signature, ...numberCalls] = splitOutside(text, '|')
  const match = /^(?:(F\.)?(\w+) ?)?(?:\.(\w+))?\((.*)\)$/.exec(signature)
  if (!match) throw new Error(`operators.def: cannot read the signature ${text}`)
  const [, functionOnly, plain, method, inside] = match
  const parameters = splitOutside(inside, ',').flatMap((part) =>
    part.startsWith('{')
      ? splitOutside(part.slice(1, -1), ',').map((each) => parseParameter(each, true))
      : [parseParameter(part, false)],
  )
  return {
    functionName: plain,
    methodName: method ?? (functionOnly ? undefined : plain),
    parameters,
    numberCalls,
  }
}

/** A parameter that the schema lacks, or the other way round, is a mistake in the table. */
function checkNames(row) {
  const rest = row.args.slice(1).map((arg) => arg.name)
  const named = row.parameters.map((parameter) => parameter.name)
  const strange = named.filter((name) => !rest.includes(name))
  const missing = rest.filter((name) => !named.includes(name))
  if (strange.length + missing.length > 0) {
    throw new Error(
      `operators.def: ${row.name}: the signature has ${strange}, the schema has ${missing}`,
    )
  }
}

/**
 * @param {string} definition the text of operators.def
 * @returns {Row[]} by id
 */
export function operatorRows(definition) {
  const rows = []
  let section = ''
  const forms = /^\/\/ (.+)$|^WEFT_OP\((\w+),((?:\s*"(?:[^"\\]|\\.)*"\s*,?)+)\)/gm
  for (const [, comment, name, rest] of definition.matchAll(forms)) {
    if (comment !== undefined) {
      section = comment
      continue
    }
    const strings = rest
      .split(/"\s*,/)
      .map((part) => [...`${part}"`.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map((m) => m[1]).join(''))
    const [schema, signature, doc] = strings
    const front = signature ? parseSignature(signature) : { parameters: [], numberCalls: [] }
    const row = { section, name, schema, doc, ...parseSchema(schema), ...front }
    if (signature) checkNames(row)
    rows.push(row)
  }
  return rows
}
