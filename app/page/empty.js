// What a service without sessions says: how to begin.

import { h } from './elements.js'

/** Return the first lines of a training run, in shell and in Python, each to copy. */
export function emptyList() {
  const base = new URL('.', document.baseURI.split('#')[0]).href.replace(/\/$/, '')
  const json = "-H 'Content-Type: application/json'"
  const shell = [
    `id=$(curl -s ${base}/v1/sessions ${json} \\`,
    `  -d '{"optimizer": "adamw", "labels": {"run": "first"}}' | sed 's/.*"id":"\\([^"]*\\).*/\\1/')`,
    `curl ${base}/v1/sessions/$id/steps ${json} \\`,
    `  -d '{"params": {"w": [1.0, 2.0]}, "grads": {"w": [0.1, -0.2]}, "loss": 0.5}'`,
  ]
  const python = [
    'from optim_client import Client',
    `session = Client("${base}").sessions.create("adamw", labels={"run": "first"})`,
    'params = session.step(params, grads, loss=loss)  # in the training loop',
  ]
  return h(
    'section',
    { class: 'begin' },
    h('h2', null, 'No sessions yet'),
    h('p', { class: 'soft' }, 'A session is the optimizer of one training run. It appears here once it is created, and its curve with its first steps.'),
    sample('In Python', python),
    sample('In a shell', shell),
    h('p', { class: 'soft' }, 'PyTorch, JAX and other languages begin the same way: ', h('a', { href: 'docs' }, 'every call of the API'), '.'),
  )
}

/** Return lines of code under a title, with a button that copies them. */
export function sample(title, lines) {
  const text = lines.join('\n')
  const button = h('button', { type: 'button', class: 'quiet', onclick: () => copy(text, button) }, 'Copy')
  return h('figure', { class: 'sample' }, h('figcaption', null, title, button), h('pre', { tabindex: '0' }, h('code', null, text)))
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text)
    button.textContent = 'Copied'
  } catch {
    button.textContent = 'Select it, and copy by hand' // the page has no right to, without HTTPS on another machine
  }
  setTimeout(() => (button.textContent = 'Copy'), 2000)
}
