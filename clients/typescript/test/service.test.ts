/** The client with a real service: every verb, and the README's programs. */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Client, decodeSafetensors, Int8, Rows, Tensor, TopK } from 'optim-client'
import { service } from './service.js'

const url = await service()
const lines: string[] = []
const client = new Client(url, { log: (line) => lines.push(line) })
const W = Float32Array.of(1, 2)
const G = Float32Array.of(0.5, -0.25)

test('a run goes from its creation to its deletion', async () => {
  assert.ok(await client.ready())
  const session = await client.sessions.create('adamw', { lr: 0.1, undo: 1, labels: { run: 'life' } })
  const foreseen = await session.preview({ params: { w: W }, grads: { w: G }, loss: 1 })
  const first = await session.step({ params: { w: W }, grads: { w: G }, loss: 1 })
  assert.deepEqual([foreseen.params, foreseen.digest, foreseen.step], [first, session.digest, 1])
  const second = await session.step({ params: first, grads: { w: G } })
  await session.undo()
  assert.deepEqual(await session.step({ params: first, grads: { w: G } }), second)
  const rows = await session.history()
  assert.deepEqual(
    rows.map((row) => [row.step, row.loss, row.undone]),
    [
      [1, 1, false],
      [2, null, true],
      [2, null, false],
    ],
  )
  await session.update({ lr: 0.05 })
  const trial = await session.fork({ labels: { run: 'fork' } })
  assert.equal(trial.digest, session.digest)
  await session.editTensors({ rename: { w: 'größe' } })
  assert.deepEqual(Object.keys((await session.get()).tensors!), ['größe'])
  const found = []
  for await (const each of client.sessions.find({ labels: { run: 'life' } })) found.push(each.id)
  assert.deepEqual(found, [session.id])
  for (const each of [session, trial]) await each.delete()
  await assert.rejects(session.get(), { code: 'session_not_found' })
  assert.deepEqual(lines, [])
})

test('a state goes down and up', async () => {
  const session = await client.sessions.create('adamw')
  const first = await session.step({ params: { w: W }, grads: { w: G } })
  const state = await session.saveState()
  assert.ok(decodeSafetensors(state).tensors.has('m/w'))
  const second = await session.step({ params: first, grads: { w: G } })
  const copy = await client.sessions.createFromState(new Blob([state]))
  assert.deepEqual(await copy.step({ params: first, grads: { w: G } }), second)
  await session.loadState(state)
  assert.equal(session.currentStep, 1)
  assert.deepEqual(await session.step({ params: first, grads: { w: G } }), second)
  await assert.rejects(session.loadState(new Uint8Array(8)), { name: 'APIStatusError' })
  assert.equal(session.currentStep, 2)
})

test('a session holds its parameters', async () => {
  const held = await client.sessions.create('adamw', {
    hold_params: true,
    groups: [{ match: ['emb'], sparse: 'lazy' }],
  })
  const table = new Tensor(
    Float32Array.from({ length: 10 }, (_, i) => i),
    [5, 2],
  )
  await held.putParams({ emb: table, w: W, q: W, k: W })
  const after = await held.step({
    grads: {
      emb: new Rows([1, 3], new Tensor(Float32Array.of(1, 1, 1, 1), [2, 2])),
      w: G,
      q: new Int8(Int8Array.of(4, -2), 0.125),
      k: new TopK([0, 1], G),
    },
  })
  assert.deepEqual([after.q.data, after.k.data], [after.w, after.w])
  const now = await held.params({ like: { w: W } })
  assert.deepEqual(now.w, after.w)
  const { emb } = await held.rows({ emb: [1, 3] })
  assert.deepEqual(emb, after.emb.values)
  assert.equal(await held.step({ grads: { w: G }, returnParams: false }), undefined)
})

test('a session keeps an average of its parameters', async () => {
  const held = await client.sessions.create('sgd', { lr: 1, groups: [], hold_params: true, average: { decay: 0.5 } })
  await held.putParams({ w: W })
  const { w } = await held.step({ grads: { w: G } })
  assert.deepEqual((await held.params({ like: { w: W }, view: 'average' })).w, w)
})

test('halves are tensors of their bits', async () => {
  const session = await client.sessions.create('sgd', { lr: 1, groups: [] })
  for (const dtype of ['float16', 'bfloat16'] as const) {
    const params = { [dtype]: Tensor.rounded(Float32Array.of(1, 2), dtype) }
    const grads = { [dtype]: Tensor.rounded(Float32Array.of(0.5, -1), dtype) }
    const after = await session.step({ params, grads })
    assert.deepEqual([...after[dtype]!.toFloat32()], [0.5, 3])
  }
})

test('the wire dtype rounds on the way alone', async () => {
  const held = await client.sessions.create('sgd', { lr: 1, groups: [], hold_params: true, wire_dtype: 'bfloat16' })
  await held.putParams({ w: Float32Array.of(1 + 2 ** -20) })
  const { w } = await held.step({ grads: { w: Float32Array.of(2 ** -10) } })
  assert.ok(w instanceof Float32Array && w[0] === 1)
  assert.deepEqual((await held.params()).w!.data, Float32Array.of(1 + 2 ** -20 - 2 ** -10))
})

test('a skipped step keeps its number, and its norm is NaN', async () => {
  const session = await client.sessions.create('adamw', { on_non_finite: 'skip' })
  const grads = { w: Float32Array.of(NaN, 1) }
  assert.deepEqual((await session.step({ params: { w: W }, grads })).w, W)
  assert.deepEqual([session.skipped, session.currentStep, session.metrics!.grad_norm], [true, 0, NaN])
  assert.deepEqual((await session.history())[0]!.grad_norm, NaN)
  await session.step({ params: { w: W }, grads: { w: G } })
  assert.equal(session.currentStep, 1)
})

test('an aborted step happens once', async () => {
  const session = await client.sessions.create('adamw')
  const wanted = await (await session.fork()).step({ params: { w: W }, grads: { w: G } })
  for (const milliseconds of [0, 1, 2, 4]) {
    const signal = AbortSignal.timeout(milliseconds)
    await session.preview({ params: { w: W }, grads: { w: G } }) // a warm connection: the step is under way when it ends
    await session.step({ params: { w: W }, grads: { w: G } }, { signal }).catch(() => {})
    if (session.currentStep === 1) break
  }
  if (session.currentStep === 0) assert.deepEqual(await session.step({ params: { w: W }, grads: { w: G } }), wanted)
  assert.deepEqual(
    (await session.history()).map(({ step }) => step),
    [1],
  )
})

test('a stale client does no harm', async () => {
  const session = await client.sessions.create('adamw')
  const stale = await client.sessions.get(session.id)
  const first = await session.step({ params: { w: W }, grads: { w: G } })
  const conflict = await stale.step({ params: first, grads: { w: G } }).catch((error: unknown) => error)
  assert.ok(conflict instanceof Error && 'is' in conflict)
  assert.match(conflict.message, /409 step_conflict, request optim-client-.*session\.get\(\) reads/)
  await assert.rejects(stale.update({ lr: 1 }), { code: 'precondition_failed' })
  await stale.get()
  await stale.update({ lr: 1 })
  assert.equal(stale.currentStep, 1)
})

test('a creation with a name finds its session again', async () => {
  const idempotencyKey = `run ${performance.now()}`
  const session = await client.sessions.create('adamw', { lr: 0.1 }, { idempotencyKey })
  await session.step({ params: { w: W }, grads: { w: G } })
  const again = await client.sessions.create('adamw', { lr: 0.1 }, { idempotencyKey })
  assert.deepEqual([again.id, again.currentStep], [session.id, 1])
  await assert.rejects(client.sessions.create('adam', {}, { idempotencyKey }), { code: 'idempotency_mismatch' })
  for (const bad of ['', 'a"b', 'größe', 'a\n', 'x'.repeat(256)]) {
    await assert.rejects(
      client.sessions.create('adamw', {}, { idempotencyKey: bad }),
      /idempotencyKey must be 1 to 255/,
    )
  }
})

test('every optimizer says what it has', async () => {
  const optimizers = await client.optimizers()
  assert.equal(optimizers['adamw']!.hyperparameters['lr']!['default'], 0.001)
  assert.deepEqual(optimizers['adamw']!.slots, ['m', 'v'])
})

test("the README's programs run", () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  const blocks = [...readme.matchAll(/```js\n(.*?)```/gs)].map(([, block]) => block!)
  const program = fileURLToPath(new URL('readme.mjs', import.meta.url))
  const folder = mkdtempSync(join(tmpdir(), 'optim-'))
  const grads = 'globalThis.grads = { slope: new Float32Array(1), bias: new Float32Array(1) }\n'
  writeFileSync(program, grads + blocks.join('\n').replaceAll('http://127.0.0.1:8000', url))
  const { status, stdout, stderr } = spawnSync(process.execPath, [program], { cwd: folder, encoding: 'utf8' })
  rmSync(folder, { recursive: true })
  assert.deepEqual([status, stderr], [0, ''])
  assert.match(stdout, /slope: Float32Array\(1\) \[ (2\.9|3\.0)/)
})

test('the example with nothing but fetch learns', () => {
  const example = fileURLToPath(new URL('../../../examples/train.mjs', import.meta.url))
  const env = { ...process.env, OPTIM_BASE_URL: url }
  const { status, stdout, stderr } = spawnSync(process.execPath, [example], { env, encoding: 'utf8' })
  assert.deepEqual([status, stderr], [0, ''])
  assert.match(stdout, /^(19\d|200) of 200 points are on the right side$/m)
})
