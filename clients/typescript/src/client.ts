/** The client: a service's address, and the options of every call. */

import * as calls from './calls.js'
import type { OptimizerInfo } from './documents.js'
import { APIConnectionError, APIStatusError } from './errors.js'
import { exchange, LONGEST_TIMER_MS, open, type Fetch, type Means, type Stream } from './exchange.js'
import type { CallOptions } from './knowledge.js'
import { RequestIds } from './request_ids.js'
import { perform, type Call, type Clock, type Patience } from './retries.js'
import { Sessions } from './sessions.js'

const DEFAULT_BASE_URL = 'http://127.0.0.1:8000'
const DEFAULT_RETRY_SECONDS = 120
const DEFAULT_TIMEOUT_SECONDS = 60

/** The limits of a call. */
export interface Limits {
  /**
   * Seconds until an answer begins, and between its parts; not seconds in all. An upload has a second more for each MiB,
   * because `fetch` does not tell its progress. 60 by default.
   */
  timeout?: number
  /** The seconds, since its first failure, in which a call is tried again. 120, unless a limit is given. */
  retrySeconds?: number
  /** The number of times that it is tried again. With both limits, the first that is reached ends it. */
  maxRetries?: number
}

/** The options of a client. */
export interface ClientOptions extends Limits {
  /** The API key. In a page everybody can read it. */
  apiKey?: string
  /** The function that sends requests, such as one with a proxy. The platform's by default. */
  fetch?: Fetch
  /** The clock of the waits between tries. */
  clock?: Clock
  /** The random number from 0 to 1 that shortens a wait. `Math.random` by default. */
  random?: () => number
  /** Takes lines for people: retries and warnings. `console.warn` by default. */
  log?: (line: string) => void
}

const LIMITS = ['timeout', 'retrySeconds', 'maxRetries'] as const
const FUNCTIONS = ['fetch', 'random', 'log'] as const
const OPTIONS: ReadonlySet<string> = new Set([...LIMITS, ...FUNCTIONS, 'apiKey', 'clock'])
const EXPECTED = {
  timeout: 'seconds above 0',
  retrySeconds: 'seconds from 0 on',
  maxRetries: 'a whole number from 0 on',
} as const

/**
 * A client of a service. It keeps no connection: `fetch` does.
 *
 * Every call may throw an `APIConnectionError` where no answer comes, and an `APIStatusError` where the service refuses.
 *
 * @example
 * const client = new Client('http://127.0.0.1:8000')
 * const session = await client.sessions.create('adamw', { lr: 1e-3 })
 */
export class Client {
  /** The address, without a slash at its end. */
  readonly baseUrl: string
  /** The sessions of the service. */
  readonly sessions: Sessions = new Sessions(this)
  readonly #options: ClientOptions
  readonly #headers: Readonly<Record<string, string>>
  #ids = new RequestIds()

  /**
   * @param baseUrl - The address of the service.
   * @throws TypeError An argument is unknown, malformed or of the wrong type.
   * @throws RangeError A limit is out of range.
   */
  constructor(baseUrl: string = DEFAULT_BASE_URL, options: ClientOptions = {}) {
    this.baseUrl = checkedUrl(baseUrl)
    this.#options = checked(options)
    this.#headers = options.apiKey === undefined ? {} : { authorization: `Bearer ${checkedKey(options.apiKey)}` }
  }

  /**
   * Return a client of the same service with other limits.
   *
   * @example
   * const once = client.withLimits({ maxRetries: 0 })
   */
  withLimits(limits: Limits): Client {
    const { timeout, retrySeconds, maxRetries, ...others } = this.#options
    const retries = 'retrySeconds' in limits || 'maxRetries' in limits ? {} : { retrySeconds, maxRetries }
    const merged = Object.entries({ ...others, timeout, ...retries, ...limits })
    const client = new Client(this.baseUrl, Object.fromEntries(merged.filter(([, value]) => value !== undefined)))
    client.#ids = this.#ids
    return client
  }

  /**
   * Return the optimizers that the service has: each one's hyperparameters, slots, bits and reference.
   *
   * @example
   * const { adamw } = await client.optimizers()
   */
  async optimizers(options?: CallOptions): Promise<Record<string, OptimizerInfo>> {
    return this.run(calls.optimizers(), options)
  }

  /**
   * Return whether the service can be used now: it answers, and can write to its store. Makes one try.
   *
   * @throws APIStatusError Something else refused the request, such as a proxy.
   * @example
   * if (!(await client.ready())) console.log('not yet')
   */
  async ready(options?: CallOptions): Promise<boolean> {
    try {
      await this.withLimits({ maxRetries: 0 }).run(calls.ready(), options)
      return true
    } catch (error) {
      if (error instanceof APIConnectionError) return false
      if (error instanceof APIStatusError && error.status === 503) return false
      throw error
    }
  }

  /** The clock of the waits. @internal */
  get clock(): Clock {
    return this.#options.clock ?? CLOCK
  }

  /** Make a call, with every try that it needs. @internal */
  async run<T>(call: Call<T>, { signal }: CallOptions = {}): Promise<T> {
    const means = this.#means()
    return perform(call, (request) => exchange(request, means, signal), this.#patience(), signal)
  }

  /** Make a call that a stream answers, with every try that it needs; return the stream. @internal */
  async open(call: Call<void>, { signal }: CallOptions = {}): Promise<Stream> {
    const means = this.#means()
    let stream: Stream | undefined
    try {
      await perform(
        call,
        async (request) => {
          const opened = await open(request, means, signal)
          if (opened instanceof APIConnectionError) return opened
          if (opened.status < 200 || opened.status >= 300) return opened.whole()
          stream = opened
          return { status: opened.status, headers: opened.headers, body: new Uint8Array() }
        },
        this.#patience(),
        signal,
      )
    } catch (error) {
      stream?.close()
      throw error
    }
    return stream!
  }

  #means(): Means {
    const { timeout = DEFAULT_TIMEOUT_SECONDS, fetch: given } = this.#options
    const headers = this.#headers
    const send: Fetch = given ?? ((url, init) => fetch(url, init))
    return { baseUrl: this.baseUrl, headers, ids: this.#ids, fetch: send, timeout }
  }

  #patience(): Patience {
    const { retrySeconds, maxRetries, random = Math.random } = this.#options
    return {
      seconds: retrySeconds ?? (maxRetries === undefined ? DEFAULT_RETRY_SECONDS : Infinity),
      retries: maxRetries ?? Infinity,
      clock: this.clock,
      random,
      log: (line: string) => this.log(line),
    }
  }

  /** Take a line for people. @internal */
  log(line: string): void {
    const { log = (said: string) => console.warn(`optim-client: ${said}`) } = this.#options
    log(line)
  }
}

/** The platform's clock. */
const CLOCK: Clock = {
  now: () => performance.now() / 1000,
  sleep: async (seconds, signal) => {
    for (let left = seconds * 1000; left > 0; left -= LONGEST_TIMER_MS)
      await nap(Math.min(left, LONGEST_TIMER_MS), signal)
  },
}

function nap(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', end)
      if (signal?.aborted) reject(signal.reason as Error)
      else resolve()
    }
    const timer = setTimeout(end, milliseconds)
    signal?.addEventListener('abort', end)
  })
}

function checkedUrl(given: string): string {
  let url
  try {
    url = new URL(given)
  } catch {
    throw new TypeError(`baseUrl '${given}' is no address; expected one such as ${DEFAULT_BASE_URL}`)
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new TypeError(`unknown baseUrl '${given}'; expected http://… or https://…`)
  }
  if (url.username || url.password) {
    throw new TypeError('baseUrl holds a password, which fetch refuses: send it with the option fetch')
  }
  if (url.search || url.hash) throw new TypeError(`baseUrl '${given}' cannot have a query or a fragment`)
  return `${url.origin}${url.pathname}`.replace(/\/+$/, '')
}

function checkedKey(key: string): string {
  if (typeof key === 'string' && /^[\x21-\x7e]+$/.test(key)) return key
  throw new TypeError(
    'apiKey is empty, or holds a line break, a space or another character that is not printable ASCII',
  )
}

function checked(options: ClientOptions): ClientOptions {
  const unknown = Object.keys(options).find((name) => !OPTIONS.has(name))
  if (unknown !== undefined)
    throw new TypeError(`unknown option '${unknown}'; expected one of ${[...OPTIONS].join(', ')}`)
  for (const name of LIMITS) {
    const value = options[name]
    if (value === undefined) continue
    if (typeof value !== 'number') throw new TypeError(`${name} must be a number, not ${typeof value}`)
    const isWhole = name !== 'maxRetries' || value === Infinity || Number.isInteger(value)
    if (!(value >= 0 && isWhole) || (name === 'timeout' && value === 0)) {
      throw new RangeError(`${name} is ${value}; expected ${EXPECTED[name]}`)
    }
  }
  for (const name of FUNCTIONS) checkFunction(name, options[name])
  if (options.clock !== undefined) {
    checkFunction('clock.now', options.clock.now ?? null)
    checkFunction('clock.sleep', options.clock.sleep ?? null)
  }
  return options
}

function checkFunction(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'function') {
    throw new TypeError(`${name} must be a function, not ${value === null ? 'null' : typeof value}`)
  }
}
