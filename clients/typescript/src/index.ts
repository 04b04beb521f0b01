/** The client of Optim Service: an optimizer over HTTP, every step durable and applied exactly once. */

export { Client, type ClientOptions, type Limits } from './client.js'
export type { HistoryOptions, ListOptions, StateFile, TensorEdits } from './calls.js'
export type { HistoryRow, Metrics, OptimizerInfo, SessionInfo, TensorInfo } from './documents.js'
export {
  APIConnectionError,
  APIStatusError,
  APITimeoutError,
  ForeignAnswer,
  InvalidAnswer,
  OptimError,
  SessionInUse,
  StepMismatch,
  type ErrorCode,
  type ProblemMembers,
} from './errors.js'
export type { SessionEvent, SettingsEvent, StepEvent, UndoEvent } from './event.js'
export type { EventsOptions } from './events.js'
export type { Fetch } from './exchange.js'
export { Int8, Rows, TopK, type Gradient, type Indices } from './gradients.js'
export type { CallOptions } from './knowledge.js'
export type { Clock } from './retries.js'
export {
  decodeSafetensors,
  encodeSafetensors,
  type Stored,
  type StoredDtype,
  type StoredTensor,
} from './safetensors.js'
export { Session, type Preview } from './session.js'
export { Sessions, type CreateOptions, type Page } from './sessions.js'
export type {
  Changes,
  Clip,
  ConstantSchedule,
  CosineRestartsSchedule,
  CosineSchedule,
  EffectiveSettings,
  ExponentialSchedule,
  ForkSettings,
  Group,
  Hyperparameters,
  InverseSqrtSchedule,
  LinearWarmupSchedule,
  OneCycleSchedule,
  Optimizer,
  Overrides,
  PiecewiseSchedule,
  PolynomialSchedule,
  Schedule,
  Settings,
  Start,
  StepSchedule,
  View,
  WarmupCosineSchedule,
  WarmupStableDecaySchedule,
} from './settings.js'
export type { Gradients, MaybeGradient, Named, NewParam, NewParams, Params, StepAnswer, StepOptions, StepRequest } from './step.js'
export { Tensor, type Dtype, type DtypeOf, type TensorData, type TensorLike } from './tensor.js'
