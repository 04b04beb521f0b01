/** One try of a request, by `fetch`: deadlines, request ids, streams, and failures as this library's errors. */

import { APIConnectionError, APITimeoutError, ForeignAnswer } from './errors.js'
import type { RequestIds } from './request_ids.js'
import type { Outcome, Request } from './retries.js'

/** Bytes a second that an upload is expected to make, at least. `fetch` does not say how far it is. */
const SLOWEST_UPLOAD = 1 << 20
/** The longest time that a timer takes; beyond it timers end at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1
const UNTRUSTED = /CERT|SELF_SIGNED|UNABLE_TO_(VERIFY|GET_ISSUER)|WRONG_VERSION_NUMBER|certificate/

/** The part of `fetch` that is used here. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>

/** The means of a try. */
export interface Means {
  readonly baseUrl: string
  readonly headers: Readonly<Record<string, string>>
  readonly ids: RequestIds
  readonly fetch: Fetch
  /** Seconds without progress. */
  readonly timeout: number
}

/** Send one try of a request; return its answer, or the error that came instead. An aborted `signal` throws its reason. */
export async function exchange(request: Request, means: Means, signal?: AbortSignal): Promise<Outcome> {
  const opened = await open(request, means, signal)
  return opened instanceof APIConnectionError ? opened : opened.whole()
}

/** Send one try of a request; return its answer as it comes, or the error that came instead. */
export async function open(
  request: Request,
  means: Means,
  signal?: AbortSignal,
): Promise<Stream | APIConnectionError> {
  const id = means.ids.next()
  const failures = new Failures(`${request.method} ${means.baseUrl}${request.path}`, means.timeout, signal)
  const { deadline } = failures
  try {
    deadline.extend(lengthOf(request) / SLOWEST_UPLOAD)
    const response = await means.fetch(urlOf(request, means.baseUrl), {
      method: request.method,
      headers: { ...means.headers, ...request.headers, 'x-request-id': id },
      redirect: 'manual',
      cache: 'no-store',
      signal: deadline.signal,
      ...(request.body === undefined ? {} : { body: request.body }),
    })
    const stream = new Stream(response, failures)
    const other = means.ids.foreign(id, response.status, response.headers)
    if (other === null) return stream
    stream.close()
    return new ForeignAnswer(`${failures.name}: received the answer to request ${other}, but sent request ${id}`)
  } catch (error) {
    deadline.clear()
    return failures.of(error)
  }
}

/** An answer whose body is still coming. */
export class Stream {
  readonly status: number
  readonly headers: Headers
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined
  readonly #failures: Failures

  constructor(response: Response, failures: Failures) {
    this.status = response.status
    this.headers = response.headers
    this.#reader = response.body?.getReader()
    this.#failures = failures
  }

  /** Yield the body as it comes, then close it. Throws an `APIConnectionError`, or the reason of an aborted signal. */
  async *chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (;;) {
        this.#failures.deadline.extend()
        const chunk = await this.#read()
        if (chunk === undefined) return
        yield chunk
      }
    } finally {
      this.close()
    }
  }

  /** Return the answer with its whole body, in memory of its own; or the error that came instead. */
  async whole(): Promise<Outcome> {
    const chunks: Uint8Array[] = []
    try {
      for await (const chunk of this.chunks()) chunks.push(chunk)
    } catch (error) {
      if (error instanceof APIConnectionError) return error
      throw error
    }
    const body = new Uint8Array(chunks.reduce((length, chunk) => length + chunk.length, 0))
    let place = 0
    for (const chunk of chunks) {
      body.set(chunk, place)
      place += chunk.length
    }
    return { status: this.status, headers: this.headers, body }
  }

  /** Close the connection. Nothing follows. */
  close(): void {
    this.#failures.deadline.clear()
    void this.#reader?.cancel().catch(() => {})
  }

  async #read(): Promise<Uint8Array | undefined> {
    try {
      return (await this.#reader?.read())?.value
    } catch (error) {
      throw this.#failures.of(error)
    }
  }
}

/** The failures of one try, as this library's errors; and its deadline, which is one of them. */
class Failures {
  readonly deadline: Deadline

  constructor(
    readonly name: string,
    private readonly timeout: number,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.deadline = new Deadline(timeout, signal)
  }

  /** Return the error; throw the reason of an aborted signal. */
  of(error: unknown): APIConnectionError {
    this.signal?.throwIfAborted()
    if (!this.deadline.isOver) return connectionError(this.name, error)
    return new APITimeoutError(`${this.name}: no answer in time (${this.timeout} s without progress)`)
  }
}

/** A time limit that progress extends, and a signal that ends with it or with the caller's. */
class Deadline {
  private readonly controller = new AbortController()
  private readonly abort = () => this.controller.abort(this.outer?.reason)
  private timer: ReturnType<typeof setTimeout> | undefined
  isOver = false

  constructor(
    private readonly seconds: number,
    private readonly outer: AbortSignal | undefined,
  ) {
    outer?.addEventListener('abort', this.abort)
  }

  get signal(): AbortSignal {
    return this.controller.signal
  }

  extend(more = 0): void {
    clearTimeout(this.timer)
    const limit = Math.min((this.seconds + more) * 1000, LONGEST_TIMER_MS)
    this.timer = setTimeout(() => {
      this.isOver = true
      this.controller.abort()
    }, limit)
  }

  clear(): void {
    clearTimeout(this.timer)
    this.outer?.removeEventListener('abort', this.abort)
  }
}

function urlOf(request: Request, baseUrl: string): string {
  const query = request.query?.toString()
  return `${baseUrl}${request.path}${query ? `?${query}` : ''}`
}

function lengthOf({ body }: Request): number {
  if (body === undefined || typeof body === 'string') return 0
  return body instanceof Uint8Array ? body.byteLength : body.size
}

/** Return the error of a try without an answer. Browsers do not say why: it may be CORS. */
function connectionError(name: string, error: unknown): APIConnectionError {
  const reasons = reasonsOf(error)
  const mayPass = !reasons.some(({ code, message }) => UNTRUSTED.test(`${code} ${message}`))
  const reason = reasons.at(-1)?.message || reasons.at(-1)?.code || String(error)
  const page = 'document' in globalThis ? ', and does OPTIM_CORS_ORIGINS name the origin of this page' : ''
  const said = `${name}: no answer (${reason}): is the service running there${page}?`
  return new APIConnectionError(said, { cause: error, mayPass })
}

/** Return the error and its causes, the deepest last. */
function reasonsOf(error: unknown): { code: string; message: string }[] {
  const reasons = []
  for (let each: unknown = error; each instanceof Error && reasons.length < 8; each = each.cause) {
    reasons.push({ code: 'code' in each ? String(each.code) : '', message: each.message })
  }
  return reasons
}
