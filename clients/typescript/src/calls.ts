/** The calls of the service, each as a `Call`: pure functions. Those that change something carry an idempotency key. */

import { members, readHistoryRow, readSession } from './documents.js'
import type { HistoryRow, OptimizerInfo, SessionInfo } from './documents.js'
import { StepMismatch } from './errors.js'
import { wholeIndices, type Indices } from './gradients.js'
import { uniqueName } from './request_ids.js'
import { EVENT_STREAM, type Answer, type Call, type Request } from './retries.js'
import { decodeSafetensors, type Stored } from './safetensors.js'
import { asJson, settingsDocument } from './settings.js'
import type { Changes, ForkSettings, Optimizer, Settings, View } from './settings.js'
import { mapping, paramsBody, readParams, type Params } from './step.js'
import { shown, type TensorLike } from './tensor.js'

const SAFETENSORS = 'application/vnd.safetensors'
const ACCEPTED = { accept: `${SAFETENSORS}, application/problem+json` }
const JSON_TYPE = { 'content-type': 'application/json' }
const SAFETENSORS_TYPE = { 'content-type': SAFETENSORS }

/** A state file to upload: the bytes of `saveState()`, or a `File` of a page. */
export type StateFile = Uint8Array | ArrayBuffer | Blob

/** The options of a list of sessions. */
export interface ListOptions {
  limit?: number
  cursor?: string
  labels?: Readonly<Record<string, string>>
  optimizer?: Optimizer
}

/** A page of sessions as answered. */
export interface ListedPage {
  sessions: SessionInfo[]
  nextCursor: string | null
  unreadable: string[]
}

/**
 * The options of a history: steps above `after`, at least `limit` of the oldest, or the `last` of the newest; or all of
 * the run, thinned for a plot of so many `points`.
 */
export interface HistoryOptions {
  after?: number
  limit?: number
  last?: number
  points?: number
}

/** The changes of tensors. */
export interface TensorEdits {
  rename?: Readonly<Record<string, string>>
  remove?: readonly string[]
  reset?: readonly string[]
}

export function ready(): Call<void> {
  return { request: { method: 'GET', path: '/readyz', headers: {} }, read: () => undefined }
}

export function optimizers(): Call<Record<string, OptimizerInfo>> {
  const read = (answer: Answer) => members(json(answer)['optimizers']) as Record<string, OptimizerInfo>
  return { request: { method: 'GET', path: '/v1/optimizers', headers: {} }, read }
}

export function create(optimizer: Optimizer, settings: Settings, name?: string): Call<SessionInfo> {
  const document = { optimizer: asJson('optimizer', optimizer), ...settingsDocument(settings) }
  return keyed(writes('POST', '/v1/sessions', document, readInfo), name)
}

export function createFromState(file: StateFile, name?: string): Call<SessionInfo> {
  const request = { method: 'POST', path: '/v1/sessions', ...upload(stateBody(file)) } as const
  return keyed({ request, read: readInfo }, name)
}

export function list({ labels = {}, ...options }: ListOptions): Call<ListedPage> {
  const query = queryOf({ ...options })
  for (const [name, value] of Object.entries(mapping('labels', labels))) query.append('label', `${name}:${value}`)
  const read = (answer: Answer) => {
    const page = json(answer) as { sessions: unknown[]; next_cursor: string | null; unreadable?: { id: string }[] }
    const unreadable = (page.unreadable ?? []).map(({ id }) => id)
    return { sessions: page.sessions.map(readSession), nextCursor: page.next_cursor, unreadable }
  }
  return { request: { method: 'GET', path: '/v1/sessions', query, headers: {} }, read }
}

export function get(id: string, step?: number): Call<SessionInfo> {
  if (step !== undefined && typeof step !== 'number') throw new TypeError(`step must be a number, not ${shown(step)}`)
  const read = (answer: Answer) => {
    const info = readInfo(answer)
    if (step !== undefined && info.step !== step) throw new StepMismatch(id, step, info.step)
    return info
  }
  return { request: { method: 'GET', path: pathOf(id), headers: {} }, read }
}

export function update(id: string, changes: Changes): Call<SessionInfo> {
  return writes('PATCH', pathOf(id), settingsDocument(changes), readInfo)
}

export function fork(id: string, settings: ForkSettings): Call<SessionInfo> {
  return writes('POST', pathOf(id, '/fork'), asJson('settings', settings), readInfo)
}

export function undo(id: string, step: number): Call<SessionInfo> {
  return writes('POST', pathOf(id, '/undo'), { step: asJson('step', step) }, readInfo)
}

export function remove(id: string): Call<void> {
  return { request: { method: 'DELETE', path: pathOf(id), headers: key() }, read: readDone }
}

/** Return the call of a step; `returnParams` false asks for an answer without parameters. */
export function step<T>(
  id: string,
  body: Uint8Array<ArrayBuffer>,
  returnParams: boolean,
  read: (stored: Stored) => T,
): Call<T> {
  const prefer: Record<string, string> = returnParams ? {} : { prefer: 'return=minimal' }
  const headers = { ...upload(body).headers, ...ACCEPTED, ...prefer }
  const request = { method: 'POST', path: pathOf(id, '/steps'), headers, body } as const
  return { request, read: (answer) => read(decodeSafetensors(answer.body)) }
}

/** Return the call that asks for a step's answer. It has no key. */
export function preview<T>(id: string, body: Uint8Array<ArrayBuffer>, read: (stored: Stored) => T): Call<T> {
  const headers = { ...SAFETENSORS_TYPE, ...ACCEPTED }
  const request = { method: 'POST', path: pathOf(id, '/preview'), headers, body } as const
  return { request, read: (answer) => read(decodeSafetensors(answer.body)) }
}

export function params(id: string, view: View | undefined, like: Params): Call<Record<string, TensorLike>> {
  const query = queryOf({ view })
  const read = (answer: Answer) => readParams(answer.body, mapping('like', like))
  return { request: { method: 'GET', path: pathOf(id, '/params'), query, headers: ACCEPTED }, read }
}

export function rows(id: string, wanted: Readonly<Record<string, Indices>>): Call<Record<string, TensorLike>> {
  const lists = Object.entries(mapping('rows', wanted)).map(([name, indices]) => {
    return `${JSON.stringify(name)}:[${wholeIndices(`rows['${name}']`, indices).join(',')}]` // `JSON.stringify` refuses a BigInt
  })
  const headers = { ...JSON_TYPE, ...ACCEPTED }
  const body = `{"rows":{${lists.join(',')}}}`
  const read = (answer: Answer) => readParams(answer.body, {})
  return { request: { method: 'POST', path: pathOf(id, '/params/rows'), headers, body }, read }
}

export function putParams(id: string, given: Params): Call<void> {
  return { request: { method: 'PUT', path: pathOf(id, '/params'), ...upload(paramsBody(given)) }, read: readDone }
}

export function saveState(id: string): Call<Uint8Array<ArrayBuffer>> {
  const read = ({ headers, body }: Answer) => {
    const type = headers.get('content-type') ?? SAFETENSORS
    if (type !== SAFETENSORS && type !== 'application/octet-stream') throw new TypeError(`unexpected type ${type}`)
    return body
  }
  return { request: { method: 'GET', path: pathOf(id, '/state'), headers: ACCEPTED }, read }
}

export function loadState(id: string, file: StateFile, digest: 'none' | undefined): Call<void> {
  const query = queryOf({ digest })
  return { request: { method: 'PUT', path: pathOf(id, '/state'), query, ...upload(stateBody(file)) }, read: readDone }
}

export function editTensors(id: string, edits: TensorEdits): Call<SessionInfo> {
  return writes('PATCH', pathOf(id, '/tensors'), asJson('edits', edits), readInfo)
}

export function history(id: string, options: HistoryOptions): Call<HistoryRow[]> {
  const read = (answer: Answer) => (json(answer)['history'] as unknown[]).map(readHistoryRow)
  return { request: { method: 'GET', path: pathOf(id, '/history'), query: queryOf({ ...options }), headers: {} }, read }
}

/** Open the stream of a session's events, behind the one of this number. */
export function events(id: string, after: number | null): Call<void> {
  if (after !== null && !Number.isSafeInteger(after)) {
    throw new TypeError(`after must be a whole number, not ${shown(after)}`)
  }
  const place = after === null ? {} : { 'last-event-id': String(after) }
  const read = ({ headers }: Answer) => {
    const type = headers.get('content-type')
    if (!type?.startsWith(EVENT_STREAM)) throw new TypeError(`unexpected type ${type}; expected ${EVENT_STREAM}`)
  }
  return { request: { method: 'GET', path: pathOf(id, '/events'), headers: { accept: EVENT_STREAM, ...place } }, read }
}

/** Return the same call with a key of the caller's own. */
function keyed<T>(call: Call<T>, name: string | undefined): Call<T> {
  if (name === undefined) return call
  if (typeof name !== 'string' || !/^[ !#-~]{1,255}$/.test(name)) {
    throw new TypeError(
      'idempotencyKey must be 1 to 255 printable ASCII characters without a double quote, such as "mnist-3"',
    )
  }
  return { ...call, request: { ...call.request, headers: { ...call.request.headers, 'idempotency-key': `"${name}"` } } }
}

/** Return the same call with an `If-Match`. */
export function ifMatch<T>(call: Call<T>, etag: string | null): Call<T> {
  if (etag === null) return call
  return { ...call, request: { ...call.request, headers: { ...call.request.headers, 'if-match': etag } } }
}

/** Return the same call; its result is read with the answer's ETag, `null` where no `If-Match` can use that. */
export function tagged<T>(call: Call<T>): Call<[T, string | null]> {
  return { ...call, read: (answer) => [call.read(answer), strongTag(answer.headers.get('etag'))] }
}

function strongTag(etag: string | null): string | null {
  return etag?.startsWith('"') ? etag : null
}

function writes<T>(method: Request['method'], path: string, document: unknown, read: (answer: Answer) => T): Call<T> {
  return { request: { method, path, headers: { ...JSON_TYPE, ...key() }, body: JSON.stringify(document) }, read }
}

function upload<B extends Uint8Array<ArrayBuffer> | Blob>(body: B): { headers: Record<string, string>; body: B } {
  return { headers: { ...SAFETENSORS_TYPE, ...key() }, body }
}

/** Return the header of one idempotency key, which goes over all tries of a call. */
function key(): Record<string, string> {
  return { 'idempotency-key': `"${uniqueName()}"` }
}

function stateBody(file: StateFile): Uint8Array<ArrayBuffer> | Blob {
  if (file instanceof Blob) return file
  if (file instanceof ArrayBuffer) return new Uint8Array(file)
  if (!(file instanceof Uint8Array)) {
    throw new TypeError(`a state is a Uint8Array, an ArrayBuffer or a Blob, such as a File, not ${shown(file)}`)
  }
  // `fetch` takes no shared memory; `slice` would not copy a Node Buffer.
  return file.buffer instanceof ArrayBuffer ? (file as Uint8Array<ArrayBuffer>) : new Uint8Array(file)
}

function pathOf(id: string, below = ''): string {
  if (typeof id !== 'string') throw new TypeError(`a session's id must be a string, not ${String(id)}`)
  if (['', '.', '..'].includes(id)) throw new RangeError(`a session's id cannot be '${id}'`)
  return `/v1/sessions/${encodeURIComponent(id)}${below}`
}

function queryOf(values: Readonly<Record<string, unknown>>): URLSearchParams {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null)
  return new URLSearchParams(given.map(([name, value]) => [name, String(value)]))
}

function json(answer: Answer): Record<string, unknown> {
  return members(JSON.parse(new TextDecoder().decode(answer.body)))
}

function readInfo(answer: Answer): SessionInfo {
  return readSession(json(answer))
}

/** Check the status of an answer without a body. A repeated deletion finds nothing (404). */
function readDone({ status }: Answer): void {
  if (status !== 204 && status !== 404) throw new TypeError(`unexpected status ${status}; expected 204`)
}
