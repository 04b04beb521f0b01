// Files that the page makes: rows as CSV, a curve as PNG.

import { readHistory } from './api.js'
import { colour } from './colours.js'
import { h } from './elements.js'

const COLUMNS = [
  'step', 'loss', 'lr', 'grad_norm', 'update_norm', 'param_norm', 'clip_scale', 'skipped', 'undone', 'duration_ms', 'time',
]
const A_PAGE = 10_000
const HEAD = 36

/** Return rows of the history as lines of CSV, without the heading. */
function lines(rows) {
  return rows.map((row) => COLUMNS.map((name) => cell(row[name] ?? (name === 'undone' ? false : ''))).join(',') + '\n').join('')
}

function cell(value) {
  const text = String(value)
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** Return a file of these rows. */
export function csvOf(rows) {
  return new Blob([`${COLUMNS.join(',')}\n`, lines(rows)], { type: 'text/csv' })
}

/** Return a file of all rows that the service has of a session. `told` is called with their number so far. */
export async function csvOfAll(id, told, signal) {
  const parts = [`${COLUMNS.join(',')}\n`]
  for (let [after, count] = [-1, 0]; ; ) {
    const { history } = await readHistory(id, { after, limit: A_PAGE }, signal)
    if (!history.length) return new Blob(parts, { type: 'text/csv' })
    parts.push(lines(history))
    after = history.at(-1).step
    told((count += history.length))
  }
}

/** Return a picture of a chart, with its title. */
export function pngOf(chart, title) {
  const { canvas } = chart
  const ratio = devicePixelRatio
  const picture = h('canvas', { width: canvas.width, height: canvas.height + HEAD * ratio })
  const ctx = picture.getContext('2d')
  ctx.fillStyle = colour('--paper')
  ctx.fillRect(0, 0, picture.width, picture.height)
  ctx.fillStyle = colour('--ink')
  ctx.font = `600 ${14 * ratio}px ${getComputedStyle(document.body).fontFamily}`
  ctx.fillText(title, 12 * ratio, 24 * ratio)
  ctx.drawImage(canvas, 0, HEAD * ratio)
  return new Promise((resolve) => picture.toBlob(resolve, 'image/png'))
}

/** Save a file under a name. */
export function save(blob, name) {
  const href = URL.createObjectURL(blob)
  h('a', { href, download: name }).click()
  setTimeout(() => URL.revokeObjectURL(href), 10_000)
}
