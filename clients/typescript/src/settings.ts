/**
 * The settings of a session: the names that `create` and `update` take, and those that a session has.
 *
 * They are here for editors and the compiler. The service decides what is valid; a setting that this file does not name
 * is sent as a hyperparameter. Only what JSON cannot hold, and names that are no settings, are refused here.
 */

import { shown } from './tensor.js'

/** The update rules. */
export type Optimizer =
  | 'adabelief'
  | 'adadelta'
  | 'adafactor'
  | 'adagrad'
  | 'adam'
  | 'adamax'
  | 'adamw'
  | 'adan'
  | 'ademamix'
  | 'asgd'
  | 'lamb'
  | 'lars'
  | 'lion'
  | 'muon'
  | 'nadam'
  | 'prodigy'
  | 'radam'
  | 'rmsprop'
  | 'rprop'
  | 'schedule_free_adamw'
  | 'schedule_free_sgd'
  | 'sgd'
  | 'stable_adamw'
  | 'yogi'

/** The setting of every schedule: its own steps s = 1, 2, … count from after `start_step`. */
export interface Start {
  start_step?: number
}

/** A learning rate that stays as it is. */
export interface ConstantSchedule extends Start {
  kind: 'constant'
}

/** A rise to the full learning rate over `warmup_steps`. */
export interface LinearWarmupSchedule extends Start {
  kind: 'linear_warmup'
  warmup_steps: number
}

/** Half a cosine down to `min_factor` of the learning rate. */
export interface CosineSchedule extends Start {
  kind: 'cosine'
  total_steps: number
  min_factor?: number
}

/** A linear warmup, then half a cosine; `total_steps` has both. */
export interface WarmupCosineSchedule extends Start {
  kind: 'warmup_cosine'
  warmup_steps: number
  total_steps: number
  min_factor?: number
}

/** A factor of `gamma` after every `step_size` steps. */
export interface StepSchedule extends Start {
  kind: 'step'
  step_size: number
  gamma?: number
}

/** A factor of `gamma` after every step. */
export interface ExponentialSchedule extends Start {
  kind: 'exponential'
  gamma: number
}

/** A fall to `min_factor` with the power `power` of what is left; linear by default. */
export interface PolynomialSchedule extends Start {
  kind: 'polynomial'
  total_steps: number
  power?: number
  min_factor?: number
}

/** A linear warmup, then a fall with the square root of the step. */
export interface InverseSqrtSchedule extends Start {
  kind: 'inverse_sqrt'
  warmup_steps: number
}

/** A linear warmup, `stable_steps` at the full learning rate, then a linear fall to `min_factor`. */
export interface WarmupStableDecaySchedule extends Start {
  kind: 'warmup_stable_decay'
  warmup_steps: number
  stable_steps: number
  decay_steps: number
  min_factor?: number
}

/** Factors that hold from one boundary to the next; there is one more of them than boundaries. */
export interface PiecewiseSchedule extends Start {
  kind: 'piecewise'
  boundaries: readonly number[]
  factors: readonly number[]
}

/** Half cosines down to `min_factor`, one after the other, each `multiplier` times as long as the one before. */
export interface CosineRestartsSchedule extends Start {
  kind: 'cosine_restarts'
  period: number
  multiplier?: number
  min_factor?: number
}

/** Half a cosine from `start_factor` up to 1, for `warmup_fraction` of the steps, then one down to `end_factor`. */
export interface OneCycleSchedule extends Start {
  kind: 'one_cycle'
  total_steps: number
  warmup_fraction?: number
  start_factor?: number
  end_factor?: number
}

/** The factor on the learning rate at each step. */
export type Schedule =
  | ConstantSchedule
  | LinearWarmupSchedule
  | CosineSchedule
  | WarmupCosineSchedule
  | StepSchedule
  | ExponentialSchedule
  | PolynomialSchedule
  | InverseSqrtSchedule
  | WarmupStableDecaySchedule
  | PiecewiseSchedule
  | CosineRestartsSchedule
  | OneCycleSchedule

/** The views of held parameters, beside those that steps answer. */
export type View = 'eval' | 'average'

/** The settings of the optimizers; each has some of them. `null` puts a default back. */
export interface Hyperparameters {
  lr?: number | null
  betas?: readonly [number, number] | readonly [number, number, number] | null
  eps?: number | readonly [number | null, number] | null
  weight_decay?: number | null
  amsgrad?: boolean | null
  maximize?: boolean | null
  decoupled_weight_decay?: boolean | null
  momentum?: number | null
  dampening?: number | null
  nesterov?: boolean | null
  alpha?: number | null
  centered?: boolean | null
  momentum_decay?: number | null
  beta2_decay?: number | null
  d?: number | null
  ns_coefficients?: readonly [number, number, number] | null
  ns_steps?: number | null
  adjust_lr_fn?: string | null
  lr_decay?: number | null
  initial_accumulator_value?: number | null
  bias_correction?: boolean | null
  cautious?: boolean | null
  eps_root?: number | null
  lambd?: number | null
  t0?: number | null
  etas?: readonly [number, number] | null
  step_sizes?: readonly [number, number] | null
  rho?: number | null
  trust_coefficient?: number | null
  decouple_lr?: boolean | null
  max_lr?: number | null
  warmup_steps?: number | null
  r?: number | null
  weight_lr_power?: number | null
  beta3?: number | null
  decouple?: boolean | null
  use_bias_correction?: boolean | null
  safeguard_warmup?: boolean | null
  d0?: number | null
  d_coef?: number | null
  growth_rate?: number | null
}

/**
 * Settings for the tensors whose names match one of the patterns `match`.
 *
 * A group with an `optimizer` has that rule's defaults. `name` is for a step's overrides. `sparse` says what a gradient
 * of some rows does to the others.
 */
export interface Group extends Hyperparameters {
  match: readonly string[]
  optimizer?: Optimizer | null
  name?: string | null
  sparse?: 'dense' | 'lazy' | null
}

/** The clipping of a step's gradients: scaled together to a global norm, or each element limited to ±`value`. */
export type Clip = { global_norm: number } | { value: number }

/** The settings of workers that train in rounds. `max_norm` is for `clipped_mean`, `trim` for `trimmed_mean`. */
export interface RoundSettings {
  mode?: 'rounds'
  expected?: number
  quorum?: number
  deadline_seconds?: number
  grace_seconds?: number
  aggregate?: 'mean' | 'mean_of_sums' | 'clipped_mean' | 'median' | 'trimmed_mean'
  max_norm?: number | null
  trim?: number | null
  max_staleness?: number
  lease_seconds?: number
}

/** The settings of workers each of whose contributions is a step of its own. */
export interface AsyncSettings {
  mode: 'async'
  max_staleness?: number
  staleness?: 'reject' | 'scale'
  lease_seconds?: number
}

/** The settings that may change between two steps. `null` puts a default back; labels are merged key by key. */
export interface Changes extends Hyperparameters {
  groups?: readonly Group[] | null
  schedule?: Schedule | null
  clip?: Clip | null
  on_other_params?: 'warn' | 'accept' | 'reject' | null
  workers?: RoundSettings | AsyncSettings | null
  ttl_seconds?: number | null
  labels?: Readonly<Record<string, string | null>> | null
}

/** The settings of a new session. `groups: []` decays every tensor; without it those named `*bias` are spared. */
export interface Settings extends Changes {
  on_non_finite?: 'reject' | 'skip'
  hold_params?: boolean
  wire_dtype?: 'bfloat16' | 'float16' | null
  average?: { decay: number } | null
  undo?: number
}

/** The settings that a fork may have of its own. Those that are left out are the source's. */
export interface ForkSettings {
  ttl_seconds?: number | null
  labels?: Readonly<Record<string, string>> | null
}

/** Hyperparameters for one step; in `groups` those of a group, by its index or name. */
export interface Overrides extends Hyperparameters {
  groups?: Readonly<Record<string, Hyperparameters>>
}

/** The settings of a session, each with its effective value. */
export interface EffectiveSettings {
  optimizer: Optimizer
  hyperparameters: Readonly<Record<string, unknown>>
  groups: readonly Group[]
  schedule: Schedule | null
  clip: Clip | null
  on_non_finite: 'reject' | 'skip'
  hold_params: boolean
  wire_dtype: 'bfloat16' | 'float16' | null
  on_other_params: 'warn' | 'accept' | 'reject'
  average: { decay: number } | null
  undo: number
  workers: RoundSettings | AsyncSettings | null
  ttl_seconds: number | null
  labels: Readonly<Record<string, string>>
}

/** The members of a request; every other setting goes into its `hyperparameters`. */
const FIELDS: ReadonlySet<string> = new Set([
  'groups',
  'schedule',
  'clip',
  'on_other_params',
  'workers',
  'ttl_seconds',
  'labels',
  'on_non_finite',
  'hold_params',
  'wire_dtype',
  'average',
  'undo',
] satisfies Exclude<keyof Settings, keyof Hyperparameters>[])

/**
 * Return the settings as a request has them: its own members, and `hyperparameters`.
 *
 * @throws TypeError for a name that is no setting, or a value that has no JSON.
 * @throws RangeError for NaN and infinity.
 */
export function settingsDocument(settings: Settings): Record<string, unknown> {
  if ('optimizer' in settings) throw new TypeError('optimizer cannot be changed: create a new session')
  if ('hyperparameters' in settings) {
    throw new TypeError("unknown setting 'hyperparameters': pass each directly, such as { lr: 0.001 }")
  }
  const values = Object.entries(asJson('settings', settings) as object)
  const hyperparameters = values.filter(([name]) => !FIELDS.has(name))
  const fields = Object.fromEntries(values.filter(([name]) => FIELDS.has(name)))
  return hyperparameters.length > 0 ? { ...fields, hyperparameters: Object.fromEntries(hyperparameters) } : fields
}

/**
 * Return a setting as JSON has it, without members that are `undefined`. `JSON.stringify` alone would write NaN as
 * `null`, which puts a default back.
 *
 * @throws TypeError for a value that JSON lacks.
 * @throws RangeError for NaN and infinity.
 */
export function asJson(name: string, value: unknown): unknown {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'number') {
    if (Number.isFinite(value)) return value
    throw new RangeError(`${name} must be a finite number, not ${value}`)
  }
  if (Array.isArray(value)) return value.map((member, index) => asJson(`${name}[${index}]`, member))
  if (isPlain(value)) {
    const members = Object.entries(value).filter(([, member]) => member !== undefined)
    return Object.fromEntries(members.map(([key, member]) => [key, asJson(`${name}.${key}`, member)]))
  }
  throw new TypeError(`${name} must be a number, a string, a boolean, a list or a plain object, not ${shown(value)}`)
}

function isPlain(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype || Object.getPrototypeOf(prototype) === null
}
