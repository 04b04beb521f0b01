// Elements, made without HTML text: every child is a node or plain text, so nothing that a session says can be markup.

const SVG = 'http://www.w3.org/2000/svg'
const PROPERTIES = new Set(['checked', 'disabled', 'hidden', 'indeterminate', 'open', 'value'])

/**
 * Return a new element.
 * @param {string} tag
 * @param {Object<string, any>} [attributes] `onclick` and the like are listeners, `style` and `data` are objects;
 *   null, undefined and false leave an attribute out
 * @param {...(Node | string | number | null | undefined | false | Array)} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children)
}

/**
 * Return a new element of SVG; the arguments are those of `h`.
 * @returns {SVGElement}
 */
export function svg(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children)
}

/** Set the text of an element, if it is another one: an unchanged node costs no layout. */
export function write(element, text) {
  const words = String(text)
  if (element.textContent !== words) element.textContent = words
}

/** Return a part that scrolls sideways where it is too wide, also by keyboard. */
export function scrolled(label, ...children) {
  return h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': label }, children)
}

/** Say something to a screen reader, politely. */
export function announce(words) {
  write(document.getElementById('announcer'), words)
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) set(element, name, value)
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child instanceof Node ? child : String(child))
  }
  return element
}

function set(element, name, value) {
  if (value === null || value === undefined || value === false) return
  if (typeof value === 'function') element.addEventListener(name.slice(2), value)
  else if (name === 'style') for (const [part, to] of Object.entries(value)) element.style.setProperty(part, to)
  else if (name === 'data') Object.assign(element.dataset, value)
  else if (PROPERTIES.has(name)) element[name] = value
  else element.setAttribute(name, value === true ? '' : value)
}
