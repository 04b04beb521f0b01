// The head of a session's page: what it is, and where it stands now.

import { h, write } from './elements.js'
import { ago, duration, moment, nameOf, number, rate, short, whole } from './formats.js'

/** The words of each state of a feed, and their look. */
export const STATES = {
  loading: ['loading', 'soft'],
  connecting: ['connecting', 'soft'],
  live: ['● live', 'good'],
  polling: ['● every 3 s', 'good'],
  reconnecting: ['◌ reconnecting', 'warn'],
  gone: ['✕ deleted', 'bad'],
  stopped: ['✕ stopped', 'bad'],
}
const RATE_SECONDS = 10
const FACTS = ['Step', 'Loss', 'Learning rate', 'Speed', 'Running', 'Last seen', 'Skipped', 'Undone', 'Round']

/** Return a pill of a feed's state, which `set` changes. */
export function pill() {
  const element = h('span', { class: 'pill', role: 'status' })
  const set = (state) => {
    const [words, look] = STATES[state]
    write(element, words)
    element.className = `pill ${look}`
    element.dataset.state = state
  }
  return { element, set }
}

export class Facts {
  #pill = pill()
  #title = h('h1', null)
  #optimizer = h('span', null)
  #labels = h('p', { class: 'labels' })
  #warnings = h('ul', { class: 'warnings', hidden: true })
  #values = Object.fromEntries(FACTS.map((name) => [name, h('dd', null, '–')]))

  constructor(id) {
    const tiles = FACTS.map((name) => h('div', { hidden: ['Skipped', 'Undone', 'Round'].includes(name) }, h('dt', null, name), this.#values[name]))
    this.element = h(
      'header', { class: 'facts' },
      h('div', { class: 'titles' }, this.#title, this.#optimizer, h('code', { class: 'soft', title: id }, short(id)), this.#pill.element),
      this.#labels, this.#warnings, h('dl', null, tiles),
    )
  }

  /** @param {import('./feed.js').Feed} feed */
  show({ session, series, state }) {
    this.#pill.set(state)
    if (!session) return
    const { last } = series
    const now = series.rows.findLast((row) => !row.left) ?? {}
    this.#write('Step', whole(last && last.at * 1000 >= Date.parse(session.updated_at) ? (now.step ?? 0) : session.step))
    this.#write('Loss', number(now.loss))
    this.#write('Learning rate', number(now.lr))
    this.#write('Speed', rate(pace(series.rows)))
    this.#write('Running', last ? duration(last.at - series.rows[0].at) : '–')
    const seen = last && last.time > session.updated_at ? last.time : session.updated_at
    this.#write('Last seen', ago(seen))
    this.#values['Last seen'].title = moment(seen)
    this.#count('Skipped', session.skipped_steps)
    this.#count('Undone', session.rewinds)
    this.#count('Round', session.round?.round)
    this.#describe(session)
  }

  #describe({ optimizer, labels, warnings }) {
    write(this.#title, nameOf(labels) || optimizer)
    write(this.#optimizer, nameOf(labels) ? optimizer : '')
    const names = Object.entries(labels).filter(([, value]) => value !== nameOf(labels)).map(([name, value]) => `${name}: ${value}`)
    if (this.#labels.dataset.of !== names.join('\n')) {
      this.#labels.dataset.of = names.join('\n')
      this.#labels.replaceChildren(...names.map((label) => h('span', { class: 'label', title: label }, label)))
    }
    this.#warnings.hidden = !warnings.length
    if (this.#warnings.dataset.of === warnings.join('\n')) return
    this.#warnings.dataset.of = warnings.join('\n')
    this.#warnings.replaceChildren(...warnings.map((line) => h('li', null, line)))
  }

  #write(name, text) {
    write(this.#values[name], text)
  }

  #count(name, value) {
    this.#values[name].parentElement.hidden = !value
    this.#write(name, whole(value))
  }
}

/** Return the steps a second in the last seconds before the newest row, or null. */
function pace(rows) {
  const last = rows.at(-1)
  if (!last) return null
  const first = rows.find((row) => row.at >= last.at - RATE_SECONDS)
  const seconds = last.at - first.at
  return seconds > 0 ? (last.step - first.step) / seconds : null
}
