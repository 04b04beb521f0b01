// The page of one session: its curves while it trains, and all that is known of it.

import { Chart } from './chart.js'
import { Curves } from './curves.js'
import { colour } from './colours.js'
import { announce, h, write } from './elements.js'
import { Facts } from './facts.js'
import { Feed } from './feed.js'
import { nameOf, short, whole } from './formats.js'
import { METRICS } from './metrics.js'
import { Painter } from './painter.js'
import { toolbar } from './toolbar.js'
import { View } from './view.js'

const STYLE = { colour: () => colour('--accent'), faintColour: () => colour('--faint') }
const AGO_MS = 5000

/** Fill the view with a session, and keep it up to date until the signal aborts. */
export async function show(main, id, signal) {
  const page = new SessionPage(id, signal)
  main.classList.add('curves')
  main.append(page.element)
  await page.start()
}

class SessionPage {
  #curves = new Curves()
  #isDrawn = false
  #parts = null

  constructor(id, signal) {
    this.id = id
    this.signal = signal
    this.view = new View((what) => this.#changed(what))
    this.painter = new Painter(() => this.#draw(), signal)
    this.feed = new Feed(id, { changed: () => this.painter.ask() })
    this.charts = METRICS.map((metric) => new Chart(metric, this.view))
    this.facts = new Facts(id)
    this.empty = h('p', { class: 'note', hidden: true }, 'No step was taken yet. The curves begin with the first one, by themselves.')
    for (const chart of this.charts) chart.actions.append(this.#pngButton(chart))
    this.grid = h('section', { class: 'charts', 'aria-label': 'Curves' }, this.charts.map((chart) => chart.figure))
    this.element = h(
      'article', { class: 'session' }, this.facts.element, toolbar(this.view, this.#files()), this.empty, this.grid,
    )
    new ResizeObserver(() => this.charts.forEach((chart) => chart.redraw())).observe(this.grid)
    document.documentElement.addEventListener('themechange', () => this.charts.forEach((chart) => chart.redraw()), { signal })
    const timer = setInterval(() => this.painter.ask(), AGO_MS)
    signal.addEventListener('abort', () => clearInterval(timer))
  }

  async start() {
    await this.feed.start(this.signal)
    this.painter.now()
    requestAnimationFrame(() => requestAnimationFrame(() => this.#addParts()))
  }

  /** Add what stands below the curves, once the first of them is drawn. */
  async #addParts() {
    const { Parts } = await import('./parts.js')
    this.#parts = new Parts(this.id, this.signal)
    this.element.append(...this.#parts.elements)
    this.#parts.show(this.feed)
  }

  #draw() {
    const { series, session } = this.feed
    this.facts.show(this.feed)
    if (!session || this.feed.state === 'loading') return
    document.title = `${nameOf(session.labels) || session.optimizer} ${short(this.id)} · Optim Service`
    this.empty.hidden = series.rows.length > 0
    const revision = `${series.revision} ${this.view.axis}`
    if (!this.#isDrawn || this.revision !== revision || this.series !== series) this.#plot()
    this.revision = revision
    this.series = series
    this.#parts?.show(this.feed)
  }

  #plot() {
    this.#curves.take(this.feed.series, this.view.axis)
    this.view.extent = this.#curves.extent
    if (this.#isDrawn || !this.feed.series.rows.length) return this.#show(this.charts)
    this.#isDrawn = true
    this.#show(this.charts.slice(0, 1))
    requestAnimationFrame(() => {
      performance.mark('first-curve')
      requestAnimationFrame(() => this.signal.aborted || this.#show(this.charts.slice(1)))
    })
  }

  #show(charts) {
    for (const chart of charts) chart.show(this.#curves.lines(chart.metric, this.view.smoothing, STYLE), this.#curves.overlay)
  }

  #changed(what) {
    if (what !== 'range') return this.#plot()
    for (const chart of this.charts) chart.zoom()
    const [from, to] = this.view.shown
    const steps = this.feed.series.rows.filter((row) => this.#curves.x(row) >= from && this.#curves.x(row) <= to).map((row) => row.step)
    if (!this.view.range || !steps.length) return
    this.feed.detail(Math.min(...steps), Math.max(...steps), this.signal).catch((error) => this.signal.aborted || announce(error.message))
  }

  #pngButton(chart) {
    const title = `${chart.metric.title}${chart.metric.unit ? ` (${chart.metric.unit})` : ''} · ${short(this.id)}`
    const onclick = async () => {
      const { pngOf, save } = await import('./downloads.js')
      save(await pngOf(chart, title), `${short(this.id)}-${chart.metric.name}.png`)
    }
    return h('button', { type: 'button', class: 'quiet small', 'aria-label': `${chart.metric.title} as PNG`, onclick }, 'PNG')
  }

  #files() {
    const told = h('span', { class: 'soft small', role: 'status' })
    const all = async () => {
      const { csvOfAll, save } = await import('./downloads.js')
      const file = await csvOfAll(this.id, (count) => write(told, `${whole(count)} rows …`), this.signal)
      save(file, `${short(this.id)}.csv`)
      write(told, '')
    }
    const shown = async () => {
      const { csvOf, save } = await import('./downloads.js')
      save(csvOf(this.#shown()), `${short(this.id)}-shown.csv`)
    }
    return h(
      'span', { class: 'files', role: 'group', 'aria-label': 'Files' },
      h('button', { type: 'button', class: 'quiet', title: 'All rows that the service has', onclick: () => all().catch((error) => write(told, error.message)) }, 'All as CSV'),
      h('button', { type: 'button', class: 'quiet', title: 'The rows that are drawn now', onclick: shown }, 'Shown as CSV'), told,
    )
  }

  #shown() {
    const [from, to] = this.view.shown
    return this.feed.series.rows.filter((row) => this.#curves.x(row) >= from && this.#curves.x(row) <= to)
  }
}
