// The list of sessions.

import { listSessions } from './api.js'
import { h } from './elements.js'
import { ago, bytes, moment, short, whole } from './formats.js'

/** Fill the view with the newest sessions. */
export async function show(main, _, signal) {
  const { sessions } = await listSessions({ limit: 100 }, signal)
  const names = ['Session', 'Optimizer', 'Step', 'Size', 'Last seen']
  main.append(
    h('h1', null, 'Sessions'),
    h('table', null, h('thead', null, h('tr', null, names.map((name) => h('th', { scope: 'col' }, name)))), h('tbody', null, sessions.map(row))),
  )
}

function row(session) {
  const labels = Object.entries(session.labels).map(([name, value]) => h('span', { class: 'label' }, `${name}: ${value}`))
  return h(
    'tr',
    null,
    h('th', { scope: 'row' }, h('a', { href: `#/session/${session.id}`, title: session.id }, short(session.id)), ' ', labels),
    h('td', null, session.optimizer),
    h('td', { class: 'figure' }, whole(session.step)),
    h('td', { class: 'figure' }, bytes(session.state_bytes)),
    h('td', { title: moment(session.updated_at) }, ago(session.updated_at)),
  )
}
