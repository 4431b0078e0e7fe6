// The TypeScript of the operators from the rows of operators.def: functions (src/tensor/generated/functions.ts)
// and methods (…/methods.ts), with their docs. scripts/tables/generate-tables.mjs writes them. Between the first write
// to `words` and the native call nothing else may run, so what computes is computed before.

const isLiteral = (text) => /^(-?[\d.e-]+|true|false|'\w*')$/.test(text)
const optionsType = (parameters) =>
  `{ ${parameters.map((each) => `${each.name}?: ${typeOf(each)}`).join('; ')} }`

const plainTypes = {
  Tensor: 'Tensor',
  'Tensor?': 'Tensor | null',
  float: 'number',
  int: 'number',
  bool: 'boolean',
  'int[]': 'readonly number[]',
}

/** The TypeScript type of a parameter, whose schema argument `withArguments` gave it. */
function typeOf(parameter) {
  if (parameter.type) return parameter.type
  if (parameter.arg.type === 'int[]' && parameter.optional) return 'Dims'
  return plainTypes[parameter.arg.type]
}

function withArguments(row) {
  return row.parameters.map((each) => ({
    ...each,
    arg: row.args.find((arg) => arg.name === each.name),
  }))
}

/** The parameter list after the tensor. A method leaves defaults that compute to the function. */
function parameterList(row, forMethod) {
  const all = withArguments(row)
  const list = all
    .filter((each) => !each.option)
    .map((each) => {
      if (each.initial === undefined)
        return `${each.name}${each.optional ? '?' : ''}: ${typeOf(each)}`
      if (forMethod && !isLiteral(each.initial)) return `${each.name}?: ${typeOf(each)}`
      return `${each.name} = ${each.initial}`
    })
  const options = all.filter((each) => each.option)
  if (options.length > 0) {
    const type = optionsType(options)
    list.push(forMethod ? `options?: ${type}` : `options: ${type} = {}`)
  }
  return list
}

/** The value of a parameter before it becomes a word; `before` gets what must run first. */
function givenValue(parameter, row, before) {
  let value = parameter.name
  if (parameter.option) {
    const given = `options.${parameter.name}`
    // undefined is false for a flag
    value = parameter.initial === 'false' ? given : `${given} ?? ${parameter.initial}`
    if (!parameter.choices && isLiteral(parameter.initial)) return value
  }
  if (parameter.choices) {
    const names = parameter.choices.map((name) => `'${name}'`).join(', ')
    value = `choice('${row.functionName}', '${parameter.name}', ${value}, [${names}])`
  }
  if (value === parameter.name) return value
  before.push(`const ${parameter.name} = ${value}`)
  return parameter.name
}

function wordOf(parameter, value) {
  if (parameter.arg.type === 'Tensor') return `handleOf(${value})`
  if (parameter.arg.type === 'Tensor?') return `optional(${value})`
  if (parameter.arg.type === 'bool') return `${value} ? 1 : 0`
  return value
}

/** The statements of a call: arguments into the buffer, the call, `return`. `self` is the first tensor. */
function callBody(row, self) {
  const before = []
  const byName = new Map(withArguments(row).map((each) => [each.name, each]))
  const values = row.args.slice(1).map((arg) => givenValue(byName.get(arg.name), row, before))
  const kinds = row.args.slice(1).map((arg) => arg.type)
  const words = row.args.slice(1).map((arg, i) => wordOf(byName.get(arg.name), values[i]))
  const op = `Op.${row.name}`
  const single = row.args[0].type === 'Tensor' && row.results === '1'
  const numbers = kinds.every((kind) => ['int', 'float', 'bool'].includes(kind))
  if (single && kinds.length === 0) return [...before, `return call1(${op}, ${self})`]
  if (single && `${kinds}` === 'Tensor')
    return [...before, `return call2(${op}, ${self}, ${values})`]
  if (single && numbers && kinds.length < 3) {
    const call = kinds.length === 1 ? 'callNumber' : 'callNumbers'
    return [...before, `return ${call}(${op}, ${self}, ${words.join(', ')})`]
  }
  const lines = []
  let at = 0 // words before the latest list
  let base = '' // the index after it
  const index = () => (base === '' ? `${at}` : at === 0 ? base : `${base} + ${at}`)
  const writeList = (call) => {
    lines.push(`const at = ${call}`)
    base = 'at'
    at = 0
  }
  for (const [i, type] of ['first', ...kinds].entries()) {
    if (i === 0 && row.args[0].type === 'Tensor[]') writeList(`writeTensors(0, ${self})`)
    else if (i === 0) lines.push(`words[${at++}] = handleOf(${self})`)
    else if (type === 'int[]') {
      const dims = typeOf(byName.get(row.args[i].name)) === 'readonly number[]'
      writeList(`writeInts(${index()}, ${dims ? values[i - 1] : `dimList(${values[i - 1]})`})`)
    } else {
      const isNumber = (type === 'int' || type === 'float') && !byName.get(row.args[i].name).choices
      const word = words[i - 1]
      lines.push(`words[${index()}] = ${isNumber ? `numberOf(${word})` : word}`)
      at++
    }
  }
  const call = row.results === '*' ? 'results' : 'result'
  return [...before, ...lines, `return ${call}(${op}, ${index()})`]
}

/** `add_scalar(a, b)` as the operator and its number. */
function numberCall(text) {
  const [, op, tensor, number] = /^(\w+)\((\w+), (.+)\)$/.exec(text)
  return { op, tensor, number }
}

function operandBody(row) {
  const [second, first] = row.numberCalls
  const { op, number } = numberCall(second)
  if (first === undefined) {
    return [
      `return typeof b === 'number' ? callNumber(Op.${op}, a, ${number}) : call2(Op.${row.name}, a, b)`,
    ]
  }
  let withFirst = `lifted(Op.${row.name}, a, b)`
  if (first !== 'lift') {
    const call = numberCall(first)
    withFirst = `callNumber(Op.${call.op}, ${call.tensor}, ${call.number})`
  }
  return [
    `if (typeof b === 'number') return callNumber(Op.${op}, tensorOf(a), ${number})`,
    `return typeof a === 'number' ? ${withFirst} : call2(Op.${row.name}, a, b)`,
  ]
}

/** Writes to its tensor and returns it. */
function inPlaceBody(row) {
  const op = `Op.${row.name}`
  const [parameter] = row.parameters
  if (!parameter) return [`run1(${op}, this)`, 'return this']
  if (row.numberCalls.length > 0) {
    const call = numberCall(row.numberCalls[0])
    return [
      `if (typeof b === 'number') runNumber(Op.${call.op}, this, ${call.number})`,
      `else run2(${op}, this, b)`,
      'return this',
    ]
  }
  const run = row.args[1].type === 'Tensor' ? 'run2' : 'runNumber'
  return [`${run}(${op}, this, ${parameter.name})`, 'return this']
}

/** `/** … *\/` in lines of at most 100 columns. */
function docComment(text, indent) {
  if (`${indent}/** ${text} */`.length <= 100) return `${indent}/** ${text} */`
  const lines = ['']
  for (const word of text.split(' ')) {
    const longer = lines.at(-1) === '' ? word : `${lines.at(-1)} ${word}`
    if (`${indent} * ${longer}`.length > 100) lines.push(word)
    else lines[lines.length - 1] = longer
  }
  return [`${indent}/**`, ...lines.map((line) => `${indent} * ${line}`), `${indent} */`].join('\n')
}

const resultType = (row) => (row.results === '*' ? 'Tensor[]' : 'Tensor')

function functionText(row) {
  const takesNumber = row.numberCalls.length > 1
  const type = { 'Tensor[]': 'readonly Tensor[]' }[row.args[0].type] ?? 'Tensor'
  const self = `${row.args[0].name}: ${takesNumber ? 'Operand' : type}`
  const body = row.numberCalls.length > 0 ? operandBody(row) : callBody(row, row.args[0].name)
  const head = `${row.functionName}(${[self, ...parameterList(row, false)].join(', ')})`
  return `${docComment(row.doc, '')}\nexport function ${head}: ${resultType(row)} {\n${body.join('\n')}\n}`
}

function methodText(row) {
  const inPlace = row.results === '0'
  const forward = row.functionName !== undefined && !inPlace
  const names = row.parameters.filter((each) => !each.option).map((each) => each.name)
  if (row.parameters.some((each) => each.option)) names.push('options')
  let body = [`return functions.${row.functionName}(${['this', ...names].join(', ')})`]
  if (inPlace) body = inPlaceBody(row)
  else if (!forward) body = callBody(row, 'this')
  const self = inPlace ? 'this: T' : 'this: Tensor'
  const head = `${row.methodName}${inPlace ? '<T extends Tensor>' : ''}`
  const list = [self, ...parameterList(row, forward)].join(', ')
  const type = inPlace ? 'T' : resultType(row)
  return `${docComment(row.doc, '  ')}\n  ${head}(${list}): ${type} {\n${body.join('\n')}\n}`
}

/** The texts of `rows`, a comment before each section. */
function inSections(rows, textOf, indent) {
  let section
  return rows
    .map((row) => {
      const title = row.section === section ? '' : `${indent}// ${row.section}\n\n`
      section = row.section
      return title + textOf(row)
    })
    .join('\n\n')
}

const generated = (lines) =>
  `// Generated by scripts/tables/generate-tables.mjs from native/dispatch/operators.def: do not edit.\n${lines}`

/** Imports of those of `names` that `text` uses. */
function importOf(names, from, text) {
  const used = names.filter((name) => new RegExp(`\\b${name}\\b`).test(text))
  return used.length > 0 ? `import { ${used.join(', ')} } from '${from}'\n` : ''
}

const invokeNames = [
  'call1',
  'call2',
  'callNumber',
  'callNumbers',
  'choice',
  'handleOf',
  'numberOf',
  'optional',
  'result',
  'results',
  'run1',
  'run2',
  'runNumber',
  'writeInts',
  'writeTensors',
]

function imports(body) {
  const text = body.replace(/\/\*\*[\s\S]*?\*\/|\/\/.*/g, '') // docs name things without using them
  return [
    importOf(['words'], '../../native/addon.js', text),
    importOf(['Op'], '../../native/operators.js', text),
    importOf(['Dims'], '../dims.js', text).replace('import', 'import type'),
    importOf(['dimList'], '../dims.js', text),
    importOf(['Operand'], '../operators/elementwise.js', text).replace('import', 'import type'),
    importOf(['lifted', 'tensorOf'], '../operators/elementwise.js', text),
    importOf(invokeNames, '../operators/invoke.js', text),
    importOf(['Tensor'], '../tensor.js', text).replace('import', 'import type'),
  ].join('')
}

/** @param {import('./operator-table.mjs').Row[]} rows */
export function functionsFile(rows) {
  const body = inSections(
    rows.filter((row) => row.functionName !== undefined),
    functionText,
    '',
  )
  const head =
    generated(`// The operators as functions, under the names of F (functional.ts). Each enqueues on the device's current
// stream and returns a new tensor; shapes broadcast as in NumPy, dtypes promote to the wider of the two.
// biome-ignore-all lint/suspicious/noShadowRestrictedNames: isFinite is its name in F
`)
  return `${head}${imports(body)}\n${body}\n`
}

/** @param {import('./operator-table.mjs').Row[]} rows */
export function methodsFile(rows) {
  const body = inSections(
    rows.filter((row) => row.methodName !== undefined),
    methodText,
    '  ',
  )
  const head =
    generated(`// The operators as methods of Tensor (tensor.ts, which extends this class). In the docs \`a\`, \`x\` is this tensor.
`)
  return `${head}${imports(body)}import { TensorObject } from '../tensor-object.js'
import * as functions from './functions.js'

export class TensorOperators extends TensorObject {\n${body}\n}\n`
}

/** @param {import('./operator-table.mjs').Row[]} rows */
export function idsFile(rows) {
  const head = generated(
    '// Operator ids are positions in the list; src/tensor passes them to the addon.\n',
  )
  return `${head}
/** Name and schema of every operator, by id. */
export const operators: readonly (readonly [name: string, schema: string])[] = [
${rows.map((row) => `  ['${row.name}', '${row.schema}'],`).join('\n')}
]

/** Operator ids by name. */
export const Op = {
${rows.map((row, id) => `  ${row.name}: ${id},`).join('\n')}
} as const
`
}
