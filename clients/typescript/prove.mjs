// The prover of this client: ../README.md says what it is told and what it prints.

import { randomUUID } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { APIStatusError, Client, decodeSafetensors, encodeSafetensors, OptimError } from 'optim-client'

const CODES = { float64: 'F64', float32: 'F32', float16: 'F16', bfloat16: 'BF16', int64: 'I64', int8: 'I8' }
const POINTS = [
  { x: [1, 2], y: 7 },
  { x: [3, 1], y: 7 },
  { x: [2, 4], y: 15 },
  { x: [4, 3], y: 16 },
]

function say(document) {
  process.stdout.write(`${JSON.stringify(document)}\n`)
}

/** Encode each request again, and print each answer. */
async function golden(files) {
  for (let i = 0; i < files.length; i += 3) {
    const request = decodeSafetensors(await readFile(files[i]))
    await writeFile(files[i + 2], encodeSafetensors(request.tensors, request.metadata))
    const { tensors, metadata } = decodeSafetensors(await readFile(files[i + 1]))
    const shown = [...tensors].map(([name, { dtype, shape, data }]) => {
      const hex = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex')
      return [name, { dtype: CODES[dtype], shape, hex }]
    })
    say({ metadata, tensors: Object.fromEntries(shown) })
  }
}

/** Make the call of each line, by the clock that the lines after it say. */
async function calls() {
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
  for (let line = await lines.next(); !line.done; line = await lines.next()) {
    const [url, method, path, seconds, retries, chance] = line.value.split(' ')
    let now = 0
    const clock = {
      now: () => now,
      sleep: async (wait) => {
        say({ wait })
        now = Number((await lines.next()).value)
      },
    }
    const limits = { retrySeconds: limit(seconds), maxRetries: limit(retries) }
    const client = new Client(url, { ...limits, clock, random: () => Number(chance), log: () => {} })
    const headers = { 'content-type': 'application/json', 'idempotency-key': `"${randomUUID()}"` }
    const request = { method, path, headers, ...(method === 'POST' ? { body: '{}' } : {}) }
    say(await client.run({ request, read: ({ status }) => ({ end: 'result', status }) }).catch(ending))
  }
}

function limit(text) {
  return text === 'inf' ? Infinity : Number(text)
}

function ending(error) {
  if (!(error instanceof OptimError)) throw error
  const nothing = { status: null, code: null, detail: error.message, members: {}, requestId: null }
  const { status, code, detail, members, requestId } = error instanceof APIStatusError ? error : nothing
  return { end: 'error', status, code, detail, members, request_id: requestId }
}

/** Train the least squares of the contract, and print the final parameters. */
async function train(url) {
  const schedule = { kind: 'cosine', total_steps: 60 }
  const session = await new Client(url).sessions.create('adamw', {
    lr: 0.5,
    betas: [0.7, 0.9],
    weight_decay: 0,
    schedule,
  })
  let params = { w: new Float32Array(2), b: new Float32Array(1) }
  for (let step = 1; step <= 60; step++) {
    const grads = { w: new Float64Array(2), b: new Float64Array(1) }
    for (const { x, y } of POINTS) {
      const error = params.w[0] * x[0] + params.w[1] * x[1] + params.b[0] - y
      grads.w[0] += (error * x[0]) / 4
      grads.w[1] += (error * x[1]) / 4
      grads.b[0] += error / 4
    }
    params = await session.step({ params, grads: { w: Float32Array.from(grads.w), b: Float32Array.from(grads.b) } })
  }
  say({ params: { w: [...params.w], b: [...params.b] } })
}

const [command, ...rest] = process.argv.slice(2)
const COMMANDS = { golden: () => golden(rest), call: calls, train: () => train(rest[0]) }
if (!Object.hasOwn(COMMANDS, command))
  throw new Error('usage: prove.mjs golden REQUEST RESPONSE OUT … | call | train URL')
await COMMANDS[command]()
