// The columns of the list: what each shows of a session, and how it sorts.

import { h, write } from './elements.js'
import { NONE, ago, bytes, moment, number, rate, short, whole } from './formats.js'
import { LIVE_MS } from './sessions.js'
import { draw, sparkline } from './trends.js'

/**
 * A column. `make` returns the cell's children and a function that writes a row into them; `key` is what is sorted by,
 * and `falls` says that the first click sorts the greatest to the top.
 * @typedef {{name: string, title: string, key: (row: import('./sessions.js').Row) => any, falls?: boolean, figure?: boolean,
 *   make: () => [Node[], (row: import('./sessions.js').Row, now: number) => void]}} Column
 */

/** @type {Column[]} */
export const COLUMNS = [
  { name: 'made', title: 'Session', key: (row) => row.id, falls: true, make: nameCell },
  { name: 'optimizer', title: 'Optimizer', key: (row) => row.optimizer, make: () => text((row) => row.optimizer) },
  { name: 'step', title: 'Step', key: (row) => row.step, falls: true, figure: true, make: () => text((row) => whole(row.step)) },
  { name: 'loss', title: 'Loss', key: (row) => row.loss, figure: true, make: lossCell },
  { name: 'rate', title: 'Speed', key: rateNow, falls: true, figure: true, make: () => text((row, now) => rate(rateNow(row, now))) },
  { name: 'size', title: 'State', key: (row) => row.size, falls: true, figure: true, make: () => text((row) => bytes(row.size)) },
  { name: 'workers', title: 'Workers', key: (row) => row.workers && `${row.workers.mode} ${row.workers.expected}`, make: () => text(workersOf) },
  { name: 'seen', title: 'Last seen', key: (row) => row.seen, falls: true, make: seenCell },
]

/** Return a function that compares rows by a column; those without a value are last. Equals stand newest first. */
export function comparing({ key }, falls) {
  const sign = falls ? -1 : 1
  return (a, b) => {
    const [x, y] = [key(a), key(b)]
    if (x === y || (isNone(x) && isNone(y))) return a.id < b.id ? 1 : -1
    if (isNone(x) || isNone(y)) return isNone(x) ? 1 : -1
    return x < y ? -sign : sign
  }
}

const isNone = (value) => value === null || value === undefined || Number.isNaN(value)

/** Return the speed of a session that still steps, else null. */
function rateNow(row, now = Date.now()) {
  return row.rate && now - row.seen < Math.max(LIVE_MS, 5000 / row.rate) ? row.rate : null
}

function text(words) {
  const node = document.createTextNode('')
  return [[node], (row, now) => write(node, words(row, now))]
}

/** The link with the name of the run, or the end of the id, and the other labels. */
function nameCell() {
  const link = h('a', { class: 'name', tabindex: '-1' })
  const id = h('code', { class: 'soft' })
  const labels = h('span', { class: 'labels' })
  return [[h('div', null, link, id, labels)], (row) => {
    if (link.dataset.words === row.words) return
    link.dataset.words = row.words
    link.href = `#/session/${row.id}`
    write(link, row.name || short(row.id))
    write(id, row.name ? short(row.id) : '')
    const others = row.labels.filter(([, value]) => value !== row.name)
    labels.replaceChildren(...others.map(([name, value]) => h('span', { class: 'label' }, `${name}: ${value}`)))
    labels.title = row.labels.map((label) => label.join(': ')).join('\n')
  }]
}

function lossCell() {
  const picture = sparkline()
  const value = h('span', { class: 'value' })
  return [[picture, value], (row) => {
    draw(picture, row.trend)
    write(value, number(row.loss))
  }]
}

/** When the session last changed; a filled mark and a word if it is live. */
function seenCell() {
  const time = h('time')
  return [[time], (row, now) => {
    const isLive = row.step > 0 && now - row.seen < LIVE_MS
    time.className = isLive ? 'live' : ''
    write(time, isLive ? 'live' : ago(row.updated, now))
    if (time.dateTime !== row.updated) {
      time.dateTime = row.updated
      time.title = moment(row.updated)
    }
  }]
}

function workersOf({ workers }) {
  if (!workers) return NONE
  return workers.mode === 'rounds' ? `${workers.expected} in rounds` : workers.mode
}
