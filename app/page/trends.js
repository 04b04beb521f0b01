// The losses of sessions in the list, from their histories: of those in view, a few at a time.

import { readHistory } from './api.js'
import { svg } from './elements.js'

const POINTS = 40
/** Points of a curve that grows by one in each look; then it is read anew. */
const MOST_POINTS = 3 * POINTS
/** A browser has six connections to a host: the rest is for what somebody waits for. */
const AT_ONCE = 3
const [WIDTH, HEIGHT] = [96, 24]

/** The reader of histories, which writes into the rows of the list. */
export class Trends {
  #wanted = []
  #running = 0
  #changed
  #signal

  /**
   * @param {(row: import('./sessions.js').Row) => void} changed is called with each row that has been written
   * @param {AbortSignal} signal
   */
  constructor(changed, signal) {
    this.#changed = changed
    this.#signal = signal
  }

  /** Read the curves of these rows, where they are not known as they are now; forget what was wanted before. */
  want(rows, read = readTrend) {
    this.#wanted = rows.filter(isNews).map((row) => () => read(row, this.#signal).then(() => this.#changed(row)))
    while (this.#running < AT_ONCE && this.#wanted.length) this.#work()
  }

  async #work() {
    this.#running += 1
    try {
      while (this.#wanted.length && !this.#signal.aborted) await this.#wanted.shift()()
    } catch {
      this.#wanted = [] // the look at the list says why, and the next one wants them again
    } finally {
      this.#running -= 1
    }
  }
}

/** Return whether a row's history has something that the page does not know. */
const isNews = (row) => row.known !== row.updated && row.step > 0

/** Read the curve of a row, or the newest point if the rest is known. */
async function readTrend(row, signal) {
  const { updated } = row
  const isWhole = row.trend === null || row.trend.length > MOST_POINTS
  const { history } = await readHistory(row.id, isWhole ? { points: POINTS } : { last: 1 }, signal)
  const kept = history.filter((one) => !one.undone)
  const losses = kept.map((one) => one.loss).filter(Number.isFinite)
  row.trend = isWhole ? losses : [...row.trend, ...losses]
  row.loss = kept.at(-1)?.loss ?? null
  if (isWhole) row.rate ??= rateOf(kept)
  row.known = updated
}

/** Read the last loss of a row alone. */
export async function readLoss(row, signal) {
  const { history } = await readHistory(row.id, { last: 1 }, signal)
  row.loss = history.at(-1)?.loss ?? null
}

/** Return the steps in a second over the last quarter of a history, or null. */
function rateOf(history) {
  const [from, to] = [history[Math.floor(0.75 * (history.length - 1))], history.at(-1)]
  const elapsed = to ? Date.parse(to.time) - Date.parse(from.time) : 0
  return elapsed > 0 ? (1000 * (to.step - from.step)) / elapsed : null
}

/** Return a picture for the curves that `draw` draws into it. */
export const sparkline = () =>
  svg('svg', { class: 'spark', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, svg('path'))

/** Draw a curve from its least to its greatest value. */
export function draw(picture, values) {
  const path = !values || values.length < 2 ? '' : pathOf(values)
  const line = picture.firstChild
  if (line.getAttribute('d') !== path) line.setAttribute('d', path)
}

function pathOf(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)]
  const across = WIDTH / (values.length - 1)
  const up = (HEIGHT - 4) / (high - low || 1)
  return values.map((value, i) => `${i ? 'L' : 'M'}${(i * across).toFixed(1)} ${(HEIGHT - 2 - (value - low) * up).toFixed(1)}`).join('')
}
