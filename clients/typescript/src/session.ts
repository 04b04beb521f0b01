/** A session: the verbs of one training run. */

import * as calls from './calls.js'
import type { HistoryOptions, StateFile, TensorEdits } from './calls.js'
import type { HistoryRow, Metrics, SessionInfo } from './documents.js'
import type { SessionEvent } from './event.js'
import { follow, type EventsOptions } from './events.js'
import type { Indices } from './gradients.js'
import type { Loss } from './halves.js'
import { Knowledge, type CallOptions, type Caller } from './knowledge.js'
import type { Stored } from './safetensors.js'
import type { Changes, ForkSettings, View } from './settings.js'
import { newParams, readStepAnswer, stepBody } from './step.js'
import type { MaybeGradient, Named, NewParams, Params, StepAnswer, StepOptions, StepRequest } from './step.js'
import type { Tensor, TensorLike } from './tensor.js'

/** Rows of the history that are asked for at once. */
const HISTORY_PAGE = 1000
/** The most different warnings that are logged for one session. */
const MOST_WARNINGS = 100

/** The answer that a step would get. */
export interface Preview<P> extends StepAnswer {
  readonly params: P
}

/**
 * One training run's optimizer, made by `client.sessions`. It takes one change at a time: `await` each.
 *
 * `info.step` and `info.digest` follow every step; the rest of `info` is as of the last answer with the whole session.
 * `metrics`, `skipped`, `warnings` and `paramsDigest` are of the last step that this client took.
 */
export class Session {
  /** The last step's learning rate and norms. */
  metrics: Metrics | null = null
  /** True if the service skipped the last step. */
  skipped = false
  /** Lines about what may be wrong, although the step was taken. */
  warnings: readonly string[] = []
  /** The name of the answered parameters, to keep beside a checkpoint. */
  paramsDigest: string | null = null
  #hasLost = false
  readonly #logged = new Set<string>()
  readonly #client: Caller
  readonly #known: Knowledge

  /** @internal */
  constructor(client: Caller, info: SessionInfo, etag: string | null = null) {
    this.#client = client
    this.#known = new Knowledge(client, info, etag)
  }

  /** The session as this client knows it. */
  get info(): Readonly<SessionInfo> {
    return this.#known.info
  }

  /** The session's id. */
  get id(): string {
    return this.#known.info.id
  }

  /** The number of the last step. */
  get currentStep(): number {
    return this.#known.info.step
  }

  /** The name of the whole state: sessions with one digest step alike. */
  get digest(): string {
    return this.#known.info.digest
  }

  /**
   * Take one optimizer step.
   *
   * @param request - `params` and `grads` by name, or `grads` alone where the session holds its parameters; and options
   *   for this step: `loss`, `lr`, `overrides`, `grad_scale`. With `returnParams: false` the answer has no parameters,
   *   which the session holds.
   * @returns The new parameters, in the form of the given ones (or of the gradients). Those of one answer share its
   *   memory: copy one that you keep for long.
   * @throws APIStatusError `step_conflict`, `params_conflict`, `tensor_mismatch`, `invalid_session`, `non_finite`.
   * @throws APIConnectionError No answer came; the same call again is applied once.
   * @throws SessionInUse Another change has no answer yet.
   * @throws TypeError An array is none, or an option is unknown. Nothing was sent.
   * @throws RangeError There is no gradient, or the new parameters would be lost. Nothing was sent.
   * @example
   * params = await session.step({ params, grads, loss })
   */
  step<P extends Named<P, TensorLike>, G extends Named<G, MaybeGradient>>(
    request: StepOptions & { params: P; grads: G; returnParams?: true },
    options?: CallOptions,
  ): Promise<P>
  step<G extends Named<G, MaybeGradient>>(
    request: StepOptions & { grads: G; returnParams?: true },
    options?: CallOptions,
  ): Promise<NewParams<G>>
  step<P extends Named<P, TensorLike>, G extends Named<G, MaybeGradient>>(
    request: StepOptions & { params?: P; grads: G; returnParams: false },
    options?: CallOptions,
  ): Promise<undefined>
  step(request: StepRequest & { returnParams?: boolean }, options?: CallOptions): Promise<unknown> {
    return this.#known.alone('step', async () => {
      const returnParams = request.returnParams ?? true
      if (!returnParams && !this.info.hold_params) {
        throw new RangeError('returnParams: false needs a session with hold_params: the new parameters would be lost')
      }
      const { body, read } = this.#asked(request, returnParams)
      const { params, ...about } = await this.#known.change(calls.step(this.id, body, returnParams, read), options)
      this.#stepped(about)
      return params
    })
  }

  /**
   * Compute the next step without taking it: nothing is kept, neither in the service nor here.
   *
   * @param request - As for `step()`.
   * @returns The answer that `step()` with the same arguments would get now, to the bit.
   * @throws APIStatusError As for `step()`.
   * @example
   * const { metrics } = await session.preview({ params, grads, lr: 0.01 })
   */
  preview<P extends Named<P, TensorLike>, G extends Named<G, MaybeGradient>>(
    request: StepOptions & { params: P; grads: G },
    options?: CallOptions,
  ): Promise<Preview<P>>
  preview<G extends Named<G, MaybeGradient>>(
    request: StepOptions & { grads: G },
    options?: CallOptions,
  ): Promise<Preview<NewParams<G>>>
  async preview(request: StepRequest, options?: CallOptions): Promise<Preview<unknown>> {
    const { body, read } = this.#asked(request, true)
    return this.#client.run(calls.preview(this.id, body, read), options)
  }

  /**
   * Return rows of past steps, oldest first. Without arguments, all that the service keeps.
   *
   * @param options - `after`: only steps above this number. `limit`: at least this many of the oldest. `last`: this many
   *   of the newest, not together with the others. `points`: all of the run, thinned by the service for a plot of so many
   *   points, not together with the others.
   * @throws APIStatusError `malformed_query`.
   * @example
   * const losses = (await session.history({ last: 100 })).map((row) => row.loss)
   */
  async history({ signal, ...wanted }: HistoryOptions & CallOptions = {}): Promise<HistoryRow[]> {
    const options = signal ? { signal } : {}
    if ((wanted.limit ?? wanted.last ?? wanted.points) !== undefined) {
      return this.#client.run(calls.history(this.id, wanted), options)
    }
    const rows: HistoryRow[] = []
    for (let { after } = wanted; ; after = rows.at(-1)!.step) {
      const page = await this.#client.run(
        calls.history(this.id, { ...(after === undefined ? {} : { after }), limit: HISTORY_PAGE }),
        options,
      )
      rows.push(...page)
      if (page.length < HISTORY_PAGE) return rows // all rows of a step come in one page
    }
  }

  /**
   * Follow the session while it trains: an event for each step, undo and change of settings, by whatever client.
   *
   * It connects when the first event is asked for, reconnects by itself, without a gap, and ends when the session is gone.
   * The end of the loop closes the connection.
   *
   * @param options - `after`: begin after the event of this `number`; 0 begins with all that the service keeps. Without it,
   *   only events from the connection on come. `signal`: ends the wait with its reason.
   * @throws APIStatusError `session_not_found` at the first connection, `overloaded` after all retries.
   * @example
   * for await (const event of session.events({ after: 0 })) if (event.kind === 'step') console.log(event.row.loss)
   */
  events(options: EventsOptions = {}): AsyncGenerator<SessionEvent, void, undefined> {
    return follow(this.#client, this.id, options)
  }

  /**
   * Return the parameters of a session that holds them.
   *
   * @param options - `like`: parameters that give the answer its form. `view`: `'average'` for the average that the
   *   session keeps, `'eval'` for the parameters to evaluate with, where the rule has some.
   * @throws APIStatusError `invalid_session`: the session does not hold its parameters, or has no such view.
   * @example
   * params = await session.params({ like: params })
   */
  params<P extends Named<P, TensorLike>>(options: { like: P; view?: View } & CallOptions): Promise<P>
  params(options?: { view?: View } & CallOptions): Promise<Record<string, Tensor>>
  params({ like = {}, view, ...options }: { like?: Params; view?: View } & CallOptions = {}): Promise<unknown> {
    return Promise.resolve().then(() => this.#known.read(calls.params(this.id, view, like), options))
  }

  /**
   * Return some rows of the parameters of a session that holds them, as the next step will find them.
   *
   * @param rows - The rows' numbers, strictly increasing, by the name of the tensor.
   * @throws APIStatusError `invalid_session`, `tensor_mismatch`.
   * @example
   * const { emb } = await session.rows({ emb: [3, 17] })
   */
  async rows<R extends Readonly<Record<string, Indices>>>(
    rows: R,
    options?: CallOptions,
  ): Promise<{ [Name in keyof R]: Tensor }> {
    return (await this.#known.read(calls.rows(this.id, rows), options)) as { [Name in keyof R]: Tensor }
  }

  /**
   * Give its parameters to a session that holds them, if it is still as this client knows it.
   *
   * @throws APIStatusError `invalid_session`, `tensor_mismatch`, `precondition_failed`.
   * @example
   * await session.putParams(params)
   */
  putParams<P extends Named<P, TensorLike>>(params: P, options?: CallOptions): Promise<void> {
    return this.#known.alone('putParams', async () => this.#known.change(calls.putParams(this.id, params), options))
  }

  /**
   * Read the session again: after a `step_conflict`, or for `info.tensors`, which steps do not bring along.
   *
   * @returns The session as it is now. `info` is the same from then on, unless a change was under way.
   * @throws APIStatusError `session_not_found`.
   * @example
   * const { tensors } = await session.get()
   */
  async get(options?: CallOptions): Promise<SessionInfo> {
    return this.#known.read(calls.get(this.id), options, (info) => (this.#known.info = info))
  }

  /**
   * Change settings from the next step on, if the session is still as this client knows it.
   *
   * @param changes - Settings by name. `null` puts a default back; labels are merged key by key.
   * @throws APIStatusError `invalid_session`, `precondition_failed`.
   * @example
   * await session.update({ lr: 1e-4, labels: { phase: 'fine-tuning' } })
   */
  update(changes: Changes, options?: CallOptions): Promise<SessionInfo> {
    return this.#known.alone('update', async () =>
      this.#changed(await this.#known.change(calls.update(this.id, changes), options)),
    )
  }

  /**
   * Rename, remove and reset tensors, all at once, if the session is still as this client knows it.
   *
   * @param edits - `rename`: old names to new ones. `remove`: tensors to forget. `reset`: tensors that start anew.
   * @throws APIStatusError `tensor_mismatch`, `precondition_failed`.
   * @example
   * await session.editTensors({ rename: { w: 'layer.w' }, reset: ['b'] })
   */
  editTensors(edits: TensorEdits, options?: CallOptions): Promise<SessionInfo> {
    return this.#known.alone('editTensors', async () =>
      this.#changed(await this.#known.change(calls.editTensors(this.id, edits), options)),
    )
  }

  /**
   * Undo the session's last step, if the session is still as this client knows it: go back to the state before.
   *
   * @param step - The number of that step; without it, the last one that this client knows of.
   * @returns The session at the step before. Go on from the parameters of that step; settings stay as they are.
   * @throws APIStatusError `undo_unavailable` (`undo`, given at creation, says how many steps can be undone),
   *   `step_conflict`, `precondition_failed`.
   * @example
   * await session.undo()
   */
  undo(step: number = this.#known.info.step, options?: CallOptions): Promise<SessionInfo> {
    return this.#known.alone('undo', async () => {
      // A first try that comes late may find another step of this number.
      const call = calls.ifMatch(calls.undo(this.id, step), this.#known.etag)
      return (this.#known.info = await this.#known.change(call, options))
    })
  }

  /**
   * Make a session in the same state, if this one is still as this client knows it. Neither changes the other.
   *
   * @param settings - `labels` and `ttl_seconds`; those that are left out are this session's.
   * @returns The new session, at the same step and with the same digest. Its history is empty.
   * @throws APIStatusError `precondition_failed`, `quota_exceeded`, `invalid_session`.
   * @example
   * const trial = await session.fork({ labels: { lr: '0.01' } })
   */
  async fork(settings: ForkSettings = {}, options?: CallOptions): Promise<Session> {
    const call = calls.ifMatch(calls.fork(this.id, settings), this.#known.etag)
    return new Session(this.#client, ...(await this.#client.run(calls.tagged(call), options)))
  }

  /**
   * Download the whole state: settings, moments and counts, as one safetensors file.
   *
   * @example
   * await writeFile('state.safetensors', await session.saveState())
   */
  async saveState(options?: CallOptions): Promise<Uint8Array<ArrayBuffer>> {
    return this.#client.run(calls.saveState(this.id), options)
  }

  /**
   * Upload a saved state into this session as it is now; it goes on from the step in the file.
   *
   * @param file - The bytes of `saveState()`, or a `File`.
   * @param options - `digest: 'none'` takes a file that names no digest, such as one that was made by hand.
   * @returns The session at the step of the file.
   * @throws APIStatusError `invalid_state`, `malformed_body`.
   * @example
   * await session.loadState(await readFile('state.safetensors'))
   */
  loadState(file: StateFile, options: { digest?: 'none' } & CallOptions = {}): Promise<SessionInfo> {
    return this.#known.alone('loadState', async () => {
      const call = calls.loadState(this.id, file, options.digest)
      await this.#known.see(options)
      await this.#known.change(call, options)
      return (this.#known.info = await this.#known.see(options))
    })
  }

  /**
   * Delete the session as it is now, with its state and its history.
   *
   * @throws APIStatusError `session_not_found`.
   * @example
   * await session.delete()
   */
  delete(options?: CallOptions): Promise<void> {
    return this.#known.alone('delete', async () => {
      await this.#known.see(options)
      await this.#known.change(calls.remove(this.id), options)
    })
  }

  /** Return the body of the next step, and the reader of its answer. */
  #asked(request: StepRequest, returnParams: boolean) {
    const { step, wire_dtype: wire = null } = this.info
    const body = stepBody(step + 1, request, wire, (name, loss) => this.#lost(name, loss))
    const read = (stored: Stored): Preview<unknown> => {
      const params = returnParams ? newParams(stored, request, wire) : undefined
      return { ...readStepAnswer(stored, step + 1), params }
    }
    return { body, read }
  }

  /** Remember all but the step: the caller's parameters do not belong to another client's step. */
  #changed(info: SessionInfo): SessionInfo {
    return (this.#known.info = { ...info, step: this.#known.info.step })
  }

  #stepped(answer: StepAnswer): void {
    this.metrics = answer.metrics
    this.skipped = answer.skipped
    this.warnings = answer.warnings
    this.paramsDigest = answer.params_digest
    this.#known.info = { ...this.#known.info, step: answer.step, digest: answer.digest }
    for (const warning of answer.warnings) this.#warn(warning)
  }

  /** Log each different warning once, without its step's number. */
  #warn(warning: string): void {
    const text = warning.replace(/^step \d+: /, '')
    if (this.#logged.has(text) || this.#logged.size >= MOST_WARNINGS) return
    this.#logged.add(text)
    this.#client.log(`session ${this.id}, step ${this.#known.info.step}: ${text}`)
  }

  /** Log the first loss of the wire dtype. */
  #lost(name: string, { zeros, infinities }: Loss): void {
    if (this.#hasLost) return
    this.#hasLost = true
    const said = [
      ...(zeros ? [`${zeros} that were not zero became zero`] : []),
      ...(infinities ? [`${infinities} that were finite became infinite`] : []),
    ]
    this.#client.log(
      `session ${this.id}: of grads['${name}'], ${said.join(' and ')} on the way in ${this.#known.info.wire_dtype}`,
    )
  }
}
