// Logistic regression in JavaScript, with nothing but fetch: is a point above the line y = x?
// A request without an answer is sent again with the same key: the run survives a restart, and takes no step twice.

const url = process.env.OPTIM_BASE_URL ?? 'http://127.0.0.1:8000'

async function post(path, body) {
  const key = `"${crypto.randomUUID()}"`
  const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': key }
  let until
  for (let tries = 0; ; tries++) {
    const answer = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) }).catch((error) => error)
    if (answer.ok) return answer.json()
    until ??= Date.now() + 120_000
    const again = answer instanceof Error || answer.status === 408 || answer.status === 429 || answer.status >= 500
    if (!again || Date.now() > until) {
      throw new Error(answer.status ? (await answer.json()).detail : `no answer from ${url}`)
    }
    if (tries === 0) console.error(`${url} does not answer or is busy: trying again for two minutes`)
    await new Promise((resume) => setTimeout(resume, Math.min(500 * 2 ** tries, 4000) * (1 - Math.random() / 2)))
  }
}

const points = Array.from({ length: 200 }, (_, i) => {
  const [x, y] = [Math.sin(i * 12.9898) * 2, Math.sin(i * 78.233) * 2]
  return { x, y, above: y > x ? 1 : 0 }
})

function gradients({ w, b }) {
  const grads = { w: [0, 0], b: [0] }
  let loss = 0
  for (const { x, y, above } of points) {
    const p = 1 / (1 + Math.exp(-(w[0] * x + w[1] * y + b[0])))
    loss -= Math.log(above ? p : 1 - p) / points.length
    grads.w[0] += ((p - above) * x) / points.length
    grads.w[1] += ((p - above) * y) / points.length
    grads.b[0] += (p - above) / points.length
  }
  return { loss, grads }
}

const session = await post('/v1/sessions', { optimizer: 'adam', hyperparameters: { lr: 0.3 }, ttl_seconds: 3600 })
let params = { w: [0, 0], b: [0] }
for (let step = 1; step <= 100; step++) {
  const { loss, grads } = gradients(params)
  params = (await post(`/v1/sessions/${session.id}/steps`, { step, params, grads, loss })).params
  if (step % 25 === 0) console.log(`step ${step}   loss ${loss.toFixed(4)}`)
}

const right = points.filter(({ x, y, above }) => params.w[0] * x + params.w[1] * y + params.b[0] > 0 === (above === 1))
console.log(`${right.length} of ${points.length} points are on the right side`)
