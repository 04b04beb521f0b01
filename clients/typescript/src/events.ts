/** The events of a session as they happen: read from one stream after the other, each behind the last event. */

import * as calls from './calls.js'
import { APIConnectionError, APIStatusError } from './errors.js'
import type { SessionEvent } from './event.js'
import type { Stream } from './exchange.js'
import { Following } from './following.js'
import type { CallOptions } from './knowledge.js'
import type { Call, Clock } from './retries.js'

/** The options of events: `after` is the `number` of the event that they continue after; 0 begins with all that is kept. */
export interface EventsOptions extends CallOptions {
  after?: number
}

/** The part of a client that events use. */
export interface Opener {
  readonly clock: Clock
  open(call: Call<void>, options?: CallOptions): Promise<Stream>
}

/** Yield the events of a session until it is gone. The end of the loop, or an aborted signal, closes the connection. */
export async function* follow(
  client: Opener,
  id: string,
  { after, signal }: EventsOptions,
): AsyncGenerator<SessionEvent, void, undefined> {
  const options = signal ? { signal } : {}
  const following = new Following(after ?? null, client.clock)
  for (;;) {
    const pause = following.pause()
    if (pause > 0) await client.clock.sleep(pause, signal)
    const wasOpen = following.hasBegun
    let stream
    try {
      stream = await client.open(calls.events(id, following.number), options)
    } catch (error) {
      if (wasOpen && error instanceof APIStatusError && error.is('session_not_found')) return
      throw error
    }
    following.begin()
    try {
      for await (const chunk of stream.chunks()) yield* following.events(chunk)
    } catch (error) {
      if (!(error instanceof APIConnectionError)) throw error
    }
  }
}
