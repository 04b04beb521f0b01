/** A session: forms of parameters, what is sent with each change, and one change at a time. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runInNewContext } from 'node:vm'
import {
  decodeSafetensors,
  encodeSafetensors,
  Int8,
  Rows,
  Session,
  Tensor,
  TopK,
  type StoredTensor,
  type TensorLike,
} from 'optim-client'
import { json, Scripted, sessionDocument, type End, type Sent } from './scripted.js'

const METRICS = { lr: 0.1, grad_norm: 1, update_norm: 1, param_norm: 1, clip_scale: 1 }

/** Return the answer to a step: its parameters by name. */
function stepped(step: number, params: Record<string, StoredTensor>, more: Record<string, string> = {}): Response {
  const metadata = {
    step: `${step}`,
    skipped: 'false',
    digest: `d${step}`,
    params_digest: 'p',
    warnings: '[]',
    ...more,
  }
  const tensors = Object.entries(params).map(
    ([name, value]) => [name.includes('/') ? name : `params/${name}`, value] as const,
  )
  const body = encodeSafetensors(new Map(tensors), { metrics: JSON.stringify(METRICS), ...metadata })
  return new Response(body, { headers: { 'content-type': 'application/vnd.safetensors', etag: `"e${step}"` } })
}

/** Return a step's answer with the parameters that were sent. */
function echo({ body }: Sent): Response {
  const { tensors, metadata } = decodeSafetensors(body)
  return stepped(
    Number(metadata['step']),
    Object.fromEntries([...tensors].filter(([name]) => name.startsWith('params/'))),
  )
}

/** Return a session at step 0, and its script. */
async function opened(ends: End[], changes: object = {}, etag = '"e0"'): Promise<[Session, Scripted]> {
  const scripted = new Scripted([json(sessionDocument(changes), 200, { etag }), ...ends])
  return [await scripted.client.sessions.get('s'), scripted]
}

const vector = (...numbers: number[]): StoredTensor => {
  return { data: Float32Array.from(numbers), shape: [numbers.length], dtype: 'float32' }
}

test('new parameters have the classes of the old ones', async () => {
  const [session] = await opened([echo])
  const params = {
    w: Float32Array.of(1, 2),
    d: Float64Array.of(3),
    m: new Tensor(Float32Array.of(1, 2), [2, 1]),
    h: new Tensor(Uint16Array.of(7), [], 'float16'),
    ['__proto__']: Float32Array.of(5),
    still: Float32Array.of(6),
    none: new Tensor(new Float32Array(0), [0, 2]),
  }
  const grads = { ...params, ['__proto__']: Float32Array.of(5), still: null }
  const after = await session.step({ params, grads })
  assert.deepEqual(after, params)
  assert.deepEqual(Object.getOwnPropertyDescriptor(after, '__proto__')?.value, Float32Array.of(5))
  assert.equal(after.still, params.still)
  const first: Float32Array = after.w
  assert.notEqual(first, params.w)
})

test('parameters may have an interface', async () => {
  interface Line {
    slope: Float32Array
    scale: Tensor<Float64Array>
  }
  let params: Line = { slope: Float32Array.of(1), scale: new Tensor(Float64Array.of(2), []) }
  const [session] = await opened([echo])
  params = await session.step({ params, grads: params })
  assert.deepEqual(params.scale.data, Float64Array.of(2))
  // @ts-expect-error: what a session is, the service decides
  ;() => (session.info.step = 3)
  // @ts-expect-error: a list is no tensor
  await assert.rejects(session.step({ params, grads: { slope: [1] } }), TypeError)
})

test('gradients alone give the new parameters their form', async () => {
  const rows = { 'rows/r': { data: BigInt64Array.of(1n, 4n), shape: [2], dtype: 'int64' } as const }
  const answer = stepped(1, {
    ...rows,
    'params/r': vector(1, 2),
    w: vector(3),
    k: vector(4),
    q: vector(5),
    m: vector(6),
  })
  const [session] = await opened([answer], { hold_params: true })
  const after = await session.step({
    grads: {
      r: new Rows([1, 4], Float32Array.of(0, 0)),
      w: Float32Array.of(0),
      k: new TopK([0], Float32Array.of(0)),
      q: new Int8(Int8Array.of(0), 1),
      m: new Tensor(Float32Array.of(0)),
      gone: undefined,
    },
  })
  const forms: [Rows<Float32Array>, Float32Array, Tensor, Tensor, Tensor] = [
    after.r,
    after.w,
    after.k,
    after.q,
    after.m,
  ]
  assert.deepEqual(forms[0].indices, [1, 4])
  assert.deepEqual(forms[0].values, Float32Array.of(1, 2))
  assert.deepEqual([...forms[1]], [3])
  assert.deepEqual(
    forms.slice(2).map((each) => [...(each as Tensor).data]),
    [[4], [5], [6]],
  )
  assert.equal('gone' in after, false)
})

test('arrays of another context are arrays', async () => {
  const other = runInNewContext('({ w: new Float32Array([1]), d: new Float64Array([2]), q: new Int8Array([3]) })') as {
    w: Float32Array
    d: Float64Array
    q: Int8Array
  }
  const [session, scripted] = await opened([echo])
  const after = await session.step({
    params: { w: other.w, d: other.d },
    grads: { w: new Int8(other.q, 1), d: other.d },
  })
  assert.deepEqual([after.w, after.d], [Float32Array.of(1), Float64Array.of(2)])
  assert.deepEqual([...decodeSafetensors(scripted.sent[1]!.body).tensors.get('grads/w')!.data], [3])
})

test('arrays may change as soon as step has returned its promise', async () => {
  const w = Float32Array.of(1, 2)
  const [session, scripted] = await opened([echo])
  const after = session.step({ params: { w }, grads: { w } })
  w.fill(0)
  assert.deepEqual([...(await after).w], [1, 2])
  assert.deepEqual([...decodeSafetensors(scripted.sent[1]!.body).tensors.get('grads/w')!.data], [1, 2])
})

test('float32 travels in the wire dtype and comes back', async () => {
  const half: StoredTensor = { data: Uint16Array.of(0x3f80, 0x4000), shape: [2], dtype: 'bfloat16' }
  const answers = [stepped(1, { w: half }), stepped(2, { w: half })]
  const [session, scripted] = await opened(answers, { hold_params: true, wire_dtype: 'bfloat16' })
  const after = await session.step({ grads: { w: Float32Array.of(1e-44, 3.4e38) } })
  assert.deepEqual(after.w, Float32Array.of(1, 2))
  assert.deepEqual([...decodeSafetensors(scripted.sent[1]!.body).tensors.get('grads/w')!.data], [0, 0x7f80])
  await session.step({ grads: { w: Float32Array.of(0, 1e-44) } })
  assert.deepEqual(scripted.lines, [
    "session s: of grads['w'], 1 that were not zero became zero and 1 that were finite became infinite on the way in bfloat16",
  ])
})

test('a step without parameters asks for none', async () => {
  const [session, scripted] = await opened([stepped(1, {})], { hold_params: true })
  assert.equal(await session.step({ grads: { w: Float32Array.of(1) }, returnParams: false }), undefined)
  assert.equal(scripted.sent[1]!.headers.get('prefer'), 'return=minimal')
  const [other] = await opened([])
  const request = { params: { w: Float32Array.of(1) }, grads: { w: Float32Array.of(1) }, returnParams: false } as const
  await assert.rejects(other.step(request), /would be lost/)
})

test('a second change is refused until the first has its answer', async () => {
  const w = Float32Array.of(1)
  let release = () => {}
  const held = new Promise<void>((resolve) => (release = resolve))
  const [session, scripted] = await opened([async (sent) => (await held, echo(sent)), echo])
  const first = session.step({ params: { w }, grads: { w } })
  for (const change of [
    () => session.step({ params: { w }, grads: { w } }),
    () => session.undo(),
    () => session.update({ lr: 1 }),
    () => session.putParams({ w }),
    () => session.editTensors({ remove: ['w'] }),
    () => session.loadState(new Uint8Array(8)),
    () => session.delete(),
  ]) {
    await assert.rejects(change(), { name: 'SessionInUse', message: /before step\(\) had its answer.*fork\(\) makes/ })
  }
  release()
  await first
  await session.step({ params: { w }, grads: { w } })
  assert.deepEqual(
    scripted.sent.map(({ method }) => method),
    ['GET', 'POST', 'POST'],
  )
  assert.equal(session.currentStep, 2)
})

test('a session that is read while it steps keeps its number', async () => {
  const w = Float32Array.of(1)
  const lost = new TypeError('terminated')
  let release = () => {}
  const held = new Promise<void>((resolve) => (release = resolve))
  const unanswered: End = async () => (await held, json({}, 501))
  const seen = json(sessionDocument({ step: 1 }), 200, { etag: '"e1"' })
  const [session, scripted] = await opened([unanswered, seen, lost, echo])
  const step = session.step({ params: { w }, grads: { w } })
  assert.equal((await session.get()).step, 1)
  release()
  await assert.rejects(step, { status: 501 })
  assert.equal(session.currentStep, 0)
  await session.step({ params: { w }, grads: { w } })
  assert.equal(decodeSafetensors(scripted.sent.at(-1)!.body).metadata['step'], '1')
})

test('a change carries the last ETag', async () => {
  const w = Float32Array.of(1)
  const changed = () => json(sessionDocument({ step: 1 }), 200, { etag: '"e9"' })
  const done = () => new Response(null, { status: 204, headers: { etag: 'W/"weak"' } })
  const ends = [echo, changed, changed, changed, done, changed, changed]
  const [session, scripted] = await opened(ends)
  await session.step({ params: { w }, grads: { w } })
  await session.update({ lr: 1 })
  await session.editTensors({ reset: ['w'] })
  await session.undo()
  await session.putParams({ w })
  await session.update({ lr: 1 })
  await session.fork()
  const tags = scripted.sent.map(({ headers }) => headers.get('if-match'))
  assert.deepEqual(tags, [null, null, '"e1"', '"e9"', '"e9"', '"e9"', null, '"e9"'])
})

test('loading a state and deleting look first', async () => {
  const seen = (tag: string) => json(sessionDocument({ step: 4 }), 200, { etag: `"${tag}"` })
  const done = (tag: string) => new Response(null, { status: 204, headers: { etag: `"${tag}"` } })
  const [session, scripted] = await opened([seen('a'), done('b'), seen('c'), seen('d'), done('e')])
  await session.loadState(new Uint8Array(Uint8Array.of(9, 1, 2, 9).buffer, 1, 2), { digest: 'none' })
  assert.equal(session.currentStep, 4)
  await session.delete()
  const sent = scripted.sent.slice(1).map(({ method, headers }) => [method, headers.get('if-match')])
  assert.deepEqual(sent, [
    ['GET', null],
    ['PUT', '"a"'],
    ['GET', null],
    ['GET', null],
    ['DELETE', '"d"'],
  ])
  assert.deepEqual([...scripted.sent[2]!.body], [1, 2])
  assert.match(scripted.sent[2]!.url, /\/v1\/sessions\/s\/state\?digest=none$/)
})

test('each different warning is logged once', async () => {
  const w = Float32Array.of(1)
  const warned = (step: number) => stepped(step, { w: vector(1) }, { warnings: `["step ${step}: look", "so"]` })
  const [session, scripted] = await opened([warned(1), warned(2)])
  await session.step({ params: { w }, grads: { w } })
  await session.step({ params: { w }, grads: { w } })
  assert.deepEqual(scripted.lines, ['session s, step 1: look', 'session s, step 1: so'])
  assert.deepEqual(session.warnings, ['step 2: look', 'so'])
})

test('a state in shared memory is uploaded', async () => {
  const shared = Buffer.from(new SharedArrayBuffer(2))
  shared.set([1, 2])
  const [session, scripted] = await opened([
    json(sessionDocument()),
    new Response(null, { status: 204 }),
    json(sessionDocument()),
  ])
  await session.loadState(shared)
  assert.deepEqual([...scripted.sent[2]!.body], [1, 2])
})

test('the answer to another step is refused', async () => {
  const w = Float32Array.of(1)
  const [session] = await opened([stepped(2, { w: vector(1) })])
  await assert.rejects(session.step({ params: { w }, grads: { w } }), {
    name: 'InvalidAnswer',
    message: /step 2; expected 1/,
  })
})

test('an answer without a parameter is refused', async () => {
  const w = Float32Array.of(1)
  const [session] = await opened([stepped(1, { v: vector(1) })])
  await assert.rejects(session.step({ params: { w }, grads: { w } }), {
    name: 'InvalidAnswer',
    message: /lacks .* 'w'/,
  })
  assert.equal(session.currentStep, 0)
})

const UNREADABLE: [string, Response, RegExp][] = [
  ['a parameter of another shape', stepped(1, { w: vector(1, 2) }), /'w' has the shape \[2\]; expected \[1\]/],
  ['warnings that are no list', stepped(1, { w: vector(1) }, { warnings: 'null' }), /no list of texts/],
  ['a warning that is no text', stepped(1, { w: vector(1) }, { warnings: '[3]' }), /no list of texts/],
]
for (const [name, answer, message] of UNREADABLE) {
  test(`an answer to a step is refused: ${name}`, async () => {
    const w = Float32Array.of(1)
    const [session] = await opened([answer])
    await assert.rejects(session.step({ params: { w }, grads: { w } }), { name: 'InvalidAnswer', message })
    assert.equal(session.currentStep, 0)
  })
}

test('rows that are no list are refused', async () => {
  const [session] = await opened([], { hold_params: true })
  await assert.rejects(session.rows({ emb: 3 as never }), /rows\['emb'\] must be a list of whole numbers, not number 3/)
})

test('rows are asked for by whole numbers of any size', async () => {
  const [session, scripted] = await opened([stepped(0, { emb: vector(1) })], { hold_params: true })
  const { emb } = await session.rows({ emb: BigInt64Array.of(2n ** 53n + 1n), 'a"b': [3] })
  assert.deepEqual([...emb.data], [1])
  const body = new TextDecoder().decode(scripted.sent[1]!.body)
  assert.equal(body, '{"rows":{"emb":[9007199254740993],"a\\"b":[3]}}')
})

test('an index beyond 2⁵³ in an answer is refused', async () => {
  const rows = { 'rows/r': { data: BigInt64Array.of(2n ** 53n + 1n), shape: [1], dtype: 'int64' } as const }
  const [session] = await opened([stepped(1, { ...rows, 'params/r': vector(1) })], { hold_params: true })
  const step = session.step({ grads: { r: new Rows(BigInt64Array.of(2n ** 53n + 1n), Float32Array.of(1)) } })
  await assert.rejects(step, { name: 'InvalidAnswer', message: /9007199254740993 is beyond 2⁵³/ })
})

test('the whole history comes by pages', async () => {
  const row = (step: number) => ({ ...METRICS, step, loss: 'NaN', skipped: false, duration_ms: 1, time: 't' })
  const page = Array.from({ length: 1000 }, (_, i) => row(i + 1))
  const [session, scripted] = await opened([json({ history: page }), json({ history: [{ ...row(1001), loss: null }] })])
  const rows = await session.history()
  assert.deepEqual([rows.length, rows[0]!.loss, rows[1000]!.loss], [1001, NaN, null])
  assert.match(scripted.sent[2]!.url, /history\?after=1000&limit=1000$/)
})

test('a history thinned for a plot comes in one answer', async () => {
  const row = { ...METRICS, step: 4, loss: 1, skipped: false, duration_ms: 1, time: 't' }
  const [session, scripted] = await opened([json({ history: Array(1500).fill(row), marks: [] })])
  assert.equal((await session.history({ points: 1000 })).length, 1500)
  assert.match(scripted.sent[1]!.url, /history\?points=1000$/)
})

const W: TensorLike = Float32Array.of(1)
const REFUSED: [string, object, RegExp][] = [
  ['no gradients', { params: { w: W } }, /grads must be an object of names/],
  ['empty gradients', { params: { w: W }, grads: {} }, /a step needs a gradient/],
  ['nothing but null', { params: { w: W }, grads: { w: null } }, /a step needs a gradient/],
  ['a list', { grads: { w: [1, 2] } }, /grads\['w'\] must be a Float32Array, .* not Array/],
  ['a number', { params: { w: 5 }, grads: { w: W } }, /params\['w'\] must be a Float32Array, .* not number 5/],
  ['a Map', { grads: new Map([['w', W]]) }, /grads must be an object of names, .* not Map/],
  ['an unknown option', { grads: { w: W }, gradScale: 2 }, /unknown option 'gradScale' of a step; expected one of/],
  ['a loss that is a text', { grads: { w: W }, loss: '1' }, /loss must be a number, not string 1/],
  ['an override that is NaN', { grads: { w: W }, overrides: { lr: NaN } }, /overrides.lr must be a finite number/],
]
for (const [name, request, message] of REFUSED) {
  test(`a step is refused before it is sent: ${name}`, async () => {
    const [session, scripted] = await opened([])
    await assert.rejects(session.step(request as never), message)
    await assert.rejects(session.preview(request as never), message)
    assert.equal(scripted.sent.length, 1)
  })
}
