/**
 * The rules of retries. Knows no `fetch` and no timer.
 *
 * Rule 1: no answer, 408, 429, 409 `session_busy`, and every status from 500 on but 501 and 505 are tried again.
 * Rule 2: `x-should-retry` overrules rule 1 in both directions.
 * Rule 3: every retry is safe. A call that changes something carries one `Idempotency-Key` over all its tries.
 * Rule 4: retries are limited by time, not by number, because a restart of the service takes time.
 * Rule 5: the log says when the waiting begins, and when it has ended.
 *
 * `clients/contract/retries.json` has the rules as data.
 */

import { APIConnectionError, APIStatusError, InvalidAnswer } from './errors.js'
import { excerpt, statusError } from './refusals.js'

const FIRST_WAIT_SECONDS = 0.5
const LONGEST_WAIT_SECONDS = 4
/** The longest `Retry-After` that is waited for without a time limit. */
const LONGEST_RETRY_AFTER_SECONDS = 120
const NEVER_MENDED_STATUSES = new Set([501, 505])

/** A request. A body is sent as it is with every try. */
export interface Request {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly query?: URLSearchParams
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Uint8Array<ArrayBuffer> | Blob | string
}

/** An answer. */
export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Uint8Array<ArrayBuffer>
}

/** The end of a try: an answer, or the error that came instead. */
export type Outcome = Answer | APIConnectionError

/** A request, and the reader of its answer. */
export interface Call<T> {
  readonly request: Request
  read(answer: Answer): T
}

/** A clock, in seconds. Its zero is any moment. */
export interface Clock {
  now(): number
  /** Wait; an aborted `signal` ends the wait by throwing its reason. */
  sleep(seconds: number, signal?: AbortSignal): Promise<void>
}

/** The means of a conversation, and its limits: seconds since the first failure, and a number of retries. */
export interface Patience {
  readonly seconds: number
  readonly retries: number
  readonly clock: Clock
  /** Return a random number from 0 to 1. */
  random(): number
  /** Take a line for people. */
  log(line: string): void
}

/**
 * Make a call, with retries up to the limits of `patience`; return its result or throw its error.
 *
 * @param exchange - Makes one try.
 * @param signal - Ends the call, also while it waits.
 */
export async function perform<T>(
  call: Call<T>,
  exchange: (request: Request) => Promise<Outcome>,
  patience: Patience,
  signal?: AbortSignal,
): Promise<T> {
  const { clock } = patience
  const name = `${call.request.method} ${call.request.path}`
  let failed = 0
  for (let tries = 1; ; tries++) {
    signal?.throwIfAborted()
    const outcome = await exchange(call.request)
    if (!(outcome instanceof APIConnectionError) && isDone(call.request, outcome, tries)) {
      if (tries > 1) {
        const seconds = (clock.now() - failed).toFixed(1)
        patience.log(`${name}: answered, ${seconds} s after the first failure, at try ${tries}`)
      }
      return read(name, call, outcome)
    }
    const error =
      outcome instanceof APIConnectionError ? outcome : statusError(outcome.status, outcome.headers, outcome.body)
    if (tries === 1) failed = clock.now()
    const left = patience.seconds - (clock.now() - failed)
    const headers = outcome instanceof APIConnectionError ? new Headers() : outcome.headers
    const wait = tries <= patience.retries ? waitBefore(error, headers, tries, left, patience.random) : null
    if (wait === null) throw error
    if (tries === 1) patience.log(`${said(name, error)}; trying again, ${limitsOf(patience)}`)
    signal?.throwIfAborted()
    await clock.sleep(wait, signal)
  }
}

/** Return whether the call is done. A deletion whose first answer was lost finds nothing later: it is done too. */
function isDone(request: Request, { status }: Answer, tries: number): boolean {
  return (status >= 200 && status < 300) || (request.method === 'DELETE' && status === 404 && tries > 1)
}

/** The media type of server-sent events. */
export const EVENT_STREAM = 'text/event-stream'

/** Return the call's result. A page is no answer, though a proxy's login page is a success too. */
function read<T>(name: string, call: Call<T>, answer: Answer): T {
  const type = answer.headers.get('content-type') ?? ''
  if (type.startsWith('text/') && !type.startsWith(EVENT_STREAM) && answer.status < 300) {
    throw new InvalidAnswer(
      `${name}: received a page (${type}), not the service's answer: is it a proxy's login page, or does baseUrl ` +
        `lead elsewhere? It says '${excerpt(answer.body)}'`,
    )
  }
  try {
    return call.read(answer)
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError)) throw error
    throw new InvalidAnswer(`${name}: the answer cannot be read: ${error.message}`, { cause: error })
  }
}

/** Return the seconds until the next try, or `null` for no try. The last try is when the time is over. */
function waitBefore(
  error: APIConnectionError | APIStatusError,
  headers: Headers,
  tries: number,
  left: number,
  random: () => number,
): number | null {
  if (left <= 0 || !mayRetry(error, headers)) return null
  const longest = Math.min(FIRST_WAIT_SECONDS * 2 ** Math.min(tries - 1, 16), LONGEST_WAIT_SECONDS)
  const wait = longest * (1 - 0.5 * random())
  const asked = retryAfter(headers)
  if (asked === null) return Math.min(wait, left)
  if (asked > (left === Infinity ? LONGEST_RETRY_AFTER_SECONDS : left)) return null
  return tries === 1 ? asked : Math.min(Math.max(asked, wait), left) // a Retry-After of 0 must not become a busy loop
}

/** Apply rules 1 and 2. */
function mayRetry(error: APIConnectionError | APIStatusError, headers: Headers): boolean {
  if (error instanceof APIConnectionError) return error.mayPass
  const said = headers.get('x-should-retry')
  if (said === 'true' || said === 'false') return said === 'true'
  if (error.status === 409) return error.code === 'session_busy'
  return [408, 429].includes(error.status) || (error.status >= 500 && !NEVER_MENDED_STATUSES.has(error.status))
}

/** Return `Retry-After` in seconds. A date counts from the answer's own `Date`, so that clocks do not matter. */
function retryAfter(headers: Headers): number | null {
  const said = headers.get('retry-after') ?? ''
  if (/^[0-9]+$/.test(said)) return Number(said)
  const seconds = (dateOf(said) - dateOf(headers.get('date') ?? '')) / 1000
  return Number.isNaN(seconds) ? null : Math.max(0, seconds)
}

/** Return an HTTP date in milliseconds, else NaN. */
function dateOf(text: string): number {
  return / GMT$/.test(text) ? Date.parse(text) : NaN
}

/** Return the error's message after the call's name, which one of a connection begins with itself. */
function said(name: string, error: APIConnectionError | APIStatusError): string {
  return error instanceof APIConnectionError ? error.message : `${name}: ${error.message}`
}

function limitsOf({ seconds, retries }: Patience): string {
  const limits = [retries === Infinity ? '' : `${retries} times`, seconds === Infinity ? '' : `for ${seconds} s`]
  return limits.filter(Boolean).join(' or ') || 'until it works'
}
