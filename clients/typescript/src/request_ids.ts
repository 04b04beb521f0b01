/**
 * Request ids, which tell an answer to another request: each try sends its own, and the service answers with it.
 *
 * A proxy may replace the ids on the way in. So a foreign id proves nothing until one of this library has come back.
 */

const PREFIX = 'optim-client-'
const MEDIA_TYPES = ['application/json', 'application/problem+json', 'application/vnd.safetensors']

/** The ids of one client, which differ from those of every other client. */
export class RequestIds {
  private readonly name = `${PREFIX}${uniqueName().slice(0, 16)}`
  private count = 0
  private isEchoed = false

  /** Return the id of the next try. */
  next(): string {
    return `${this.name}-${++this.count}`
  }

  /** Return the id of an answer to another request than `sent`; `null` if the answer may be to this one. */
  foreign(sent: string, status: number, headers: Headers): string | null {
    const got = headers.get('x-request-id')
    if (got === sent) {
      this.isEchoed = true
      return null
    }
    if (got === null || got.startsWith(PREFIX)) return got
    const type = headers.get('content-type') ?? MEDIA_TYPES[0]!
    const mayBeTheServices = MEDIA_TYPES.some((known) => type.startsWith(known))
    return this.isEchoed && status >= 200 && status < 300 && mayBeTheServices ? got : null
  }
}

/** Return 32 hex digits at random. `crypto.randomUUID` is missing in pages that came over plain HTTP. */
export function uniqueName(): string {
  const bytes = new Uint8Array(16)
  if (globalThis.crypto) globalThis.crypto.getRandomValues(bytes)
  else bytes.forEach((_, i) => (bytes[i] = Math.random() * 256)) // Node 18
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
