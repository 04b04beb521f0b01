/** A client: its options, its requests, whose answer it takes, its deadlines and aborted calls. */

import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, test } from 'node:test'
import { Client } from 'optim-client'
import { json, Scripted, sessionDocument, type End } from './scripted.js'

const found = (headers: Record<string, string> = {}) => json(sessionDocument(), 200, headers)

test('a request has what fetch in a page may send, and no more', async () => {
  const scripted = new Scripted([found()], { apiKey: 'secret' })
  await scripted.client.sessions.create('adamw')
  const [{ headers, url, method }] = scripted.sent as [(typeof scripted.sent)[0]]
  assert.deepEqual([method, url], ['POST', 'http://service.example/v1/sessions'])
  assert.deepEqual([...headers.keys()].sort(), ['authorization', 'content-type', 'idempotency-key', 'x-request-id'])
  assert.equal(headers.get('authorization'), 'Bearer secret')
})

test('fetch is told neither to follow redirects nor to keep alive', async () => {
  const inits: RequestInit[] = []
  const fetch = async (_: string, init: RequestInit) => (inits.push(init), found())
  await new Client('http://service.example', { fetch }).sessions.get('s')
  assert.deepEqual([inits[0]!.redirect, inits[0]!.cache, inits[0]!.keepalive], ['manual', 'no-store', undefined])
})

test('an address keeps its path', async () => {
  const urls: string[] = []
  const fetch = async (url: string) => (urls.push(url), found())
  const client = new Client('https://proxy.example:8443/optim/', { fetch })
  await client.sessions.get('a/b ?#ü')
  assert.equal(urls[0], 'https://proxy.example:8443/optim/v1/sessions/a%2Fb%20%3F%23%C3%BC')
})

test('an id that leads elsewhere is refused', async () => {
  for (const id of ['', '.', '..']) await assert.rejects(new Scripted([]).client.sessions.get(id), RangeError)
})

const REFUSED: [unknown[], RegExp][] = [
  [['service.example'], /'service.example' is no address/],
  [['ftp://service.example'], /expected http:\/\/… or https:\/\/…/],
  [['http://me:secret@service.example'], /holds a password, which fetch refuses/],
  [[undefined, { apikey: 'x' }], /unknown option 'apikey'; expected one of/],
  [[undefined, { apiKey: 'a\nb' }], /apiKey is empty, or holds a line break/],
  [[undefined, { apiKey: '' }], /apiKey is empty/],
  [['http://service.example?key=1'], /cannot have a query or a fragment/],
  [[undefined, { fetch: 3 }], /fetch must be a function, not number/],
  [[undefined, { log: null }], /log must be a function, not null/],
  [[undefined, { clock: { now: Date.now } }], /clock.sleep must be a function/],
  [[undefined, { timeout: 0 }], /timeout is 0; expected seconds above 0/],
  [[undefined, { timeout: '5' }], /timeout must be a number, not string/],
  [[undefined, { retrySeconds: NaN }], /retrySeconds is NaN/],
  [[undefined, { maxRetries: 1.5 }], /maxRetries is 1.5; expected a whole number/],
]
for (const [given, message] of REFUSED) {
  test(`an option is refused: ${message.source}`, () => {
    assert.throws(() => Reflect.construct(Client, given), message)
  })
}

test('a refused key is not in the message', () => {
  assert.throws(
    () => new Client(undefined, { apiKey: 'sec ret' }),
    (error: Error) => !error.message.includes('sec'),
  )
  assert.throws(
    () => new Client('http://me:secret@x'),
    (error: Error) => !error.message.includes('secret'),
  )
})

test('limits of a client replace each other', async () => {
  const lost = () => Promise.reject(new TypeError('terminated'))
  const scripted = new Scripted([lost, lost, lost, lost], { retrySeconds: 9, maxRetries: 9 })
  await assert.rejects(scripted.client.withLimits({ maxRetries: 1 }).sessions.get('s'))
  assert.equal(scripted.sent.length, 2)
  await assert.rejects(scripted.client.withLimits({ retrySeconds: 0 }).sessions.get('s'))
  assert.equal(scripted.sent.length, 3)
})

test('the answer to another request is dropped and asked for again', async () => {
  const own: End = ({ headers }) => found({ 'x-request-id': headers.get('x-request-id')! })
  const other = found({ 'x-request-id': 'optim-client-0123456789abcdef-7' })
  const scripted = new Scripted([other, own, found({ 'x-request-id': 'of-a-proxy' }), own])
  await scripted.client.sessions.get('s')
  assert.match(scripted.lines[0]!, /received the answer to request optim-client-0123456789abcdef-7, but sent request/)
  await scripted.client.sessions.get('s') // since an own id has come back, a success with another is foreign
  assert.equal(scripted.sent.length, 4)
})

test('a proxy that replaces all ids is put up with', async () => {
  const scripted = new Scripted([found({ 'x-request-id': 'of-a-proxy' }), found({ 'x-request-id': 'of-a-proxy' })])
  await scripted.client.sessions.get('s')
  await scripted.client.sessions.get('s')
  assert.equal(scripted.sent.length, 2)
})

test('ready makes one try', async () => {
  const lost = new TypeError('fetch failed')
  const scripted = new Scripted([json({ status: 'ready' }), json({}, 503), lost, json({}, 403)])
  assert.deepEqual(
    [await scripted.client.ready(), await scripted.client.ready(), await scripted.client.ready()],
    [true, false, false],
  )
  await assert.rejects(scripted.client.ready(), { status: 403 })
})

test('all sessions come by pages, also by empty ones', async () => {
  const page = (ids: string[], next_cursor: string | null) =>
    json({ sessions: ids.map((id) => sessionDocument({ id })), next_cursor, unreadable: [{ id: 'lost' }] })
  const scripted = new Scripted([page(['a', 'b'], 'x y'), page([], 'z'), page(['c'], null)])
  const ids = []
  for await (const session of scripted.client.sessions.find({ labels: { run: 'm:1', größe: '2' } }))
    ids.push(session.id)
  assert.deepEqual(ids, ['a', 'b', 'c'])
  const queries = scripted.sent.map(({ url }) => [...new URL(url).searchParams])
  const labels = [
    ['label', 'run:m:1'],
    ['label', 'größe:2'],
  ]
  assert.deepEqual(queries, [labels, [['cursor', 'x y'], ...labels], [['cursor', 'z'], ...labels]])
})

test('a session at another step is a mismatch', async () => {
  const scripted = new Scripted([json(sessionDocument({ step: 3 }))])
  await assert.rejects(scripted.client.sessions.get('s', { step: 4 }), {
    name: 'StepMismatch',
    wanted: 4,
    currentStep: 3,
  })
})

test('an aborted call throws the reason of its signal', async () => {
  const reason = new Error('enough')
  const before = new Scripted([])
  await assert.rejects(before.client.sessions.get('s', { signal: AbortSignal.abort(reason) }), reason)
  assert.equal(before.sent.length, 0)

  const controller = new AbortController()
  const hangs: End = ({ signal }) =>
    new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error))
      controller.abort(reason)
    })
  const during = new Scripted([hangs])
  await assert.rejects(during.client.sessions.get('s', { signal: controller.signal }), reason)
  assert.equal(during.sent.length, 1)
})

test('a call that is aborted before or while it waits ends at once', { timeout: 50_000 }, async () => {
  for (const soon of [(abort: () => void) => abort(), (abort: () => void) => setTimeout(abort, 5)]) {
    const controller = new AbortController()
    const client = new Client('http://service.example', {
      fetch: async () => json({}, 503, { 'retry-after': '100' }),
      log: () => void soon(() => controller.abort()),
    })
    await assert.rejects(client.sessions.get('s', { signal: controller.signal }), { name: 'AbortError' })
  }
})

const servers: Server[] = []
after(() => {
  for (const server of servers) {
    server.closeAllConnections()
    server.close()
  }
})

/** Return the address of a server that answers so. */
async function serve(answer: Parameters<typeof createServer>[1]): Promise<string> {
  const server = createServer(answer)
  servers.push(server)
  server.unref()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('a silent service is given up after the timeout', async () => {
  const client = new Client(await serve(() => {}), { timeout: 0.05, maxRetries: 1, random: () => 1, log: () => {} })
  await assert.rejects(client.sessions.get('s'), { name: 'APITimeoutError', message: /no answer in time \(0.05 s/ })
})

test('an answer that stops halfway is given up after the timeout', async () => {
  const url = await serve((_, response) => void response.writeHead(200, { 'content-length': 5 }).write('{'))
  const client = new Client(url, { timeout: 0.2, maxRetries: 0 })
  await assert.rejects(client.sessions.get('s'), { name: 'APITimeoutError' })
})

test('a slow answer that makes progress is awaited', async () => {
  const text = JSON.stringify(sessionDocument())
  const url = await serve(async (_, response) => {
    for (const letter of text) {
      response.write(letter)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    response.end()
  })
  const began = performance.now()
  const session = await new Client(url, { timeout: 0.5, maxRetries: 0 }).sessions.get('s')
  assert.ok(performance.now() - began > 500)
  assert.equal(session.id, 's')
})

test('no service is an error that says so', async () => {
  const url = await serve(() => {})
  servers.pop()!.close()
  await assert.rejects(new Client(url, { maxRetries: 0 }).sessions.get('s'), {
    name: 'APIConnectionError',
    message:
      /^GET http:\/\/127.0.0.1:\d+\/v1\/sessions\/s: no answer \(.*ECONNREFUSED.*\): is the service running there\?$/,
  })
})
