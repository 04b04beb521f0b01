// The workers of a session, and its open round.

import { readWorkers } from './api.js'
import { h, scrolled, write } from './elements.js'
import { ago, duration, moment, whole } from './formats.js'

const EVERY_MS = 3000
const TITLES = ['Worker', 'Lease', 'Epoch', 'Last round', 'Last contribution', 'Late by']

export class Workers {
  #body = h('tbody', null)
  #round = h('p', { class: 'soft' })
  element = h(
    'section', { class: 'part', hidden: true }, h('h2', null, 'Workers'), this.#round,
    scrolled('Workers', h('table', null, h('thead', null, h('tr', null, TITLES.map((title) => h('th', { scope: 'col' }, title)))), this.#body)),
  )
  #shownAt = -Infinity

  /** Show the workers of a session that has some; ask for them every few seconds. */
  async show(session, signal) {
    this.element.hidden = !session.workers
    const now = performance.now()
    if (!session.workers || now - this.#shownAt < EVERY_MS) return
    this.#shownAt = now
    write(this.#round, roundOf(session))
    try {
      const { workers } = await readWorkers(session.id, signal)
      this.#body.replaceChildren(...workers.map(line))
    } catch (error) {
      if (!signal.aborted) write(this.#round, error.message)
    }
  }
}

function roundOf({ round, workers }) {
  if (!round) return `Mode ${workers.mode}: each contribution is a step of its own.`
  const { have, need, closes_at: closes } = round
  const rest = need ? `${need} more needed` : closes ? `closes at ${moment(closes)}` : 'none needed'
  return `Round ${whole(round.round)} is open: ${whole(have)} of ${whole(workers.expected)} contributions are in, ${rest}.`
}

function line(worker) {
  const { last_contribution_at: at, lateness_seconds: late, last_round: round } = worker
  return h(
    'tr', null,
    h('th', { scope: 'row' }, h('code', null, worker.worker)),
    h('td', { class: worker.expired ? 'warn' : 'good' }, worker.expired ? '◌ expired' : '● held'),
    h('td', { class: 'figure' }, whole(worker.epoch)),
    h('td', { class: 'figure' }, whole(round)),
    h('td', { title: at && moment(at) }, at ? ago(at) : '–'),
    h('td', { class: 'figure' }, late == null ? '–' : duration(late)),
  )
}
