/** Gradients that are no dense arrays: some rows of a tensor, some of its elements, and int8 with scales. */

import type { StoredTensor } from './safetensors.js'
import { asTensor, checkShape, isArray, shown, type Tensor, type TensorLike } from './tensor.js'

/** The elements that each of several scales is for. */
const BLOCK = 256
const LARGEST_INDEX = 2n ** 63n - 1n

/** Indices: whole numbers that strictly increase. */
export type Indices = readonly number[] | Int32Array | Uint32Array | BigInt64Array

/**
 * A gradient in int8: `values` times `scale`.
 *
 * @example
 * const scale = g.reduce((most, x) => Math.max(most, Math.abs(x)), 0) / 127
 * await session.step({ params, grads: { w: new Int8(Int8Array.from(g, (x) => Math.round(x / scale)), scale) } })
 */
export class Int8 {
  readonly kind = 'int8'

  /**
   * @param values - The numbers row by row.
   * @param scale - A number, or one for each block of 256 elements (the last may be shorter). Sent as float32.
   * @param shape - That of the parameter; without it a vector.
   */
  constructor(
    readonly values: Int8Array,
    readonly scale: number | readonly number[] | Float32Array,
    readonly shape: readonly number[] = [values.length],
  ) {
    if (!isArray(values, 'Int8Array')) throw new TypeError(`Int8 needs an Int8Array, not ${shown(values)}`)
    checkShape(shape, values.length)
    if (typeof scale !== 'number' && !Array.isArray(scale) && !isArray(scale, 'Float32Array')) {
      throw new TypeError(`Int8.scale must be a number, a list or a Float32Array, not ${shown(scale)}`)
    }
    const scales = typeof scale === 'number' ? 1 : scale.length
    const blocks = Math.ceil(values.length / BLOCK)
    if (scales !== 1 && scales !== blocks) {
      throw new RangeError(
        `Int8 of ${values.length} elements has ${scales} scales; expected one, or ${blocks}, each for a block of ${BLOCK}`,
      )
    }
  }
}

/**
 * A gradient with some elements alone; every other one is zero. What is left out is lost unless you add it to your next
 * gradient.
 *
 * @example
 * await session.step({ grads: { w: new TopK([3, 17], new Float32Array([0.5, -1])) } })
 */
export class TopK {
  readonly kind = 'topk'

  /**
   * @param indices - Indices into the flat tensor, row by row, strictly increasing.
   * @param values - The element at each index: a vector.
   */
  constructor(
    readonly indices: Indices,
    readonly values: TensorLike | Int8,
  ) {
    const { shape } = values instanceof Int8 ? values : asTensor('TopK.values', values)
    if (shape.length !== 1) throw new RangeError(`TopK needs a vector of values, not of shape [${shape.join(', ')}]`)
    checkLength('TopK', indices, shape)
  }
}

/**
 * A gradient of some rows of a tensor, which the session holds. A step answers the same rows of the new parameter.
 *
 * @example
 * const { emb } = await session.step({ grads: { emb: new Rows([3, 17], new Tensor(g, [2, 8])) } })
 */
export class Rows<V extends TensorLike | Int8 = TensorLike | Int8> {
  readonly kind = 'rows'

  /**
   * @param indices - The rows' numbers, strictly increasing.
   * @param values - A row for each index, of shape [k, …].
   */
  constructor(
    readonly indices: Indices,
    readonly values: V,
  ) {
    checkLength('Rows', indices, (values instanceof Int8 ? values : asTensor('Rows.values', values)).shape)
  }
}

/** A gradient in any of its forms. */
export type Gradient = TensorLike | Int8 | TopK | Rows

/** Return the arrays that a gradient is sent as, by section: `grads`, and `at`, `rows` or `scale` beside it. */
export function partsOf(name: string, gradient: Gradient, dense: (tensor: Tensor) => Tensor): [string, StoredTensor][] {
  if (gradient instanceof TopK) return [['at', indicesOf(name, gradient)], ...partsOf(name, gradient.values, dense)]
  if (gradient instanceof Rows) return [['rows', indicesOf(name, gradient)], ...partsOf(name, gradient.values, dense)]
  if (gradient instanceof Int8) {
    const { values: data, shape, scale } = gradient
    const scales = typeof scale === 'number' ? Float32Array.of(scale) : Float32Array.from(scale)
    return [
      ['grads', { data, shape, dtype: 'int8' }],
      ['scale', { data: scales, shape: [scales.length], dtype: 'float32' }],
    ]
  }
  return [['grads', dense(asTensor(`grads['${name}']`, gradient))]]
}

/** Return indices of a file as numbers. Throws a `TypeError` for one that no number holds exactly. */
export function indicesFrom(stored: StoredTensor): number[] {
  return Array.from(stored.data as ArrayLike<number | bigint>, (index) => {
    if (Number.isSafeInteger(Number(index))) return Number(index)
    throw new TypeError(`the index ${index} is beyond 2⁵³: no number of JavaScript holds it exactly`)
  })
}

/** Return indices as integers of any size. Throws a `TypeError`, and a `RangeError` beyond int64. */
export function wholeIndices(where: string, indices: Indices): bigint[] {
  checkIndices(where, indices)
  return Array.from(indices as ArrayLike<number>, (index) => wholeIndex(where, index))
}

/** Return one index as an integer of any size. Throws a `TypeError`, and a `RangeError` beyond int64. */
function wholeIndex(where: string, index: unknown): bigint {
  if (typeof index !== 'bigint' && !Number.isSafeInteger(index)) {
    throw new TypeError(`${where} must be whole numbers, not ${shown(index)}; beyond 2⁵³ give them in a BigInt64Array`)
  }
  const whole = BigInt(index as bigint)
  if (whole < 0n || whole > LARGEST_INDEX) throw new RangeError(`${where} have ${whole}, which is no index in int64`)
  return whole
}

function indicesOf(name: string, { indices }: TopK | Rows): StoredTensor {
  const data = BigInt64Array.from(wholeIndices(`the indices of grads['${name}']`, indices))
  return { data, shape: [data.length], dtype: 'int64' }
}

function checkIndices(where: string, indices: unknown): void {
  if (Array.isArray(indices) || (ArrayBuffer.isView(indices) && !(indices instanceof DataView))) return
  throw new TypeError(`${where} must be a list of whole numbers, not ${shown(indices)}`)
}

function checkLength(form: string, indices: Indices, shape: readonly number[]): void {
  checkIndices(`${form}.indices`, indices)
  if (shape[0] !== indices.length) {
    const lengths = `${indices.length} indices, and values of shape [${shape.join(', ')}]`
    throw new RangeError(
      `${form} has ${lengths}; expected the shape [${indices.length}${form === 'Rows' ? ', …' : ''}]`,
    )
  }
}
