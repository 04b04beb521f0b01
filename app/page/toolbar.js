// The controls above the curves: axis, smoothing, scale, zoom, and files.

import { h, write } from './elements.js'
import { AXES } from './view.js'

const AXIS_NAMES = { step: 'Step', time: 'Time', relative: 'Relative time' }
const MOST_SMOOTHING = 0.99

/**
 * Return the controls of a view.
 *
 * @param {import('./view.js').View} view
 * @param {Node[]} more - What this page has beside them.
 */
export function toolbar(view, ...more) {
  const shown = h('output', { for: 'smoothing' }, view.smoothing)
  const smooth = ({ target }) => {
    write(shown, target.value)
    view.choose('smoothing', Number(target.value))
  }
  const axes = Object.keys(AXES).map((name) => h('option', { value: name, selected: name === view.axis }, AXIS_NAMES[name]))
  return h(
    'div', { class: 'toolbar', role: 'group', 'aria-label': 'How the curves are shown' },
    h('label', null, 'Over ', h('select', { onchange: ({ target }) => view.choose('axis', target.value) }, axes)),
    h('label', null, h('input', { type: 'checkbox', onchange: ({ target }) => view.choose('isLog', target.checked) }), ' Log axis'),
    h(
      'label', { class: 'smooth', title: 'Exponential average; the values themselves are drawn faintly' }, 'Smoothing ',
      h('input', { type: 'range', id: 'smoothing', min: '0', max: MOST_SMOOTHING, step: '0.01', value: view.smoothing, oninput: smooth }), shown,
    ),
    h(
      'span', { class: 'zoom', role: 'group', 'aria-label': 'Zoom' },
      button('+', 'Zoom in to the newest', () => view.magnify(1)),
      button('−', 'Zoom out', () => view.magnify(-1)),
      button('All', 'Show all', () => view.zoom(null)),
    ),
    ...more,
  )
}

function button(text, title, onclick) {
  return h('button', { type: 'button', title, 'aria-label': title, onclick }, text)
}
