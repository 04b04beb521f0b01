/** A tensor: numbers with a shape and a dtype. Knows no HTTP. */

import { fromBfloat16, fromFloat16, toBfloat16, toFloat16 } from './halves.js'

/** The dtypes of parameters and gradients. */
export type Dtype = 'float64' | 'float32' | 'float16' | 'bfloat16'

/** The arrays that hold tensors. JavaScript has none for the two halves: there it is their bits. */
export type TensorData = Float64Array | Float32Array | Uint16Array

/** The dtypes that an array may hold. */
export type DtypeOf<A extends TensorData> = A extends Float64Array
  ? 'float64'
  : A extends Float32Array
    ? 'float32'
    : 'float16' | 'bfloat16'

/**
 * A tensor: its numbers row by row, its shape and its dtype.
 *
 * @example
 * const weight = new Tensor(new Float32Array(6), [2, 3])
 * const half = new Tensor(new Uint16Array([0x3f80]), [1], 'bfloat16')
 */
export class Tensor<A extends TensorData = TensorData> {
  readonly data: A
  readonly shape: readonly number[]
  readonly dtype: DtypeOf<A>

  /**
   * @param data - The numbers row by row; it is not copied. Halves are given as their bits, in a `Uint16Array`.
   * @param shape - The lengths; without it a vector. `[]` is a scalar.
   * @param dtype - Needed for a `Uint16Array` alone: `'float16'` or `'bfloat16'`.
   * @throws TypeError for another kind of array, or a dtype that is missing or does not fit it.
   * @throws RangeError for a shape of another number of elements.
   */
  constructor(
    data: A,
    shape: readonly number[] = [data.length],
    ...[dtype]: A extends Uint16Array ? [dtype: DtypeOf<A>] : [dtype?: DtypeOf<A>]
  ) {
    this.dtype = dtypeOf(data, dtype) as DtypeOf<A>
    checkShape(shape, data.length)
    this.data = data
    this.shape = [...shape]
  }

  /**
   * Return the numbers as a new array of float32: exact for halves, rounded for float64.
   */
  toFloat32(): Float32Array<ArrayBuffer> {
    if (!isArray(this.data, 'Uint16Array')) return new Float32Array(this.data)
    return this.dtype === 'float16' ? fromFloat16(this.data) : fromBfloat16(this.data)
  }

  /**
   * Return a tensor of a half dtype, rounded from float32 to nearest even, and to infinity beyond its range.
   *
   * @param data - The numbers row by row.
   * @param shape - The lengths; without it a vector.
   * @throws TypeError for another kind of array.
   * @example
   * const half = Tensor.rounded(new Float32Array([1, 2]), 'bfloat16')
   */
  static rounded(
    data: Float32Array,
    dtype: 'float16' | 'bfloat16',
    shape: readonly number[] = [data.length],
  ): Tensor<Uint16Array<ArrayBuffer>> {
    if (!isArray(data, 'Float32Array')) throw new TypeError(`rounded() needs a Float32Array, not ${shown(data)}`)
    return new Tensor(dtype === 'float16' ? toFloat16(data) : toBfloat16(data), shape, dtype)
  }
}

/** A tensor, or a typed array as a vector. */
export type TensorLike = Float32Array | Float64Array | Tensor

/** Return the tensor; a typed array is a vector. `where` names it in an error. Throws a `TypeError`. */
export function asTensor(where: string, value: unknown): Tensor {
  if (value instanceof Tensor) return value
  if (isArray(value, 'Float32Array') || isArray(value, 'Float64Array')) return new Tensor<TensorData>(value)
  throw new TypeError(
    `${where} must be a Float32Array, a Float64Array or a Tensor, not ${shown(value)}: ` +
      'for example new Tensor(new Float32Array(6), [2, 3]); a scalar has the shape []',
  )
}

/** The arrays that are looked for, by name. */
interface Arrays {
  Float64Array: Float64Array
  Float32Array: Float32Array
  Uint16Array: Uint16Array
  Int8Array: Int8Array
}

/** Return whether a value is such an array, also one of another frame or context, of which `instanceof` knows nothing. */
export function isArray<Name extends keyof Arrays>(value: unknown, name: Name): value is Arrays[Name] {
  return ArrayBuffer.isView(value) && (value as Arrays[Name])[Symbol.toStringTag] === name
}

/** Return the word for a value in an error: never its elements. */
export function shown(value: unknown): string {
  return typeof value === 'object' && value !== null
    ? (value.constructor?.name ?? 'an object')
    : `${typeof value} ${String(value)}`
}

/** Check that a shape has that many elements. */
export function checkShape(shape: readonly number[], length: number): void {
  if (!Array.isArray(shape) || !shape.every((n) => Number.isSafeInteger(n) && n >= 0)) {
    throw new RangeError(`a shape is a list of lengths, such as [2, 3], not ${JSON.stringify(shape)}`)
  }
  const elements = shape.reduce((product, n) => product * n, 1)
  if (elements !== length) {
    throw new RangeError(`the shape [${shape.join(', ')}] has ${elements} elements; the array has ${length}`)
  }
}

function dtypeOf(data: unknown, given: Dtype | undefined): Dtype {
  if (isArray(data, 'Uint16Array')) {
    if (given === 'float16' || given === 'bfloat16') return given
    throw new TypeError(`a Uint16Array holds bits: say of which dtype, 'float16' or 'bfloat16', not ${given}`)
  }
  const dtype = isArray(data, 'Float32Array') ? 'float32' : isArray(data, 'Float64Array') ? 'float64' : undefined
  if (dtype === undefined) {
    throw new TypeError(`a tensor's data must be a Float32Array, Float64Array or Uint16Array, not ${shown(data)}`)
  }
  if (given !== undefined && given !== dtype) throw new TypeError(`a ${shown(data)} is ${dtype}, not ${given}`)
  return dtype
}
