/** A real service for a test file: the one of `OPTIM_BASE_URL`, else one that is started. */

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { after } from 'node:test'

/** Start a service in memory; return its address. `optim` must be on the search path. */
export async function service(): Promise<string> {
  const given = process.env['OPTIM_BASE_URL']
  if (given) return given
  const optim = spawn('optim', ['serve', '--store', 'memory:', '--port', '0'], { stdio: ['ignore', 'pipe', 'pipe'] })
  const failed = new Promise<never>((_, reject) => {
    optim.on('error', (error) =>
      reject(new Error('a test needs `optim` on the PATH, or OPTIM_BASE_URL', { cause: error })),
    )
    optim.on('exit', (code) => reject(new Error(`the service ended with status ${code}`)))
  })
  failed.catch(() => {})
  after(() => optim.kill())
  const announced = async (output: NodeJS.ReadableStream): Promise<string> => {
    for await (const line of createInterface({ input: output })) {
      const url = /listening url=(\S+)/.exec(line)
      if (url) return url[1]!
    }
    return new Promise(() => {})
  }
  return Promise.race([announced(optim.stdout), announced(optim.stderr), failed])
}
