/** Gradients of rows, of some elements and in int8: their checks. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeSafetensors, Int8, Rows, Tensor, TopK, type Gradient } from 'optim-client'
import { json, Scripted, sessionDocument } from './scripted.js'

/** Return what is sent of a gradient `w`, by section. */
async function sent(gradient: Gradient): Promise<Record<string, unknown>> {
  const scripted = new Scripted([json(sessionDocument({ hold_params: true })), json({ code: 'forbidden' }, 403)])
  const session = await scripted.client.sessions.get('s')
  await session.step({ grads: { w: gradient } }).catch((error: unknown) => {
    if (!(error instanceof Error && 'status' in error)) throw error
  })
  const { tensors } = decodeSafetensors(scripted.sent[1]!.body)
  return Object.fromEntries([...tensors].map(([name, { data }]) => [name, [...data]]))
}

test('indices of any integers are sent as int64', async () => {
  const values = Float32Array.of(1, 2)
  const wanted = { 'at/w': [3n, 17n], 'grads/w': [1, 2] }
  for (const indices of [[3, 17], Int32Array.of(3, 17), Uint32Array.of(3, 17), BigInt64Array.of(3n, 17n)]) {
    assert.deepEqual(await sent(new TopK(indices, values)), wanted)
  }
  const large = BigInt64Array.of(2n ** 53n + 1n)
  assert.deepEqual((await sent(new TopK(large, values.subarray(1))))['at/w'], [2n ** 53n + 1n])
})

test('int8 travels beside its scales', async () => {
  const rows = new Rows([4], new Int8(Int8Array.of(-7, 7), 0.5, [1, 2]))
  assert.deepEqual(await sent(rows), { 'rows/w': [4n], 'scale/w': [0.5], 'grads/w': [-7, 7] })
  const blocks = new Int8(new Int8Array(257), [0.5, 0.25])
  assert.deepEqual((await sent(blocks))['scale/w'], [0.5, 0.25])
})

test('an index that no number holds exactly is refused', async () => {
  await assert.rejects(sent(new TopK([2 ** 53], Float32Array.of(1))), /beyond 2⁵³ give them in a BigInt64Array/)
  await assert.rejects(sent(new TopK([0.5], Float32Array.of(1))), /must be whole numbers, not number 0.5/)
  await assert.rejects(sent(new TopK([-1], Float32Array.of(1))), /-1, which is no index in int64/)
})

const REFUSED: [string, () => unknown, RegExp][] = [
  ['indices of another number', () => new TopK([1, 2], Float32Array.of(1)), /2 indices, and values of shape \[1\]/],
  ['a matrix of elements', () => new TopK([1], new Tensor(Float32Array.of(1), [1, 1])), /needs a vector/],
  [
    'rows of another number',
    () => new Rows([1], new Tensor(new Float32Array(4), [2, 2])),
    /expected the shape \[1, …\]/,
  ],
  ['a scalar as rows', () => new Rows([], new Tensor(Float32Array.of(1), [])), /0 indices/],
  ['numbers as int8', () => new Int8([1, 2] as never, 1), /needs an Int8Array, not Array/],
  ['two scales of one block', () => new Int8(new Int8Array(256), [1, 2]), /2 scales; expected one, or 1, each/],
  ['a number as indices', () => new TopK(3 as never, Float32Array.of(1)), /TopK.indices must be a list/],
  ['no indices', () => new Rows(null as never, Float32Array.of(1)), /Rows.indices must be a list/],
  ['a text as scale', () => new Int8(Int8Array.of(1), '2' as never), /Int8.scale must be a number, a list/],
  ['a list as values', () => new TopK([1], [0.5] as never), /TopK.values must be a Float32Array/],
]
for (const [name, make, message] of REFUSED) {
  test(`a gradient is refused: ${name}`, () => assert.throws(make, message))
}
