// From the rows of a session to the lines of its curves.

import { smoothed } from './smoothing.js'
import { AXES } from './view.js'

/** Rows of one series as the view's axis has them. */
export class Curves {
  #of = null

  /** Take the present rows, if they or the axis are others than before. */
  take(series, axis) {
    if (this.#of && this.#of.series === series && this.#of.revision === series.revision && this.#of.axis === axis) return
    this.#of = { series, revision: series.revision, axis }
    this.start = series.rows[0]?.at ?? 0
    this.x = (point) => AXES[axis].of(point, this.start)
    this.current = series.current
    this.places = this.current.map(this.x)
    if (this.places.some((x, index) => x < this.places[index - 1])) {
      this.current.sort((one, other) => this.x(one) - this.x(other))
      this.places = this.current.map(this.x)
    }
    const all = series.rows.map(this.x)
    this.extent = all.length ? [min(all), max(all)] : [0, 1]
    this.overlay = {
      rows: series.rows.filter((row) => row.left),
      skips: series.rows.filter((row) => row.skipped),
      marks: series.marks,
      x: this.x,
    }
  }

  /**
   * Return the lines of a metric: its values, and before them in the look the smoothed ones.
   *
   * @returns {import('./plot.js').Line[]}
   */
  lines(metric, smoothing, { name = '', colour, faintColour, dash = [] }) {
    const y = this.current.map((row) => metric.of(row) ?? null)
    const raw = { name, x: this.places, y, colour, dash }
    if (!smoothing || !metric.noisy) return [raw]
    const smooth = { ...raw, y: smoothed(this.places, y, smoothing), smooth: true, width: 2 }
    return [{ ...raw, colour: faintColour, width: 1, faint: true }, smooth]
  }
}

function min(values) {
  return values.reduce((least, value) => Math.min(least, value), Infinity)
}

function max(values) {
  return values.reduce((greatest, value) => Math.max(greatest, value), -Infinity)
}
