// Fewer rows of the same look: an even spread, with the extremes of what spikes.

const SPIKING = ['loss', 'grad_norm']
/** Rows that a part may keep: its first, and the least and greatest of each that spikes. */
const A_PART = 1 + 2 * SPIKING.length

/** Return at most about `most` of the rows, in their order. The first, the last and the skipped ones are kept. */
export function thinned(rows, most) {
  if (rows.length <= most) return rows
  const parts = Math.max(1, Math.floor(most / A_PART))
  const kept = new Set([0, rows.length - 1])
  for (let part = 0; part < parts; part++) {
    const from = Math.floor((part * rows.length) / parts)
    const to = Math.floor(((part + 1) * rows.length) / parts)
    kept.add(from)
    for (const name of SPIKING) for (const index of extremes(rows, name, from, to)) kept.add(index)
  }
  const places = most - kept.size
  if (places > 0) evenly(rows.length, places, kept)
  const skips = rows.flatMap((row, index) => (row.skipped ? [index] : []))
  for (const index of skips.slice(-Math.floor(most / 10))) kept.add(index)
  return [...kept].sort((one, other) => one - other).map((index) => rows[index])
}

function extremes(rows, name, from, to) {
  let [least, greatest] = [-1, -1]
  for (let i = from; i < to; i++) {
    const value = rows[i][name]
    if (value == null) continue
    if (least < 0 || value < rows[least][name]) least = i
    if (greatest < 0 || value > rows[greatest][name]) greatest = i
  }
  return least < 0 ? [] : [least, greatest]
}

function evenly(count, places, kept) {
  for (let i = 0; i < places; i++) kept.add(Math.floor((i * count) / places))
}
