/** The calls that are open: which go out next, and what becomes of them when the connection is lost. No sockets. */
import { isWarpError, WarpError } from "./errors.js"
import { mayRepeat, type Repeat } from "./retry.js"

/** What a call is. */
export interface CallSpec {
  /** The JSON object of the call without its first brace, its id and its last brace. */
  text: string
  /**
   * Whether it goes out again when it was sent and the connection was lost before the answer. `here`: it belongs to
   * one connection, and ends with it.
   */
  repeat: Repeat | "here"
  /** Milliseconds from now; undefined for no end. */
  timeout: number | undefined
  /** Whether the server is told how much time is left. */
  isTimed: boolean
}

/** An open call. */
export interface Call extends CallSpec {
  readonly id: number
  readonly endsAt: number
  /** `queued`: goes out next. `sent`: the server may have it. `pausing`: it failed, and is tried again later. */
  state: "queued" | "sent" | "pausing" | "done"
  sentAt: number
  tries: number
  resolve(result: unknown): void
  reject(error: unknown): void
}

/** What the table does with an answer. */
export type Verdict = { call: Call; then: "resolve" } | { call: Call; then: "reject" } | { call: Call; then: "pause" }

export class Calls {
  private readonly open = new Map<number, Call>()
  private queue: Call[] = []
  private lastId = 0

  get size(): number {
    return this.open.size
  }

  all(): Call[] {
    return [...this.open.values()]
  }

  /** A number for a call or a subscription, which this client has not used. */
  newId(): number {
    return ++this.lastId
  }

  /** Adds a call, which goes out after those before it. */
  add(spec: CallSpec, id: number, now: number, resolve: Call["resolve"], reject: Call["reject"]): Call {
    const endsAt = spec.timeout === undefined ? Infinity : now + spec.timeout
    const call: Call = { ...spec, id, endsAt, state: "queued", sentAt: 0, tries: 0, resolve, reject }
    this.open.set(call.id, call)
    this.queue.push(call)
    return call
  }

  /** The call of an answer; undefined when nobody waits for it any more. */
  get(id: number): Call | undefined {
    return this.open.get(id)
  }

  /** Takes a call out, once: false when it was done already. */
  finish(call: Call): boolean {
    if (call.state === "done") return false
    call.state = "done"
    this.open.delete(call.id)
    return true
  }

  /** The next calls to send, up to so many, and about so many characters, now marked as sent. */
  next(count: number, characters: number, now: number): string[] {
    const texts: string[] = []
    let size = 0
    let taken = 0
    for (const call of this.queue) {
      if (size >= characters || texts.length >= count) break
      taken++
      if (call.state !== "queued") continue
      const text = sent(call, now)
      texts.push(text)
      size += text.length
    }
    this.queue.splice(0, taken)
    return texts
  }

  get hasNext(): boolean {
    return this.queue.length > 0
  }

  /** Whether a call that failed is tried again: `paused` if so. The caller queues it again after the pause. */
  failed(call: Call, error: WarpError, attempts: number, delay: number, now: number): "paused" | "rejected" {
    call.tries++
    const repeats = call.repeat !== "here" && mayRepeat(call.repeat, error)
    if (!repeats || call.tries >= attempts || now + delay >= call.endsAt) return "rejected"
    call.state = "pausing"
    return "paused"
  }

  /** The pause of a call is over. */
  again(call: Call): void {
    if (call.state !== "pausing") return
    call.state = "queued"
    this.queue.push(call)
  }

  /**
   * The connection was lost. Calls that may go out again are queued in their first order, before those that were not
   * sent. Gives the others, which fail.
   */
  lost(): Call[] {
    const [failed, again]: [Call[], Call[]] = [[], []]
    for (const call of this.open.values()) {
      if (call.repeat === "here" || (call.state === "sent" && call.repeat !== "always")) failed.push(call)
      else if (call.state !== "pausing") again.push(call)
    }
    for (const call of again) call.state = "queued"
    this.queue = again.sort((a, b) => a.id - b.id)
    return failed
  }
}

function sent(call: Call, now: number): string {
  call.state = "sent"
  call.sentAt = now
  const left = Math.max(1, Math.round(call.endsAt - now))
  return `{"id":${call.id},${call.text}${call.isTimed && left !== Infinity ? `,"timeout":${left}` : ""}}`
}

/** The error of a call that was sent, may not be repeated, and whose answer was lost. */
export function unknownOutcome(cause: unknown): WarpError {
  return new WarpError("The connection was lost after the call was sent. It may be carried out or not.", {
    code: "unknown_outcome",
    advice: "Look at the entity's history. A call that may be carried out twice can be given repeatable: true.",
    cause,
  })
}

/** The error of a call whose time is over. `lost`: why there is no connection, where there is none. */
export function outOfTime(call: Call, timeout: number, server: string, isOpen: boolean, lost: unknown): WarpError {
  if (isOpen || call.state === "sent") {
    return new WarpError(`No answer came within ${timeout} ms.`, {
      code: "timeout",
      retryable: call.repeat === "always",
      advice: "Try again with the same event id, or give a longer timeout.",
    })
  }
  const why = lost instanceof Error ? `: ${lost.message}` : ""
  return new WarpError(`No connection to ${server} within ${timeout} ms${why}`, {
    code: isWarpError(lost, "unauthorized") ? "unauthorized" : "unreachable",
    retryable: true,
    advice: "See whether the server runs, and whether host, port, tls and token are right.",
    cause: lost,
  })
}
