// An answer of the service: its status, time, headers and body, as it comes.

import { h, write } from './elements.js'
import { bytes, duration } from './formats.js'
import { pretty } from './json.js'

/** Characters of a body that are shown. */
const MOST = 100_000

/**
 * Show an answer in an element, until it ends or the signal aborts.
 * @param {HTMLElement} place
 * @param {Response} answer
 * @param {number} begun the time, of `performance`, at which it was asked for
 * @returns {Promise<string>} its text, as far as it is shown; empty for bytes
 */
export async function showAnswer(place, answer, begun) {
  const seconds = (performance.now() - begun) / 1000
  const size = h('span', { class: 'soft' })
  const rows = [...answer.headers].map(([name, value]) => h('tr', null, h('th', { scope: 'row' }, h('code', null, name)), h('td', null, value)))
  const body = h('div')
  place.replaceChildren(
    h('p', { class: 'head' }, h('b', { class: answer.ok ? 'status' : 'status bad' }, `${answer.status} ${answer.statusText}`.trim()), h('span', { class: 'soft' }, `in ${duration(seconds)}`), size),
    h('details', null, h('summary', null, `${rows.length} headers`), h('div', { class: 'table' }, h('table', null, rows))),
    body,
  )
  const type = (answer.headers.get('Content-Type') ?? '').split(';')[0]
  if (!answer.body || answer.status === 204) return ''
  if (!/json|^text\//.test(type)) {
    const file = await answer.blob()
    write(size, bytes(file.size))
    const name = /filename="?([^";]+)/.exec(answer.headers.get('Content-Disposition') ?? '')?.[1] ?? 'answer.safetensors'
    body.append(h('p', null, h('a', { class: 'button', href: URL.createObjectURL(file), download: name }, `Download ${name}`)))
    return ''
  }
  return readText(answer, h('code'), body, size, type === 'text/event-stream')
}

async function readText(answer, code, body, size, isStream) {
  body.append(h('pre', { tabindex: '0' }, code))
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    text += next.value
    if (isStream) write(code, text.slice(-MOST))
  }
  write(size, bytes(new Blob([text]).size))
  write(code, text.length > MOST ? `${text.slice(0, MOST)}…` : readable(text))
  return text
}

/** Return JSON with line breaks; other text as it is. */
function readable(text) {
  try {
    return pretty(JSON.parse(text))
  } catch {
    return text
  }
}
