// What the curves show: one row a metric, in the order of the page.

/**
 * @typedef {object} Metric
 * @property {string} name
 * @property {string} title
 * @property {string} [unit]
 * @property {boolean} [noisy] - Whether smoothing concerns it.
 * @property {string} help
 * @property {number} [plain] - A value that shows nothing: the chart is hidden while there is no other.
 * @property {(row: object) => number | null | undefined} of
 */

const ratio = (row) => (row.param_norm && row.update_norm != null ? row.update_norm / row.param_norm : null)

/** @type {Metric[]} */
export const METRICS = [
  { name: 'loss', title: 'Loss', noisy: true, help: 'as the client sent it with the step', of: (row) => row.loss },
  { name: 'lr', title: 'Learning rate', help: 'with its schedule', of: (row) => row.lr },
  {
    name: 'grad_norm',
    title: 'Gradient norm',
    noisy: true,
    help: 'of all tensors together, before clipping',
    of: (row) => row.grad_norm,
  },
  { name: 'update_norm', title: 'Update norm', noisy: true, help: 'of what the step added', of: (row) => row.update_norm },
  { name: 'param_norm', title: 'Parameter norm', help: 'after the step', of: (row) => row.param_norm },
  {
    name: 'ratio',
    title: 'Update to weight',
    noisy: true,
    help: 'update norm over parameter norm; often near 0.001 when training goes well',
    of: ratio,
  },
  { name: 'clip_scale', title: 'Clip scale', plain: 1, help: 'the factor on the gradients; 1 is unclipped', of: (row) => row.clip_scale },
  {
    name: 'duration_ms',
    title: 'Step time',
    unit: 'ms',
    noisy: true,
    help: 'the arithmetic of a step in the service',
    of: (row) => row.duration_ms,
  },
]
