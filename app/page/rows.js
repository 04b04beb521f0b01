// The rows of the list that are in view. The others are two empty rows of their height, so that 10,000 cost as much as 20.

import { COLUMNS } from './columns.js'
import { h, write } from './elements.js'
import { short } from './formats.js'

/** Rows beyond the edges of the window, for those who scroll. */
const BEYOND = 8

/** The body of the list's table, in a window that scrolls. */
export class Rows {
  /** @type {import('./sessions.js').Row[]} */
  rows = []
  /** The id of the row that the keyboard is at, or null. */
  current = null
  body = h('tbody', { role: 'rowgroup' })
  #above = h('tr', { 'aria-hidden': 'true', class: 'space' }, h('td'))
  #below = h('tr', { 'aria-hidden': 'true', class: 'space' }, h('td'))
  #shown = new Map()
  #selected
  #height = 44

  /** @param {Set<string>} selected the ids of the selected sessions */
  constructor(selected) {
    this.#selected = selected
    this.body.append(this.#above, this.#below)
    this.body.addEventListener('focusin', ({ target }) => this.#stand(target.closest('tr')?.dataset.id ?? null))
  }

  /** Return the rows that are in view. */
  get inView() {
    return this.rows.slice(...this.#range(0))
  }

  /** Show other rows, or the same ones in another order. The first row in view stays where it is, if `holds`. */
  update(rows, holds) {
    const top = scrollY - this.#top()
    const [first] = this.#range(0)
    const anchor = holds && top > 0 ? this.rows[first]?.id : null
    this.rows = rows
    if (anchor) {
      const place = rows.findIndex((row) => row.id === anchor)
      if (place >= 0 && place !== first) {
        this.#space(this.#range(BEYOND))
        scrollBy({ top: (place - first) * this.#height, behavior: 'instant' })
      }
    }
    this.draw()
  }

  /** Make, move and write the rows in view; those that stay are only written where something has changed. */
  draw() {
    this.#height = parseFloat(getComputedStyle(this.body).getPropertyValue('--row')) || this.#height
    const [begin, end] = this.#range(BEYOND)
    const now = Date.now()
    const focused = this.body.contains(document.activeElement)
    const wanted = this.rows.slice(begin, end)
    const ids = new Set(wanted.map((row) => row.id))
    for (const [id, shown] of this.#shown) {
      if (ids.has(id)) continue
      shown.element.remove()
      this.#shown.delete(id)
    }
    let last = this.#above
    wanted.forEach((row, i) => {
      const shown = this.#shown.get(row.id) ?? this.#make(row)
      if (last.nextSibling !== shown.element) last.after(shown.element)
      last = shown.element
      last.ariaRowIndex = begin + i + 2
      shown.write(row, now)
    })
    this.#space([begin, end])
    if (focused && !this.body.contains(document.activeElement)) this.#element(this.current)?.focus({ preventScroll: true })
    this.#stand(this.#shown.has(this.current) ? this.current : (wanted[0]?.id ?? null), false)
  }

  /** Write one row, if it is shown. */
  redraw(row) {
    this.#shown.get(row.id)?.write(row, Date.now())
  }

  /** Move the keyboard's row by a number of rows, and bring it into view. */
  move(by) {
    const from = this.rows.findIndex((row) => row.id === this.current)
    const place = Math.max(0, Math.min(this.rows.length - 1, from + by))
    if (!this.rows.length) return
    const top = this.#top() + place * this.#height
    const [least, most] = [scrollY + this.#covered(), scrollY + innerHeight - this.#height - 72]
    if (top < least) scrollTo({ top: top - this.#covered(), behavior: 'instant' })
    else if (top > most) scrollTo({ top: top - innerHeight + this.#height + 72, behavior: 'instant' })
    this.current = this.rows[place].id
    this.draw()
    this.#element(this.current)?.focus({ preventScroll: true })
  }

  /** Return how many rows fit into the window. */
  get page() {
    return Math.max(1, Math.floor((innerHeight - this.#covered() - 72) / this.#height))
  }

  #make(row) {
    const box = h('input', { type: 'checkbox', tabindex: '-1', 'data-select': row.id })
    const cells = COLUMNS.map((column) => column.make())
    const element = h(
      'tr',
      { role: 'row', 'data-id': row.id },
      h('td', { role: 'cell', class: 'pick' }, h('label', null, box)),
      COLUMNS.map(({ name, title, figure }, i) =>
        h(i ? 'td' : 'th', { role: i ? 'cell' : 'rowheader', class: `${name}${figure ? ' figure' : ''}`, 'data-title': title }, cells[i][0])),
    )
    const shown = {
      element,
      write: (now, time) => {
        for (const [, cell] of cells) cell(now, time)
        box.checked = this.#selected.has(now.id)
        box.ariaLabel = `Compare ${now.name || short(now.id)}`
        element.classList.toggle('selected', box.checked)
      },
    }
    this.#shown.set(row.id, shown)
    return shown
  }

  /** Let Tab reach one row alone. */
  #stand(id, moves = true) {
    for (const each of this.body.querySelectorAll('[tabindex="0"]')) if (each.closest('tr').dataset.id !== id) each.tabIndex = -1
    for (const each of this.#shown.get(id)?.element.querySelectorAll('a.name, input') ?? []) each.tabIndex = 0
    if (moves) this.current = id
  }

  #element(id) {
    return this.#shown.get(id)?.element.querySelector('a.name')
  }

  #range(beyond) {
    const top = this.#covered() + scrollY - this.#top()
    const begin = Math.floor(top / this.#height) - beyond
    const count = Math.ceil(innerHeight / this.#height) + 2 * beyond
    const least = Math.max(0, Math.min(begin, this.rows.length - count))
    return [least, Math.min(this.rows.length, Math.max(0, begin) + count)]
  }

  #space([begin, end]) {
    this.#above.firstChild.style.height = `${begin * this.#height}px`
    this.#below.firstChild.style.height = `${(this.rows.length - end) * this.#height}px`
  }

  /** Return where the body begins on the page. */
  #top() {
    return this.body.getBoundingClientRect().top + scrollY
  }

  /** Return the height of what stands before the rows at the top of the window: the bar and the heads of the columns. */
  #covered() {
    return parseFloat(getComputedStyle(this.body).getPropertyValue('--covered')) || 0
  }
}
