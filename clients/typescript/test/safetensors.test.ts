/** The codec of safetensors: any name, any alignment, and files that are none. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeSafetensors, encodeSafetensors, type StoredTensor } from 'optim-client'
import { checkByteOrder } from '../dist/safetensors.js'

const FLOATS: StoredTensor = { data: Float32Array.of(1, -2.5), shape: [2], dtype: 'float32' }
const EMPTY: StoredTensor = { data: new Float64Array(0), shape: [0, 3], dtype: 'float64' }

/** Return a file with this header and data, whose header is as long as it is. */
function file(header: string | Uint8Array, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const text = typeof header === 'string' ? new TextEncoder().encode(header) : header
  const whole = new Uint8Array(8 + text.length + data.length)
  new DataView(whole.buffer).setBigUint64(0, BigInt(text.length), true)
  whole.set(text, 8)
  whole.set(data, 8 + text.length)
  return whole
}

test('every dtype, name and text comes back', () => {
  const tensors = new Map<string, StoredTensor>([
    ['params/größe/😀"\\\n', FLOATS],
    ['params/__proto__', { data: Uint16Array.of(0x3f80), shape: [], dtype: 'bfloat16' }],
    ['params/constructor', { data: Uint16Array.of(1, 2), shape: [1, 2], dtype: 'float16' }],
    ['__proto__', { data: Int8Array.of(-128, 127, 0), shape: [3], dtype: 'int8' }],
    ['rows/7', { data: BigInt64Array.of(2n ** 63n - 1n, -1n), shape: [2], dtype: 'int64' }],
    ['7', EMPTY],
  ])
  const metadata = { step: '1', ['__proto__']: 'x', größe: '"\n' }
  const { tensors: read, metadata: texts } = decodeSafetensors(encodeSafetensors(tensors, metadata))
  assert.deepEqual(new Map([...read].sort()), new Map([...tensors].sort()))
  assert.deepEqual(Object.entries(texts).sort(), Object.entries(metadata).sort())
})

test('the same content is the same bytes', () => {
  const one = new Map([
    ['b', FLOATS],
    ['a', FLOATS],
  ])
  const other = new Map([
    ['a', FLOATS],
    ['b', FLOATS],
  ])
  assert.deepEqual(encodeSafetensors(one, { step: '1' }), encodeSafetensors(other, { step: '1' }))
})

test('an array that is a part of a buffer is written alone', () => {
  const whole = Float32Array.of(9, 1, -2.5, 9)
  const part = { ...FLOATS, data: whole.subarray(1, 3) }
  assert.deepEqual(encodeSafetensors(new Map([['w', part]])), encodeSafetensors(new Map([['w', FLOATS]])))
})

test('a file that is a part of a buffer is read at any offset', () => {
  const bytes = encodeSafetensors(
    new Map([
      ['w', FLOATS],
      ['z', EMPTY],
    ]),
  )
  for (let offset = 0; offset < 9; offset++) {
    const pool = Buffer.alloc(bytes.length + 16, 0xaa)
    pool.set(bytes, offset)
    const part = pool.subarray(offset, offset + bytes.length)
    assert.deepEqual([...decodeSafetensors(part).tensors.get('w')!.data], [1, -2.5])
  }
})

test('data at an unaligned offset is read', () => {
  const data = new Uint8Array(9)
  data.set(new Uint8Array(Float32Array.of(1, -2.5).buffer), 1)
  const header =
    '{"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}}'
  for (const padding of ['', ' ', '  ', '   ']) {
    assert.deepEqual([...decodeSafetensors(file(header + padding, data)).tensors.get('w')!.data], [1, -2.5])
  }
})

test('an aligned file is read without a copy', () => {
  const bytes = encodeSafetensors(new Map([['w', FLOATS]]))
  assert.equal(decodeSafetensors(bytes).tensors.get('w')!.data.buffer, bytes.buffer)
})

const ONE = '"dtype":"F32","shape":[1]'
const MALFORMED: [string, Uint8Array, RegExp][] = [
  ['too short', new Uint8Array(7), /7 bytes are no safetensors file/],
  ['a header beyond the file', Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0), /a header of 9 bytes does not fit a file of 8/],
  ['a header beyond 2⁵³', Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 255), /of 18446744073709551615 bytes/],
  ['no JSON', file('{'), /the header is not JSON/],
  ['no UTF-8', file(Uint8Array.of(0x7b, 0xff, 0x7d)), /the header is not JSON/],
  ['a list', file('[]'), /the header is no JSON object/],
  ['metadata that is a text', file('{"__metadata__":"x"}'), /the metadata is no JSON object/],
  ['an unknown dtype', file('{"w":{"dtype":"C64","shape":[],"data_offsets":[0,8]}}'), /unknown dtype "C64" of w/],
  ['an entry that is null', file('{"w":null}'), /unknown dtype undefined of w/],
  ['no shape', file('{"w":{"dtype":"F32","data_offsets":[0,4]}}'), /malformed entry 'w'/],
  ['a negative length', file('{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}'), /malformed entry/],
  ['three offsets', file(`{"w":{${ONE},"data_offsets":[0,4,8]}}`, new Uint8Array(4)), /malformed entry/],
  ['another size', file(`{"w":{${ONE},"data_offsets":[0,5]}}`, new Uint8Array(5)), /w has 5 bytes, which do not fit/],
  ['a gap', file(`{"w":{${ONE},"data_offsets":[4,8]}}`, new Uint8Array(8)), /w begins at 4; expected 0/],
  ['bytes behind the last', file(`{"w":{${ONE},"data_offsets":[0,4]}}`, new Uint8Array(8)), /end at 4; expected 8/],
  [
    'one name twice',
    file(`{"w":{${ONE},"data_offsets":[0,4]},"w":{${ONE},"data_offsets":[4,8]}}`, new Uint8Array(8)),
    /w begins at 4; expected 0/,
  ],
  [
    'two tensors at one place',
    file(`{"v":{${ONE},"data_offsets":[0,4]},"w":{${ONE},"data_offsets":[0,4]}}`, new Uint8Array(4)),
    /begins at 0; expected 4/,
  ],
]
for (const [name, bytes, message] of MALFORMED) {
  test(`a file that is none is refused: ${name}`, () => {
    assert.throws(() => decodeSafetensors(bytes), { name: 'TypeError', message })
  })
}

test('a tensor that would be the metadata is refused', () => {
  assert.throws(() => encodeSafetensors(new Map([['__metadata__', FLOATS]])), /cannot be named '__metadata__'/)
})

test('a big-endian machine is refused', () => {
  assert.throws(() => checkByteOrder(0), /this machine is big-endian/)
})
