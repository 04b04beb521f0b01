// The question for an API key, when the service wants one.

import { h } from './elements.js'
import { keep, key } from './key.js'

let asking = null

/**
 * Ask for another key than one that was refused. Calls at the same time share one dialog.
 * @param {string | null} refused the key that was sent
 * @param {string} why what the service said
 * @returns {Promise<boolean>} whether there is another key now
 */
export function askInstead(refused, why) {
  if (key() !== refused) return Promise.resolve(true)
  asking ??= dialog(refused, why).finally(() => (asking = null))
  return asking
}

function dialog(refused, why) {
  const field = h('input', {
    id: 'key', type: 'password', autocomplete: 'off', spellcheck: 'false', required: true, 'aria-describedby': 'key-why',
  })
  const form = h(
    'form',
    { onsubmit: use },
    h('h2', { id: 'key-title' }, 'API key'),
    h('p', { id: 'key-why', class: refused ? 'bad' : 'soft' }, refused ? `That key was refused: ${why}.` : 'This service wants an API key.'),
    h('label', { for: 'key' }, 'Key'),
    field,
    h('p', { class: 'soft small' }, 'A key of the role reader is enough. It is kept in this tab alone, until the tab is closed.'),
    h('div', { class: 'actions' }, h('button', { type: 'button', onclick: () => element.close() }, 'Cancel'), h('button', { class: 'main' }, 'Use key')),
  )
  const element = h('dialog', { class: 'ask', 'aria-labelledby': 'key-title' }, form)
  const { promise, resolve } = Promise.withResolvers()
  let used = false

  function use(event) {
    event.preventDefault()
    keep(field.value.trim())
    used = true
    element.close()
  }

  element.addEventListener('close', () => {
    element.remove()
    document.dispatchEvent(new Event('keychange'))
    resolve(used)
  })
  document.body.append(element)
  element.showModal()
  field.focus()
  return promise
}
