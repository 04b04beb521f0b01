// One curve, or one of each of several sessions: its heading, its plot, and its words for those who do not see it.

import { h, write } from './elements.js'
import { number } from './formats.js'
import { draw, near } from './marks.js'
import { newPlot, tableOf } from './plot.js'
import { AXES } from './view.js'

/** Milliseconds between two changes of the summary, which a screen reader may read out. */
const SUMMARY_MS = 2000
const NOTHING = { rows: [], marks: [], skips: [], x: (point) => point.step }

export class Chart {
  /** The plotted table: x, then the values of each line. */
  data = [[]]
  #lines = []
  #overlay = NOTHING
  #shape = ''
  #plot = null
  #at = null
  #isUnderMouse = false
  #summarized = -Infinity

  /**
   * @param {import('./metrics.js').Metric} metric
   * @param {import('./view.js').View} view
   */
  constructor(metric, view) {
    this.metric = metric
    this.view = view
    this.value = h('output', { class: 'value' })
    this.summary = h('p', { class: 'summary soft small', id: `about-${metric.name}` })
    this.actions = h('span', { class: 'actions' })
    this.tip = h('div', { class: 'tip', hidden: true })
    this.host = h('div', {
      class: 'plot', role: 'slider', tabindex: '0', 'aria-label': `${metric.title}: cursor`, 'aria-describedby': `about-${metric.name}`,
      onkeydown: (event) => this.#key(event), onblur: () => this.#leave(),
      onmouseenter: () => (this.#isUnderMouse = true), onmouseleave: () => this.#leave(),
      ontouchmove: (event) => this.#touch(event), ontouchstart: (event) => this.#touch(event),
    })
    const unit = metric.unit ? h('small', { class: 'soft' }, ` ${metric.unit}`) : null
    this.figure = h(
      'figure', { class: 'chart', data: { metric: metric.name }, hidden: true },
      h('figcaption', null, h('h3', { title: metric.help }, metric.title, unit), this.value, this.summary, this.actions),
      this.host, this.tip,
    )
    this.figure.chart = this
    view.onPoint((x, chart) => this.#follow(x, chart))
  }

  /**
   * Draw. The chart is hidden while no line has a value that shows something.
   *
   * @param {import('./plot.js').Line[]} lines
   * @param {import('./marks.js').Overlay} [overlay]
   */
  show(lines, overlay = NOTHING) {
    const { axis, isLog } = this.view
    this.#lines = lines.map((line) => (isLog ? { ...line, y: line.y.map((y) => (y > 0 ? y : null)) } : line))
    this.#overlay = overlay
    const isEmpty = !lines.some((line) => line.y.some((y) => y != null && y !== this.metric.plain))
    this.figure.hidden = isEmpty
    if (isEmpty) return
    this.data = tableOf(this.#lines)
    const shape = `${axis} ${isLog} ${lines.map((line) => line.name + line.faint + line.smooth).join()}`
    if (!this.#plot || shape !== this.#shape) this.#rebuild(shape)
    else this.#plot.setData(this.data)
    if (this.#at !== null && !this.#isUnderMouse) queueMicrotask(() => this.#placeCursor())
    this.#read()
  }

  /** Draw the same data again, in other colours or another size. */
  redraw() {
    if (!this.#plot) return
    const { clientWidth: width, clientHeight: height } = this.host
    if (width && (width !== this.#plot.width || height !== this.#plot.height)) this.#plot.setSize({ width, height })
    else this.#plot.redraw(false)
  }

  /** Take the part that the view shows. */
  zoom() {
    const [min, max] = this.view.shown
    this.#plot?.setScale('x', { min, max })
  }

  get canvas() {
    return this.#plot?.ctx.canvas
  }

  #rebuild(shape) {
    const { view, metric } = this
    this.#shape = shape
    this.#plot?.destroy()
    this.#plot = newPlot(this.host, this.#lines, {
      axis: view.axis,
      isLog: view.isLog,
      words: AXES[view.axis].words,
      format: number,
      xRange: () => padded(view.shown),
      alsoIn: () => this.#visible(this.#overlay.rows).map(metric.of),
      drawn: (plot) => draw(plot, { ...this.#overlay, rows: this.#visible(this.#overlay.rows) }, metric.of),
      pointed: (x) => this.#isUnderMouse && view.point(x, this),
      selected: (from, to) => view.zoom([from, to]),
      reset: () => view.zoom(null),
    })
  }

  #visible(rows) {
    const [from, to] = padded(this.view.shown)
    return rows.filter((row) => this.#overlay.x(row) >= from && this.#overlay.x(row) <= to && this.metric.of(row) != null)
  }

  /** Show the values at the cursor, which is on this chart or on another. */
  #follow(x, chart) {
    const plot = this.#plot
    if (!plot || this.figure.hidden) return
    this.#at = x
    if (chart !== this) this.#placeCursor()
    const values = this.#read().sort(greatestFirst)
    this.tip.hidden = x == null || chart !== this
    if (this.tip.hidden) return
    const place = AXES[this.view.axis].words(x)
    const happened = near(plot, this.#overlay, x)
    this.tip.replaceChildren(h('p', { class: 'soft' }, place), ...values.map(valueLine), ...happened.map((words) => h('p', null, words)))
    this.host.setAttribute('aria-valuenow', x)
    this.host.setAttribute('aria-valuetext', [place, ...values.map(wordsOf), ...happened].join(', '))
    const left = plot.valToPos(x, 'x') + plot.bbox.left / devicePixelRatio
    const isRight = left > this.host.clientWidth / 2
    this.tip.style.left = isRight ? '' : `${left + 14}px`
    this.tip.style.right = isRight ? `${this.host.clientWidth - left + 14}px` : ''
  }

  /** Write the value at the cursor, or the last one; return the values of each session. */
  #read() {
    const at = this.#at ?? Infinity
    const values = this.#lines.filter((line) => !line.smooth).map((line) => {
      const smooth = this.#lines.find((other) => other.smooth && other.name === line.name)
      return { line: smooth ?? line, value: valueAt(line, at), smooth: smooth && valueAt(smooth, at) }
    })
    write(this.value, this.#overlay === NOTHING ? '' : number(values[0].value))
    const now = performance.now()
    if (now - this.#summarized > SUMMARY_MS) this.#summarize(now)
    return values
  }

  #summarize(now) {
    this.#summarized = now
    write(this.summary, this.#lines.filter((line) => !line.smooth).map(summaryOf).join('; '))
    const [from, to] = this.view.extent
    for (const [name, value] of [['min', from], ['max', to], ['now', this.#at ?? to]]) this.host.setAttribute(`aria-value${name}`, value)
  }

  #leave() {
    this.#isUnderMouse = false
    this.view.point(null, this)
  }

  #touch({ touches: [touch] }) {
    const { left } = this.#plot.over.getBoundingClientRect()
    const [x] = this.data
    this.view.point(x[this.#plot.posToIdx(touch.clientX - left)], this)
  }

  #key(event) {
    const [x] = this.data
    const [from, to] = this.view.shown
    const first = x.findIndex((value) => value >= from)
    const last = x.findLastIndex((value) => value <= to)
    const now = this.#at == null ? last : nearest(x, this.#at)
    const stride = event.shiftKey ? Math.max(1, Math.round((last - first) / 10)) : 1
    const next = { ArrowLeft: now - stride, ArrowRight: now + stride, Home: first, End: last }[event.key]
    if (next !== undefined) this.#moveTo(x[Math.min(last, Math.max(first, next))])
    else if (event.key === '+' || event.key === '-') this.view.magnify(event.key === '+' ? 1 : -1, this.#at ?? to)
    else if (event.key === '0' || event.key === 'Escape') this.view.zoom(null)
    else return
    event.preventDefault()
  }

  #moveTo(x) {
    this.view.point(x, this)
    this.#placeCursor()
  }

  #placeCursor() {
    const left = this.#at == null ? -10 : this.#plot.valToPos(this.#at, 'x')
    this.#plot.setCursor({ left, top: 0 }, false)
  }
}

function valueLine({ line, value, smooth }) {
  const sign = line.name && h('span', { style: { color: line.colour() } }, `━ ${line.name} `)
  return h('p', null, sign, number(value), smooth != null && h('span', { class: 'soft' }, ` smoothed ${number(smooth)}`))
}

function wordsOf({ line, value, smooth }) {
  return `${line.name} ${number(value)}${smooth == null ? '' : `, smoothed ${number(smooth)}`}`.trim()
}

function greatestFirst(one, other) {
  return (other.smooth ?? other.value ?? -Infinity) - (one.smooth ?? one.value ?? -Infinity)
}

function padded([from, to]) {
  return from < to ? [from, to] : [from - 0.5, to + 0.5]
}

function nearest(x, at) {
  let [low, high] = [0, x.length - 1]
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (x[middle] <= at) low = middle
    else high = middle
  }
  return Math.abs(x[high] - at) < Math.abs(x[low] - at) || at === Infinity ? high : low
}

/** Return the line's value at a place, or the one before it. */
function valueAt({ x, y }, at) {
  let index = nearest(x, at)
  while (index > 0 && y[index] == null) index--
  return y[index]
}

function summaryOf({ name, y }) {
  let [least, greatest] = [Infinity, -Infinity]
  for (const value of y) {
    if (value == null) continue
    if (value < least) least = value
    if (value > greatest) greatest = value
  }
  return `${name ? `${name}: ` : ''}${number(least)} to ${number(greatest)}`
}
