// An exponential average without the bias of its beginning, as Adam's moments have it: mₜ = β·mₜ₋₁ + (1 − β)·yₜ, shown as
// mₜ / (1 − βᵗ). Where points are not equally far apart, β is raised to their distance in units of the mean one, so that a
// part that has more points does not weigh more.

/**
 * @param {ArrayLike<number>} x - Ascending.
 * @param {(number | null)[]} y
 * @param {number} beta - From 0 (as it is) up to and without 1.
 * @returns {(number | null)[]} One for each y; null where y is.
 */
export function smoothed(x, y, beta) {
  if (beta === 0 || y.length < 2) return y
  const unit = (x[x.length - 1] - x[0]) / (x.length - 1) || 1
  let [mean, weight, before] = [0, 0, x[0] - unit]
  return y.map((value, index) => {
    if (value == null) return null
    const kept = beta ** ((x[index] - before) / unit)
    mean = kept * mean + (1 - kept) * value
    weight = kept * weight + (1 - kept)
    before = x[index]
    return mean / weight
  })
}
