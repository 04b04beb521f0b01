/** A refusal as an error: from the answer's status and its problem document. The body may be anything. */

import { APIStatusError } from './errors.js'

const STANDARD_MEMBERS = new Set(['type', 'title', 'status', 'detail', 'code'])
const EXCERPT_LENGTH = 200

const PROXY_HINTS: Readonly<Record<number, string>> = {
  413: '; the proxy accepts no body of that size: raise its limit (client_max_body_size of nginx)',
  504: '; the service took longer than the proxy waits: raise its limit (proxy_read_timeout of nginx)',
}

/** Return the error of an answer. */
export function statusError(status: number, headers: Headers, body: Uint8Array): APIStatusError {
  const problem = problemOf(body)
  const code = problem['code']
  return new APIStatusError({
    status,
    code: typeof code === 'string' ? code : null,
    detail: textOf(problem['detail']) || textOf(problem['title']) || notTheService(status, headers, body),
    members: Object.fromEntries(Object.entries(problem).filter(([name]) => !STANDARD_MEMBERS.has(name))),
    requestId: headers.get('x-request-id'),
  })
}

/** Return the beginning of a text, in one line. */
export function excerpt(body: Uint8Array): string {
  const text = new TextDecoder().decode(body.subarray(0, 4 * EXCERPT_LENGTH))
  return text.split(/\s+/).join(' ').trim().slice(0, EXCERPT_LENGTH)
}

function textOf(member: unknown): string {
  return typeof member === 'string' ? member : ''
}

function problemOf(body: Uint8Array): Record<string, unknown> {
  try {
    const problem: unknown = JSON.parse(new TextDecoder().decode(body))
    return typeof problem === 'object' && problem !== null && !Array.isArray(problem) ? { ...problem } : {}
  } catch {
    return {}
  }
}

/** Return the words for an answer that is not the service's, such as a proxy's. */
function notTheService(status: number, headers: Headers, body: Uint8Array): string {
  if (status === 0 || (status >= 300 && status < 400 && headers.has('location'))) {
    const location = headers.get('location')?.split('?')[0]
    return (
      `a redirect${location ? ` to '${location}'` : ''}, which this client does not follow: ` +
      'set baseUrl to the address that leads to the service itself'
    )
  }
  const text = excerpt(body)
  const page = text ? `with the page '${text}'` : 'with an empty body'
  return `a proxy answered, not the service, ${page}${PROXY_HINTS[status] ?? ''}`
}
