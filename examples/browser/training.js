/** The training loop, through the service. Knows no page. */

import { Client } from 'optim-client'
import { init, lossAndGrads, read } from './network.js'

const BATCH = 64
const HOUR = 3600

/** One training run: its session in the service, its parameters here, and what its steps have shown. */
export class Run {
  params = init()
  session = null
  /** By step: the loss of its batch before it, and the share of test digits that are read rightly after it. */
  losses = []
  accuracies = []
  /** Milliseconds from the request to the answer, by step. */
  times = []
  /** The steps that came late because the service did not answer. */
  gaps = []
  /** The digits that are read in the test images. */
  readings = null
  #waitsSince = null
  #line = ''

  /**
   * @param {{ training: Digits, testing: Digits }} digits
   * @param {{ optimizer: string, lr: number, settings: object, steps: number }} plan - `lr` may change during the run.
   * @param {{ onStep: () => void, onWait: (line: string) => void }} listener - `onWait` is told when the service does
   *   not answer, or is busy; the client then tries again for two minutes.
   */
  constructor(digits, plan, listener) {
    this.digits = digits
    this.plan = plan
    this.listener = listener
  }

  /**
   * Take the steps that are left. A step that was stopped or failed before its answer came is sent again by the next
   * call, the same as before, so it is taken once.
   *
   * @param {AbortSignal} signal - Ends the call with its reason.
   */
  async train(url, apiKey, signal) {
    const { training } = this.digits
    this.session ??= await this.#create(url, apiKey, signal)
    while (this.session.currentStep < this.plan.steps) {
      const { loss, grads } = lossAndGrads(this.params, training.batch(this.session.currentStep + 1, BATCH))
      const sent = performance.now()
      this.params = await this.session.step({ params: this.params, grads, loss }, { signal })
      this.#record(loss, performance.now() - sent)
      await this.#changeRate(signal)
    }
  }

  async #create(url, apiKey, signal) {
    const log = (line) => (this.#line = line)
    const client = new Client(url, { ...(apiKey && { apiKey }), clock: this.#clock(), log })
    const { optimizer, lr, settings } = this.plan
    const labels = { from: 'examples/browser' }
    return client.sessions.create(optimizer, { lr, ...settings, labels, ttl_seconds: HOUR }, { signal })
  }

  /** Send a changed learning rate: after a step and never before, because a stopped step must be sent again first. */
  async #changeRate(signal) {
    const { lr } = this.plan
    if (lr !== this.session.info.hyperparameters.lr) await this.session.update({ lr }, { signal })
  }

  #record(loss, milliseconds) {
    const { testing } = this.digits
    this.times.push(milliseconds)
    this.losses.push(loss)
    this.readings = read(this.params, testing)
    this.accuracies.push(this.readings.filter((digit, index) => digit === testing.labels[index]).length / testing.count)
    if (this.#waitsSince !== null) {
      this.gaps.push({ step: this.losses.length, seconds: (performance.now() - this.#waitsSince) / 1000 })
      this.#waitsSince = null
    }
    this.listener.onStep()
  }

  /** Return the clock of the client's waits, which tells the listener of them. */
  #clock() {
    const now = () => performance.now() / 1000
    const sleep = (seconds, signal) => {
      this.#waitsSince ??= performance.now()
      this.listener.onWait(this.#line)
      return new Promise((resolve, reject) => {
        const end = () => (signal?.aborted ? reject(signal.reason) : resolve())
        setTimeout(end, seconds * 1000)
        signal?.addEventListener('abort', end)
      })
    }
    return { now, sleep }
  }
}
