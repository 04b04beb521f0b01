/**
 * The place in the events of a session, and the reader of their bytes. Knows no `fetch`.
 *
 * The service sends server-sent events, as the HTML standard defines them. Each stream begins with the number after which
 * its events come, so that the next stream continues where this one broke off.
 */

import { InvalidAnswer } from './errors.js'
import { readEvent, type SessionEvent } from './event.js'
import type { Clock } from './retries.js'

/** The shortest time between the beginnings of two streams, so that one that ends at once makes no busy loop. */
const PAUSE_SECONDS = 1

/** The `number` of the last event, `null` before the first stream; and a line that is not whole yet. */
export class Following {
  /** True once a stream was opened. A session that is not found after that was deleted, or has expired. */
  hasBegun = false
  #opened = 0
  #decoder = new TextDecoder()
  #rest = ''
  #id: number | null
  #kind = ''
  #data = ''
  readonly #clock: Clock

  constructor(
    public number: number | null,
    clock: Clock,
  ) {
    this.#id = number
    this.#clock = clock
  }

  /** Return the seconds to wait before the next stream is opened. */
  pause(): number {
    return this.hasBegun ? Math.max(0, this.#opened + PAUSE_SECONDS - this.#clock.now()) : 0
  }

  /** Begin a new stream. Drops an event that the last one left unfinished. */
  begin(): void {
    this.hasBegun = true
    this.#opened = this.#clock.now()
    this.#decoder = new TextDecoder()
    this.#id = this.number
    this.#rest = this.#kind = this.#data = ''
  }

  /** Yield the events that these bytes complete. Throws an `InvalidAnswer`. */
  *events(chunk: Uint8Array): Generator<SessionEvent, void, undefined> {
    const lines = (this.#rest + this.#decoder.decode(chunk, { stream: true })).split('\n')
    this.#rest = lines.pop()!
    for (const line of lines) {
      const event = this.#read(line.replace(/\r$/, ''))
      if (event !== null) yield event
    }
  }

  /** Read a line; return the event that it completes. */
  #read(line: string): SessionEvent | null {
    const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line)!
    if (name === 'id') this.#id = Number(value)
    else if (name === 'event') this.#kind = value!
    else if (name === 'data') this.#data = value!
    if (line !== '') return null
    return this.#complete() // only now the event is whole, and its number counts
  }

  #complete(): SessionEvent | null {
    const [kind, data] = [this.#kind, this.#data]
    this.#kind = this.#data = ''
    this.number = this.#id
    if (kind === '') return null
    try {
      if (!Number.isSafeInteger(this.number)) throw new TypeError('it has no number as its id')
      return readEvent(this.number!, kind, JSON.parse(data))
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error)
      throw new InvalidAnswer(`an event of the session cannot be read (${said}): '${data.slice(0, 200)}'`, {
        cause: error,
      })
    }
  }
}
