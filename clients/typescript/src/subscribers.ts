/** The subscriptions of a client: begun on each connection again, until somebody ends them. */
import { fromProblem, WarpError } from "./errors.js"
import { stringify } from "./json.js"
import { pause, type Retry } from "./retry.js"

/** Whoever gets the messages of a subscription. */
export interface Subscriber {
  /** The arguments to subscribe with now. */
  request(): object
  /** The server has answered. */
  started(result: unknown): void
  message(message: { [name: string]: unknown }): void
  /** The subscription is gone with its connection; another one follows. */
  lost(): void
  /** It ends for good; without an error when the client was closed. */
  ended(error?: WarpError): void
  /** What is to be acknowledged, once. */
  acks(): object[]
}

/** What a subscription needs of the connection. */
export interface Line {
  readonly isOpen: boolean
  newId(): number
  /** Makes a call that belongs to this connection. */
  ask(op: string, args: object, timeout: number, id: number): Promise<unknown>
  /** A subscription is gone. */
  changed(): void
}

interface Subscribed {
  /** Of the subscription on this connection. */
  id: number | undefined
  tries: number
  timer: ReturnType<typeof setTimeout> | undefined
}

/** In milliseconds, at most: for the answer to a subscription, and to its end. */
const SUBSCRIBE_MS = 30_000
const UNSUBSCRIBE_MS = 2_000

export class Subscribers {
  private readonly all = new Map<Subscriber, Subscribed>()
  private readonly byId = new Map<number, Subscriber>()
  private readonly acking = new Set<Subscriber>()
  /** Acknowledgements that go out next. */
  private notices: string[] = []

  constructor(
    private readonly line: Line,
    private readonly retry: Retry,
  ) {}

  get size(): number {
    return this.all.size
  }

  /** Adds a subscription, which begins with the connection. */
  add(subscriber: Subscriber): void {
    this.all.set(subscriber, { id: undefined, tries: 0, timer: undefined })
    this.begin(subscriber)
  }

  /** There is a connection. */
  opened(): void {
    for (const subscriber of this.all.keys()) this.begin(subscriber)
  }

  /** The connection is gone. */
  lost(): void {
    this.notices = []
    this.byId.clear()
    for (const [subscriber, subscribed] of this.all) {
      clearTimeout(subscribed.timer)
      if (subscribed.id !== undefined) subscriber.lost()
      subscribed.id = undefined
    }
  }

  /** Ends a subscription. The promise is fulfilled when the server has ended it, or cannot be asked. */
  async remove(subscriber: Subscriber): Promise<void> {
    const id = this.all.get(subscriber)?.id
    this.gather(subscriber)
    this.forget(subscriber)
    if (id !== undefined && this.line.isOpen) await this.unsubscribe(id)
  }

  /** Ends all subscriptions, with an error or without one. */
  end(error?: WarpError): void {
    for (const subscriber of [...this.all.keys()]) {
      void this.remove(subscriber)
      subscriber.ended(error)
    }
  }

  /** A message of the server for one of them. */
  message(id: number, message: { [name: string]: unknown }): void {
    const subscriber = this.byId.get(id)
    const subscribed = subscriber && this.all.get(subscriber)
    if (subscriber === undefined || subscribed === undefined) return
    if ("ended" in message) return this.refused(subscriber, subscribed, fromProblem(message["ended"]))
    subscribed.tries = 0
    subscriber.message(message)
  }

  /** The subscriber has something to acknowledge. */
  acks(subscriber: Subscriber): void {
    this.acking.add(subscriber)
  }

  /** What goes out now, as texts of calls. */
  takeNotices(): string[] {
    for (const subscriber of this.acking) this.gather(subscriber)
    this.acking.clear()
    return this.notices.splice(0)
  }

  /** Asks for the end of a subscription, whether there is one or not. */
  unsubscribe(id: number): Promise<unknown> {
    const args = { subscription: id }
    return this.line.ask("unsubscribe", args, UNSUBSCRIBE_MS, this.line.newId()).catch(() => undefined)
  }

  private begin(subscriber: Subscriber): void {
    const subscribed = this.all.get(subscriber)
    if (subscribed === undefined || !this.line.isOpen || subscribed.id !== undefined) return
    const id = this.line.newId()
    subscribed.id = id
    this.byId.set(id, subscriber)
    this.line.ask("subscribe", subscriber.request(), SUBSCRIBE_MS, id).then(
      (result) => {
        if (subscribed.id === id) subscriber.started(result)
      },
      (error: unknown) => {
        if (subscribed.id !== id) return
        if (error instanceof WarpError && error.code === "timeout") void this.unsubscribe(id)
        this.refused(subscriber, subscribed, error)
      },
    )
  }

  /** A subscription was refused, or has ended. */
  private refused(subscriber: Subscriber, subscribed: Subscribed, error: unknown): void {
    if (subscribed.id !== undefined) this.byId.delete(subscribed.id)
    subscribed.id = undefined
    subscribed.tries++
    subscriber.lost()
    if (error instanceof WarpError && (error.retryable || error.code === "timeout")) {
      const delay = pause(subscribed.tries, this.retry, Math.random())
      subscribed.timer = setTimeout(() => this.begin(subscriber), delay)
    } else {
      this.forget(subscriber)
      subscriber.ended(error instanceof WarpError ? error : new WarpError(String(error), { code: "internal" }))
      this.line.changed()
    }
  }

  private forget(subscriber: Subscriber): void {
    const subscribed = this.all.get(subscriber)
    clearTimeout(subscribed?.timer)
    this.all.delete(subscriber)
    this.acking.delete(subscriber)
    if (subscribed?.id !== undefined) this.byId.delete(subscribed.id)
  }

  private gather(subscriber: Subscriber): void {
    const id = this.all.get(subscriber)?.id
    if (id === undefined) return
    for (const ack of subscriber.acks()) this.notices.push(stringify({ op: "ack", subscription: id, ...ack }))
  }
}
