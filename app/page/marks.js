// What happened between steps: its words, and its look over a plot, with skipped steps and those that were left behind.

import { colour } from './colours.js'

/** @typedef {{ rows: object[], marks: object[], skips: object[], x: (point: object) => number }} Overlay */

/** Signs, so that colour is not needed to tell them apart. */
export const SIGNS = { undo: '↶', settings: '✎', skipped: '×', left: '○' }
const COLOURS = { undo: '--bad', settings: '--accent' }
const NEAR = 6
/** Signs closer than this would cover each other. */
const APART = 14
/** Pixels beside the plot that the signs of the first and the last step need. */
const EDGE = 5

/** Return what a mark says: undo of step 42, or lr 0.001 → 0.0005. */
export function wordsOf(mark) {
  if (mark.event === 'undo') return `step ${mark.undone} was undone`
  return Object.entries(mark.changed).map(([name, change]) => changeOf(name, ...change)).join('; ')
}

function changeOf(name, before, after) {
  if (name === 'step') return `a state of step ${after} was put in place of step ${before}`
  if (name === 'params') return 'parameters were put'
  if (name === 'tensors') return `tensors were edited: ${[...new Set([...(before ?? []), ...(after ?? [])])].join(', ')}`
  return `${name.replace('hyperparameters.', '')} ${text(before)} → ${text(after)}`
}

function text(value) {
  return value == null ? 'none' : typeof value === 'string' ? value : JSON.stringify(value)
}

/** Draw the overlay of a curve. `of` is the curve's value of a row. */
export function draw(plot, { rows, marks, skips, x }, of) {
  const { ctx, bbox } = plot
  const ratio = devicePixelRatio
  ctx.save()
  ctx.beginPath()
  ctx.rect(bbox.left - EDGE * ratio, bbox.top, bbox.width + 2 * EDGE * ratio, bbox.height)
  ctx.clip()
  ctx.lineWidth = 1.25 * ratio
  ctx.strokeStyle = colour('--soft')
  for (const row of rows) circle(ctx, plot.valToPos(x(row), 'x', true), plot.valToPos(of(row), 'y', true), 3 * ratio)
  ctx.lineWidth = 1.75 * ratio
  ctx.strokeStyle = colour('--warn')
  for (const row of skips) cross(ctx, plot.valToPos(x(row), 'x', true), bbox.top + bbox.height - 6 * ratio, 3.5 * ratio)
  let signed = -Infinity
  for (const mark of marks) {
    const place = Math.floor(plot.valToPos(x(mark), 'x', true)) + ratio / 2 // a whole pixel, so that the line is sharp
    const hasSign = place - signed >= APART * ratio
    if (hasSign) signed = place
    flag(ctx, place, bbox, mark.event, ratio, hasSign)
  }
  ctx.restore()
}

function circle(ctx, x, y, radius) {
  if (!Number.isFinite(y)) return
  ctx.beginPath()
  ctx.arc(x, y, radius, 0, 2 * Math.PI)
  ctx.stroke()
}

function cross(ctx, x, y, size) {
  ctx.beginPath()
  ctx.moveTo(x - size, y - size)
  ctx.lineTo(x + size, y + size)
  ctx.moveTo(x - size, y + size)
  ctx.lineTo(x + size, y - size)
  ctx.stroke()
}

function flag(ctx, x, bbox, event, ratio, hasSign) {
  ctx.strokeStyle = ctx.fillStyle = colour(COLOURS[event])
  ctx.setLineDash(event === 'undo' ? [] : [4 * ratio, 3 * ratio])
  ctx.lineWidth = ratio
  ctx.beginPath()
  ctx.moveTo(x, bbox.top)
  ctx.lineTo(x, bbox.top + bbox.height)
  ctx.stroke()
  ctx.setLineDash([])
  if (!hasSign) return
  ctx.font = `${13 * ratio}px ${getComputedStyle(document.body).fontFamily}`
  ctx.textBaseline = 'top'
  ctx.textAlign = 'left'
  ctx.fillText(SIGNS[event], Math.min(x + 3 * ratio, bbox.left + bbox.width - 14 * ratio), bbox.top + ratio)
}

/** Return the words of what an overlay has within some pixels of a place. */
export function near(plot, { rows, marks, skips, x }, at) {
  const left = plot.valToPos(at, 'x')
  const isNear = (point) => Math.abs(plot.valToPos(x(point), 'x') - left) <= NEAR
  const skipped = skips.filter(isNear).length
  const undone = rows.filter(isNear)
  return [
    ...marks.filter(isNear).map((mark) => `${SIGNS[mark.event]} ${wordsOf(mark)}`),
    ...(skipped ? [`${SIGNS.skipped} ${skipped === 1 ? 'a step was' : `${skipped} steps were`} skipped`] : []),
    ...(undone.length ? [`${SIGNS.left} left behind: ${undone.slice(-3).map((row) => `step ${row.step}`).join(', ')}`] : []),
  ]
}
