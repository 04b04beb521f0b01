// Try it: a form for each call of the reference, with its curl, sent from the page.

import { send, url } from './api.js'
import { showAnswer } from './answer.js'
import { curlOf } from './curl.js'
import { announce, h, write } from './elements.js'
import { pretty } from './json.js'
import { forget, key } from './key.js'

const JSON_TYPE = 'application/json'
const FILE_TYPE = 'application/vnd.safetensors'

let loading = null
/** The session that was created or named last: the forms begin with it. */
let session = ''

/** Return the schema's operation, with its method and path. */
async function operationOf(id) {
  loading ??= send('openapi.json').then((answer) => answer.json())
  for (const [path, methods] of Object.entries((await loading).paths)) {
    for (const [method, about] of Object.entries(methods)) if (about.operationId === id) return { method: method.toUpperCase(), path, about }
  }
  throw new Error(`the schema has no operation ${id}`)
}

/** The form of one call. */
class Trial {
  #operation
  #fields
  #body
  #command = h('code')
  #answer = h('div', { class: 'answer', 'aria-live': 'polite' })
  #send = h('button', { class: 'main' }, 'Send')
  #stop = h('button', { type: 'button', hidden: true, onclick: () => this.#leaving.abort() }, 'Stop')
  #leaving = new AbortController()
  element

  constructor(operation) {
    this.#operation = operation
    this.#fields = (operation.about.parameters ?? []).map((parameter) => fieldOf(operation.about.operationId, parameter))
    this.#body = bodyOf(operation.about)
    const copy = h('button', { type: 'button', class: 'quiet', onclick: () => this.#copy(copy) }, 'Copy')
    const form = h(
      'form',
      { onsubmit: (event) => this.#submit(event), oninput: () => this.#changed() },
      this.#fields.map(({ element }) => element),
      this.#body?.element,
      h('figure', null, h('figcaption', null, 'curl', copy), h('pre', { tabindex: '0' }, this.#command)),
      h('div', { class: 'actions' }, this.#send, this.#stop),
    )
    this.element = h('section', { class: 'trial', 'aria-label': `Try: ${operation.about.summary}` }, form, this.#answer)
    this.#changed()
  }

  /** Name the session in a form that names none. */
  begin() {
    const field = this.#fields.find(({ parameter }) => parameter.name === 'session_id')
    if (field && !field.input.value) field.input.value = session
    this.#changed()
  }

  /** Return the request that the form says. */
  #request() {
    let path = this.#operation.path.slice(1)
    const [query, headers] = [{}, {}]
    for (const { parameter, input } of this.#fields) {
      const value = input.value.trim()
      if (parameter.in === 'path') path = path.replace(`{${parameter.name}}`, value ? encodeURIComponent(value) : `{${parameter.name}}`)
      else if (value && parameter.in === 'query') query[parameter.name] = parameter.schema.type === 'array' ? value.split(/\s+/) : value
      else if (value) headers[parameter.name] = value
    }
    const body = this.#body?.read() ?? null
    if (body !== null) headers['Content-Type'] = this.#body.type
    return { method: this.#operation.method, path, query, headers, body }
  }

  #changed() {
    const { path, query, ...request } = this.#request()
    write(this.#command, curlOf({ ...request, url: String(url(path, query)).replaceAll('%7B', '{').replaceAll('%7D', '}') }, key() !== null))
    this.#ask(false)
  }

  async #submit(event) {
    event.preventDefault()
    if (this.#operation.method === 'DELETE' && !this.#send.classList.contains('sure')) return this.#ask(true)
    this.#leaving.abort()
    this.#leaving = new AbortController()
    const { signal } = this.#leaving
    const { path, ...request } = this.#request()
    this.#stop.hidden = false
    const begun = performance.now()
    try {
      const answer = await send(path, { ...request, signal, patience: 0, cache: 'no-store' })
      announce(`Answered with status ${answer.status}`)
      this.#know(answer.ok, await showAnswer(this.#answer, answer, begun))
    } catch (error) {
      if (!signal.aborted) this.#answer.replaceChildren(h('p', { class: 'bad', role: 'alert' }, `${error.message}.`))
    } finally {
      if (!signal.aborted || signal === this.#leaving.signal) this.#stop.hidden = true
      this.#changed()
    }
  }

  /** Ask once more for what cannot be undone. */
  #ask(isAsked) {
    this.#send.classList.toggle('sure', isAsked)
    write(this.#send, isAsked ? 'Delete for good?' : 'Send')
    if (isAsked) announce('Press again to delete for good')
  }

  /** Remember the session for the other forms. */
  #know(isGood, text) {
    const named = this.#fields.find(({ parameter }) => parameter.name === 'session_id')?.input.value
    const made = isGood && /Session$/.test(this.#operation.about.operationId) ? /"id":\s*"([0-9a-f]{32})"/.exec(text)?.[1] : null
    session = made ?? (isGood && named ? named : session)
    for (const trial of trials.values()) trial.begin()
  }

  async #copy(button) {
    try {
      await navigator.clipboard.writeText(this.#command.textContent)
      write(button, 'Copied')
    } catch {
      getSelection().selectAllChildren(this.#command) // the page may not: without HTTPS, on another machine
      write(button, 'Selected')
    }
    setTimeout(() => write(button, 'Copy'), 2000)
  }
}

/** Return the field of a parameter. */
function fieldOf(operation, parameter) {
  const { schema = {}, name } = parameter
  const id = `${operation}-${name}`
  const types = [schema, ...(schema.anyOf ?? [])].map(({ type }) => type)
  const input = h('input', { id, name, required: parameter.in === 'path', inputmode: types.includes('integer') ? 'numeric' : null, placeholder: String(schema.default ?? ''), autocomplete: 'off', spellcheck: 'false' })
  if (name === 'round_number' || name === 'seq') input.value = '1'
  return { parameter, input, element: h('div', { class: 'field' }, h('label', { for: id }, h('code', null, name), h('small', null, parameter.in)), input) }
}

/** Return the field of the body: JSON to begin with, else a file; null where the call has none. */
function bodyOf({ requestBody, operationId }) {
  const form = requestBody?.content?.[JSON_TYPE]
  if (!requestBody) return null
  const id = `${operationId}-body`
  const input = form
    ? h('textarea', { id, spellcheck: 'false', value: pretty(form.example) })
    : h('input', { id, type: 'file', accept: '.safetensors', required: true })
  return {
    type: form ? JSON_TYPE : FILE_TYPE,
    read: () => (form ? input.value : (input.files[0] ?? new File([], 'state.safetensors'))),
    element: h('div', { class: 'field tall' }, h('label', { for: id }, 'Body', h('small', null, form ? 'JSON' : 'safetensors')), input),
  }
}

const trials = new Map()

/** Show the form of a call, or put it away. */
async function toggle(button) {
  const id = button.dataset.operation
  if (!trials.has(id)) {
    trials.set(id, new Trial(await operationOf(id)))
    button.closest('article').querySelector('.path').after(trials.get(id).element)
  } else trials.get(id).element.hidden = !trials.get(id).element.hidden
  const { element } = trials.get(id)
  button.setAttribute('aria-expanded', String(!element.hidden))
  trials.get(id).begin()
  if (!element.hidden) element.querySelector('input, textarea, button')?.focus({ preventScroll: true })
}

const showKey = () => (document.getElementById('forget').hidden = !key())

for (const button of document.querySelectorAll('.try')) {
  button.hidden = false
  button.setAttribute('aria-expanded', 'false')
  button.addEventListener('click', () => toggle(button))
}
document.getElementById('forget').addEventListener('click', forget)
document.addEventListener('keychange', showKey)
showKey()
