/**
 * The one WebSocket of a client: opened when something is to be sent, opened again when it was lost, closed when it is
 * idle. What is decided stands in `calls.ts`, `lifecycle.ts` and `retry.ts`; this does it.
 */
import { Calls, type Call, type CallSpec, outOfTime, unknownOutcome } from "./calls.js"
import { clientClosed, fromProblem, isObject, WarpError } from "./errors.js"
import { parse, stringify } from "./json.js"
import { isRefusal, next, TOO_MANY } from "./lifecycle.js"
import type { Closed, Platform, Socket, Target } from "./platform.js"
import { pause, type Retry } from "./retry.js"
import { isToken } from "./socket/handshake.js"
import { type Line, type Subscriber, Subscribers } from "./subscribers.js"

/** `idle`: not connected, since nobody needs it. `waiting`: between two attempts to connect. */
export type ConnectionState = "idle" | "connecting" | "open" | "waiting" | "closed"

export interface Settings {
  target: Target
  context: string | undefined
  token: () => string | undefined | Promise<string | undefined>
  /** Whether the token may be another one when it is asked for again. */
  canAskAgain: boolean
  /** In milliseconds: of a call, of a connection that nobody uses, and until one looks whether the server is there. */
  timeout: number
  idleTimeout: number
  heartbeat: number
  retry: Retry
  bigIntegers: boolean
  maxPending: number
  onState: (state: ConnectionState, error?: WarpError) => void
}

/** A call as its maker gives it. */
export interface Request {
  op: string
  args?: object
  repeat?: CallSpec["repeat"]
  /** Milliseconds, or `null` for no end once it was sent. Default: that of the client. */
  timeout?: number | null | undefined
  isTimed?: boolean
  signal?: AbortSignal | undefined
}

type Timer = ReturnType<typeof setTimeout>

/** Calls that are about no context. */
const WITHOUT_CONTEXT: ReadonlySet<string> = new Set(["token", "unsubscribe"])
/** How many calls and characters go out as one message, and how many bytes may wait in the socket. */
const BATCH = 256
const MESSAGE = 256 * 1024
const BUFFERED = 1024 * 1024
/** How many bytes the server takes as one message, less what stands around a call. */
const MAX_CALL = 17 * 1024 * 1024 - 1024
/** How long the server may take to say that it is there, in milliseconds. */
const PROBE_MS = 10_000

export class Connection {
  private readonly calls = new Calls()
  private readonly subscribers: Subscribers
  private socket: Socket | undefined
  private current: ConnectionState = "idle"
  private isScheduled = false
  private isClosing = false
  private onEmpty: (() => void) | undefined
  /** Attempts to connect in a row that came to nothing, and how often the token was refused. */
  private tries = 0
  private refusals = 0
  /** How many calls one message has at most. */
  private batch = BATCH
  private lastError: WarpError | undefined
  private waiting: Timer | undefined
  private idle: Timer | undefined
  private heartbeat: Timer | undefined
  private heardAt = 0
  private readonly server: string

  constructor(
    private readonly settings: Settings,
    private readonly platform: Platform,
  ) {
    const { host, port, tls } = settings.target
    this.server = `${tls ? "wss" : "ws"}://${host.includes(":") ? `[${host}]` : host}:${port}`
    this.subscribers = new Subscribers(this.line(), settings.retry)
  }

  get state(): ConnectionState {
    return this.current
  }

  /**
   * Makes a call. Calls of one turn go out as one message.
   *
   * Fails with the server's error, or with `timeout`, `unreachable`, `unauthorized`, `unknown_outcome`,
   * `too_many_calls`, `message_too_large`, `protocol_error`, `client_closed`, or with the reason of the signal.
   */
  call(request: Request): Promise<unknown> {
    if (this.isClosing) return Promise.reject(clientClosed())
    if (this.calls.size >= this.settings.maxPending) return Promise.reject(tooManyCalls(this.calls.size))
    if (request.signal?.aborted === true) return Promise.reject(request.signal.reason as Error)
    return this.begin(request, this.calls.newId())
  }

  /** Keeps a subscription, over as many connections as it takes. */
  attach(subscriber: Subscriber): void {
    if (this.isClosing) return subscriber.ended(clientClosed())
    this.subscribers.add(subscriber)
    this.schedule()
    this.used()
  }

  /** Ends a subscription. The promise is fulfilled when the server has ended it, or cannot be asked. */
  async detach(subscriber: Subscriber): Promise<void> {
    await this.subscribers.remove(subscriber)
    this.used()
  }

  /** The subscriber has something to acknowledge. */
  acks(subscriber: Subscriber): void {
    this.subscribers.acks(subscriber)
    this.schedule()
  }

  /** Ends the subscriptions, waits for the open calls, and closes the connection. */
  async close(): Promise<void> {
    if (!this.isClosing) {
      this.isClosing = true
      this.subscribers.end()
    }
    if (this.calls.size > 0) {
      const before = this.onEmpty
      await new Promise<void>((resolve) => {
        this.onEmpty = () => (before?.(), resolve())
      })
    }
    if (this.current === "closed") return
    this.flush()
    this.end("closed")
  }

  // ------------------------------------------------------------------ Calls

  private begin({ op, args = {}, repeat = "always", timeout, isTimed = false, signal }: Request, id: number) {
    const { context } = this.settings
    const all = { op, ...(context === undefined || WITHOUT_CONTEXT.has(op) ? {} : { context }), ...args }
    return new Promise<unknown>((resolve, reject) => {
      const text = stringify(all).slice(1, -1)
      if (isTooLarge(text)) throw messageTooLarge(text)
      const limit = timeout === null ? undefined : (timeout ?? this.settings.timeout)
      const done = (settle: () => void): void => {
        if (!this.calls.finish(call)) return
        clearTimeout(timer)
        signal?.removeEventListener("abort", aborted)
        settle()
        this.used()
      }
      const aborted = (): void => done(() => reject(signal?.reason as Error))
      const call = this.calls.add(
        { text, repeat, timeout: limit, isTimed },
        id,
        Date.now(),
        (result) => done(() => resolve(result)),
        (error) => done(() => reject(error as Error)),
      )
      const timer = setTimeout(() => this.expired(call), limit ?? this.settings.timeout)
      signal?.addEventListener("abort", aborted, { once: true })
      this.schedule()
      this.used()
    })
  }

  private expired(call: Call): void {
    // A call without an end has to be sent within the client's timeout, and is waited for from then on.
    if (call.timeout === undefined && call.sentAt > 0) return
    const isUnheard = call.state === "sent" && this.heardAt <= call.sentAt
    const { timeout } = this.settings
    call.reject(outOfTime(call, call.timeout ?? timeout, this.server, this.current === "open", this.lastError))
    if (isUnheard) this.probe()
  }

  private schedule(): void {
    if (this.isScheduled) return
    this.isScheduled = true
    this.platform.later(() => {
      this.isScheduled = false
      this.flush()
    })
  }

  private flush(): void {
    if (this.current === "idle" && this.isNeeded()) return this.connect()
    const { socket } = this
    if (this.current !== "open" || socket === undefined) return
    let notices = this.subscribers.takeNotices()
    while (socket.buffered < BUFFERED && (notices.length > 0 || this.calls.hasNext)) {
      const texts = [...notices, ...this.calls.next(this.batch, MESSAGE, Date.now())]
      notices = []
      if (texts.length > 0) socket.send(texts.length === 1 ? texts[0]! : `[${texts.join(",")}]`)
    }
  }

  // ------------------------------------------------------------------ What the server says

  private message(text: string): void {
    const said = this.read(text)
    this.tries = 0
    this.refusals = 0
    for (const message of said) {
      if (!isObject(message)) continue
      if (typeof message["subscription"] === "number") this.subscribers.message(message["subscription"], message)
      else if (typeof message["id"] === "number") this.answer(message["id"], message)
    }
  }

  private read(text: string): unknown[] {
    try {
      const said = parse(text, this.settings.bigIntegers)
      return Array.isArray(said) ? said : [said]
    } catch (cause) {
      this.lost({ code: 1007, reason: "the server sent what is no JSON", cause })
      return []
    }
  }

  private answer(id: number, answer: { [name: string]: unknown }): void {
    const call = this.calls.get(id)
    if (call === undefined) return
    if (!("error" in answer)) return call.resolve(answer["ok"])
    const error = fromProblem(answer["error"])
    const delay = pause(call.tries + 1, this.settings.retry, Math.random())
    const { attempts } = this.settings.retry
    if (this.calls.failed(call, error, attempts, delay, Date.now()) === "rejected") return call.reject(error)
    setTimeout(() => {
      this.calls.again(call)
      this.schedule()
    }, delay)
  }

  /** What subscriptions may do here. */
  private line(): Line {
    const isOpen = (): boolean => this.current === "open"
    return {
      get isOpen() {
        return isOpen()
      },
      newId: () => this.calls.newId(),
      ask: (op, args, timeout, id) => this.begin({ op, args, repeat: "here", timeout }, id),
      changed: () => this.used(),
    }
  }

  // ------------------------------------------------------------------ The socket

  private connect(): void {
    this.become("connecting")
    void this.opened().catch((cause: unknown) => {
      if (this.current === "connecting") this.lost({ code: 1006, reason: `no connection: ${String(cause)}`, cause })
    })
  }

  private async opened(): Promise<void> {
    const token = await this.settings.token()
    if (this.current !== "connecting") return
    if (token !== undefined && !isToken(token)) {
      return this.lost({ code: 1006, reason: "the token has characters that no token has", status: 401 })
    }
    const ours: Socket = this.platform.open(this.settings.target, token, {
      opened: () => ours === this.socket && this.open(),
      message: (text) => ours === this.socket && this.message(text),
      heard: () => (this.heardAt = Date.now()),
      drained: () => ours === this.socket && this.flush(),
      closed: (why) => ours === this.socket && this.lost(why),
    })
    this.socket = ours
    this.used()
  }

  private open(): void {
    this.become("open")
    this.beat()
    this.subscribers.opened()
    this.flush()
    this.used()
  }

  private lost(why: Closed): void {
    const wasOpen = this.current === "open"
    const { socket } = this
    this.disconnected()
    socket?.drop()
    this.tries++
    if (isRefusal(why)) this.refusals++
    // The token may have fewer calls under way than one message had.
    if (why.code === TOO_MANY) this.batch = Math.max(1, this.batch >> 1)
    const { canAskAgain } = this.settings
    const then = next(why, { server: this.server, wasOpen, refusals: this.refusals, canAskAgain })
    this.lastError = then.error
    const failed =
      then.then === "again" ? [] : this.calls.all().filter(({ state }) => then.then === "stop" || state === "sent")
    for (const call of failed) call.reject(then.error)
    for (const call of this.calls.lost()) call.reject(unknownOutcome(then.error))
    if (then.then !== "again") this.subscribers.end(then.error)
    if (!this.isNeeded()) return this.become("idle", then.error)
    this.become("waiting", then.error)
    this.waiting = setTimeout(() => this.connect(), pause(this.tries, this.settings.retry, Math.random()))
  }

  /** Nothing of the connection is left. */
  private disconnected(): void {
    this.socket = undefined
    clearTimeout(this.heartbeat)
    clearTimeout(this.idle)
    this.subscribers.lost()
  }

  private end(state: "idle" | "closed"): void {
    const { socket } = this
    clearTimeout(this.waiting)
    this.disconnected()
    this.become(state)
    socket?.close(1000, "")
  }

  private become(state: ConnectionState, error?: WarpError): void {
    if (state === this.current) return
    this.current = state
    this.settings.onState(state, error)
  }

  private isNeeded(): boolean {
    return this.calls.size > 0 || this.subscribers.size > 0
  }

  /** Something began or ended: an idle connection is closed after a while, and keeps no process running. */
  private used(): void {
    if (this.calls.size === 0) this.onEmpty?.()
    clearTimeout(this.idle)
    const isNeeded = this.isNeeded()
    this.socket?.hold(isNeeded)
    if (isNeeded) return
    if (this.current === "waiting") this.end("idle")
    else if (this.current === "open") this.idle = background(() => this.end("idle"), this.settings.idleTimeout)
  }

  // ------------------------------------------------------------------ Whether the server is there

  private beat(): void {
    clearTimeout(this.heartbeat)
    this.heartbeat = background(() => {
      if (this.isNeeded() && Date.now() - this.heardAt >= this.settings.heartbeat) this.probe()
      else this.beat()
    }, this.settings.heartbeat)
  }

  /** Has the server say something, and gives the connection up when it does not. */
  private probe(): void {
    const { socket } = this
    if (socket === undefined || this.current !== "open") return
    const asked = Date.now()
    if (socket.ping === undefined) void this.subscribers.unsubscribe(0)
    else socket.ping()
    clearTimeout(this.heartbeat)
    this.heartbeat = background(
      () => {
        if (socket !== this.socket) return
        if (this.heardAt >= asked) this.beat()
        else this.lost({ code: 1006, reason: `the server has not answered for ${Date.now() - this.heardAt} ms` })
      },
      Math.min(PROBE_MS, this.settings.heartbeat),
    )
  }
}

/** A timer that keeps no process running. */
function background(run: () => void, millis: number): Timer {
  const timer: Timer & { unref?: () => unknown } = setTimeout(run, millis)
  timer.unref?.()
  return timer
}

function isTooLarge(text: string): boolean {
  return text.length * 3 > MAX_CALL && new TextEncoder().encode(text).length > MAX_CALL
}

function messageTooLarge(text: string): WarpError {
  return new WarpError(`The call has ${text.length} characters; ${MAX_CALL} bytes are the most.`, {
    code: "message_too_large",
    advice: "Make several calls of it.",
  })
}

function tooManyCalls(count: number): WarpError {
  return new WarpError(`${count} calls wait for their answers.`, {
    code: "too_many_calls",
    retryable: true,
    advice: "Await calls before you make others, or raise the option maxPending.",
  })
}
