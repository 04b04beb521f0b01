// JSON for people, as the reference writes it.

const WIDTH = 88

/** Return JSON whose lines break only if they would be too long. */
export function pretty(value, indent = '') {
  const line = flat(value)
  if (indent.length + line.length <= WIDTH || value === null || typeof value !== 'object') return line
  const inner = `${indent}  `
  const isList = Array.isArray(value)
  const parts = isList ? value.map((part) => pretty(part, inner)) : Object.entries(value).map(([name, part]) => `${JSON.stringify(name)}: ${pretty(part, inner)}`)
  return `${isList ? '[' : '{'}\n${parts.map((part) => inner + part).join(',\n')}\n${indent}${isList ? ']' : '}'}`
}

function flat(value) {
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(flat).join(', ')}]`
  return `{${Object.entries(value).map(([name, part]) => `${JSON.stringify(name)}: ${flat(part)}`).join(', ')}}`
}
