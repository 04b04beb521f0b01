// The places of the page, which the address names: what each shows, and what it asks the service for at once.

import { begin, beginSession, forgetBegun, PAGE } from './api.js'

/**
 * The views by their places. Each module has `show(main, argument, signal)`, which fills the empty element `main`, and
 * stops what it has begun when the signal aborts. `begins` asks for what it shows first.
 */
export const PLACES = [
  {
    place: /^(?:#\/?)?$/,
    load: () => import('./list.js'),
    begins: () => begin('v1/sessions', { limit: PAGE }),
  },
  {
    place: /^#\/session\/([0-9a-f]{32})$/,
    load: () => import('./session.js'),
    begins: beginSession,
  },
  {
    place: /^#\/compare\/([0-9a-f]{32}(?:,[0-9a-f]{32})*)$/,
    load: () => import('./compare.js'),
    begins: () => {},
  },
]

/** Return what the present address names, and its argument; null if it leads nowhere. */
export function here() {
  for (const view of PLACES) {
    const found = view.place.exec(location.hash)
    if (found) return { view, argument: found[1] }
  }
  return null
}

const found = here()
found?.view.begins(found.argument)
addEventListener('hashchange', forgetBegun)
