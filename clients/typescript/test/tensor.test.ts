/** Tensors: shapes, dtypes, and rounding to halves. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Tensor, type Dtype } from 'optim-client'

const FINITE = { float16: 0x7c00, bfloat16: 0x7f80 } as const

for (const dtype of ['float16', 'bfloat16'] as const) {
  const bits = Uint16Array.from({ length: 0x10000 }, (_, i) => i)
  const numbers = new Tensor(bits, [0x10000], dtype).toFloat32()

  test(`every ${dtype} survives as float32`, () => {
    const { data } = Tensor.rounded(numbers, dtype)
    const isNaN = (i: number) => (i & 0x7fff) > FINITE[dtype]
    assert.ok(data.every((rounded, i) => (isNaN(i) ? isNaN(rounded) : rounded === i)))
    assert.ok(numbers.every((x, i) => Number.isNaN(x) === isNaN(i)))
  })

  test(`float32 is rounded to the nearest ${dtype}, halves to even`, () => {
    const room = new Float32Array(1)
    const step = new Uint32Array(room.buffer)
    const near = (x: number, by: number): number => {
      room[0] = x
      step[0]! += by
      return room[0]
    }
    const half = Float32Array.from({ length: FINITE[dtype] - 1 }, (_, i) => (numbers[i]! + numbers[i + 1]!) / 2)
    const below = half.map((x) => near(x, -1))
    const above = half.map((x) => near(x, 1))
    const even = (i: number) => i + (i & 1)
    for (const sign of [1, -1]) {
      const rounded = (exact: Float32Array) =>
        Tensor.rounded(
          exact.map((x) => sign * x),
          dtype,
        ).data.map((each) => each - (sign < 0 ? 0x8000 : 0))
      assert.ok(rounded(half).every((got, i) => got === even(i)))
      assert.ok(rounded(below).every((got, i) => got === i || half[i]! < 2 ** -149))
      assert.ok(rounded(above).every((got, i) => got === i + 1))
    }
  })
}

test('beyond the range is infinity', () => {
  const data = Float32Array.of(65519, 65520, -1e30, Infinity)
  assert.deepEqual([...Tensor.rounded(data, 'float16').data], [0x7bff, 0x7c00, 0xfc00, 0x7c00])
  assert.deepEqual([...Tensor.rounded(Float32Array.of(3.4e38, -3.4e38), 'bfloat16').data], [0x7f80, 0xff80])
})

test('a part of a buffer is rounded alone', () => {
  const whole = Float32Array.of(9, 1, 2, 9)
  assert.deepEqual([...Tensor.rounded(whole.subarray(1, 3), 'bfloat16').data], [0x3f80, 0x4000])
})

const REFUSED: [string, unknown[], RegExp][] = [
  ['a shape of another size', [new Float32Array(6), [2, 2]], /\[2, 2\] has 4 elements; the array has 6/],
  ['a broken length', [new Float32Array(1), [0.5, 2]], /a list of lengths, such as \[2, 3\]/],
  ['a number as shape', [new Float32Array(1), 1], /a list of lengths/],
  ['bits without a dtype', [new Uint16Array(1), [1]], /'float16' or 'bfloat16', not undefined/],
  ['a dtype that does not fit', [new Float32Array(1), [1], 'float64'], /is float32, not float64/],
  ['a list', [[1, 2]], /must be a Float32Array, Float64Array or Uint16Array, not Array/],
  ['integers', [new Int32Array(1)], /not Int32Array/],
]
for (const [name, given, message] of REFUSED) {
  test(`a tensor is refused: ${name}`, () => assert.throws(() => Reflect.construct(Tensor, given), message))
}

test('only float32 numbers are rounded', () => {
  for (const given of [Float64Array.of(1), [1, 2]]) {
    assert.throws(() => Tensor.rounded(given as never, 'float16'), /rounded\(\) needs a Float32Array, not/)
  }
})

test('the compiler knows dtypes by their arrays', () => {
  const double: Tensor<Float64Array> = new Tensor(new Float64Array(1))
  const bits: Uint16Array = new Tensor(new Uint16Array(1), [1], 'float16').data
  // @ts-expect-error: bits need their dtype
  assert.throws(() => new Tensor(new Uint16Array(1), [1]))
  // @ts-expect-error: float32 numbers are no halves
  assert.throws(() => new Tensor(new Float32Array(1), [1], 'bfloat16'))
  const dtype: Dtype = double.dtype
  assert.deepEqual([dtype, bits.length], ['float64', 1])
})
