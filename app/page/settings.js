// The settings of a session that are in force.

import { h, scrolled } from './elements.js'

const NAMES = [
  'optimizer', 'hyperparameters', 'groups', 'schedule', 'clip', 'on_non_finite', 'on_other_params', 'hold_params', 'wire_dtype',
  'average', 'undo', 'workers', 'ttl_seconds', 'expires_at', 'created_at', 'digest',
]

export class Settings {
  #body = h('tbody', null)
  #shown = ''
  element = h('details', { class: 'part', open: true }, h('summary', null, h('h2', null, 'Settings')), scrolled('Settings', h('table', { class: 'settings' }, this.#body)))

  show(session) {
    const rows = NAMES.flatMap((name) => rowsOf(name, session[name]))
    if (this.#shown === JSON.stringify(rows)) return
    this.#shown = JSON.stringify(rows)
    this.#body.replaceChildren(...rows.map(([name, value]) => h('tr', null, h('th', { scope: 'row' }, name), h('td', null, h('code', null, value)))))
  }
}

function rowsOf(name, value) {
  if (value && typeof value === 'object' && !Array.isArray(value)) {
    return Object.entries(value).map(([part, inner]) => [name === 'hyperparameters' ? part : `${name}.${part}`, text(inner)])
  }
  if (Array.isArray(value)) return value.length ? value.map((one, index) => [`${name}[${index}]`, text(one)]) : [[name, 'none']]
  return [[name, text(value)]]
}

function text(value) {
  return value == null ? 'none' : typeof value === 'string' ? value : JSON.stringify(value)
}
