// The rows of one session's history in the order in which they were made, without doubles, and bounded.

import { thinned } from './thinning.js'

/** Rows that are kept. With more they are thinned to half as many. */
export const MOST_ROWS = 20_000

/**
 * @typedef {object} Row - A row of the history, with what the page adds.
 * @property {number} step
 * @property {number} at - When it was made, in seconds.
 * @property {boolean} skipped
 * @property {boolean} left - Whether the run went on from an earlier step afterwards.
 *
 * @typedef {object} Mark - What happened between steps: an undo, or changed settings.
 * @property {'undo' | 'settings'} event
 * @property {number} step
 * @property {number} at
 */

export class Series {
  /** @type {Row[]} */
  rows = []
  /** @type {Mark[]} */
  marks = []
  /** Rises with each change. */
  revision = 0
  #known = new Set()
  #knownMarks = new Set()

  /** Take rows as the API answers them; those that are here already are left out. */
  add(rows) {
    const { length } = this.rows
    for (const row of rows) this.#add(row)
    if (this.rows.length === length) return
    if (!isOrdered(this.rows, length)) this.rows.sort(byTime)
    for (const mark of this.marks) this.#leave(mark, length)
    if (this.rows.length > MOST_ROWS) this.#thin()
    this.revision++
  }

  #add(row) {
    const key = `${row.step} ${row.time} ${row.duration_ms}`
    if (this.#known.has(key)) return
    this.#known.add(key)
    this.rows.push({ ...row, at: Date.parse(row.time) / 1000, left: row.undone === true, key })
  }

  /** Take marks as the API answers them. The rows that an undo, or a state of an earlier step, leaves behind get `left`. */
  mark(marks) {
    for (const given of marks) {
      const key = `${given.event} ${given.step} ${given.time} ${JSON.stringify(given.changed ?? given.undone)}`
      if (this.#knownMarks.has(key)) continue
      this.#knownMarks.add(key)
      const mark = { ...given, at: Date.parse(given.time) / 1000 }
      this.marks.push(mark)
      this.#leave(mark, 0)
      this.revision++
    }
    this.marks.sort(byTime)
  }

  /** Leave behind the rows that were made before the mark and are later than the step that it went back to. */
  #leave(mark, from) {
    if (mark.event !== 'undo' && !mark.changed?.step) return
    for (const row of this.rows.slice(from)) if (row.step > mark.step && row.at <= mark.at) row.left = true
  }

  #thin() {
    this.rows = thinned(this.rows, MOST_ROWS / 2)
    this.#known = new Set(this.rows.map((row) => row.key))
  }

  /** The rows of the run as it is: neither left behind nor skipped. */
  get current() {
    return this.rows.filter((row) => !row.left && !row.skipped)
  }

  get last() {
    return this.rows.at(-1)
  }
}

function isOrdered(rows, from) {
  for (let i = Math.max(from, 1); i < rows.length; i++) if (rows[i].at < rows[i - 1].at) return false
  return true
}

function byTime(one, other) {
  return one.at - other.at || one.step - other.step
}
