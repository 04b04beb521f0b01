// The list of sessions: searched, sorted, selected, and looked at again every few seconds while somebody sees it.

import { pause } from './api.js'
import { COLUMNS, comparing } from './columns.js'
import { announce, h, write } from './elements.js'
import { emptyList } from './empty.js'
import { NONE, whole } from './formats.js'
import { Notice } from './notice.js'
import { Rows } from './rows.js'
import { Selection } from './selection.js'
import { Sessions } from './sessions.js'
import { Trends, readLoss } from './trends.js'

const LOOK_MS = 3000
const LONGEST_WAIT_MS = 30_000
/** The pause between two pages that are loaded, as a share of the time that the last one took. */
const SHARE = 0.1
/** Milliseconds between two showings of what is loaded, each of which orders all rows. */
const SHOW_MS = 200

/** What stays while other views are shown. */
const memory = { sessions: new Sessions(), query: '', sort: COLUMNS[0], falls: true, selected: new Set(), scroll: 0, current: null }

/** Show the list until the signal aborts. Fails if the first page cannot be read. */
export async function show(main, _, signal) {
  main.classList.add('list')
  main.append(h('p', { class: 'soft waits', role: 'status' }, 'Loading sessions…'))
  if (!memory.sessions.order.length) await memory.sessions.load(signal)
  const list = new List(signal)
  main.replaceChildren(...list.elements)
  list.begin()
  await list.follow()
}

class List {
  #signal
  #rows = new Rows(memory.selected)
  #count = h('span', { class: 'soft', id: 'count' })
  #search = h('input', {
    type: 'search', id: 'search', placeholder: 'Search label, optimizer or id', 'aria-label': 'Search sessions', 'aria-keyshortcuts': '/',
    autocomplete: 'off', spellcheck: 'false', value: memory.query,
  })
  #heads = COLUMNS.map((column) => this.#head(column))
  #order = h(
    'select',
    { id: 'order', 'aria-label': 'Sort by', onchange: () => this.#sort(COLUMNS.find(({ name }) => name === this.#order.value)) },
    COLUMNS.map(({ name, title }) => h('option', { value: name }, name === 'made' ? 'Newest' : title)),
  )
  #table = h(
    'table',
    { role: 'table', 'aria-label': 'Sessions', class: 'sessions' },
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, h('td', { class: 'pick', role: 'cell' }), this.#heads)),
    this.#rows.body,
  )
  #none = h('div', { class: 'none' })
  #notice = new Notice()
  #selection = new Selection(memory.selected, () => this.#rows.draw())
  #trends
  #losses
  #asked = new Set()
  #drawn = 0

  constructor(signal) {
    this.#signal = signal
    this.#trends = new Trends((row) => this.#rows.redraw(row), signal)
    this.#losses = new Trends(() => this.#later(), signal)
    this.#search.addEventListener('input', () => this.#find())
    this.#rows.body.addEventListener('click', (event) => this.#open(event))
    this.#rows.body.addEventListener('change', ({ target }) => this.#selection.toggle(target.dataset.select, target.checked))
    addEventListener('scroll', () => this.#later(), { passive: true, signal })
    addEventListener('resize', () => this.#later(), { signal })
    addEventListener('keydown', (event) => this.#press(event), { signal })
  }

  get elements() {
    const tools = h('div', { class: 'tools' }, h('h1', null, 'Sessions'), this.#count, this.#search, this.#order)
    return [tools, this.#notice.element, this.#table, this.#none, this.#selection.element]
  }

  /** Show what is known, where it was left. */
  begin() {
    this.#rows.current = memory.current
    this.#update()
    scrollTo({ top: memory.scroll, behavior: 'instant' })
    this.#rows.draw()
    this.#trends.want(this.#rows.inView)
  }

  /** Load the rest, and look again every few seconds while the page is visible. */
  async follow() {
    const { sessions } = memory
    let looked = performance.now()
    let shown = 0
    let wait = LOOK_MS
    while (!this.#signal.aborted) {
      const begun = performance.now()
      let rest = wait
      try {
        if (begun - looked >= wait || sessions.complete) {
          await sessions.refresh(this.#rows.inView.map((row) => row.id), this.#signal)
          looked = performance.now()
        } else await sessions.load(this.#signal)
        wait = LOOK_MS
        rest = sessions.complete ? LOOK_MS : Math.min(LOOK_MS, SHARE * (performance.now() - begun))
        this.#notice.clear()
        if (sessions.complete || performance.now() - shown >= SHOW_MS) {
          this.#update(true)
          shown = performance.now()
        }
      } catch (error) {
        if (this.#signal.aborted) return
        wait = Math.max(1000 * (error.retryAfter ?? 0), Math.min(LONGEST_WAIT_MS, 2 * wait))
        rest = wait
        this.#notice.tell(error, wait)
      }
      await Promise.race([pause(rest, this.#signal), this.#notice.pressed()])
      await seen(this.#signal)
    }
  }

  /** Choose, order and show the rows. An order by what changes stays for somebody who is amid the rows. */
  #update(isLook = false) {
    const { sessions, sort, falls } = memory
    const words = memory.query.toLowerCase().split(/\s+/).filter(Boolean)
    const all = sessions.order.map((id) => sessions.rows.get(id))
    const found = words.length ? all.filter((row) => words.every((word) => row.words.includes(word))) : all
    if (sort === COLUMNS[0]) {
      if (!falls) found.reverse()
    } else if (isLook && this.#isBusy() && sameRows(found, this.#rows.rows)) {
      const places = new Map(this.#rows.rows.map((row, i) => [row.id, i]))
      found.sort((a, b) => places.get(a.id) - places.get(b.id))
    } else found.sort(comparing(sort, falls))
    this.#rows.update(found, isLook)
    this.#tell(found.length, all.length)
    this.#trends.want(this.#rows.inView)
    if (sort.name === 'loss') this.#readLosses(found)
  }

  /** Say how many sessions there are, and what to do where there are none. */
  #tell(found, all) {
    const { sessions, query } = memory
    const more = sessions.complete ? '' : '+'
    write(this.#count, query.trim() ? `${whole(found)} of ${whole(all)}${more}` : `${whole(all)}${more}`)
    this.#table.ariaRowCount = found + 1
    this.#table.hidden = found === 0
    this.#search.disabled = all === 0
    this.#notice.damaged(sessions.damaged)
    this.#table.classList.toggle('alone', !sessions.order.some((id) => sessions.rows.get(id).workers))
    const kind = found ? '' : all ? 'unmatched' : 'empty'
    if (this.#none.dataset.kind === kind) return
    this.#none.dataset.kind = kind
    this.#none.replaceChildren(...(kind === 'empty' ? [emptyList()] : kind ? [this.#unmatched()] : []))
  }

  #unmatched() {
    const clear = () => {
      this.#search.value = ''
      this.#find()
      this.#search.focus()
    }
    return h('div', { class: 'note' }, h('h2', null, 'No session matches'), h('p', null, 'The search looks at ids, optimizers and labels (name:value), and wants every word.'), h('button', { type: 'button', onclick: clear }, 'Clear the search'))
  }

  #find() {
    memory.query = this.#search.value
    this.#update()
    announce(`${this.#count.textContent} sessions`)
  }

  #head(column) {
    const mark = h('span', { class: 'mark', 'aria-hidden': 'true' })
    const button = h('button', { type: 'button', class: 'quiet sort', onclick: () => this.#sort(column) }, column.title, mark)
    const head = h('th', { scope: 'col', role: 'columnheader', class: `${column.name}${column.figure ? ' figure' : ''}` }, button)
    this.#mark(head, column)
    return head
  }

  /** Sort by a column, or by the same one the other way. */
  #sort(column) {
    memory.falls = memory.sort === column ? !memory.falls : Boolean(column.falls)
    memory.sort = column
    this.#heads.forEach((head, i) => this.#mark(head, COLUMNS[i]))
    this.#order.value = column.name
    this.#update()
    announce(`Sorted by ${column.title}, ${memory.falls ? 'falling' : 'rising'}`)
  }

  #mark(head, column) {
    const isSorted = memory.sort === column
    head.ariaSort = isSorted ? (memory.falls ? 'descending' : 'ascending') : null
    write(head.querySelector('.mark'), isSorted ? (memory.falls ? '↓' : '↑') : '')
  }

  /** Read the last losses of those that are not in view: the order needs them. */
  #readLosses(rows) {
    const unknown = rows.filter((row) => row.loss === null && !this.#asked.has(row.id))
    this.#losses.want(unknown, (row, signal) => {
      this.#asked.add(row.id)
      return readLoss(row, signal)
    })
  }

  /** Draw the rows in the next frame, and want the curves of those in view once the scrolling rests. */
  #later() {
    this.#drawn ||= requestAnimationFrame(() => {
      this.#drawn = 0
      if (this.#signal.aborted) return
      memory.scroll = scrollY
      this.#rows.draw()
      this.#trends.want(this.#rows.inView)
    })
  }

  #isBusy() {
    return scrollY > 0 || this.#rows.body.matches(':hover') || this.#rows.body.contains(document.activeElement)
  }

  #open({ target }) {
    const id = target.closest('tr')?.dataset.id
    if (id && !target.closest('a, label, input') && !getSelection().toString()) location.hash = `#/session/${id}`
  }

  #press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return
    const isIn = (element) => element.contains(event.target)
    const row = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: this.#rows.page, PageUp: -this.#rows.page, Home: -Infinity, End: Infinity }[event.key]
    if (event.key === '/' && !event.target.matches('input, textarea, select')) this.#search.focus()
    else if (event.key === 'Escape' && isIn(this.#search)) {
      this.#search.value = ''
      this.#find()
    } else if (event.key === 'ArrowDown' && isIn(this.#search)) this.#rows.move(0)
    else if (row !== undefined && isIn(this.#rows.body)) this.#rows.move(row)
    else if (event.key === 'x' && isIn(this.#rows.body)) this.#selection.toggle(this.#rows.current, !memory.selected.has(this.#rows.current))
    else return
    memory.current = this.#rows.current
    event.preventDefault()
  }
}

const sameRows = (some, others) => some.length === others.length && new Set(others.map((row) => row.id)).isSupersetOf(new Set(some.map((row) => row.id)))

/** Wait until somebody can see the page. */
async function seen(signal) {
  while (document.hidden && !signal.aborted) {
    await new Promise((resolve) => document.addEventListener('visibilitychange', resolve, { once: true, signal }))
  }
}
