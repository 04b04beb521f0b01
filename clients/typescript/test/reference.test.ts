/** The reference has every exported name, and the README's loop is short. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import * as exported from 'optim-client'

function read(path: string): string {
  return readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')
}

/** Return the exported names, with types. */
function names(): string[] {
  const lists = [...read('src/index.ts').matchAll(/^export (?:type )?\{([^}]*)\}/gm)].map(([, list]) => list!)
  return lists.flatMap((list) => list.split(',').map((name) => name.trim().replace(/^type /, ''))).filter(Boolean)
}

test('every exported name is in the reference', () => {
  const reference = read('../../docs/clients/typescript.md')
  const words = new Set(reference.match(/\w+/g))
  assert.deepEqual(
    names().filter((name) => !words.has(name) && !words.has(`${name}s`)),
    [],
  )
  assert.ok(names().length > 60)
  assert.deepEqual(
    Object.keys(exported).filter((name) => !names().includes(name)),
    [],
  )
})

test('every member of a class is in the reference', () => {
  const reference = read('../../docs/clients/typescript.md')
  const classes = [exported.Client, exported.Sessions, exported.Session, exported.Tensor]
  const members = classes.flatMap(({ prototype }) => Object.getOwnPropertyNames(prototype))
  const internal = ['constructor', 'run', 'open', 'clock', 'log']
  const missing = members.filter((name) => !internal.includes(name) && !new RegExp(`\\b${name}\\b`).test(reference))
  assert.deepEqual(missing, [])
})

test("the README's loop has fewer than 15 lines", () => {
  const [, loop] = /```js\n(.*?)```/s.exec(read('README.md'))!
  assert.ok(loop!.trim().split('\n').filter(Boolean).length < 15)
})
