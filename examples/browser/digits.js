/** The data: 1,797 hand-written digits of 8×8 pixels, always split the same way. */

import { random } from './random.js'

const PIXELS = 64
const SEED = 1998
const TEST_COUNT = 360

/**
 * Fetch and unpack the digits.
 *
 * @returns {Promise<{ training: Digits, testing: Digits }>}
 */
export async function load(url) {
  const answer = await fetch(url)
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`)
  const text = await new Response(answer.body.pipeThrough(new DecompressionStream('gzip'))).text()
  const rows = shuffled(text.trim().split('\n').map((line) => line.split(',').map(Number)), SEED)
  return { training: new Digits(rows.slice(TEST_COUNT)), testing: new Digits(rows.slice(0, TEST_COUNT)) }
}

/** Images as rows of 64 numbers from 0 to 1, and the digit that each one shows. */
export class Digits {
  constructor(rows) {
    this.labels = Uint8Array.from(rows, (row) => row[PIXELS])
    this.images = Float32Array.from(rows.flatMap((row) => row.slice(0, PIXELS).map((pixel) => pixel / 16)))
    this.rows = rows
  }

  get count() {
    return this.labels.length
  }

  /** Return the pixels of one image. */
  image(index) {
    return this.images.subarray(index * PIXELS, (index + 1) * PIXELS)
  }

  /** Return the batch of step 1, 2, …. It depends on the number alone: a step that is made again has the same one. */
  batch(step, size) {
    const perEpoch = Math.floor(this.count / size)
    const [epoch, place] = [Math.floor((step - 1) / perEpoch), (step - 1) % perEpoch]
    return new Digits(shuffled(this.rows, epoch).slice(place * size, (place + 1) * size))
  }
}

/** Return the items in an order that the seed decides, by Fisher and Yates. */
function shuffled(items, seed) {
  const draw = random(seed)
  const mixed = [...items]
  for (let last = mixed.length - 1; last > 0; last--) {
    const other = Math.floor(draw() * (last + 1))
    ;[mixed[last], mixed[other]] = [mixed[other], mixed[last]]
  }
  return mixed
}
