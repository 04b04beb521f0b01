// The parts of a session's page that stand below its curves.

import { Happenings } from './happenings.js'
import { Settings } from './settings.js'
import { Tensors } from './tensors.js'
import { Workers } from './workers.js'

export class Parts {
  #happenings = new Happenings()
  #workers = new Workers()
  #settings = new Settings()
  #tensors
  #signal
  #shown = null

  constructor(id, signal) {
    this.#tensors = new Tensors(id, signal)
    this.#signal = signal
  }

  get elements() {
    return [this.#happenings, this.#workers, this.#tensors, this.#settings].map((part) => part.element)
  }

  /** @param {import('./feed.js').Feed} feed */
  show({ series, session }) {
    this.#happenings.show(series)
    if (this.#shown !== session) {
      this.#shown = session
      this.#settings.show(session)
      this.#tensors.show(session)
    }
    this.#workers.show(session, this.#signal)
  }
}
