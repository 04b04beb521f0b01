/** The contract's training runs: the client writes the requests and reads the answers, to the bit. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  APIStatusError,
  decodeSafetensors,
  encodeSafetensors,
  Int8,
  Rows,
  Tensor,
  TopK,
  type DtypeOf,
  type Gradient,
  type Stored,
  type StoredTensor,
  type TensorData,
  type TensorLike,
} from 'optim-client'
import { contract, contractJson, contractNames, json, Scripted, sessionDocument } from './scripted.js'

const RUNS = contractNames('golden/').filter((run) => contractNames(`golden/${run}`).includes('1.request.bin'))

/** The content of a file, comparable to the bit and in no order. */
function content({ tensors, metadata }: Stored): object {
  const bits = [...tensors].map(([name, { data, shape, dtype }]) => {
    return [name, { dtype, shape, bytes: [...new Uint8Array(data.buffer, data.byteOffset, data.byteLength)] }]
  })
  return { tensors: Object.fromEntries(bits) as object, metadata }
}

function tensor({ data, shape, dtype }: StoredTensor): Tensor {
  return new Tensor(data as TensorData, shape, dtype as DtypeOf<Uint16Array>)
}

/** Return a gradient in the form that a program has it in. */
function gradientOf({ tensors }: Stored, name: string): Gradient {
  const [grads, scale] = [tensors.get(`grads/${name}`)!, tensors.get(`scale/${name}`)]
  const values = scale ? new Int8(grads.data as Int8Array, scale.data as Float32Array, grads.shape) : tensor(grads)
  const [at, rows] = [tensors.get(`at/${name}`), tensors.get(`rows/${name}`)]
  if (at) return new TopK(at.data as BigInt64Array, values)
  return rows ? new Rows(rows.data as BigInt64Array, values) : values
}

/** Return the tensors of a section by name. */
function section<T>(stored: Stored, name: string, read: (stored: Stored, name: string) => T): Record<string, T> {
  const names = [...stored.tensors.keys()].filter((each) => each.startsWith(`${name}/`))
  return Object.fromEntries(
    names.map((each) => [each.slice(name.length + 1), read(stored, each.slice(name.length + 1))]),
  )
}

/** The calls of a run that are more than steps, by number. */
type Calls = Record<string, { path?: string; headers?: object }>

for (const run of RUNS) {
  for (const file of contractNames(`golden/${run}`).filter((name) => name.endsWith('.bin'))) {
    test(`golden bytes are written again: ${run}/${file}`, () => {
      const stored = decodeSafetensors(contract(`golden/${run}/${file}`))
      const again = decodeSafetensors(encodeSafetensors(stored.tensors, stored.metadata))
      assert.deepEqual(content(again), content(stored))
    })
  }

  test(`a golden run is sent and read: ${run}`, async () => {
    const settings = contractJson<object>(`golden/${run}/session.json`)
    const files = contractNames(`golden/${run}`)
    const calls = files.includes('calls.json') ? contractJson<Calls>(`golden/${run}/calls.json`) : {}
    for (const file of files.filter((name) => name.endsWith('.request.bin'))) {
      const wanted = decodeSafetensors(contract(`golden/${run}/${file}`))
      const answer = file.replace('request', 'response')
      const isRefused = !files.includes(answer)
      const number = Number(wanted.metadata['step'])
      const call = calls[file.split('.')[0]!]
      const isPreview = call?.path === 'preview'
      const scripted = new Scripted([
        json(sessionDocument({ ...settings, step: number - 1 })),
        isRefused
          ? json(contractJson(`golden/${run}/${answer.replace('.bin', '.json')}`), 409)
          : new Response(contract(`golden/${run}/${answer}`), {
              headers: { 'content-type': 'application/vnd.safetensors' },
            }),
      ])
      const session = await scripted.client.sessions.get('s')
      const params = section(wanted, 'params', (stored, name) => tensor(stored.tensors.get(`params/${name}`)!))
      const grads = section(wanted, 'grads', gradientOf)
      const { loss, lr, grad_scale, overrides } = wanted.metadata
      const request = {
        grads,
        ...(Object.keys(params).length > 0 ? { params } : {}),
        ...(loss === undefined ? {} : { loss: Number(loss) }),
        ...(lr === undefined ? {} : { lr: Number(lr) }),
        ...(grad_scale === undefined ? {} : { grad_scale: Number(grad_scale) }),
        ...(overrides === undefined ? {} : { overrides: JSON.parse(overrides) as object }),
      }
      const taken: Promise<unknown> = isPreview
        ? session.preview(request).then(({ params }) => params)
        : call?.headers
          ? session.step({ ...request, returnParams: false })
          : session.step(request)
      const result = await taken.catch((error: unknown) => error)
      assert.ok(scripted.sent[1]!.url.endsWith(isPreview ? '/preview' : '/steps'))
      const sent = decodeSafetensors(scripted.sent[1]!.body)
      assert.deepEqual(content(sent), content({ ...wanted, metadata: numbered(wanted.metadata) }))
      if (isRefused) {
        assert.ok(result instanceof APIStatusError && result.code !== null && session.currentStep === number - 1)
        continue
      }
      const answered = decodeSafetensors(contract(`golden/${run}/${answer}`))
      const expected = section(answered, 'params', (stored, name) => tensor(stored.tensors.get(`params/${name}`)!))
      for (const [name, value] of Object.entries(expected)) {
        const got = (result as Record<string, TensorLike | Rows>)[name]
        assert.deepEqual(got instanceof Rows ? got.values : got, value, name)
        if (got instanceof Rows)
          assert.deepEqual(got.indices, [...answered.tensors.get(`rows/${name}`)!.data].map(Number))
      }
      if (isPreview) continue
      assert.equal(session.skipped, answered.metadata['skipped'] === 'true')
      assert.equal(session.currentStep, Number(answered.metadata['step']))
      assert.equal(session.digest, answered.metadata['digest'])
      assert.equal(session.paramsDigest, answered.metadata['params_digest'])
      assert.deepEqual(session.warnings, JSON.parse(answered.metadata['warnings']!))
      const metrics = JSON.parse(answered.metadata['metrics']!) as Record<string, number | string>
      const numbers = Object.entries(metrics).map(([name, value]) => [name, Number(value)])
      assert.deepEqual(session.metrics, Object.fromEntries(numbers))
    }
  })
}

/** Return the metadata with its numbers as JavaScript writes them: 1024.0 is 1024. */
function numbered(metadata: Readonly<Record<string, string>>): Record<string, string> {
  const written = Object.entries(metadata).map(([name, text]) => {
    return [name, name === 'overrides' ? JSON.stringify(JSON.parse(text)) : String(Number(text))]
  })
  return Object.fromEntries(written) as Record<string, string>
}
