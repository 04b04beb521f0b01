/** The documents of a session's events. */

import { members, readHistoryRow, type HistoryRow } from './documents.js'

/** The number that orders the events of a session, and the session's step after this one. */
interface Numbered {
  /** `session.events({ after: number })` continues after this event. */
  readonly number: number
  readonly step: number
}

/** A step, with its row of the history. */
export interface StepEvent extends Numbered {
  readonly kind: 'step'
  readonly row: HistoryRow
}

/** An undo, which names the step that was `undone`. */
export interface UndoEvent extends Numbered {
  readonly kind: 'undo'
  readonly time: string
  readonly undone: number
}

/**
 * A change of settings. `changed` has each one by its path, with its old and its new value: `{ 'hyperparameters.lr': [0.1,
 * 0.05] }`. A loaded state changes `step`, uploaded parameters change `params`, and edited tensors change `tensors`.
 */
export interface SettingsEvent extends Numbered {
  readonly kind: 'settings'
  readonly time: string
  readonly changed: Readonly<Record<string, readonly [old: unknown, new_: unknown]>>
}

/** An event of a session. */
export type SessionEvent = StepEvent | UndoEvent | SettingsEvent

/** Return an event; `null` for a kind that only a later service has. Throws a `TypeError` where it is none. */
export function readEvent(number: number, kind: string, document: unknown): SessionEvent | null {
  const { step, time, undone, changed } = members(document)
  if (typeof step !== 'number') throw new TypeError('an event lacks its step')
  if (kind === 'step') return { number, kind, step, row: readHistoryRow(document) }
  if (kind === 'undo') return { number, kind, step, time: String(time), undone: Number(undone) }
  if (kind === 'settings') {
    return { number, kind, step, time: String(time), changed: members(changed) as SettingsEvent['changed'] }
  }
  return null
}
