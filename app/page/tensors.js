// The table of a session's tensors: what the session knows of them, and on demand the norms that the service computes.

import { Problem, readTensors } from './api.js'
import { announce, h, scrolled, write } from './elements.js'
import { number, whole } from './formats.js'

const A_PAGE = 100
const size = (row) => row.shape.reduce((product, length) => product * length, 1)

/** @type {{ title: string, of: (row: object) => any, text?: (value: any, row: object) => string, help?: string }[]} */
const COLUMNS = [
  { title: 'Tensor', of: (row) => row.name },
  { title: 'Shape', of: size, text: (_, row) => (row.shape.length ? row.shape.join('×') : 'scalar') },
  { title: 'Type', of: (row) => row.dtype },
  { title: 'Group', of: (row) => row.group, text: (value) => value ?? '–' },
  { title: 'Rule', of: (row) => row.optimizer },
  { title: 'Updates', of: (row) => row.step, text: whole },
]
const NORMS = [
  { title: 'Parameter norm', of: (row) => row.param_norm },
  { title: 'Update norm', of: (row) => row.update_norm, help: 'of its last update' },
  { title: 'Update to weight', of: (row) => row.update_to_weight, help: 'update norm over parameter norm' },
  { title: 'First moment', of: (row) => row.m_norm, help: 'norm of the first moment' },
  { title: 'Second moment', of: (row) => row.v_norm, help: 'norm of the second moment' },
  { title: 'Zeros', of: (row) => row.zero_share, help: 'share of elements that are 0', text: (value) => (value == null ? '–' : `${number(100 * value)} %`) },
].map((column) => ({ text: number, ...column, isFigure: true }))

export class Tensors {
  #id
  #signal
  #rows = []
  #norms = null
  #most = A_PAGE
  #sorted = { column: COLUMNS[0], ascending: true }
  #search = h('input', { type: 'search', placeholder: 'Search by name', 'aria-label': 'Search tensors by name', oninput: () => this.#restart() })
  #measure = h('button', { type: 'button', onclick: () => this.#read() }, 'Measure norms again')
  #words = h('p', { class: 'soft small', role: 'status' })
  #table = h('table', { class: 'tensors' })
  #more = h('button', { type: 'button', hidden: true, onclick: () => this.#grow() })

  constructor(id, signal) {
    this.#id = id
    this.#signal = signal
    this.element = h(
      'details', { class: 'part', ontoggle: () => this.#open() },
      h('summary', null, h('h2', null, 'Tensors')),
      h('div', { class: 'actions' }, this.#search, this.#measure), this.#words,
      scrolled('Tensors', this.#table), this.#more,
    )
  }

  /** Take the tensors of the session. They are drawn once the table is opened. */
  show({ tensors }) {
    this.#rows = Object.entries(tensors).map(([name, tensor]) => ({ name, ...tensor }))
    if (this.element.open) this.#draw()
  }

  #open() {
    if (!this.element.open) return
    this.#draw()
    if (!this.#norms) this.#read()
  }

  /** Read the norms, which the service computes for this. */
  async #read() {
    this.#measure.disabled = true
    write(this.#words, 'measuring …')
    try {
      const { step, tensors } = await readTensors(this.#id, this.#signal)
      this.#norms = tensors
      write(this.#words, `Norms after step ${whole(step)}. They are computed when asked for.`)
    } catch (error) {
      if (this.#signal.aborted) return
      write(this.#words, error instanceof Problem ? `No norms: ${error.message}` : error.message)
    }
    this.#measure.disabled = false
    this.#draw()
  }

  #restart() {
    this.#most = A_PAGE
    this.#draw()
  }

  #grow() {
    this.#most += A_PAGE
    this.#draw()
  }

  #sort(column) {
    this.#sorted = { column, ascending: this.#sorted.column === column ? !this.#sorted.ascending : !column.isFigure }
    this.#draw()
    announce(`sorted by ${column.title}, ${this.#sorted.ascending ? 'ascending' : 'descending'}`)
  }

  #draw() {
    const columns = this.#norms ? [...COLUMNS, ...NORMS] : COLUMNS
    const wanted = this.#search.value.trim().toLowerCase()
    const { column, ascending } = this.#sorted
    const found = this.#rows.filter((row) => row.name.toLowerCase().includes(wanted)).map((row) => ({ ...row, ...this.#norms?.[row.name], step: row.step }))
    found.sort((one, other) => (ascending ? 1 : -1) * compared(column.of(one), column.of(other)))
    const focused = this.#table.contains(document.activeElement) ? document.activeElement.textContent : null
    this.#table.replaceChildren(h('thead', null, h('tr', null, columns.map((each) => this.#heading(each)))), h('tbody', null, found.slice(0, this.#most).map((row) => line(row, columns))))
    if (focused) [...this.#table.querySelectorAll('button')].find((button) => button.textContent === focused)?.focus()
    const rest = found.length - this.#most
    this.#more.hidden = rest <= 0
    write(this.#more, `Show ${Math.min(rest, A_PAGE)} more of ${whole(rest)}`)
  }

  #heading(column) {
    const isSorted = this.#sorted.column.title === column.title
    const order = isSorted ? (this.#sorted.ascending ? 'ascending' : 'descending') : null
    const sign = isSorted ? (this.#sorted.ascending ? ' ↑' : ' ↓') : ''
    const press = h('button', { type: 'button', class: 'quiet', title: column.help, onclick: () => this.#sort(column) }, column.title, h('span', { 'aria-hidden': 'true' }, sign))
    return h('th', { scope: 'col', 'aria-sort': order, class: column.isFigure && 'figure' }, press)
  }
}

function line(row, columns) {
  const [name, ...rest] = columns
  return h(
    'tr', null,
    h('th', { scope: 'row' }, h('code', null, name.of(row))),
    rest.map((column) => h('td', { class: column.isFigure && 'figure' }, column.text ? column.text(column.of(row), row) : column.of(row))),
  )
}

function compared(one, other) {
  if (one == null || other == null) return (one == null ? -1 : 0) - (other == null ? -1 : 0)
  return typeof one === 'string' ? one.localeCompare(other, 'en', { numeric: true }) : one - other
}
