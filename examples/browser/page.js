/** The page: its controls, and what they show of a run. */

import { APIConnectionError, APIStatusError } from 'optim-client'
import { Chart } from './chart.js'
import { load } from './digits.js'
import { Run } from './training.js'

const STEPS = 300
const SHOWN = 24
const RATES = [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]
/** The optimizers to choose from, each with a good learning rate. */
const OPTIMIZERS = {
  adamw: { name: 'AdamW', lr: 0.005 },
  adam: { name: 'Adam', lr: 0.005 },
  nadam: { name: 'NAdam', lr: 0.005 },
  lion: { name: 'Lion', lr: 0.001 },
  rmsprop: { name: 'RMSprop', lr: 0.005 },
  adagrad: { name: 'Adagrad', lr: 0.05 },
  sgd: { name: 'SGD with momentum', lr: 0.05, settings: { momentum: 0.9 } },
}
/** The words of the page and of its button in each state. */
const STATES = {
  ready: { says: 'Ready', button: 'Start' },
  training: { says: 'Training', button: 'Pause' },
  waiting: { says: 'Waiting for the service', button: 'Pause' },
  paused: { says: 'Paused', button: 'Resume' },
  failed: { says: 'Stopped', button: 'Try again' },
  done: { says: 'Done', button: 'Again' },
}

const KEY = 'This service wants an API key: fill it in.'

const $ = (id) => document.getElementById(id)
const short = (loss) => String(Number(loss.toFixed(2)))
const percent = (share) => `${Number((100 * share).toFixed(1))}%`
const digits = await load(new URL('../../app/demo/digits.csv.gz', import.meta.url))
const lossAxes = { name: 'Loss', steps: STEPS, top: 3, marks: 3, format: short, isNoisy: true }
const lossChart = new Chart($('loss-chart'), lossAxes)
const accuracyAxes = { name: 'Accuracy', steps: STEPS, top: 1, marks: 4, format: percent }
const accuracyChart = new Chart($('accuracy-chart'), accuracyAxes)

fillForm()
let state = 'loading'
let [run, before] = [newRun(), newRun()]
let [stopping, ended] = [new AbortController(), Promise.resolve()]
let willDraw = false
show('ready')

/** Train until the last step, the signal or an error. */
async function train(signal) {
  try {
    await run.train($('url').value, $('key').value, signal)
    show('done')
  } catch (error) {
    if (!signal.aborted) fail(error)
  }
}

function newRun() {
  const optimizer = $('optimizer').value
  const plan = { optimizer, lr: RATES[$('rate').value], settings: OPTIMIZERS[optimizer].settings, steps: STEPS }
  return new Run(digits, plan, { onStep: () => show('training'), onWait: wait })
}

/** Start, pause or go on, whichever the button says. */
function press() {
  if (isRunning(state)) {
    stopping.abort()
    show('paused')
    return
  }
  if (state === 'done') startOver()
  const { signal } = (stopping = new AbortController())
  $('key').removeAttribute('aria-invalid')
  show('training')
  ended = ended.then(() => train(signal)) // one call at a time, however fast the button is pressed
}

function isRunning(state) {
  return state === 'training' || state === 'waiting'
}

/** Put a new run in the place of this one, which is drawn behind it. */
function startOver() {
  stopping.abort()
  if (run.losses.length) before = run
  run = newRun()
  show('ready')
}

/** Say that the client waits, and why. */
function wait(line) {
  if (state === 'waiting') return
  show('waiting', ['Trying again for two minutes. No step is lost, and none is taken twice.', line, ...advice()])
}

function fail(error) {
  const isRefusal = error instanceof APIStatusError
  const isTooFar = isRefusal && error.is('non_finite')
  const isGone = isRefusal && error.is('session_not_found')
  const wantsKey = isRefusal && error.is('unauthenticated')
  const words = isTooFar ? ['The steps were too large: choose a smaller learning rate, and start over.'] : []
  if (isGone) words.push('The service does not have this run any more: start over.')
  if (wantsKey) words.push(run.session ? 'The key of this run is not valid any more: start over with another one.' : KEY)
  show('failed', [...words, error.message, ...(error instanceof APIConnectionError ? advice() : [])])
  $('key').setAttribute('aria-invalid', wantsKey)
  if (wantsKey && !run.session) $('key').focus()
}

/** Return how to start a service for this page, if none has answered it yet. */
function advice() {
  return run.session ? [] : [made('code', `OPTIM_CORS_ORIGINS=${location.origin} optim serve`)]
}

/** Show a state, and what is wrong in it. */
function show(next, problems = []) {
  if (next !== state || problems.length) {
    $('state').dataset.state = next
    $('state').textContent = STATES[next].says
    $('start').textContent = STATES[next].button
    $('over').disabled = next === 'ready' || next === 'done'
    $('url').readOnly = $('key').readOnly = isRunning(next) || (run.session !== null && next !== 'done')
    $('problem').replaceChildren(...problems.map((line) => (line instanceof Element ? line : made('p', line))))
    lossChart.describe(run.losses)
    accuracyChart.describe(run.accuracies)
  }
  state = next
  if (!willDraw) requestAnimationFrame(draw)
  willDraw = true
}

function draw() {
  willDraw = false
  const { losses, accuracies, gaps, times, plan } = run
  lossChart.draw(losses, before.losses, gaps)
  accuracyChart.draw(accuracies, before.accuracies, [])
  $('step').textContent = losses.length
  $('loss').textContent = losses.length ? losses.at(-1).toFixed(3) : '–'
  $('accuracy').textContent = losses.length ? percent(accuracies.at(-1)) : '–'
  $('time').textContent = losses.length ? `${median(times).toFixed(1)} ms` : '–'
  $('before').textContent = before.losses.length ? `Dotted: the run before, ${nameOf(before.plan)}` : ''
  $('later').hidden = plan.optimizer === $('optimizer').value
  for (const [index, item] of [...$('digits').children].entries()) {
    tell(item, run.readings?.[index], digits.testing.labels[index])
  }
}

/** Show the digit that an image is read as. */
function tell(item, digit, label) {
  const isRight = digit === label
  item.className = digit === undefined ? 'unread' : isRight ? 'right' : 'wrong'
  item.querySelector('b').textContent = digit ?? '?'
  item.querySelector('small').textContent = digit === undefined || isRight ? '' : ` not ${label}`
}

function fillForm() {
  $('optimizer').append(...Object.entries(OPTIMIZERS).map(([value, { name }]) => new Option(name, value)))
  $('rate').max = RATES.length - 1
  $('steps').textContent = `of ${STEPS}`
  suggestRate()
  $('digits').append(...Array.from({ length: SHOWN }, (_, index) => tile(index)))
  $('start').disabled = false
}

/** Set the learning rate to a good one for the chosen optimizer. */
function suggestRate() {
  showRate(OPTIMIZERS[$('optimizer').value].lr)
}

function showRate(lr) {
  const rate = String(lr)
  $('rate').value = RATES.indexOf(lr)
  $('shown-rate').textContent = rate
  $('rate').setAttribute('aria-valuetext', rate)
}

/** Return an element that shows a test image of 8×8 pixels in the colour of its text. */
function tile(index) {
  const canvas = Object.assign(document.createElement('canvas'), { width: 8, height: 8 })
  const pixels = new ImageData(8, 8)
  for (const [pixel, ink] of digits.testing.image(index).entries()) pixels.data[4 * pixel + 3] = 255 * ink
  canvas.getContext('2d').putImageData(pixels, 0, 0)
  const item = document.createElement('li')
  item.append(made('i'), made('b'), made('small'))
  item.firstChild.style.setProperty('--image', `url(${canvas.toDataURL()})`)
  Object.assign(item.firstChild, { role: 'img', ariaLabel: `A written ${digits.testing.labels[index]}:` })
  return item
}

function made(name, text = '') {
  return Object.assign(document.createElement(name), { textContent: text })
}

function nameOf({ optimizer, lr }) {
  return `${OPTIMIZERS[optimizer].name} at ${lr}`
}

function median(values) {
  const sorted = values.toSorted((one, other) => one - other)
  return sorted[sorted.length >> 1]
}

$('start').addEventListener('click', (event) => {
  if (event.detail > 1) event.preventDefault() // the second half of a double click
})
$('controls').addEventListener('submit', (event) => {
  event.preventDefault()
  press()
})
$('over').addEventListener('click', () => {
  startOver()
  $('start').focus()
})
$('rate').addEventListener('input', () => showRate(RATES[$('rate').value]))
$('rate').addEventListener('change', () => {
  if (run.plan.optimizer === $('optimizer').value) run.plan.lr = RATES[$('rate').value]
})
$('optimizer').addEventListener('change', () => {
  suggestRate()
  if (!run.session && !isRunning(state)) run = newRun()
  if (run.plan.optimizer === $('optimizer').value) showRate(run.plan.lr)
  show(state)
})
new ResizeObserver(() => show(state)).observe($('run'))
