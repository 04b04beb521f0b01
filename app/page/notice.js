// What is wrong with the list, and what to do: above the rows that are still shown.

import { Unreachable } from './api.js'
import { h } from './elements.js'
import { duration, whole } from './formats.js'

export class Notice {
  #failure = h('div', { class: 'banner bad', role: 'alert', hidden: true })
  #damaged = h('div', { class: 'banner warn', hidden: true })
  element = h('div', null, this.#failure, this.#damaged)
  #press = () => {}
  #told = ''

  /** Tell why the list could not be read, and when that is tried again. */
  tell(error, wait) {
    const why = error instanceof Unreachable ? 'The service cannot be reached' : `The service refused: ${error.message}`
    const again = h('button', { type: 'button', onclick: () => this.#press() }, 'Try now')
    const words = h('p', null, h('strong', null, `${why}.`), ` These are the sessions as they were; trying again in ${duration(wait / 1000)}.`)
    if (this.#told !== why) this.#failure.replaceChildren(words, again) // a reader says it once
    else this.#failure.firstChild.replaceWith(words)
    this.#told = why
    this.#failure.hidden = false
  }

  /** Resolve when somebody presses "Try now". */
  pressed() {
    return new Promise((resolve) => (this.#press = resolve))
  }

  clear() {
    this.#told = ''
    this.#failure.hidden = true
  }

  /** Name the sessions that the service cannot read. */
  damaged(codes) {
    if (!codes.size || this.#damaged.childElementCount) return
    const [[id, code]] = codes
    const words = codes.size === 1 ? `Session ${id} cannot be read (${code}).` : `${whole(codes.size)} sessions cannot be read, ${id} (${code}) among them.`
    this.#damaged.replaceChildren(h('p', null, h('strong', null, words), ' Restore a backup, or delete what is lost: ', h('code', null, `optim sessions delete ${id}`)))
    this.#damaged.hidden = false
  }
}
