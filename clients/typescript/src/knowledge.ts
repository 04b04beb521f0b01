/** A client's knowledge of its session between two calls, and the order of its calls. */

import * as calls from './calls.js'
import type { SessionInfo } from './documents.js'
import { SessionInUse } from './errors.js'
import type { Opener } from './events.js'
import type { Call } from './retries.js'

/** The options of every call. */
export interface CallOptions {
  /** Ends the call with the signal's reason. The service may have made the change. */
  signal?: AbortSignal
}

/** The part of a client that its sessions use. */
export interface Caller extends Opener {
  run<T>(call: Call<T>, options?: CallOptions): Promise<T>
  log(line: string): void
}

/** The session's document and ETag as this client knows them. Changes come one after the other; reading is free. */
export class Knowledge {
  #running: string | null = null
  #changes = 0
  readonly #client: Caller

  constructor(
    client: Caller,
    public info: SessionInfo,
    public etag: string | null,
  ) {
    this.#client = client
  }

  /** Make a change, if no other one has to wait for its answer. */
  async alone<T>(verb: string, change: () => Promise<T>): Promise<T> {
    if (this.#running !== null) throw new SessionInUse(this.info.id, verb, this.#running)
    this.#running = verb
    try {
      return await change()
    } finally {
      this.#running = null
      this.#changes++
    }
  }

  /** Make the call of a change, with an `If-Match` where its method is for that; remember its ETag. */
  async change<T>(call: Call<T>, options?: CallOptions): Promise<T> {
    const isConditional = call.request.method !== 'POST'
    const tagged = calls.tagged(isConditional ? calls.ifMatch(call, this.etag) : call)
    const [result, etag] = await this.#client.run(tagged, options)
    this.etag = etag
    return result
  }

  /**
   * Make a call that reads the session. What it finds is learned only if no change was under way: a step without an
   * answer must be sent again with its own number.
   */
  async read<T>(call: Call<T>, options?: CallOptions, learn: (result: T) => void = () => {}): Promise<T> {
    const [wasFree, changes] = [this.#running === null, this.#changes]
    const [result, etag] = await this.#client.run(calls.tagged(call), options)
    if (wasFree && this.#running === null && changes === this.#changes) {
      this.etag = etag ?? this.etag
      learn(result)
    }
    return result
  }

  /** Read the session within a change. */
  async see(options?: CallOptions): Promise<SessionInfo> {
    const [info, etag] = await this.#client.run(calls.tagged(calls.get(this.info.id)), options)
    this.etag = etag ?? this.etag
    return info
  }
}
