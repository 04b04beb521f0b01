/** Settings: where they stand in a request, what JSON lacks, and what the compiler refuses. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Schedule, Settings } from 'optim-client'
import { contractJson, json, Scripted, sessionDocument } from './scripted.js'

async function sent(settings: Settings): Promise<unknown> {
  const scripted = new Scripted([json(sessionDocument(), 201)])
  await scripted.client.sessions.create('adamw', settings)
  assert.equal(scripted.sent[0]!.headers.get('content-type'), 'application/json')
  return JSON.parse(new TextDecoder().decode(scripted.sent[0]!.body))
}

test('hyperparameters are gathered, and the other settings are not', async () => {
  const own = {
    groups: [{ match: ['*bias'], weight_decay: 0 }],
    schedule: { kind: 'constant' },
    clip: { global_norm: 1 },
    on_non_finite: 'skip',
    hold_params: true,
    wire_dtype: 'float16',
    ttl_seconds: 60,
    labels: { run: '1' },
    on_other_params: 'reject',
    average: { decay: 0.999 },
    undo: 2,
  } as const
  assert.deepEqual(await sent({ ...own, lr: 0.1, betas: [0.9, 0.99] }), {
    optimizer: 'adamw',
    hyperparameters: { lr: 0.1, betas: [0.9, 0.99] },
    ...own,
  })
  assert.deepEqual(await sent({}), { optimizer: 'adamw' })
})

test('every schedule of the contract is sent unchanged', async () => {
  type Row = { examples: { schedule: Schedule }[] }
  for (const { examples } of Object.values(contractJson<Record<string, Row>>('schedules.json'))) {
    for (const { schedule } of examples) {
      assert.deepEqual(((await sent({ schedule })) as { schedule: unknown }).schedule, schedule)
    }
  }
})

test('an undefined setting is missing, and null puts a default back', async () => {
  const settings = { lr: undefined, schedule: null, labels: { ['__proto__']: 'x' } } as unknown as Settings
  assert.deepEqual(await sent(settings), { optimizer: 'adamw', schedule: null, labels: { ['__proto__']: 'x' } })
})

const REFUSED: [object, RegExp][] = [
  [{ lr: NaN }, /settings.lr must be a finite number, not NaN/],
  [{ groups: [{ match: ['*'], lr: Infinity }] }, /settings.groups\[0\].lr must be a finite number, not Infinity/],
  [{ lr: 5n }, /settings.lr must be .*, not bigint 5/],
  [{ betas: new Float32Array(2) }, /settings.betas must be a number, .* not Float32Array/],
  [{ labels: new Map() }, /settings.labels must be .*, not Map/],
  [{ lr: () => 1 }, /settings.lr must be/],
  [{ hyperparameters: { lr: 1 } }, /unknown setting 'hyperparameters': pass each directly/],
  [{ optimizer: 'adam' }, /optimizer cannot be changed/],
]
for (const [settings, message] of REFUSED) {
  test(`settings are refused: ${message.source}`, async () => {
    const scripted = new Scripted([])
    await assert.rejects(scripted.client.sessions.create('adamw', settings as Settings), message)
    assert.equal(scripted.sent.length, 0)
  })
}

test('the compiler refuses wrong settings', () => {
  const settings: Settings[] = [
    // @ts-expect-error: a required setting is missing
    { schedule: { kind: 'cosine' } },
    // @ts-expect-error: it is of another kind
    { schedule: { kind: 'constant', total_steps: 5 } },
    // @ts-expect-error: a misspelled setting
    { weight_deacy: 0.1 },
    // @ts-expect-error: an unknown choice
    { on_non_finite: 'ignore' },
    // @ts-expect-error: either of both
    { clip: {} },
    { schedule: { kind: 'warmup_cosine', warmup_steps: 1, total_steps: 2, start_step: 3 }, betas: [0.9, 0.99, 0.999] },
  ]
  assert.equal(settings.length, 6)
})
