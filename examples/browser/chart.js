/** A curve over the steps of a run, as SVG that fills its box. Colours and weights are the stylesheet's. */

const LEFT = 40
const RIGHT = 14
const TOP = 8
const BOTTOM = 22
const SMOOTHING = 0.85

export class Chart {
  #svg
  #axes

  /**
   * @param {SVGSVGElement} svg
   * @param {{ name: string, steps: number, top: number, marks: number, format: (value: number) => string,
   *   isNoisy?: boolean }} axes - The vertical axis goes from 0 to `top`, or a doubling of it, with as many marks above
   *   0. A noisy curve is smoothed, with its values behind it.
   */
  constructor(svg, axes) {
    this.#svg = svg
    this.#axes = axes
  }

  /**
   * Draw a run, with another one faintly behind it.
   *
   * @param {number[]} values - One for each step.
   * @param {number[]} before - Those of the other run.
   * @param {{ step: number, seconds: number }[]} gaps - The steps that came late, and by how much.
   */
  draw(values, before, gaps) {
    const { steps, marks, format, isNoisy } = this.#axes
    const { width, height } = this.#svg.getBoundingClientRect()
    let { top } = this.#axes
    while (top < Math.max(...values, ...before, 0) && top < Number.MAX_VALUE) top *= 2
    const x = (step) => LEFT + (step / steps) * (width - LEFT - RIGHT)
    const y = (value) => height - BOTTOM - (value / top) * (height - TOP - BOTTOM)
    const points = (curve) => curve.map((value, index) => `${x(index + 1).toFixed(1)},${y(value).toFixed(1)}`).join(' ')
    const shape = (name, curve) => node('polyline', { class: name, points: points(curve) })
    const curve = (all) => (isNoisy ? smoothed(all) : all)

    const heights = Array.from({ length: marks + 1 }, (_, index) => (top * index) / marks)
    const parts = [...grid(heights, steps, format, x, y)]
    for (const { step, seconds } of gaps) parts.push(...gap(x(step), y(0), seconds))
    parts.push(shape('before', curve(before)))
    if (values.length) {
      const line = curve(values)
      const [end, last] = [x(values.length), line.at(-1)]
      parts.push(node('polygon', { class: 'area', points: `${x(1)},${y(0)} ${points(line)} ${end},${y(0)}` }))
      if (isNoisy) parts.push(shape('raw', values))
      parts.push(shape('line', line), node('circle', { class: 'end', cx: end, cy: y(last), r: 4 }))
    }
    this.#svg.setAttribute('viewBox', `0 0 ${width} ${height}`)
    this.#svg.replaceChildren(...parts)
  }

  /** Say in words what the curve shows, for those who hear the page. */
  describe(values) {
    const { name, format } = this.#axes
    const [first, last] = [values.at(0), values.at(-1)]
    const words = values.length ? `from ${format(first)} to ${format(last)} in ${values.length} steps` : 'no steps yet'
    this.#svg.setAttribute('aria-label', `${name}: ${words}`)
  }
}

function* grid(values, steps, format, x, y) {
  for (const value of values) {
    yield node('line', { class: value ? 'grid' : 'base', x1: x(0), x2: x(steps), y1: y(value), y2: y(value) })
    yield node('text', { class: 'tick', x: x(0) - 8, y: y(value) + 4, 'text-anchor': 'end' }, format(value))
  }
  for (const step of [0, 0.25, 0.5, 0.75, 1].map((share) => share * steps)) {
    yield node('text', { class: 'tick', x: x(step), y: y(0) + 17, 'text-anchor': 'middle' }, step)
  }
}

function* gap(x, bottom, seconds) {
  yield node('line', { class: 'gap', x1: x, x2: x, y1: TOP, y2: bottom })
  yield node('text', { class: 'gap', x: x + 6, y: TOP + 10 }, `no service for ${seconds.toFixed(1)} s`)
}

/** Return the exponentially weighted average up to each value, corrected for its beginning. */
function smoothed(values) {
  let [sum, weight] = [0, 0]
  return values.map((value) => {
    sum = SMOOTHING * sum + value
    weight = SMOOTHING * weight + 1
    return sum / weight
  })
}

function node(name, attributes, text = '') {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  made.textContent = text
  return made
}
