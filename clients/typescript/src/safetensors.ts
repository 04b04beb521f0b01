/**
 * A codec of safetensors: named arrays to bytes and back. Knows no HTTP.
 *
 * A file is eight bytes with the length of its header, the header as JSON, and the arrays' bytes one after the other, all
 * little-endian.
 */

const FORMS = {
  float64: { code: 'F64', array: Float64Array },
  float32: { code: 'F32', array: Float32Array },
  float16: { code: 'F16', array: Uint16Array },
  bfloat16: { code: 'BF16', array: Uint16Array },
  int64: { code: 'I64', array: BigInt64Array },
  int8: { code: 'I8', array: Int8Array },
} as const

/** The dtypes of stored arrays. */
export type StoredDtype = keyof typeof FORMS

/** An array of a file: its elements row by row, its shape and its dtype. */
export interface StoredTensor {
  readonly data: Float64Array | Float32Array | Uint16Array | BigInt64Array | Int8Array
  readonly shape: readonly number[]
  readonly dtype: StoredDtype
}

/** The content of a file: arrays and texts by name. */
export interface Stored {
  readonly tensors: ReadonlyMap<string, StoredTensor>
  readonly metadata: Readonly<Record<string, string>>
}

const DTYPE_OF: ReadonlyMap<string, StoredDtype> = new Map(
  (Object.keys(FORMS) as StoredDtype[]).map((dtype) => [FORMS[dtype].code, dtype]),
)

/**
 * Return a file as bytes: the same bytes for the same content.
 *
 * Wide dtypes come first, so that every array is aligned.
 *
 * @example
 * const bytes = encodeSafetensors(new Map([['w', { data: new Float32Array(6), shape: [2, 3], dtype: 'float32' }]]))
 */
export function encodeSafetensors(
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  checkByteOrder()
  if (tensors.has('__metadata__')) throw new TypeError("a tensor cannot be named '__metadata__'")
  const ordered = [...tensors].sort(([a, x], [b, y]) => sizeOf(y.dtype) - sizeOf(x.dtype) || (a < b ? -1 : 1))
  let end = 0
  const entries = ordered.map(([name, { data, shape, dtype }]) => {
    const [start] = [end, (end += data.byteLength)]
    return [name, { dtype: FORMS[dtype].code, shape, data_offsets: [start, end] }] as const
  })
  const text = JSON.stringify(Object.fromEntries([['__metadata__', metadata], ...entries]))
  const header = new TextEncoder().encode(text)
  const begin = 8 * Math.ceil((8 + header.length) / 8)
  const file = new Uint8Array(begin + end)
  new DataView(file.buffer).setBigUint64(0, BigInt(begin - 8), true)
  file.set(header, 8)
  file.fill(0x20, 8 + header.length, begin)
  let place = begin
  for (const [, { data }] of ordered) {
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), place)
    place += data.byteLength
  }
  return file
}

/**
 * Return the content of a file. Arrays are views of its bytes where they are aligned, else copies.
 *
 * @throws TypeError for bytes that are no such file.
 * @example
 * const { tensors, metadata } = decodeSafetensors(await session.saveState())
 */
export function decodeSafetensors(file: Uint8Array): Stored {
  checkByteOrder()
  const { header, begin } = split(file)
  const { __metadata__: metadata = {}, ...entries } = header
  const placed = Object.entries(entries).map(([name, entry]) => placedOf(name, entry))
  let end = 0
  for (const tensor of placed.sort((a, b) => a.start - b.start || a.end - b.end)) {
    if (tensor.start !== end) {
      throw new TypeError(`${tensor.name} begins at ${tensor.start}; expected ${end}, where the one before it ends`)
    }
    end = tensor.end
  }
  if (begin + end !== file.length) {
    throw new TypeError(`the tensors end at ${end}; expected ${file.length - begin}, the file's end`)
  }
  const tensors = placed.map(({ name, dtype, shape, start, end }) => {
    return [name, { data: view(file, dtype, begin + start, begin + end), shape, dtype }] as const
  })
  return { tensors: new Map(tensors), metadata: metadata as Record<string, string> }
}

/** Throw where this machine is big-endian: its typed arrays do not have the file's bytes. */
export function checkByteOrder(first = new Uint8Array(new Uint16Array([1]).buffer)[0]): void {
  if (first !== 1) throw new TypeError('this machine is big-endian; optim-client needs a little-endian one')
}

function sizeOf(dtype: StoredDtype): number {
  return FORMS[dtype].array.BYTES_PER_ELEMENT
}

function split(file: Uint8Array): { header: Record<string, unknown>; begin: number } {
  if (file.length < 8) throw new TypeError(`${file.length} bytes are no safetensors file`)
  const size = new DataView(file.buffer, file.byteOffset).getBigUint64(0, true)
  if (size > BigInt(file.length - 8)) {
    throw new TypeError(`a header of ${size} bytes does not fit a file of ${file.length}`)
  }
  const begin = 8 + Number(size)
  let header: unknown
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(file.subarray(8, begin)))
  } catch (error) {
    throw new TypeError(`the header is not JSON: ${String(error)}`, { cause: error })
  }
  if (!isObject(header)) throw new TypeError('the header is no JSON object')
  if (Object.hasOwn(header, '__metadata__') && !isObject(header['__metadata__'])) {
    throw new TypeError('the metadata is no JSON object')
  }
  return { header, begin }
}

interface Placed {
  name: string
  dtype: StoredDtype
  shape: readonly number[]
  start: number
  end: number
}

function placedOf(name: string, entry: unknown): Placed {
  const { dtype: code, shape, data_offsets: offsets } = (isObject(entry) ? entry : {}) as Record<string, unknown>
  const dtype = DTYPE_OF.get(String(code))
  if (dtype === undefined) throw new TypeError(`unknown dtype ${JSON.stringify(code)} of ${name}`)
  if (!isLengths(shape) || !isLengths(offsets) || offsets.length !== 2) {
    throw new TypeError(`malformed entry '${name}' in the header: ${JSON.stringify(entry).slice(0, 120)}`)
  }
  const [start, end] = offsets as [number, number]
  if (end - start !== shape.reduce((product, n) => product * n, 1) * sizeOf(dtype)) {
    throw new TypeError(`${name} has ${end - start} bytes, which do not fit ${dtype} [${shape.join(', ')}]`)
  }
  return { name, dtype, shape, start, end }
}

function view(file: Uint8Array, dtype: StoredDtype, start: number, end: number): StoredTensor['data'] {
  const { array } = FORMS[dtype]
  const isAligned = (file.byteOffset + start) % array.BYTES_PER_ELEMENT === 0
  const part = file.subarray(start, end)
  const bytes = isAligned ? part : new Uint8Array(part) // a copy; the slice of a Node Buffer is none
  const length = (end - start) / array.BYTES_PER_ELEMENT
  return new array(bytes.buffer as ArrayBuffer, bytes.byteOffset, length)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isLengths(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0)
}
