// The keys of the page, in a dialog.

import { h } from './elements.js'

const KEYS = [
  ['/', 'search the sessions'],
  ['↑ ↓', 'another row; Page, Home and End too'],
  ['Enter', 'open the session'],
  ['x', 'select it, to compare'],
  ['Esc', 'clear the search, close a dialog'],
  ['?', 'this help'],
]

/** Show the help until it is closed. */
export function showHelp() {
  if (document.querySelector('dialog[open]')) return
  const rows = KEYS.map(([key, words]) => h('div', null, h('dt', null, key.split(' ').map((one) => h('kbd', null, one))), h('dd', null, words)))
  const element = h(
    'dialog',
    { class: 'help', 'aria-labelledby': 'help-title', onclose: () => element.remove() },
    h('h2', { id: 'help-title' }, 'Keys'),
    h('dl', null, rows),
    h('div', { class: 'actions' }, h('button', { type: 'button', class: 'main', onclick: () => element.close() }, 'Close')),
  )
  document.body.append(element)
  element.showModal()
}
