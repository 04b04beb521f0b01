/** The sessions of a service: `client.sessions`. */

import * as calls from './calls.js'
import type { ListOptions, StateFile } from './calls.js'
import type { SessionInfo } from './documents.js'
import type { Call } from './retries.js'
import type { CallOptions, Caller } from './knowledge.js'
import { Session } from './session.js'
import type { Changes, Optimizer, Settings } from './settings.js'

/**
 * A page of sessions, newest first.
 *
 * `nextCursor` leads to the next page, and is `null` on the last one. `unreadable` has the ids of sessions that the
 * service cannot read: they can be deleted.
 */
export interface Page {
  readonly sessions: readonly Session[]
  readonly nextCursor: string | null
  readonly unreadable: readonly string[]
}

/** The options of a creation. */
export interface CreateOptions extends CallOptions {
  /**
   * A name of your own for this creation, such as `'mnist-3'`: a program that makes the same call again, also after a
   * crash, gets the session that it has made, as it is now. Another call with this name is `idempotency_mismatch`.
   */
  idempotencyKey?: string
}

/** The sessions of a service. Iterate over it with `for await` for all of them, newest first. */
export class Sessions implements AsyncIterable<Session> {
  readonly #client: Caller

  /** @internal */
  constructor(client: Caller) {
    this.#client = client
  }

  /**
   * Create a session.
   *
   * @param optimizer - The name of the update rule.
   * @param settings - Hyperparameters (`lr`, `weight_decay`, …) and the session's other settings (`schedule`, `clip`,
   *   `groups`, `labels`, `hold_params`, …), by name; the service has the defaults.
   * @param options - `idempotencyKey`: a name of your own, by which the same call finds the session again.
   * @returns The session, at step 0.
   * @throws APIStatusError `invalid_session`, `quota_exceeded`, `idempotency_mismatch`.
   * @throws TypeError JSON lacks a setting's type. Nothing was sent.
   * @throws RangeError A setting is NaN or infinite. Nothing was sent.
   * @example
   * const session = await client.sessions.create('adamw', { lr: 1e-3, labels: { run: 'mnist-3' } })
   */
  async create(optimizer: Optimizer, settings: Settings = {}, options: CreateOptions = {}): Promise<Session> {
    return this.#session(calls.create(optimizer, settings, options.idempotencyKey), options)
  }

  /**
   * Create a session from a saved state, with its settings, counts and labels.
   *
   * @param file - The bytes of `saveState()`, or a `File`.
   * @returns A new session, at the step of the file.
   * @throws APIStatusError `invalid_state`, `malformed_body`.
   * @example
   * const copy = await client.sessions.createFromState(await session.saveState())
   */
  async createFromState(file: StateFile, options: CreateOptions = {}): Promise<Session> {
    return this.#session(calls.createFromState(file, options.idempotencyKey), options)
  }

  /**
   * Return a session as it is now.
   *
   * @param id - Its id.
   * @param options - `step`: the step that it must be at.
   * @throws APIStatusError `session_not_found`.
   * @throws StepMismatch The session is at another step.
   * @example
   * const session = await client.sessions.get(id, { step: 50 })
   */
  async get(id: string, { step, ...options }: { step?: number } & CallOptions = {}): Promise<Session> {
    return this.#session(calls.get(id, step), options)
  }

  /**
   * Return a page of sessions, newest first; `find` follows the pages.
   *
   * @param wanted - `limit`: the largest number of sessions. `cursor`: the `nextCursor` of the page before. `labels`,
   *   `optimizer`: only sessions that have all of these.
   * @throws APIStatusError `malformed_query`.
   * @example
   * const { sessions } = await client.sessions.list({ limit: 10 })
   */
  async list({ signal, ...wanted }: ListOptions & CallOptions = {}): Promise<Page> {
    const page = await this.#client.run(calls.list(wanted), signal ? { signal } : {})
    return { ...page, sessions: page.sessions.map((info) => new Session(this.#client, info)) }
  }

  /**
   * Return sessions, newest first, a page at a time as they are asked for.
   *
   * @param wanted - `labels`, `optimizer`: only sessions that have all of these.
   * @throws APIStatusError `malformed_query`.
   * @example
   * for await (const session of client.sessions.find({ labels: { run: 'mnist-3' } })) console.log(session.currentStep)
   */
  async *find(wanted: Omit<ListOptions, 'limit' | 'cursor'> & CallOptions = {}): AsyncGenerator<Session, void, void> {
    let cursor: string | null = null
    do {
      const page: Page = await this.list(cursor === null ? wanted : { ...wanted, cursor })
      yield* page.sessions
      cursor = page.nextCursor
    } while (cursor !== null)
  }

  /** Return all sessions. */
  [Symbol.asyncIterator](): AsyncGenerator<Session, void, void> {
    return this.find()
  }

  /**
   * Change settings from the next step on, even if other clients have changed the session.
   *
   * @param id - Its id.
   * @param changes - Settings by name. `null` puts a default back; labels are merged key by key.
   * @throws APIStatusError `session_not_found`, `invalid_session`.
   * @example
   * await client.sessions.update(id, { lr: 1e-4 })
   */
  async update(id: string, changes: Changes, options?: CallOptions): Promise<Session> {
    return this.#session(calls.update(id, changes), options)
  }

  /**
   * Delete a session, with its state and its history.
   *
   * @throws APIStatusError `session_not_found`.
   * @example
   * await client.sessions.delete(id)
   */
  async delete(id: string, options?: CallOptions): Promise<void> {
    return this.#client.run(calls.remove(id), options)
  }

  /** Make a call that answers a session; return that, with its ETag. */
  async #session(call: Call<SessionInfo>, options?: CallOptions): Promise<Session> {
    return new Session(this.#client, ...(await this.#client.run(calls.tagged(call), options)))
  }
}
