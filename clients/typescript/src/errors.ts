/**
 * The error tree: everything that a call can fail with.
 *
 *     OptimError
 *     ├── APIConnectionError      no answer
 *     │   ├── APITimeoutError
 *     │   └── ForeignAnswer       the answer to another request
 *     ├── InvalidAnswer           a success that cannot be read
 *     ├── StepMismatch            `sessions.get(id, { step })` found the session at another step
 *     ├── SessionInUse            a second change was asked for before the first had an answer
 *     └── APIStatusError          a refusal; its `code` says which
 *
 * Arguments that the client itself refuses are not in it: they throw a `TypeError` or a `RangeError`, and nothing is
 * sent. A call that was aborted throws its signal's reason.
 */

/** The members of problem documents, by code. Each may be missing. */
export interface ProblemMembers {
  malformed_body: { tensor: string }
  malformed_header: object
  malformed_query: object
  unauthenticated: object
  forbidden: object
  quota_exceeded: { limit: number }
  session_not_found: object
  route_not_found: object
  method_not_allowed: object
  not_acceptable: { limit: number }
  step_conflict: { current_step: number; applied_as_step: number; skipped: boolean; undone: boolean }
  params_conflict: { tensor: string; current_step: number }
  undo_unavailable: { current_step: number }
  session_busy: object
  round_closed: { round: number; current_step: number; fate: string; reason: string }
  round_open: { round: number }
  no_quorum: { round: number; have: number; need: number }
  worker_fenced: { worker: string }
  workers_only: object
  stale: { current_step: number; staleness: number }
  precondition_failed: object
  body_too_large: { limit: number }
  unsupported_media_type: object
  misdirected: object
  invalid_session: { where: string; tensor: string }
  tensor_mismatch: { tensor: string; expected: unknown; got: unknown }
  non_finite: { tensor: string; index: readonly number[]; round: number }
  idempotency_mismatch: { step: number }
  contribution_mismatch: { worker: string; round: number }
  invalid_state: { tensor: string; expected: unknown; got: unknown }
  rate_limited: object
  internal_error: object
  state_damaged: { piece: unknown }
  replay_differs: { expected: unknown; got: unknown }
  overloaded: object
  store_unavailable: object
}

/** The codes of refusals. */
export type ErrorCode = keyof ProblemMembers

/** The next thing to do, in the words of this client. */
const HINTS: Partial<Record<ErrorCode, string>> = {
  unauthenticated: '; the key is the option apiKey',
  step_conflict: "; session.get() reads the session's step, then go on from the parameters that belong to it",
  undo_unavailable: '; session.loadState(state) puts a saved state back',
  params_conflict: "; session.update({ on_other_params: 'accept' }) takes parameters from elsewhere",
  precondition_failed: '; session.get() reads the session again, then decide whether the call is still right',
}

/** The root of the errors. */
export class OptimError extends Error {
  override name = 'OptimError'
}

/**
 * No answer came. The service may have made the change.
 *
 * After a `step` that ended so, call `step` again with the same arguments: it is applied once, whatever happened.
 * `mayPass` is false where waiting is of no use: the certificate is not trusted.
 */
export class APIConnectionError extends OptimError {
  override name = 'APIConnectionError'
  readonly mayPass: boolean

  constructor(message: string, options: ErrorOptions & { mayPass?: boolean } = {}) {
    super(message, options)
    this.mayPass = options.mayPass ?? true
  }
}

/** No answer came in time. */
export class APITimeoutError extends APIConnectionError {
  override name = 'APITimeoutError'
}

/** The answer to another request came, and was dropped: a proxy mixes up a connection. */
export class ForeignAnswer extends APIConnectionError {
  override name = 'ForeignAnswer'
}

/** A successful answer cannot be read: does `baseUrl` lead to an Optim Service? */
export class InvalidAnswer extends OptimError {
  override name = 'InvalidAnswer'
}

/** The session is at another step than was asked for. */
export class StepMismatch extends OptimError {
  override name = 'StepMismatch'

  constructor(
    readonly sessionId: string,
    readonly wanted: number,
    readonly currentStep: number,
  ) {
    super(
      `session ${sessionId} is at step ${currentStep}, not at step ${wanted}: parameters of step ${wanted} do not ` +
        `belong to its moments. Go on from the parameters of step ${currentStep}, or get the session without a step ` +
        `and loadState() the state that was saved at step ${wanted}`,
    )
  }
}

/** Another change of this session has no answer yet. Nothing was sent. */
export class SessionInUse extends OptimError {
  override name = 'SessionInUse'

  constructor(sessionId: string, wanted: string, running: string) {
    super(
      `session ${sessionId}: ${wanted}() was called before ${running}() had its answer: await each change before the ` +
        'next one; two runs at once need a session each, which fork() makes',
    )
  }
}

/**
 * The service refused the request.
 *
 * `code` names the reason; it is `null` where something else answered, such as a proxy. `members` has the further
 * members of the problem document. `requestId` finds the request in the service's log.
 *
 * @example
 * if (error instanceof APIStatusError && error.is('step_conflict')) console.log(error.members.current_step)
 */
export class APIStatusError<Code extends ErrorCode = ErrorCode> extends OptimError {
  override name = 'APIStatusError'
  readonly status: number
  readonly code: Code | (string & {}) | null
  readonly detail: string
  readonly members: Partial<ProblemMembers[Code]> & Readonly<Record<string, unknown>>
  readonly requestId: string | null

  constructor(problem: Problem) {
    const said = problem.code === null ? `${problem.status}` : `${problem.status} ${problem.code}`
    const request = problem.requestId === null ? '' : `, request ${problem.requestId}`
    const hint = (problem.code !== null && Object.hasOwn(HINTS, problem.code) && HINTS[problem.code as Code]) || ''
    super(`${problem.detail} (${said}${request})${hint}`)
    this.status = problem.status
    this.code = problem.code
    this.detail = problem.detail
    this.members = problem.members as typeof this.members
    this.requestId = problem.requestId
  }

  /** Return whether the refusal has this code; then the compiler knows its members. */
  is<C extends ErrorCode>(code: C): this is APIStatusError<C> {
    return this.code === code
  }
}

/** A refusal in parts. */
export interface Problem {
  status: number
  code: string | null
  detail: string
  members: Readonly<Record<string, unknown>>
  requestId: string | null
}
