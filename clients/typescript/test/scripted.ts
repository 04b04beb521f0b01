/** A service that answers from a script, and the contract's files. */

import { readdirSync, readFileSync } from 'node:fs'
import { Client, type ClientOptions } from 'optim-client'

const CONTRACT = new URL('../../contract/', import.meta.url)

/** Return a file of the contract. */
export function contract(name: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(new URL(name, CONTRACT)))
}

/** Return a JSON file of the contract. */
export function contractJson<T>(name: string): T {
  return JSON.parse(new TextDecoder().decode(contract(name))) as T
}

/** Return the names of a folder of the contract. */
export function contractNames(folder: string): string[] {
  return readdirSync(new URL(folder, CONTRACT)).sort()
}

/** A request as the service gets it. */
export interface Sent {
  url: string
  method: string
  headers: Headers
  body: Uint8Array<ArrayBuffer>
  signal: AbortSignal
}

/** Something that a request ends in. */
export type End = Response | Error | ((sent: Sent) => Response | Promise<Response>)

/** A session as the service answers it. */
export function sessionDocument(changes: object = {}): object {
  return { id: 's', optimizer: 'adamw', step: 0, digest: 'd', hold_params: false, wire_dtype: null, ...changes }
}

/** Return an answer with a JSON document. */
export function json(document: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(document), { status, headers: { 'content-type': 'application/json', ...headers } })
}

/** A client whose requests end as the script says; it keeps what was sent, waited and logged. */
export class Scripted {
  readonly sent: Sent[] = []
  readonly waits: number[] = []
  readonly lines: string[] = []
  readonly client: Client
  now = 1000

  constructor(ends: End[], options: ClientOptions & { eachTryTakes?: number } = {}) {
    const { eachTryTakes = 0, ...clientOptions } = options
    this.client = new Client('http://service.example', {
      fetch: async (url, init) => {
        this.now += eachTryTakes
        const end = ends.shift()
        const body = new Uint8Array(await new Response(init.body as BodyInit).arrayBuffer())
        const sent = { url, method: init.method!, headers: new Headers(init.headers), body, signal: init.signal! }
        this.sent.push(sent)
        if (end === undefined) throw new Error('the script is over')
        if (end instanceof Error) throw end
        return typeof end === 'function' ? await end(sent) : end
      },
      clock: {
        now: () => this.now,
        sleep: async (seconds) => {
          this.waits.push(seconds)
          this.now += seconds
        },
      },
      random: () => 0,
      log: (line) => this.lines.push(line),
      ...clientOptions,
    })
  }
}
