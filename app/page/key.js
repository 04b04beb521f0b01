// The API key, which is kept in this tab alone.

const PLACE = 'optim.key'

/** Return the key, or null. */
export const key = () => sessionStorage.getItem(PLACE)

/** Forget the key, and load the page anew without what it has read. */
export function forget() {
  sessionStorage.removeItem(PLACE)
  location.reload()
}

/** Return the headers that carry the key, if there is one. */
export const keyed = () => (key() ? { Authorization: `Bearer ${key()}` } : {})

/** Keep a key for as long as the tab is open. */
export const keep = (found) => sessionStorage.setItem(PLACE, found)
