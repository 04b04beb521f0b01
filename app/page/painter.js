// When to draw: soon after a change, but rarely enough that the page stays quick and calm.

const LEAST_MS = 100
const CALM_MS = 1000
/** The share of the time that drawing may take is one over this. */
const SHARE = 5

export class Painter {
  #draw
  #signal
  #timer = null
  #last = -Infinity
  #cost = 0

  /**
   * @param {() => void} draw
   * @param {AbortSignal} signal - Ends all drawing.
   */
  constructor(draw, signal) {
    this.#draw = draw
    this.#signal = signal
    document.addEventListener('visibilitychange', () => this.ask(), { signal })
  }

  /** Draw in a while; at once if nothing was drawn for long. */
  ask() {
    if (this.#timer !== null || document.hidden || this.#signal.aborted) return
    const least = matchMedia('(prefers-reduced-motion: reduce)').matches ? CALM_MS : LEAST_MS
    const wait = this.#last + Math.max(least, SHARE * this.#cost) - performance.now()
    this.#timer = setTimeout(() => this.now(), Math.max(0, wait))
  }

  /** Draw now. */
  now() {
    clearTimeout(this.#timer)
    this.#timer = null
    if (this.#signal.aborted) return
    const began = performance.now()
    this.#draw()
    this.#last = performance.now()
    this.#cost = this.#last - began
  }
}
