// Element types in JavaScript: sizes, natural types of typed arrays, conversion of host data.
import { describe, expect, test } from 'vitest'
import { DtypeError } from '../../src/native/errors.js'
import {
  bytesPerElement,
  type DType,
  dtypeBytes,
  dtypeId,
  dtypeName,
  dtypeNames,
  isFloating,
  naturalDtype,
  viewOf,
} from '../../src/tensor/dtype.js'
import { arrayFrom } from '../../src/tensor/values/host-values.js'

test('names and ids go both ways', () => {
  for (const name of dtypeNames) expect(dtypeName(dtypeId(name))).toBe(name)
  expect(dtypeBytes).toHaveLength(dtypeNames.length)
  expect(bytesPerElement('bf16')).toBe(2)
  expect(dtypeNames.filter(isFloating)).toEqual(['f32', 'f64', 'f16', 'bf16'])
})

test('an unknown name is a DtypeError that lists the known ones', () => {
  expect(() => dtypeId('float32' as DType)).toThrow(DtypeError)
  expect(() => dtypeId('float32' as DType)).toThrow(/f32, f64/)
  expect(() => dtypeName(99)).toThrow(DtypeError)
})

test('typed arrays have the dtype of their memory', () => {
  expect(naturalDtype(new Float32Array(1))).toBe('f32')
  expect(naturalDtype(new BigInt64Array(1))).toBe('i64')
  expect(naturalDtype(new Uint8ClampedArray(1))).toBe('u8')
  expect(naturalDtype(new Int16Array(1))).toBeUndefined()
})

describe('arrayFrom', () => {
  test('halves come as f32, bool as 0 and 1', () => {
    expect(arrayFrom([0.5], 'bf16')).toEqual(new Float32Array([0.5]))
    expect(arrayFrom([true, false, 3], 'bool')).toEqual(new Uint8Array([1, 0, 1]))
  })
  test('i64 takes integers only', () => {
    expect(arrayFrom([1, 2n], 'i64')).toEqual(new BigInt64Array([1n, 2n]))
    expect(() => arrayFrom([1.5], 'i64')).toThrow(DtypeError)
  })
})

test('viewOf refuses halves', () => {
  expect(viewOf(new ArrayBuffer(8), 'i32')).toHaveLength(2)
  expect(() => viewOf(new ArrayBuffer(8), 'f16')).toThrow(DtypeError)
})
