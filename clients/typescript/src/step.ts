/** A step as bytes: what is sent, and what the answer holds. Knows no HTTP and no session. */

import { readMetrics, type Metrics } from './documents.js'
import { indicesFrom, Int8, partsOf, Rows, TopK, type Gradient } from './gradients.js'
import { lossOf, type Loss } from './halves.js'
import { decodeSafetensors, encodeSafetensors, type Stored, type StoredTensor } from './safetensors.js'
import { asJson, type Overrides } from './settings.js'
import { asTensor, isArray, shown, Tensor, type DtypeOf, type TensorData, type TensorLike } from './tensor.js'

/** Parameters by name. */
export type Params = Readonly<Record<string, TensorLike>>

/** A gradient, or none. */
export type MaybeGradient = Gradient | null | undefined

/** Gradients by name. A parameter whose gradient is missing or `null` is not stepped. */
export type Gradients = Readonly<Record<string, MaybeGradient>>

/** An object of any names. An interface has no index signature, so it is no `Record<string, Value>`. */
export type Named<Names, Value> = { readonly [Name in keyof Names]: Value }

/** The new parameter for a gradient: of the same kind of array, of the same rows; dense for compressed ones. */
export type NewParam<G> = G extends Float32Array
  ? Float32Array<ArrayBuffer>
  : G extends Float64Array
    ? Float64Array<ArrayBuffer>
    : G extends Tensor
      ? G
      : G extends Rows<infer V>
        ? Rows<Exclude<NewParam<V>, Rows | undefined>>
        : G extends Int8 | TopK
          ? Tensor
          : undefined

/** The new parameters for gradients. */
export type NewParams<G> = { [Name in keyof G]: NewParam<G[Name]> }

/**
 * The options of a step, for that step alone.
 *
 * `loss` goes into the history. `overrides` replaces hyperparameters, also a scheduled learning rate; `lr` is short for
 * its `lr`. The gradients are divided by `grad_scale` before they are checked.
 */
export interface StepOptions {
  loss?: number
  lr?: number
  overrides?: Overrides
  grad_scale?: number
}

/** A step as it is asked for. */
export interface StepRequest extends StepOptions {
  params?: Params
  grads: Gradients
}

/** The dtype in which float32 gradients travel; `null` for their own. */
export type WireDtype = 'bfloat16' | 'float16' | null

/** The parts of an answer to a step, beside its parameters. */
export interface StepAnswer {
  readonly step: number
  readonly skipped: boolean
  readonly digest: string
  readonly params_digest: string | null
  readonly metrics: Metrics
  readonly warnings: readonly string[]
}

const OPTIONS: ReadonlySet<string> = new Set([
  'params',
  'grads',
  'loss',
  'lr',
  'overrides',
  'grad_scale',
  'returnParams',
])

/**
 * Return a step's body: tensors with a gradient, and the rest as texts.
 *
 * @param lost - Takes the first gradient that lost elements on the way into `wire`.
 */
export function stepBody(
  number: number,
  request: StepRequest,
  wire: WireDtype,
  lost: (name: string, loss: Loss) => void,
): Uint8Array<ArrayBuffer> {
  const unknown = Object.keys(request).find((name) => !OPTIONS.has(name))
  if (unknown !== undefined) {
    throw new TypeError(`unknown option '${unknown}' of a step; expected one of ${[...OPTIONS].join(', ')}`)
  }
  const tensors = new Map<string, StoredTensor>()
  for (const [name, gradient] of gradientsOf(request)) {
    for (const [section, part] of partsOf(name, gradient, (tensor) => narrowed(name, tensor, wire, lost))) {
      tensors.set(`${section}/${name}`, part)
    }
    const param = paramOf(request, name)
    if (param !== undefined) tensors.set(`params/${name}`, asTensor(`params['${name}']`, param))
  }
  return encodeSafetensors(tensors, metadataOf(number, request))
}

/** Return parameters as the body that puts them. */
export function paramsBody(params: Params): Uint8Array<ArrayBuffer> {
  const named = Object.entries(mapping('params', params))
  return encodeSafetensors(
    new Map(named.map(([name, value]) => [`params/${name}`, asTensor(`params['${name}']`, value)])),
  )
}

/** Return what an answer to step `number` says. Throws where it is the answer to another step. */
export function readStepAnswer({ metadata }: Stored, number: number): StepAnswer {
  const skipped = metadata['skipped'] === 'true'
  const step = Number(metadata['step'])
  const expected = skipped ? number - 1 : number
  if (step !== expected) throw new TypeError(`unexpected step ${step}; expected ${expected}`)
  if (typeof metadata['digest'] !== 'string') throw new TypeError('the answer has no digest')
  return {
    step,
    skipped,
    digest: metadata['digest'],
    params_digest: metadata['params_digest'] ?? null,
    metrics: readMetrics(JSON.parse(metadata['metrics'] ?? 'null')),
    warnings: readWarnings(JSON.parse(metadata['warnings'] ?? '[]')),
  }
}

function readWarnings(warnings: unknown): string[] {
  if (Array.isArray(warnings) && warnings.every((line) => typeof line === 'string')) return warnings
  throw new TypeError('the warnings of the answer are no list of texts')
}

/** Return the new parameters in the form of the given ones; parameters without a gradient as they were given. */
export function newParams(stored: Stored, request: StepRequest, wire: WireDtype): Record<string, unknown> {
  const stepped = gradientsOf(request).map(([name, gradient]) => {
    const param = tensorOf(stored, 'params', name)
    const isNarrowed = wire !== null && isFloat32(gradient)
    const tensor = isNarrowed && param.dtype === wire ? new Tensor(param.toFloat32(), param.shape) : param
    const rows = stored.tensors.get(`rows/${name}`)
    const like = paramOf(request, name) ?? (gradient instanceof Rows ? gradient.values : gradient)
    const form = formed(tensor, like)
    checkLike(name, tensor, like)
    return [name, rows === undefined ? form : new Rows(indicesFrom(rows), form)] as const
  })
  return Object.fromEntries([...Object.entries(request.params ?? {}), ...stepped])
}

/** Return the parameters of an answer, those of `like` in its form. */
export function readParams(body: Uint8Array, like: Params): Record<string, TensorLike> {
  const stored = decodeSafetensors(body)
  const names = [...stored.tensors.keys()].filter((name) => name.startsWith('params/')).map((name) => name.slice(7))
  return Object.fromEntries(
    names.map((name) => [
      name,
      formed(tensorOf(stored, 'params', name), Object.hasOwn(like, name) ? like[name] : null),
    ]),
  )
}

/** Return the gradients that are sent. Throws where there is none. */
function gradientsOf({ grads }: StepRequest): [string, Gradient][] {
  const given = Object.entries(mapping('grads', grads))
  const sent = given.filter((each): each is [string, Gradient] => each[1] !== null && each[1] !== undefined)
  if (sent.length === 0) throw new RangeError('a step needs a gradient: grads is empty, or holds nothing but null')
  return sent
}

function paramOf({ params }: StepRequest, name: string): TensorLike | undefined {
  return params !== undefined && Object.hasOwn(mapping('params', params), name) ? params[name] : undefined
}

function metadataOf(number: number, request: StepRequest): Record<string, string> {
  const metadata: Record<string, string> = { step: String(number) }
  for (const name of ['loss', 'lr', 'grad_scale'] as const) {
    const value = request[name]
    if (value === undefined) continue
    if (typeof value !== 'number') throw new TypeError(`${name} must be a number, not ${shown(value)}`)
    metadata[name] = String(value)
  }
  if (request.overrides !== undefined) metadata['overrides'] = JSON.stringify(asJson('overrides', request.overrides))
  return metadata
}

/** Return a gradient as it travels. */
function narrowed(name: string, tensor: Tensor, wire: WireDtype, lost: (name: string, loss: Loss) => void): Tensor {
  if (wire === null || !isArray(tensor.data, 'Float32Array')) return tensor
  const half = Tensor.rounded(tensor.data, wire, tensor.shape)
  const loss = lossOf(tensor.data, half.data, wire)
  if (loss.zeros + loss.infinities > 0) lost(name, loss)
  return half
}

function isFloat32(gradient: Gradient): boolean {
  if (gradient instanceof TopK || gradient instanceof Rows) return isFloat32(gradient.values)
  return isArray(gradient, 'Float32Array') || (gradient instanceof Tensor && gradient.dtype === 'float32')
}

function tensorOf({ tensors }: Stored, section: string, name: string): Tensor {
  const stored = tensors.get(`${section}/${name}`)
  if (stored === undefined) throw new TypeError(`the answer lacks the parameter '${name}'`)
  if (stored.dtype === 'int64' || stored.dtype === 'int8') throw new TypeError(`${name} is ${stored.dtype}`)
  return new Tensor(stored.data as TensorData, stored.shape, stored.dtype as DtypeOf<Uint16Array>)
}

/** Check that a new parameter has the shape of what was sent. */
function checkLike(name: string, { shape }: Tensor, like: Gradient): void {
  if (like instanceof TopK) return // its values are some elements
  const sent = like instanceof Int8 ? like.shape : asTensor(name, like).shape
  if (sent.length !== shape.length || sent.some((n, i) => n !== shape[i])) {
    throw new TypeError(`'${name}' has the shape [${shape.join(', ')}]; expected [${sent.join(', ')}]`)
  }
}

/** Return a tensor as a typed array where `like` is one and the tensor a vector. */
function formed(tensor: Tensor, like: unknown): TensorLike {
  const isVectorLike = isArray(like, 'Float32Array') || isArray(like, 'Float64Array')
  const isVector = tensor.shape.length === 1 && (tensor.dtype === 'float32' || tensor.dtype === 'float64')
  return isVectorLike && isVector ? (tensor.data as Float32Array | Float64Array) : tensor
}

/** Return the names and values. Throws a `TypeError` for anything but a plain object. */
export function mapping<T extends object>(name: string, value: T): T {
  if (typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Map)) return value
  throw new TypeError(`${name} must be an object of names, such as { w: … }, not ${shown(value)}`)
}
