/** The service's documents: a session, a row of its history, a step's metrics. Unknown members are kept. */

import type { EffectiveSettings } from './settings.js'

/** A tensor that the session has seen. `step` counts its updates, `group` is the index of its group. */
export interface TensorInfo {
  shape: readonly number[]
  dtype: string
  step: number
  group: number | null
  optimizer: string
}

/**
 * A session, with every effective setting.
 *
 * `step` is the number of the last step, and `rewinds` counts the undone ones. `digest` names the whole state: sessions
 * with one digest step alike. Only a session that was read by itself has `tensors`; only one from a list has
 * `tensor_count` and `state_bytes`.
 */
export interface SessionInfo extends EffectiveSettings {
  id: string
  step: number
  skipped_steps: number
  rewinds: number
  digest: string
  tensors?: Readonly<Record<string, TensorInfo>>
  tensor_count?: number
  state_bytes?: number
  warnings: readonly string[]
  created_at: string
  updated_at: string
  expires_at: string | null
}

/**
 * An optimizer that a session may use.
 *
 * `hyperparameters` has the JSON schema of each, with its `default`. `slots` are what it keeps for a matrix under its
 * defaults. `bits` is `machine` if only the same machine computes the same bits. `reference` is the package whose
 * names, defaults and numerics it has.
 */
export interface OptimizerInfo {
  hyperparameters: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  slots: readonly string[]
  bits: 'everywhere' | 'machine'
  reference: string
}

/** The metrics of a step. `grad_norm` is from before clipping, and not finite where the step was skipped. */
export interface Metrics {
  lr: number
  grad_norm: number
  update_norm: number
  param_norm: number
  clip_scale: number
}

/** A past step. A skipped one has the number of the step before it; an `undone` one is no part of the state. */
export interface HistoryRow extends Metrics {
  step: number
  loss: number | null
  skipped: boolean
  undone: boolean
  duration_ms: number
  time: string
}

const NUMBERS = ['lr', 'grad_norm', 'update_norm', 'param_norm', 'clip_scale'] as const

/** Return the document of a session. Throws a `TypeError` where it is none. */
export function readSession(document: unknown): SessionInfo {
  const info = members(document) as Partial<SessionInfo>
  if (typeof info.id === 'string' && Number.isSafeInteger(info.step) && typeof info.digest === 'string') {
    return info as SessionInfo
  }
  throw new TypeError('the answer is no session: it lacks an id, a step or a digest')
}

/** Return the metrics of a document; JSON has no number for `"NaN"` and `"Infinity"`. */
export function readMetrics(document: unknown): Metrics {
  const row = members(document)
  return Object.fromEntries(NUMBERS.map((name) => [name, numberOf(name, row[name])])) as unknown as Metrics
}

/** Return a row of the history. */
export function readHistoryRow(document: unknown): HistoryRow {
  const row = members(document)
  const loss = row['loss'] === null ? null : numberOf('loss', row['loss'])
  return { ...row, ...readMetrics(row), loss, undone: row['undone'] === true } as HistoryRow
}

/** Return the members of a JSON object. Throws a `TypeError` where it is none. */
export function members(document: unknown): Record<string, unknown> {
  if (typeof document === 'object' && document !== null && !Array.isArray(document)) return { ...document }
  throw new TypeError('the answer is no JSON object')
}

function numberOf(name: string, value: unknown): number {
  const number = typeof value === 'string' && ['NaN', 'Infinity', '-Infinity'].includes(value) ? Number(value) : value
  if (typeof number === 'number') return number
  throw new TypeError(`${name} is no number: ${JSON.stringify(value)}`)
}
