/** Appends by HTTP, as a program without the client would make them: with an id, again and again until an answer comes. */
import { fromProblem, WarpError } from "../../src/errors.js"
import type { Append } from "./writer.js"

/** How long one request may take, and how long to wait before the next, in milliseconds. */
const REQUEST = 2000
const PAUSE = 50

export function byHttp(port: number, token: string): Append {
  return async (entity, keys, { expected, timeout }) => {
    const url = `http://127.0.0.1:${port}/v1/contexts/bank/entities/${encodeURIComponent(entity)}/events`
    const events = keys.map((key) => ({
      type: "Credited",
      payload: { amount: 1, key },
      aggregate: "Account",
      id: `id-${key}`,
    }))
    const body = JSON.stringify({ ...(events.length === 1 ? events[0] : { events }), expected })
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" }
    for (const until = Date.now() + timeout; ; await new Promise((resolve) => setTimeout(resolve, PAUSE))) {
      try {
        const signal = AbortSignal.timeout(Math.max(1, Math.min(REQUEST, until - Date.now())))
        const response = await fetch(url, { method: "POST", headers, body, signal })
        const answer = (await response.json()) as { seq?: number; first?: number }
        if (!response.ok) throw fromProblem(answer)
        return { first: answer.seq ?? answer.first!, ids: events.map(({ id }) => id) }
      } catch (error) {
        if (error instanceof WarpError && !error.retryable) throw error
        if (Date.now() >= until) {
          throw new WarpError("No answer came.", { code: "timeout", retryable: true, cause: error })
        }
      }
    }
  }
}
