/** A real service for a test file: the one of `OPTIM_BASE_URL`, else one that is started. */

import { spawn } from 'node:child_process'
import type { Socket } from 'node:net'

/** Start a service in memory, which ends with this process; return its address. `optim` must be on the search path. */
export async function service(): Promise<string> {
  const given = process.env['OPTIM_BASE_URL']
  if (given) return given
  const optim = spawn('optim', ['serve', '--store', 'memory:', '--port', '0'], { stdio: ['ignore', 'pipe', 'pipe'] })
  process.on('exit', () => optim.kill())
  let said = ''
  const url = await new Promise<string>((resolve, reject) => {
    for (const output of [optim.stdout, optim.stderr]) {
      output.on('data', (chunk: Buffer) => {
        said += chunk.toString()
        const found = /listening url=(\S+)/.exec(said)
        if (found) resolve(found[1]!)
      })
    }
    optim.on('error', (error) =>
      reject(new Error('a test needs `optim` on the PATH, or OPTIM_BASE_URL', { cause: error })),
    )
    optim.on('exit', (code) => reject(new Error(`the service ended with status ${code}; it said ${said}`)))
  })
  for (const each of [optim, optim.stdout as Socket, optim.stderr as Socket]) each.unref()
  return url
}
