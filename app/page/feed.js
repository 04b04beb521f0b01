// What keeps one session's series up to date: its history, then its events, or questions where there is no stream.

import { call, events, pause, Problem, readCurves, readHistory } from './api.js'
import { Series } from './series.js'

/** Steps that are read one by one when a part of that size is zoomed to. */
const MOST_DETAIL = 5000
/** A stream that has not begun by then may stand behind a proxy that holds it back. */
const PATIENCE_MS = 1500
const POLL_MS = 3000
const REFRESH_MS = 4000

export class Feed {
  series = new Series()
  /** The session as the API answers it. */
  session = null
  /** @type {'loading' | 'connecting' | 'live' | 'polling' | 'reconnecting' | 'gone' | 'stopped'} */
  state = 'loading'
  #etag = ''
  /** Events that came while the history was read. */
  #waiting = null
  #detailed = []
  #isStale = false
  /** Whether a history that must be read again could not be read. */
  #isBehind = false

  /**
   * @param {string} id
   * @param {{ changed: () => void, hasStream?: boolean }} how - `changed` is called after each change: draw later, not there.
   */
  constructor(id, { changed, hasStream = true }) {
    this.id = id
    this.changed = changed
    this.hasStream = hasStream
  }

  /** Read the session and its history, and follow it until the signal aborts. Returns once both are there. */
  async start(signal) {
    const [, number] = await Promise.all([this.#readSession(signal), this.#load(signal)])
    this.#become(this.hasStream ? 'connecting' : 'polling')
    if (this.hasStream) this.#follow(number, signal)
    this.#refresh(signal)
  }

  /** Follow the events after a number. */
  async #follow(number, signal) {
    const state = (name) => {
      const isKnown = this.state === 'gone' || (name === 'reconnecting' && this.state === 'polling')
      if (!isKnown) this.#become(name)
    }
    events(this.id, number, { state, event: (kind, body) => this.#take(kind, body, signal) }, signal)
    await pause(PATIENCE_MS, signal)
    if (this.state === 'connecting') this.#become('polling')
  }

  #take(kind, body, signal) {
    this.#waiting?.push([kind, body])
    this.#isStale = true
    if (kind === 'step') this.series.add([body])
    else this.series.mark([body])
    if (body.changed?.step) this.#load(signal).catch(() => (this.#isBehind = true))
    this.changed()
  }

  /** Read the history, and put it in place of what there is. Return the number after which its events begin. */
  async #load(signal) {
    this.#waiting = []
    try {
      const { history, marks, number } = await readCurves(this.id, signal)
      const series = new Series()
      series.add(history)
      series.mark(marks)
      series.add(this.#waiting.filter(([kind]) => kind === 'step').map(([, row]) => row))
      series.mark(this.#waiting.filter(([kind]) => kind !== 'step').map(([, mark]) => mark))
      this.series = series
      this.#detailed = []
      this.#isBehind = false
      this.changed()
      return number
    } finally {
      this.#waiting = null
    }
  }

  /** Read the steps of a part one by one, if they are few and have been thinned. */
  async detail(from, to, signal) {
    const has = this.series.rows.filter((row) => row.step >= from && row.step <= to).length
    if (to - from > MOST_DETAIL || has >= to - from || this.#detailed.some(([low, high]) => low <= from && to <= high)) return
    const { series } = this
    const { history } = await readHistory(this.id, { after: from - 1, limit: MOST_DETAIL }, signal)
    if (series !== this.series) return
    series.add(history.filter((row) => row.step <= to))
    this.#detailed.push([from, to])
    this.changed()
  }

  /** Read the session again when it has changed; without a stream the history too. */
  async #refresh(signal) {
    for (;;) {
      await pause(this.state === 'live' ? REFRESH_MS : POLL_MS, signal)
      if (signal.aborted || this.state === 'gone') return
      if (document.hidden || (this.state === 'live' && !this.#isStale && !this.#isBehind)) continue
      try {
        const isNew = await this.#readSession(signal)
        if (this.#isBehind || (isNew && this.state !== 'live')) await this.#load(signal)
      } catch (error) {
        if (error instanceof Problem && error.status === 404) this.#become('gone')
        else if (this.state === 'polling' && !signal.aborted) this.#become('reconnecting')
      }
    }
  }

  /** Return whether the session has changed since it was read. */
  async #readSession(signal) {
    this.#isStale = false
    const answer = await call(`v1/sessions/${this.id}`, { headers: { 'If-None-Match': this.#etag || '"none"' }, signal })
    if (['reconnecting', 'stopped'].includes(this.state)) this.#become('polling')
    if (answer.status === 304) return false
    this.#etag = answer.headers.get('ETag') ?? ''
    this.session = await answer.json()
    this.changed()
    return true
  }

  #become(state) {
    this.state = state
    this.changed()
  }
}
