// Numbers, sizes and times as people read them.

/** The places of separators; not `Intl`, which costs a fresh browser tens of milliseconds. */
const THOUSANDS = /\B(?=(\d{3})+$)/g
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
const SPANS = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']]
export const NONE = '–'

/** Return a whole number with separators: 12,345. */
export const whole = (value) => (value === null || value === undefined ? NONE : String(Math.round(value)).replace(THOUSANDS, ','))

/** Return a measured number in four digits: 0.5312, 2.303, 1.2e-5. */
export function number(value) {
  if (value === null || value === undefined) return NONE
  if (!Number.isFinite(value)) return String(value)
  if (value === 0) return '0'
  const size = Math.abs(value)
  if (size >= 1e6 || size < 1e-4) return value.toExponential(2).replace(/\.?0+e/, 'e')
  return String(Number(value.toPrecision(4)))
}

/** Return a number of bytes: 72 B, 3.4 MiB. */
export function bytes(value) {
  if (value === null || value === undefined) return NONE
  let unit = 0
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`
}

/** Return steps in a second: 320/s, or for slow ones 4.2/min. */
export function rate(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE
  return value >= 0.1 || value === 0 ? `${number(Number(value.toPrecision(3)))}/s` : `${number(Number((60 * value).toPrecision(3)))}/min`
}

/** Return how long ago a time was: now, 12 s ago, 3 min ago. */
export function ago(time, now = Date.now()) {
  const seconds = Math.floor((now - Date.parse(time)) / 1000)
  if (Number.isNaN(seconds)) return NONE
  for (const [size, unit] of SPANS) {
    if (seconds >= 2 * size || (size === 1 && seconds >= 1)) return `${Math.floor(seconds / size)} ${unit} ago`
  }
  return 'now'
}

/** Return a duration in seconds: 340 ms, 12 s, 3 min. */
export function duration(seconds) {
  if (seconds < 1) return `${number(seconds * 1000)} ms`
  const [size, unit] = SPANS.find(([least]) => seconds >= least)
  return `${number(Number((seconds / size).toPrecision(3)))} ${unit}`
}

/** Return a time of day with its date, in the reader's own zone. */
export function moment(time) {
  const date = new Date(time)
  return new Date(date - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replace('T', ' ')
}

/** Return the end of an id, which tells sessions apart: ids of one day begin alike. */
export const short = (id) => id.slice(-8)

/** Return the name of a run, which is its label `run` or `name`; empty if it has none. */
export const nameOf = (labels) => labels.run ?? labels.name ?? ''
