// The service's API: calls with the key, refusals as problem documents, and server-sent events.

import { key, keyed } from './key.js'

const PATIENCE_MS = 30_000
/** Two heartbeats and a half: a stream that is silent for longer is dead. */
const SILENCE_MS = 40_000
const LONGEST_WAIT_MS = 30_000
/** Points that the service thins a history to. */
const CURVES = { points: 2000 }
/** Sessions of the list that are read at a time. */
export const PAGE = 100
/** Answers that were asked for in advance, by their address. */
const begun = new Map()

/** A refusal: the problem document that the service answered with. */
export class Problem extends Error {
  constructor(status, document, retryAfter = null) {
    super(document.detail || document.title || `the service answered with status ${status}`)
    this.name = 'Problem'
    this.status = status
    this.code = document.code ?? null
    this.document = document
    /** Seconds after which the service wants to be asked again, or null. */
    this.retryAfter = retryAfter
  }
}

/** A call that the service did not answer. */
export class Unreachable extends Error {
  constructor(cause) {
    super('the service cannot be reached', { cause })
    this.name = 'Unreachable'
  }
}

/** Return the URL of a path of the API, also behind a proxy with a prefix. */
export function url(path, query = {}) {
  const found = new URL(path, document.baseURI.split('#')[0])
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== null && one !== undefined) found.searchParams.append(name, one)
  }
  return found
}

/** Ask for an answer before the modules that want it are here: `send` returns it to the first that does. */
export function begin(path, query) {
  const address = url(path, query)
  const answer = fetch(address, { headers: keyed(), signal: AbortSignal.timeout(PATIENCE_MS) })
  answer.catch(() => {}) // who wants it sees why
  begun.set(address.href, answer)
}

/** Forget the answers that nobody wanted: they grow old. */
export const forgetBegun = () => begun.clear()

/**
 * Return the service's answer, also a refusal. Asks for a key if one is wanted.
 * @param {string} path such as `v1/sessions`
 * @param {{query?: Object, method?: string, headers?: Object, body?: BodyInit, signal?: AbortSignal, patience?: number}} [options]
 * @returns {Promise<Response>}
 * @throws {Unreachable | DOMException} the latter where the signal aborted the call
 */
export async function send(path, { query, headers, signal, patience = PATIENCE_MS, ...options } = {}) {
  const limits = [signal, patience ? AbortSignal.timeout(patience) : null].filter(Boolean)
  for (;;) {
    const sent = key()
    const address = url(path, query)
    const early = options.method ? null : begun.get(address.href)
    begun.delete(address.href)
    let answer
    try {
      answer = await (early ?? fetch(address, { ...options, headers: { ...headers, ...keyed() }, signal: AbortSignal.any(limits) }))
    } catch (error) {
      if (signal?.aborted) throw error
      throw new Unreachable(error)
    }
    if (answer.status !== 401) return answer
    const problem = await problemOf(answer.clone())
    const { askInstead } = await import('./ask.js')
    if (!(await askInstead(sent, problem.message))) return answer
  }
}

/** Return the service's answer, which is a success; else throw the `Problem`. The arguments are those of `send`. */
export async function call(path, options) {
  const answer = await send(path, options)
  if (answer.ok || answer.status === 304) return answer
  throw await problemOf(answer)
}

/** Return the document at a path. */
export async function get(path, query, signal) {
  return (await call(path, { query, signal })).json()
}

export const listSessions = (query, signal) => get('v1/sessions', query, signal)
export const readSession = (id, signal) => get(`v1/sessions/${id}`, {}, signal)
export const readHistory = (id, query, signal) => get(`v1/sessions/${id}/history`, query, signal)
export const readCurves = (id, signal) => readHistory(id, CURVES, signal)
/** Begin to read what the page of a session shows first. */
export function beginSession(id) {
  begin(`v1/sessions/${id}`)
  begin(`v1/sessions/${id}/history`, CURVES)
}

export const readTensors = (id, signal) => get(`v1/sessions/${id}/tensors`, {}, signal)
export const readWorkers = (id, signal) => get(`v1/sessions/${id}/workers`, {}, signal)

/**
 * Follow a session's events until the session is gone or the signal aborts. Reconnects by itself, without a gap.
 * @param {string} id
 * @param {number | string | null} from the number after which events are wanted; null for those from now on
 * @param {{
 *   event: (kind: string, body: Object, number: number) => void,
 *   start?: (number: number) => void,
 *   state?: (state: 'connecting' | 'live' | 'reconnecting' | 'gone' | 'stopped', why: Error | null) => void,
 * }} handlers `start` has the number that a stream began with; `stopped` means refused for good
 * @param {AbortSignal} signal
 */
export async function events(id, from, handlers, signal) {
  let number = from
  let wait = 0
  let retry = 1000
  handlers.state?.('connecting', null)
  while (!signal.aborted) {
    let failure = null
    try {
      for await (const message of stream(id, number, signal)) {
        wait = 0
        if (message.retry) retry = message.retry
        if (message.id !== null) number = message.id
        if (message.opened) handlers.state?.('live', null)
        else if (message.event) handlers.event(message.event, JSON.parse(message.data), Number(message.id))
        else if (message.id !== null) handlers.start?.(Number(message.id))
      }
    } catch (error) {
      failure = error
    }
    if (signal.aborted) return
    if (failure instanceof Problem && failure.status < 500 && failure.status !== 429) {
      handlers.state?.(failure.document.code === 'session_not_found' ? 'gone' : 'stopped', failure)
      return
    }
    handlers.state?.('reconnecting', failure)
    await pause(Math.max((failure?.retryAfter ?? 0) * 1000, wait * (0.5 + Math.random() / 2)), signal)
    wait = Math.min(LONGEST_WAIT_MS, Math.max(retry, 2 * wait))
  }
}

/** Wait, but no longer than until the signal aborts. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve()
    const end = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal?.addEventListener('abort', end)
  })
}

/** Yield `{opened}` once the stream stands, then each message of it. Fails when it is silent for too long. */
async function* stream(id, number, signal) {
  const dead = new AbortController()
  let timer = setTimeout(() => dead.abort(), SILENCE_MS)
  const headers = { Accept: 'text/event-stream', ...(number === null ? {} : { 'Last-Event-ID': String(number) }) }
  try {
    const answer = await call(`v1/sessions/${id}/events`, { headers, signal: AbortSignal.any([signal, dead.signal]), patience: 0, cache: 'no-store' })
    yield { opened: true, id: null, event: '', data: '', retry: 0 }
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
    let rest = ''
    for (;;) {
      const { done, value } = await reader.read()
      clearTimeout(timer)
      if (done) return
      timer = setTimeout(() => dead.abort(), SILENCE_MS)
      const blocks = (rest + value).split('\n\n')
      rest = blocks.pop()
      for (const block of blocks) yield parsed(block)
    }
  } finally {
    clearTimeout(timer)
    dead.abort()
  }
}

/** Return one message of a stream: its fields by name. A comment has none. */
function parsed(block) {
  const message = { opened: false, id: null, event: '', data: '', retry: 0 }
  for (const line of block.split('\n')) {
    const [, name, value] = /^([^:]*): ?(.*)$/.exec(line) ?? [null, '', '']
    if (name === 'retry') message.retry = Number(value)
    else if (name in message && name !== 'opened') message[name] = value
  }
  return message
}

async function problemOf(answer) {
  const retryAfter = Number(answer.headers.get('Retry-After')) || null
  const text = await answer.text()
  try {
    return new Problem(answer.status, JSON.parse(text), retryAfter)
  } catch {
    return new Problem(answer.status, {}, retryAfter) // a proxy's own answer, say
  }
}
