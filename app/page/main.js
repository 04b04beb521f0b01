// The start of the page: the place in the address decides which view is shown.

import { Problem, Unreachable } from './api.js'
import { h } from './elements.js'
import { forget, key } from './key.js'
import { here } from './places.js'

let leaving = new AbortController()

async function route() {
  leaving.abort()
  leaving = new AbortController()
  const { signal } = leaving
  const main = document.getElementById('main')
  const found = here()
  document.title = 'Optim Service'
  main.replaceChildren()
  main.className = ''
  const first = document.getElementById('to-list')
  if (found?.argument) first.removeAttribute('aria-current')
  else first.setAttribute('aria-current', 'page')
  try {
    if (!found) throw new Error('This address leads nowhere: a session has 32 characters, 0 to 9 and a to f.')
    const module = await found.view.load()
    if (!signal.aborted) await module.show(main, found.argument, signal)
  } catch (error) {
    if (!signal.aborted) main.replaceChildren(failed(error))
  }
}

/** Return the page in place of a view that cannot be shown. */
function failed(error) {
  if (!(error instanceof Problem || error instanceof Unreachable)) console.error(error)
  const [title, words] = explained(error)
  return h(
    'section',
    { class: 'note', role: 'alert' },
    h('h1', null, title),
    h('p', null, words),
    h('p', { class: 'actions' }, h('button', { type: 'button', class: 'main', onclick: route }, 'Try again'), h('a', { href: '#/', class: 'button' }, 'All sessions')),
  )
}

function explained(error) {
  if (error instanceof Unreachable) return ['The service cannot be reached', 'Is it running? `optim serve` starts it; its log says what is wrong.']
  if (!(error instanceof Problem)) return ['This cannot be shown', error.message]
  if (error.status === 401) return ['An API key is needed', 'Try again, and give a key of the role reader or a higher one.']
  if (error.status === 404) return ['There is no such session', 'It was deleted, has expired, or belongs to others.']
  return [error.document.title ?? 'The service refused', error.message]
}

async function help() {
  const { showHelp } = await import('./help.js')
  showHelp()
}

function showKey() {
  document.getElementById('forget').hidden = !key()
}

document.getElementById('help').addEventListener('click', help)
document.getElementById('forget').addEventListener('click', forget)
document.addEventListener('keychange', showKey)
addEventListener('keydown', ({ key, target }) => key === '?' && !target.matches('input, textarea, select') && help())
addEventListener('hashchange', route)
showKey()
route()
