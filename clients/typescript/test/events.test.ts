/** The events of a session: none twice and none missing over broken streams, by a script and with a real service. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Client, InvalidAnswer, Session, type SessionEvent } from 'optim-client'
import { json, Scripted, sessionDocument, type End } from './scripted.js'
import { service } from './service.js'

const NUMBERS = { lr: 0.1, grad_norm: 'NaN', update_norm: 1, param_norm: 1, clip_scale: 1 }
const GONE: End = () => json({ code: 'session_not_found', detail: 'gone' }, 404)

/** Return a step as the service sends it. */
function step(number: number): string {
  const row = { ...NUMBERS, step: number, loss: null, skipped: false, duration_ms: 1, time: 't' }
  return `event: step\nid: ${number}\ndata: ${JSON.stringify(row)}\n\n`
}

/** Return a stream of these parts, which breaks off with an error or ends. */
function stream(parts: (string | Uint8Array)[], error?: Error, type = 'text/event-stream'): Response {
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const part = parts.shift()
      if (part !== undefined) controller.enqueue(typeof part === 'string' ? new TextEncoder().encode(part) : part)
      else if (error) controller.error(error)
      else controller.close()
    },
  })
  return new Response(body, { headers: { 'content-type': type } })
}

/** Return a script's client, and a session of it. */
async function scripted(ends: End[]): Promise<[Scripted, Session]> {
  const script = new Scripted([json(sessionDocument()), ...ends])
  return [script, await script.client.sessions.get('s')]
}

async function all(events: AsyncIterable<SessionEvent>): Promise<SessionEvent[]> {
  const found = []
  for await (const event of events) found.push(event)
  return found
}

test('a broken stream goes on behind the last whole event', async () => {
  const half = step(3).slice(0, -1) // whole but for its last line
  const [script, session] = await scripted([
    stream(['retry: 1000\nid: 1\n\n', step(2) + half], new TypeError('terminated')),
    new TypeError('fetch failed'),
    stream([': alive\n\n', step(3), step(4)]),
    GONE,
  ])
  const found = await all(session.events())
  assert.deepEqual(
    found.map(({ number, kind, step }) => [number, kind, step]),
    [2, 3, 4].map((number) => [number, 'step', number]),
  )
  assert.deepEqual(
    script.sent.slice(1).map(({ headers }) => headers.get('last-event-id')),
    [null, '2', '2', '4'],
  )
  assert.ok(script.sent.slice(1).every(({ url }) => url === 'http://service.example/v1/sessions/s/events'))
})

test('streams that end at once make no busy loop', async () => {
  const [script, session] = await scripted([stream([]), stream([]), stream([]), GONE])
  assert.deepEqual(await all(session.events({ after: 7 })), [])
  assert.deepEqual(script.waits, [1, 1, 1])
  assert.deepEqual(
    script.sent.slice(1).map(({ headers }) => headers.get('last-event-id')),
    ['7', '7', '7', '7'],
  )
})

test('bytes may be cut anywhere, and lines may end in CRLF', async () => {
  const changed = { labels: [{ name: 'größe' }, null] }
  const text = `event: settings\r\nid: 5\r\ndata: ${JSON.stringify({ step: 1, time: 't', changed })}\r\n\r\n`
  const bytes = [...new TextEncoder().encode(text)].map((byte) => Uint8Array.of(byte))
  const [, session] = await scripted([stream(bytes), GONE])
  assert.deepEqual(await all(session.events()), [{ number: 5, kind: 'settings', step: 1, time: 't', changed }])
})

test('a kind of a later service is left out, and counts', async () => {
  const later = 'event: later\nid: 8\ndata: {"step": 1}\n\n'
  const [script, session] = await scripted([stream([later]), GONE])
  assert.deepEqual(await all(session.events()), [])
  assert.equal(script.sent.at(-1)!.headers.get('last-event-id'), '8')
})

test('what is no stream of events is an invalid answer', async () => {
  const bad = ['event: step\ndata: {}\n\n', 'event: step\nid: 1\ndata: {\n\n', 'event: step\nid: x\ndata: {}\n\n']
  const ends = [...bad.map((text) => stream([text])), json({}), stream(['<html>'], undefined, 'text/html')]
  for (const end of ends) {
    const [, session] = await scripted([end])
    await assert.rejects(all(session.events()), InvalidAnswer)
  }
})

test('a session that is not there at first is an error', async () => {
  const [, session] = await scripted([GONE])
  await assert.rejects(all(session.events()), { code: 'session_not_found' })
  await assert.rejects(all(session.events({ after: 0.5 })), /after must be a whole number/)
})

test('the end of a loop and an aborted signal close the connection', async () => {
  let cancelled = 0
  const open: End = ({ signal }) => {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(new TextEncoder().encode(step(1)))
        signal.addEventListener('abort', () => controller.error(signal.reason))
      },
      cancel: () => void cancelled++,
    })
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
  }
  const [, session] = await scripted([open, open])
  for await (const event of session.events()) {
    assert.equal(event.number, 1)
    break
  }
  assert.equal(cancelled, 1)
  const controller = new AbortController()
  const events = session.events({ signal: controller.signal })
  assert.equal((await events.next()).done, false)
  setTimeout(() => controller.abort(new Error('enough')), 10)
  await assert.rejects(events.next(), /enough/)
})

test('a silent stream is opened again', async () => {
  const silent: End = ({ signal }) => {
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => signal.addEventListener('abort', () => controller.error(signal.reason)),
    })
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
  }
  const script = new Scripted([json(sessionDocument()), silent, stream([step(1)]), GONE], { timeout: 0.05 })
  const session = await script.client.sessions.get('s')
  assert.equal((await all(session.events())).length, 1)
})

test('a real run is followed to its end', async () => {
  const client = new Client(await service())
  const session = await client.sessions.create('adamw', { undo: 1 })
  const found: SessionEvent[] = []
  const following = (async () => {
    for await (const event of session.events({ after: 0 })) found.push(event)
  })()
  const params = { w: Float32Array.of(1, 2) }
  for (const loss of [2, 1]) await session.step({ params, grads: params, loss })
  await session.undo()
  await session.update({ lr: 0.5 })
  while (found.length < 4) await new Promise((resolve) => setTimeout(resolve, 10))
  await session.delete()
  await following
  assert.deepEqual(
    found.map((event) => [event.kind, event.step]),
    [['step', 1], ['step', 2], ['undo', 1], ['settings', 1]],
  )
  const [first, , undo, settings] = found
  assert.ok(first!.kind === 'step' && first!.row.loss === 2)
  assert.ok(undo!.kind === 'undo' && undo!.undone === 2)
  assert.ok(settings!.kind === 'settings')
  assert.deepEqual(settings!.changed['hyperparameters.lr'], [0.001, 0.5])
})
