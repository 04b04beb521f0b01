/** Errors: every refusal of the contract reaches its user with status, code, detail and members. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { APIStatusError, OptimError, type ErrorCode, type ProblemMembers } from 'optim-client'
import { contractJson, json, Scripted } from './scripted.js'

interface Errors {
  media_type: string
  members: string[]
  errors: Record<string, { status: number; members: string[]; again: boolean; headers: Record<string, string | null> }>
}

const { media_type, errors } = contractJson<Errors>('errors.json')

/** The members by code, as the compiler knows them: it checks that none is missing here or there. */
const MEMBERS: { [Code in ErrorCode]: (keyof ProblemMembers[Code])[] } = {
  malformed_body: ['tensor'],
  malformed_header: [],
  malformed_query: [],
  unauthenticated: [],
  forbidden: [],
  quota_exceeded: ['limit'],
  session_not_found: [],
  route_not_found: [],
  method_not_allowed: [],
  not_acceptable: ['limit'],
  step_conflict: ['current_step', 'applied_as_step', 'skipped', 'undone'],
  params_conflict: ['tensor', 'current_step'],
  undo_unavailable: ['current_step'],
  session_busy: [],
  round_closed: ['round', 'current_step', 'fate', 'reason'],
  round_open: ['round'],
  no_quorum: ['round', 'have', 'need'],
  worker_fenced: ['worker'],
  workers_only: [],
  stale: ['current_step', 'staleness'],
  precondition_failed: [],
  body_too_large: ['limit'],
  unsupported_media_type: [],
  misdirected: [],
  invalid_session: ['where', 'tensor'],
  tensor_mismatch: ['tensor', 'expected', 'got'],
  non_finite: ['tensor', 'index', 'round'],
  idempotency_mismatch: ['step'],
  contribution_mismatch: ['worker', 'round'],
  invalid_state: ['tensor', 'expected', 'got'],
  rate_limited: [],
  internal_error: [],
  state_damaged: ['piece'],
  replay_differs: ['expected', 'got'],
  overloaded: [],
  store_unavailable: [],
}

test('the codes and their members have types', () => {
  assert.deepEqual(MEMBERS, Object.fromEntries(Object.entries(errors).map(([code, { members }]) => [code, members])))
})

for (const [code, { status, members, again, headers }] of Object.entries(errors)) {
  test(`a refusal reaches its user: ${code}`, async () => {
    const rest = Object.fromEntries(members.map((name, index) => [name, index + 1]))
    const problem = { type: `urn:optim:error:${code}`, title: 'T', status, detail: 'why', code, ...rest }
    const said = Object.entries(headers).map(([name, value]) => [name, value ?? '1'])
    const answer = () =>
      json(problem, status, { 'content-type': media_type, 'x-request-id': 'r-7', ...Object.fromEntries(said) })
    const scripted = new Scripted([answer, answer], { maxRetries: 1 })
    const error = await scripted.client.sessions.get('s').catch((caught: unknown) => caught)
    assert.ok(error instanceof APIStatusError && error instanceof OptimError)
    assert.ok(error.is(code as ErrorCode))
    assert.deepEqual(
      [error.status, error.code, error.detail, error.members, error.requestId],
      [status, code, 'why', rest, 'r-7'],
    )
    assert.ok(error.message.startsWith(`why (${status} ${code}, request r-7)`))
    assert.equal(scripted.sent.length, again ? 2 : 1)
  })
}

test('an answer of a proxy is an error without a code', async () => {
  const page = new Response('<h1>Too   large</h1>', { status: 413, headers: { 'content-type': 'text/html' } })
  await assert.rejects(new Scripted([page]).client.sessions.get('s'), {
    status: 413,
    code: null,
    message: /a proxy answered, not the service, with the page '<h1>Too large<\/h1>'; .*client_max_body_size/,
  })
})

test('a detail that is no text is not shown', async () => {
  const odd = json({ code: '__proto__', detail: { a: 1 }, ['__proto__']: { polluted: true } }, 422)
  await assert.rejects(new Scripted([odd]).client.sessions.get('s'), { code: '__proto__', message: /^a proxy answered/ })
  assert.equal('polluted' in {}, false)
})

test('a redirect is not followed', async () => {
  const moved = new Response(null, { status: 307, headers: { location: 'https://elsewhere.example/?key=1' } })
  await assert.rejects(new Scripted([moved]).client.sessions.get('s'), {
    message: /^a redirect to 'https:\/\/elsewhere.example\/', which this client does not follow/,
  })
})

test('a redirect that a browser hides is not followed', async () => {
  const hidden = Response.error()
  await assert.rejects(new Scripted([hidden]).client.sessions.get('s'), { status: 0, message: /^a redirect, which/ })
})

test('a page instead of an answer is refused', async () => {
  const login = new Response('<p>Log in', { headers: { 'content-type': 'text/html' } })
  await assert.rejects(new Scripted([login]).client.sessions.get('s'), {
    name: 'InvalidAnswer',
    message: /received a page \(text\/html\).*'<p>Log in'/,
  })
})

test('an answer that is no session is refused', async () => {
  for (const body of ['{"id": 5}', '[]', '{', 'null']) {
    const answer = new Response(body, { headers: { 'content-type': 'application/json' } })
    await assert.rejects(new Scripted([answer]).client.sessions.get('s'), { name: 'InvalidAnswer' })
  }
})
