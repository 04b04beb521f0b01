// A request as a command of curl, to copy.

/**
 * Return the command.
 * @param {{method: string, url: URL | string, headers: Object<string, string>, body: string | File | null}} request
 * @param {boolean} isKeyed whether the service wants a key; the command takes it from the environment
 */
export function curlOf({ method, url, headers, body }, isKeyed) {
  const parts = [`curl${method === 'GET' || (method === 'POST' && body !== null) ? '' : ` -X ${method}`} ${quoted(String(url))}`]
  if (isKeyed) parts.push('-H "Authorization: Bearer $OPTIM_API_KEY"')
  for (const [name, value] of Object.entries(headers)) parts.push(`-H ${quoted(`${name}: ${value}`)}`)
  if (body instanceof File) parts.push(`--data-binary ${quoted(`@${body.name}`)}`)
  else if (body !== null) parts.push(`-d ${quoted(body)}`)
  return parts.join(' \\\n  ')
}

/** Return a word of a shell. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`
