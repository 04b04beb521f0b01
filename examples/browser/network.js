/** The network: 64 pixels → 64 hidden units → 10 digits, in float32, with gradients by hand. */

import { Tensor } from 'optim-client'
import { random } from './random.js'

const INPUTS = 64
const HIDDEN = 64
const OUTPUTS = 10
const SHAPES = {
  'hidden.weight': [INPUTS, HIDDEN],
  'hidden.bias': [HIDDEN],
  'output.weight': [HIDDEN, OUTPUTS],
  'output.bias': [OUTPUTS],
}

/** Return the first parameters by He's rule: weights of variance 2 over the number of inputs, biases of zero. */
export function init(seed = 1998) {
  const draw = random(seed)
  const normal = () => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw())
  const biases = (outputs) => new Float32Array(outputs)
  const weights = (inputs, outputs) => biases(inputs * outputs).map(() => normal() * Math.sqrt(2 / inputs))
  return tensors(weights(INPUTS, HIDDEN), biases(HIDDEN), weights(HIDDEN, OUTPUTS), biases(OUTPUTS))
}

/** Return the mean cross entropy of a batch, and its derivative by every parameter. */
export function lossAndGrads(params, digits) {
  const { hidden, output } = forward(params, digits)
  const { count, labels } = digits
  let loss = 0
  for (let row = 0; row < count; row++) {
    const right = row * OUTPUTS + labels[row]
    loss -= Math.log(output[right]) / count
    output[right] -= 1
  }
  for (let index = 0; index < output.length; index++) output[index] /= count

  const [outputWeight, outputBias] = derivatives(hidden, output, HIDDEN, OUTPUTS)
  const back = new Float32Array(count * HIDDEN)
  const weight = params['output.weight'].data
  for (let row = 0; row < count; row++) {
    for (let unit = 0; unit < HIDDEN; unit++) {
      if (hidden[row * HIDDEN + unit] <= 0) continue
      let sum = 0
      for (let k = 0; k < OUTPUTS; k++) sum += output[row * OUTPUTS + k] * weight[unit * OUTPUTS + k]
      back[row * HIDDEN + unit] = sum
    }
  }
  const [hiddenWeight, hiddenBias] = derivatives(digits.images, back, INPUTS, HIDDEN)
  return { loss, grads: tensors(hiddenWeight, hiddenBias, outputWeight, outputBias) }
}

/** Return the most probable digit of each image. */
export function read(params, digits) {
  const { output } = forward(params, digits)
  return Uint8Array.from(digits.labels, (_, row) => {
    const p = output.subarray(row * OUTPUTS, (row + 1) * OUTPUTS)
    return p.indexOf(Math.max(...p))
  })
}

function tensors(...arrays) {
  const named = Object.entries(SHAPES).map(([name, shape], index) => [name, new Tensor(arrays[index], shape)])
  return Object.fromEntries(named)
}

/** Return the hidden units, and the probability of each digit. */
function forward(params, { images, count }) {
  const hidden = layer(images, params['hidden.weight'].data, params['hidden.bias'].data, count)
  for (let index = 0; index < hidden.length; index++) hidden[index] = Math.max(hidden[index], 0)
  const output = layer(hidden, params['output.weight'].data, params['output.bias'].data, count)
  for (let row = 0; row < count; row++) softmax(output.subarray(row * OUTPUTS, (row + 1) * OUTPUTS))
  return { hidden, output }
}

/** Return x · weight + bias. */
function layer(x, weight, bias, count) {
  const [inputs, outputs] = [x.length / count, bias.length]
  const y = new Float32Array(count * outputs)
  for (let row = 0; row < count; row++) {
    const out = y.subarray(row * outputs, (row + 1) * outputs)
    out.set(bias)
    for (let i = 0; i < inputs; i++) {
      const value = x[row * inputs + i]
      if (value === 0) continue
      for (let j = 0; j < outputs; j++) out[j] += value * weight[i * outputs + j]
    }
  }
  return y
}

/** Return the derivatives by a layer's weight and bias, from its inputs and the derivative by its outputs. */
function derivatives(x, dy, inputs, outputs) {
  const weight = new Float32Array(inputs * outputs)
  const bias = new Float32Array(outputs)
  for (let row = 0; row < dy.length / outputs; row++) {
    for (let j = 0; j < outputs; j++) bias[j] += dy[row * outputs + j]
    for (let i = 0; i < inputs; i++) {
      const value = x[row * inputs + i]
      if (value === 0) continue
      for (let j = 0; j < outputs; j++) weight[i * outputs + j] += value * dy[row * outputs + j]
    }
  }
  return [weight, bias]
}

function softmax(row) {
  const most = Math.max(...row)
  let sum = 0
  for (let k = 0; k < row.length; k++) sum += row[k] = Math.exp(row[k] - most)
  for (let k = 0; k < row.length; k++) row[k] /= sum
}
