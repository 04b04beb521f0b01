/** The rules of retries: the contract's conversations, by a clock that only waits move. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Client, OptimError } from 'optim-client'
import { contractJson, json, Scripted, sessionDocument, type End } from './scripted.js'

interface Conversation {
  name: string
  method?: string
  seconds?: number | null
  retries?: number
  chance?: number
  each_try_takes?: number
  tries: { error?: string; status?: number; code?: string; headers?: Record<string, string> }[]
  waits: number[]
  end: 'result' | 'error'
}

const { rules, conversations } = contractJson<{ rules: { seconds: number }; conversations: Conversation[] }>(
  'retries.json',
)

const ERRORS: Record<string, Error> = {
  no_answer: new TypeError('terminated', { cause: new Error('other side closed') }),
  no_connection: new TypeError('fetch failed', {
    cause: Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }),
  }),
  untrusted_certificate: new TypeError('fetch failed', {
    cause: Object.assign(new Error('self-signed certificate'), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }),
  }),
}

const CALLS: Record<string, (client: Client) => Promise<unknown>> = {
  GET: (client) => client.sessions.get('s'),
  POST: (client) => client.sessions.create('adamw'),
  DELETE: (client) => client.sessions.delete('s'),
}

for (const row of conversations) {
  test(`a conversation is as the contract says: ${row.name}`, async () => {
    const method = row.method ?? 'POST'
    const ends = row.tries.map((each): End => {
      if (each.error !== undefined) return ERRORS[each.error]!
      if (each.status === 200 && method === 'DELETE') return new Response(null, { status: 204 })
      if (each.status === 200) return json(sessionDocument())
      if (each.status === 304) return new Response(null, { status: 304 })
      // A `Headers` holds bytes of Latin-1 alone, as a socket does.
      const headers = new Headers(each.headers)
      return new Response(JSON.stringify({ code: each.code }), { status: each.status!, headers })
    })
    const scripted = new Scripted(ends, {
      retrySeconds: row.seconds === undefined ? rules.seconds : (row.seconds ?? Infinity),
      maxRetries: row.retries ?? Infinity,
      random: () => row.chance ?? 0,
      eachTryTakes: row.each_try_takes ?? 0,
    })
    const call = CALLS[method]!(scripted.client)
    if (row.end === 'result') await call
    else await assert.rejects(call, OptimError)
    assert.deepEqual(scripted.waits, row.waits)
    assert.equal(scripted.sent.length, row.tries.length)
  })
}

test('the time of retries is that of the contract', async () => {
  const ends = Array.from({ length: 40 }, () => ERRORS['no_answer']!)
  const scripted = new Scripted(ends)
  await assert.rejects(scripted.client.sessions.get('s'), { name: 'APIConnectionError' })
  assert.equal(
    scripted.waits.reduce((sum, wait) => sum + wait, 0),
    rules.seconds,
  )
})

test('a number of retries alone is no limit of time', async () => {
  const scripted = new Scripted([...Array.from({ length: 40 }, () => ERRORS['no_answer']!)], { maxRetries: 39 })
  await assert.rejects(scripted.client.sessions.get('s'), { name: 'APIConnectionError' })
  assert.equal(scripted.sent.length, 40)
})

test('all tries of a write have one key, and the next write has another', async () => {
  const again = () => json({}, 503)
  const scripted = new Scripted([again, again, json(sessionDocument()), json(sessionDocument())])
  await scripted.client.sessions.create('adamw')
  await scripted.client.sessions.create('adamw')
  const keys = scripted.sent.map(({ headers }) => headers.get('idempotency-key'))
  assert.match(keys[0]!, /^"[0-9a-f]{32}"$/)
  assert.deepEqual(
    keys.map((key) => key === keys[0]),
    [true, true, true, false],
  )
  assert.equal(new Set(scripted.sent.map(({ headers }) => headers.get('x-request-id'))).size, 4)
})

test('the log says when the waiting begins and ends', async () => {
  const scripted = new Scripted([ERRORS['no_connection']!, json({}, 503), json(sessionDocument())])
  await scripted.client.sessions.get('s')
  assert.equal(scripted.lines.length, 2)
  assert.match(scripted.lines[0]!, /^GET \S+\/v1\/sessions\/s: .*refused.*trying again, for 120 s/)
  assert.match(scripted.lines[1]!, /answered, 1.5 s after the first failure, at try 3/)
})
