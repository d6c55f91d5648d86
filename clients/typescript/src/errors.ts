/** What went wrong where the client itself noticed it. */
export type ClientErrorCode =
  | "timeout"
  | "unreachable"
  | "unauthorized"
  | "unknown_outcome"
  | "client_closed"
  | "too_many_calls"
  | "message_too_large"
  | "bad_argument"
  | "protocol_error"

/** The codes that a program most often decides by, as the server sends them. */
export type ServerErrorCode =
  | "wrong_expected_seq"
  | "id_conflict"
  | "rejected"
  | "unknown_aggregate"
  | "unknown_context"
  | "unknown_command"
  | "bad_event"
  | "bad_request"
  | "unknown_field"
  | "forbidden"
  | "not_found"
  | "overloaded"
  | "too_many_requests"
  | "interrupted"
  | "shard_unavailable"
  | "node_unavailable"
  | "context_stopped"
  | "disk_full"
  | "still_to_erase"
  | "target_away"
  | "saga_conflict"
  | "saga_waits"
  | "sql_error"
  | "too_many_rows"
  | "bad_cursor"
  | "state_not_json"
  | "internal"

/** All codes: those above, and every other reason in Warp's list of errors. */
export type ErrorCode = ClientErrorCode | ServerErrorCode | (string & {})

/** Everything that an error says beside its message. */
export interface ErrorFields {
  code: ErrorCode
  retryable?: boolean
  advice?: string
  status?: number
  parameters?: { [name: string]: unknown }
  cause?: unknown
}

/**
 * Every error of this package, apart from the reason of a signal that was aborted, and what `onErased` and
 * `onCaughtUp` throw.
 */
export class WarpError extends Error {
  override readonly name = "WarpError"
  /** What happened, for programs. */
  readonly code: ErrorCode
  /** Whether the same call may work when it is made again. The client has tried that already where it is safe. */
  readonly retryable: boolean
  /** What to do about it, for people. */
  readonly advice: string
  /** The HTTP status that belongs to the error, where the server gave one. */
  readonly status: number | undefined
  /** What the error is about, such as `{ actual: 3 }` of `wrong_expected_seq`. */
  readonly parameters: { readonly [name: string]: unknown }

  constructor(message: string, fields: ErrorFields) {
    super(message, fields.cause === undefined ? undefined : { cause: fields.cause })
    this.code = fields.code
    this.retryable = fields.retryable ?? false
    this.advice = fields.advice ?? ""
    this.status = fields.status
    this.parameters = fields.parameters ?? {}
  }
}

/** Whether something that was thrown is a {@link WarpError}; with codes, whether it has one of them. */
export function isWarpError(thrown: unknown, ...codes: ErrorCode[]): thrown is WarpError {
  return thrown instanceof WarpError && (codes.length === 0 || codes.includes(thrown.code))
}

/** The error that the server's problem details (RFC 9457) describe. Whatever is missing gets a plain value. */
export function fromProblem(problem: unknown): WarpError {
  const given = isObject(problem) ? problem : {}
  const code = text(given["code"]) ?? "internal"
  const message = text(given["detail"]) ?? text(given["title"]) ?? code
  return new WarpError(message, {
    code,
    retryable: given["retryable"] === true,
    advice: text(given["advice"]) ?? "",
    ...(typeof given["status"] === "number" ? { status: given["status"] } : {}),
    ...(isObject(given["parameters"]) ? { parameters: given["parameters"] } : {}),
  })
}

/** An argument that cannot be right. */
export function badArgument(name: string, wrong: string): WarpError {
  return new WarpError(`${name} ${wrong}`, {
    code: "bad_argument",
    advice: "Give another value.",
    parameters: { argument: name },
  })
}

/** A client that was closed cannot be used any more. */
export function clientClosed(): WarpError {
  return new WarpError("The client was closed.", {
    code: "client_closed",
    advice: "Make another client with new Warp(...).",
  })
}

export function isObject(value: unknown): value is { [name: string]: unknown } {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined
}
