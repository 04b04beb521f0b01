// The sessions that the page knows: loaded page by page, and looked at again every few seconds.

import { listSessions, PAGE } from './api.js'
import { nameOf } from './formats.js'

/** Sessions of the newest page, which has the new ones, when the list is looked at again. */
const NEWEST = 20
/** Sessions between two that are in view which are read too, so that one request has both. */
const GAP = 10
/** Sessions of the rest of the list that each look reads too, in turn. */
const TURN = 50
/** A session that has stepped within this time is live. */
export const LIVE_MS = 10_000

/**
 * A session as the list shows it; `seen` and `made` are milliseconds, `loss`, `rate` and `trend` come from its history.
 * @typedef {{id: string, name: string, optimizer: string, step: number, size: number, seen: number, made: number,
 *   updated: string, labels: [string, string][], workers: Object | null, words: string, loss: ?number, rate: ?number,
 *   trend: ?number[], known: ?string}} Row
 */

/** All sessions that the API lists, newest first. */
export class Sessions {
  /** @type {Map<string, Row>} */
  rows = new Map()
  /** Ids, newest first: ids rise with the time of their creation. */
  order = []
  complete = false
  /** Those that the service cannot read: code by id. */
  damaged = new Map()
  #turn = null

  /** Load the next page of those that are not here yet. */
  async load(signal) {
    await this.#read(this.order.at(-1) ?? null, PAGE, signal)
  }

  /** Look again: at the newest sessions, at those in view, and at a few of the others. */
  async refresh(inView, signal) {
    await this.#read(null, NEWEST, signal)
    for (const [cursor, limit] of this.#ranges(inView)) await this.#read(cursor, limit, signal)
    if (this.order.length > NEWEST) this.#turn = await this.#read(this.#turn ?? this.order[NEWEST - 1], TURN, signal)
  }

  /** Return the requests that have these sessions, each the id before its first one and a number. */
  #ranges(ids) {
    const places = ids.map((id) => this.#place(id)).filter((place) => place >= NEWEST).sort((a, b) => a - b)
    const ranges = []
    for (const place of places) {
      const last = ranges.at(-1)
      if (last && place - last.end <= GAP && place - last.begin < PAGE) last.end = place
      else ranges.push({ begin: place, end: place })
    }
    return ranges.map(({ begin, end }) => [this.order[begin - 1], end - begin + 1])
  }

  /** Read sessions after an id, and forget the known ones between that are gone. Return where to go on, or null. */
  async #read(cursor, limit, signal) {
    const page = await listSessions({ limit, cursor }, signal)
    const next = page.next_cursor
    const ids = page.sessions.map((session) => session.id)
    const begin = cursor === null ? 0 : this.#place(cursor, 1)
    const end = next === null ? this.order.length : this.#place(next, 1)
    const here = new Set(ids)
    for (const id of this.order.slice(begin, end)) if (!here.has(id)) this.rows.delete(id)
    for (const { id, code } of page.unreadable ?? []) this.damaged.set(id, code)
    for (const session of page.sessions) this.rows.set(session.id, rowOf(session, this.rows.get(session.id)))
    this.order.splice(begin, end - begin, ...ids)
    this.complete ||= next === null
    return next
  }

  /** Return the place of an id in the order, or where it would stand; `past` is added if it is there. */
  #place(id, past = 0) {
    let [low, high] = [0, this.order.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.order[middle] > id) low = middle + 1
      else high = middle
    }
    return this.order[low] === id ? low + past : low
  }
}

/** Return the row of a session; what its history told stays. */
function rowOf(session, before) {
  const labels = Object.entries(session.labels)
  const seen = Date.parse(session.updated_at)
  const elapsed = before ? seen - before.seen : 0
  return {
    id: session.id,
    name: nameOf(session.labels),
    optimizer: session.optimizer,
    step: session.step,
    size: session.state_bytes,
    seen,
    made: Date.parse(session.created_at),
    updated: session.updated_at,
    labels,
    workers: session.workers,
    words: [session.id, session.optimizer, ...labels.map(([name, value]) => `${name}:${value}`)].join('\n').toLowerCase(),
    loss: before?.loss ?? null,
    rate: elapsed > 0 && session.step > before.step ? (1000 * (session.step - before.step)) / elapsed : (before?.rate ?? null),
    trend: before?.trend ?? null,
    known: before?.known ?? null,
  }
}
