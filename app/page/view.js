// What all curves of a page show alike: the kind of horizontal axis, the part that is zoomed to, the cursor, and smoothing.

import { duration, whole } from './formats.js'

/**
 * @typedef {object} Axis
 * @property {string} title
 * @property {(point: {step: number, at: number}, start: number) => number} of - `start` is when the run began.
 * @property {(x: number) => string} words
 */

/** @type {Record<string, Axis>} */
export const AXES = {
  step: { title: 'Step', of: (point) => point.step, words: (x) => `step ${whole(Math.round(x))}` },
  time: { title: 'Time', of: (point) => point.at, words: clock },
  relative: { title: 'Time since the first step', of: (point, start) => point.at - start, words: duration },
}

const ZOOM = 2

export class View {
  axis = 'step'
  smoothing = 0.6
  isLog = false
  /** @type {[number, number] | null} The part that is zoomed to; null is all. */
  range = null
  /** @type {[number, number]} All that there is. */
  extent = [0, 1]
  #changed
  #pointed = new Set()

  /** @param {(what: 'range' | 'axis' | 'smoothing' | 'isLog') => void} changed */
  constructor(changed) {
    this.#changed = changed
  }

  /** Choose an axis, smoothing or a logarithmic scale. Another axis shows all. */
  choose(name, value) {
    if (this[name] === value) return
    this[name] = value
    if (name === 'axis') this.range = null
    this.#changed(name)
  }

  /** Zoom to a part; null shows all. */
  zoom(range) {
    if (range) {
      const [least, greatest] = this.extent
      const [from, to] = [Math.max(least, range[0]), Math.min(greatest, range[1])]
      range = from < to && (from > least || to < greatest) ? [from, to] : null
    }
    this.range = range
    this.#changed('range')
  }

  /** Zoom around a place, by default the end: with a power of 1 in, with −1 out. */
  magnify(power, place = this.shown[1]) {
    const [from, to] = this.shown
    const width = (to - from) * ZOOM ** -power
    const start = place - ((place - from) / (to - from)) * width
    this.zoom([start, start + width])
  }

  /** The part that is shown. */
  get shown() {
    return this.range ?? this.extent
  }

  /** Call a function with the place of the cursor (null where it is on no curve) and the chart that it is on. */
  onPoint(listener) {
    this.#pointed.add(listener)
  }

  point(x, chart) {
    for (const listener of this.#pointed) listener(x, chart)
  }
}

function clock(seconds) {
  return new Date(seconds * 1000).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'medium' })
}
