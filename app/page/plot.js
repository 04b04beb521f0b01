// The adapter of uPlot: its options in this page's clothes.

import { colour } from './colours.js'
import uPlot from './vendor/uPlot.esm.js'

const WHOLE_STEPS = powers([1, 2, 5], 0, 12)
const SECONDS = [...powers([1, 2, 5], -3, 0), 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200]
const DAYS = powers([86_400, 172_800, 432_000], 0, 4)

/**
 * @typedef {object} Line
 * @property {number[]} x - Ascending.
 * @property {(number | null)[]} y
 * @property {() => string} colour
 * @property {number[]} [dash]
 * @property {number} [width]
 * @property {boolean} [faint] - Whether a smoothed line stands for it.
 * @property {boolean} [smooth] - Whether it is smoothed.
 * @property {string} name - What tells it from the others; empty if nothing has to.
 */

/**
 * Return a new plot.
 *
 * @param {HTMLElement} host
 * @param {Line[]} lines
 * @param {{ axis: string, isLog: boolean, xRange: () => [number, number], alsoIn: () => number[], words: (x: number) => string,
 *   format: (y: number) => string, drawn: (plot: uPlot) => void, pointed: (x: number | null) => void,
 *   selected: (from: number, to: number) => void, reset: () => void }} how - `alsoIn` has values that the vertical axis
 *   must reach beside those of the lines.
 */
export function newPlot(host, lines, how) {
  const { axis, isLog, words, format } = how
  const line = () => colour('--line')
  const common = { stroke: () => colour('--soft'), grid: { stroke: line, width: 1 }, ticks: { show: false }, font: font() }
  const x = { ...common, size: 28, grid: { show: false }, space: 64, ...horizontal(axis, words) }
  const y = { ...common, size: 58, space: isLog ? 24 : 36, values: (_, ticks) => ticks.map((tick) => (tick == null ? '' : format(tick))) }
  const options = {
    width: host.clientWidth || 300,
    height: host.clientHeight || 200,
    padding: [10, 24, 0, 0],
    legend: { show: false },
    scales: {
      x: { time: axis === 'time', range: how.xRange },
      y: { distr: isLog ? 3 : 1, range: (_, least, greatest) => vertical(least, greatest, how.alsoIn(), isLog) },
    },
    axes: [x, y],
    series: [{}, ...lines.map(series)],
    cursor: { y: false, points: { size: 7 }, drag: { x: true, y: false, setScale: false }, bind: { dblclick: () => () => how.reset() } },
    hooks: {
      draw: [how.drawn],
      setCursor: [(plot) => how.pointed(plot.cursor.idx == null || plot.cursor.left < 0 ? null : plot.data[0][plot.cursor.idx])],
      setSelect: [
        (plot) => {
          const { left, width } = plot.select
          if (width < 4) return
          how.selected(plot.posToVal(left, 'x'), plot.posToVal(left + width, 'x'))
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
        },
      ],
    },
  }
  return new uPlot(options, tableOf(lines), host)
}

/** Return the lines as one table over one x. */
export function tableOf(lines) {
  const [first] = lines
  if (lines.every((line) => line.x === first.x)) return [first.x, ...lines.map((line) => line.y)]
  return uPlot.join(lines.map((line) => [line.x, line.y]))
}

function series({ colour: stroke, dash, width = 1.75, faint = false }) {
  const points = faint ? { show: false } : { size: 5, fill: stroke }
  return { stroke, dash, width, points, spanGaps: true }
}

function horizontal(axis, words) {
  if (axis === 'time') return {}
  const incrs = axis === 'step' ? WHOLE_STEPS : [...SECONDS, ...DAYS]
  return { incrs, values: (_, ticks) => ticks.map((tick) => words(tick).replace('step ', '')) }
}

function vertical(least, greatest, more, isLog) {
  const values = [least, greatest, ...more].filter((value) => value != null && Number.isFinite(value) && (value > 0 || !isLog))
  if (!values.length) return isLog ? [0.1, 1] : [0, 1]
  const [from, to] = [Math.min(...values), Math.max(...values)]
  if (isLog) return from === to ? [from / 2, to * 2] : uPlot.rangeLog(from, to, 10, false)
  return uPlot.rangeNum(from, to, 0.1, true)
}

function font() {
  return `11px ${getComputedStyle(document.body).fontFamily}`
}

function powers(factors, from, to) {
  return Array.from({ length: to - from }, (_, power) => factors.map((factor) => Number((factor * 10 ** (power + from)).toPrecision(3)))).flat()
}
