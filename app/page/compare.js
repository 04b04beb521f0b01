// Several sessions in one plot each metric.

import { Chart } from './chart.js'
import { colour, SESSION_STYLES } from './colours.js'
import { Curves } from './curves.js'
import { h, scrolled, svg, write } from './elements.js'
import { pill } from './facts.js'
import { Feed } from './feed.js'
import { nameOf, number, short, whole } from './formats.js'
import { METRICS } from './metrics.js'
import { Painter } from './painter.js'
import { toolbar } from './toolbar.js'
import { View } from './view.js'

/** Streams that are open at once: a browser has six connections to a host, and other tabs want some. */
const MOST_STREAMS = 3
/** What the table says of each session: title and look by name. */
const CELLS = { optimizer: ['Optimizer', 'extra'], labels: ['Labels', 'extra'], step: ['Step', 'figure'], loss: ['Loss', 'figure'], lr: ['Learning rate', 'figure extra'] }

/** Fill the view with sessions, and keep them up to date until the signal aborts. */
export async function show(main, ids, signal) {
  const wanted = [...new Set(ids.split(','))]
  const most = SESSION_STYLES.length
  const page = new ComparePage(wanted.slice(0, most), signal)
  main.classList.add('curves')
  if (wanted.length > most) main.append(h('p', { class: 'warn' }, `The first ${most} of ${wanted.length} sessions are shown.`))
  main.append(page.element)
  await page.start()
}

/** One session of several: its feed, its look, its line in the table. */
class Compared {
  isShown = true
  curves = new Curves()
  #name
  #pill = pill()
  #cells = Object.fromEntries(Object.entries(CELLS).map(([name, [, look]]) => [name, h('td', { class: look })]))

  constructor(id, index, changed) {
    const { name: look, dash } = SESSION_STYLES[index]
    this.id = id
    this.feed = new Feed(id, { changed, hasStream: index < MOST_STREAMS })
    this.style = { name: short(id), colour: () => colour(look), faintColour: () => colour(`${look}-faint`), dash }
    this.#name = h('a', { href: `#/session/${id}`, title: id }, short(id))
    const toggle = ({ target }) => {
      this.isShown = target.checked
      changed()
    }
    const line = svg('line', { x1: 0, y1: 8, x2: 44, y2: 8, class: `curve-${index + 1}`, 'stroke-dasharray': dash.join(' ') })
    this.row = h(
      'tr', null,
      h('td', null, h('label', null, h('input', { type: 'checkbox', checked: true, 'aria-label': `show ${short(id)}`, onchange: toggle }))),
      h('td', null, svg('svg', { width: 44, height: 16, 'aria-hidden': 'true' }, line)),
      h('th', { scope: 'row' }, this.#name),
      Object.values(this.#cells),
      h('td', null, this.#pill.element),
    )
  }

  show() {
    const { session, series, state } = this.feed
    this.#pill.set(state)
    if (!session) return
    const now = series.rows.findLast((row) => !row.left)
    const name = nameOf(session.labels)
    this.style.name = [name, short(this.id)].filter(Boolean).join(' · ')
    write(this.#name, name || short(this.id))
    write(this.#cells.optimizer, session.optimizer)
    write(this.#cells.labels, Object.entries(session.labels).filter(([, value]) => value !== name).map(([name, value]) => `${name}: ${value}`).join(', '))
    write(this.#cells.step, whole(now?.step ?? session.step))
    write(this.#cells.loss, number(now?.loss))
    write(this.#cells.lr, number(now?.lr))
  }
}

class ComparePage {
  #isDrawn = false

  constructor(ids, signal) {
    this.signal = signal
    this.view = new View((what) => (what === 'range' ? this.charts.forEach((chart) => chart.zoom()) : this.#plot()))
    this.painter = new Painter(() => this.#draw(), signal)
    this.sessions = ids.map((id, index) => new Compared(id, index, () => this.painter.ask()))
    this.charts = METRICS.map((metric) => new Chart(metric, this.view))
    const heads = ['Show', 'Line', 'Session'].map((title) => h('th', { scope: 'col' }, title))
    const more = Object.values(CELLS).map(([title, look]) => h('th', { scope: 'col', class: look }, title))
    const head = h('thead', null, h('tr', null, heads, more, h('th', { scope: 'col' }, 'State')))
    this.grid = h('section', { class: 'charts', 'aria-label': 'Curves' }, this.charts.map((chart) => chart.figure))
    this.element = h(
      'article', { class: 'compare' }, h('h1', null, 'Sessions in one plot'),
      scrolled('Sessions', h('table', null, head, h('tbody', null, this.sessions.map((session) => session.row)))), toolbar(this.view), this.grid,
    )
    document.title = 'Sessions in one plot · Optim Service'
    new ResizeObserver(() => this.charts.forEach((chart) => chart.redraw())).observe(this.grid)
    document.documentElement.addEventListener('themechange', () => this.charts.forEach((chart) => chart.redraw()), { signal })
  }

  async start() {
    await Promise.all(this.sessions.map((session) => session.feed.start(this.signal)))
    this.painter.now()
  }

  #draw() {
    for (const session of this.sessions) session.show()
    this.#plot()
  }

  #plot() {
    const { axis, smoothing } = this.view
    const shown = this.sessions.filter((session) => session.isShown && session.feed.series.rows.length)
    for (const { curves, feed } of shown) curves.take(feed.series, axis)
    const extents = shown.map(({ curves }) => curves.extent)
    if (extents.length) this.view.extent = [Math.min(...extents.map(([from]) => from)), Math.max(...extents.map(([, to]) => to))]
    for (const chart of this.charts) chart.show(shown.flatMap(({ curves, style }) => curves.lines(chart.metric, smoothing, style)))
    if (this.#isDrawn || !shown.length) return
    this.#isDrawn = true
    requestAnimationFrame(() => performance.mark('first-curve'))
  }
}
