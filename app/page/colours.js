// The colours of curves: those of the theme as a canvas takes them, and one for each of several sessions.

const resolved = new Map()
const probe = document.createElement('i')
probe.hidden = true

/** Return a colour of the theme, such as `--accent`, with all that it refers to put in. */
export function colour(name) {
  if (!resolved.has(name)) {
    probe.style.color = `var(${name})`
    document.body.append(probe)
    resolved.set(name, getComputedStyle(probe).color)
    probe.remove()
  }
  return resolved.get(name)
}

/**
 * Colours that are told apart with each kind of colour blindness (Okabe and Ito, darker or lighter for the ground), and
 * dashes that tell them apart without colour.
 */
export const SESSION_STYLES = [
  { name: '--curve-1', dash: [] },
  { name: '--curve-2', dash: [8, 4] },
  { name: '--curve-3', dash: [2, 3] },
  { name: '--curve-4', dash: [10, 3, 2, 3] },
  { name: '--curve-5', dash: [4, 4] },
  { name: '--curve-6', dash: [14, 4] },
  { name: '--curve-7', dash: [10, 3, 2, 3, 2, 3] },
  { name: '--curve-8', dash: [1, 5] },
]

document.documentElement.addEventListener('themechange', () => resolved.clear())
