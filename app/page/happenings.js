// The list of what happened between steps: undos and changed settings, newest first.

import { h, scrolled } from './elements.js'
import { moment, whole } from './formats.js'
import { SIGNS, wordsOf } from './marks.js'

const MOST = 50
const TITLES = ['Step', 'When', 'What']

export class Happenings {
  #body = h('tbody', null)
  #shown = 0
  element = h(
    'section', { class: 'part', hidden: true },
    h('h2', null, 'Between steps'),
    h('p', { class: 'soft small' }, `In the curves: ${SIGNS.undo} undo · ${SIGNS.settings} settings changed · ${SIGNS.skipped} step skipped · ${SIGNS.left} step left behind by an undo or an earlier state`),
    scrolled('Between steps', h('table', { class: 'happenings' }, h('thead', null, h('tr', null, TITLES.map((title) => h('th', { scope: 'col' }, title)))), this.#body)),
  )

  /** @param {import('./series.js').Series} series */
  show({ marks, revision }) {
    if (this.#shown === revision) return
    this.#shown = revision
    this.element.hidden = !marks.length
    this.#body.replaceChildren(...marks.slice(-MOST).reverse().map(line))
  }
}

function line(mark) {
  return h(
    'tr', { data: { event: mark.event } },
    h('td', null, whole(mark.step)),
    h('td', null, moment(mark.time)),
    h('td', null, `${SIGNS[mark.event]} ${wordsOf(mark)}`),
  )
}
