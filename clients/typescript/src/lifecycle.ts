/** What follows from a connection that is no more. Pure. */
import { fromProblem, isObject, WarpError } from "./errors.js"
import type { Closed } from "./platform.js"

/** Codes of a connection that ended over what was sent on it: sending that again would end it again. */
const OVER_CONTENT: ReadonlySet<number> = new Set([1002, 1003, 1007, 1009, 4400])

/** The code of a connection on which more was asked for at once than the token may. */
export const TOO_MANY = 4429

/** How often in a row a new token is asked for. */
const MAX_REFUSALS = 2

/**
 * `again`: connect again, and send again what may be sent twice. `unsent`: likewise, but what was sent fails with the
 * error. `stop`: everything fails with the error, until somebody calls again.
 */
export interface Next {
  then: "again" | "unsent" | "stop"
  error: WarpError
}

/** What one knew of the connection. */
export interface Known {
  server: string
  wasOpen: boolean
  /** How often in a row the server has refused the token, with this time. */
  refusals: number
  /** Whether there may be a new token. */
  canAskAgain: boolean
}

/** Whether the server has refused the token. */
export function isRefusal(why: Closed): boolean {
  return why.status === 401 || why.code === 4401
}

export function next(why: Closed, known: Known): Next {
  const error = errorOf(why, known)
  if (isRefusal(why)) {
    return { then: known.canAskAgain && known.refusals <= MAX_REFUSALS ? "again" : "stop", error }
  }
  if (why.status !== undefined) return { then: isTemporary(why.status) ? "again" : "stop", error }
  if (!OVER_CONTENT.has(why.code)) return { then: "again", error }
  return { then: known.wasOpen ? "unsent" : "stop", error }
}

function isTemporary(status: number): boolean {
  return status >= 500 || status === 408 || status === 429
}

function errorOf(why: Closed, known: Known): WarpError {
  const reason = why.reason === "" ? `the connection ended with code ${why.code}` : why.reason
  if (isRefusal(why)) {
    return new WarpError(`${known.server} does not take the token: ${reason}`, {
      code: "unauthorized",
      status: 401,
      advice: "Give a valid token as the option token, or in the environment variable WARP_TOKEN.",
    })
  }
  if (isObject(why.problem) && typeof why.problem["code"] === "string") return fromProblem(why.problem)
  const code = OVER_CONTENT.has(why.code) ? "protocol_error" : "unreachable"
  return new WarpError(reason, {
    code,
    retryable: code === "unreachable",
    advice:
      code === "unreachable" ? "See whether the server runs." : "See whether this is a Warp server of this version.",
    parameters: { close: why.code },
    cause: why.cause,
    ...(why.status === undefined ? {} : { status: why.status }),
  })
}
