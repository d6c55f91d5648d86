/** When something is tried again, and how long after. Pure. */
import type { WarpError } from "./errors.js"

/** How the client tries again. */
export interface RetryOptions {
  /** The longest pause before the first repetition, in milliseconds. Each further one is twice as long. Default: 50. */
  initialDelay?: number
  /** The longest pause, in milliseconds. Default: 2000. */
  maxDelay?: number
  /** How often a call is tried in all. Default: as often as its timeout allows. */
  attempts?: number
}

export type Retry = Required<RetryOptions>

export const DEFAULT_RETRY: Retry = { initialDelay: 50, maxDelay: 2000, attempts: Infinity }

/**
 * What may be done twice. `always`: reads, and what has an id. `unless_done`: only what was certainly not carried out,
 * such as a command.
 */
export type Repeat = "always" | "unless_done"

/** The server refused before it did anything. */
const NOTHING_DONE: ReadonlySet<string> = new Set([
  "overloaded",
  "too_many_requests",
  "shard_unavailable",
  "node_unavailable",
])

/** Whether a call that failed with this error may be made again by the client itself. */
export function mayRepeat(repeat: Repeat, error: WarpError): boolean {
  return error.retryable && (repeat === "always" || NOTHING_DONE.has(error.code))
}

/**
 * The pause before the next try, in milliseconds: random between half and the whole of what doubles each time, so that
 * clients that failed together do not come back together.
 *
 * @param tries - How often it was tried, from 1.
 * @param random - From 0 up to but not 1.
 */
export function pause(tries: number, retry: Retry, random: number): number {
  const longest = Math.min(retry.maxDelay, retry.initialDelay * 2 ** Math.min(tries - 1, 30))
  return longest * (0.5 + random / 2)
}
