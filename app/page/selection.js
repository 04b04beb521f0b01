// The selected sessions, and the bar that compares them.

import { announce, h, write } from './elements.js'

/** A plot has colours and dashes for so many. */
const MOST = 8

export class Selection {
  #selected
  #changed
  #words = h('span')
  #compare = h('a', { class: 'button main' }, 'Compare')
  element = h(
    'div',
    { class: 'selection', role: 'region', 'aria-label': 'Selection' },
    this.#words,
    h('button', { type: 'button', onclick: () => this.#clear() }, 'Clear'),
    this.#compare,
  )

  /**
   * @param {Set<string>} selected ids
   * @param {() => void} changed
   */
  constructor(selected, changed) {
    this.#selected = selected
    this.#changed = changed
    this.#show()
  }

  /** Select a session, or leave it out. */
  toggle(id, isSelected) {
    if (isSelected) this.#selected.add(id)
    else this.#selected.delete(id)
    this.#show()
    announce(this.#words.textContent)
  }

  #clear() {
    this.#selected.clear()
    this.#show()
  }

  #show() {
    const count = this.#selected.size
    const isRight = count >= 2 && count <= MOST
    this.element.hidden = count === 0
    write(this.#words, count < 2 ? '1 selected: select another one to compare' : count > MOST ? `${count} selected: compare at most ${MOST}` : `${count} selected`)
    this.#compare.hidden = !isRight
    if (isRight) this.#compare.href = `#/compare/${[...this.#selected].join(',')}`
    this.#changed()
  }
}
