import type { Connection } from "./connection.js"
import { badArgument, WarpError } from "./errors.js"
import { micros, readEvents, resultOf } from "./events.js"
import { type Ack, Progress } from "./progress.js"
import type { Subscriber } from "./subscribers.js"
import type { AnyEvents, ContextSubscribeOptions, Envelope, From, StoredEvent } from "./types.js"

/** `Symbol.asyncDispose`, also where the platform does not have it yet. */
export const asyncDispose: typeof Symbol.asyncDispose =
  Symbol.asyncDispose ?? (Symbol.for("Symbol.asyncDispose") as typeof Symbol.asyncDispose)

/** What is subscribed to. */
export interface Source {
  entity?: string
  aggregates?: readonly string[] | undefined
}

/**
 * The events of an entity or of a context, as they come: `for await (const event of subscription)`.
 *
 * The subscription begins at once, not with the loop, so nothing is missed that is stored in between. The server sends
 * as many events as the loop takes, and `credit` more. When the connection is lost another one goes on where the loop
 * is: each event comes once, and those of an entity come in order.
 *
 * It ends with `break`, `return` or an exception in the loop, with the option `signal`, with `close()` or `await using`,
 * and when the client is closed. The loop throws a {@link WarpError} when the server refuses the subscription
 * (`forbidden`, `bad_cursor`, `bad_request`, ...) or the token (`unauthorized`). While the server cannot be reached the
 * loop waits.
 *
 * With a `name` an event is acknowledged when the loop asks for the next one. So the event at which a loop ended comes
 * again, unless `ack()` was called for it.
 */
export class Subscription<E = AnyEvents, A extends keyof E & string = keyof E & string>
  implements AsyncIterableIterator<StoredEvent<E, A>>, AsyncDisposable
{
  private readonly progress = new Progress<Envelope>()
  private readonly subscriber: Subscriber
  private current: Envelope | undefined
  private isOver = false
  private error: unknown
  private wake: (() => void) | undefined
  private isStarted = false
  private readonly onStart: { resolve: () => void; reject: (error: unknown) => void }[] = []
  private turn: Promise<unknown> = Promise.resolve()

  /** Made by `entity.subscribe` and `db.subscribe`. */
  constructor(
    private readonly connection: Connection,
    source: Source,
    private readonly options: ContextSubscribeOptions,
  ) {
    const request = subscribeArguments(source, options)
    const { signal, name } = options
    this.subscriber = {
      request: () =>
        name === undefined && this.cursor !== undefined ? { ...request, from: { cursor: this.cursor } } : request,
      started: (result) => this.started(resultOf(result)["cursor"]),
      message: (message) => this.message(message, source.entity),
      lost: () => this.progress.restart(),
      ended: (error) => this.end(error),
      acks: () => this.progress.acks().filter((ack: Ack) => name !== undefined || "events" in ack),
    }
    if (signal?.aborted === true) {
      this.isOver = true
    } else {
      signal?.addEventListener("abort", this.aborted, { once: true })
      connection.attach(this.subscriber)
    }
  }

  /**
   * Where a later subscription could go on, with `from: { cursor }`: it gets everything that the loop has not handled,
   * and may get again what it handled within the last second. Undefined until the server has answered.
   */
  get cursor(): string | undefined {
    return this.progress.cursor
  }

  /**
   * Waits until the server has begun to send: what is stored from then on comes.
   *
   * @throws WarpError when the server refuses the subscription, and `client_closed` when it ended before.
   */
  ready(): Promise<void> {
    if (this.isStarted) return Promise.resolve()
    if (this.isOver) return Promise.reject((this.error as Error | undefined) ?? ended("subscription"))
    return new Promise((resolve, reject) => this.onStart.push({ resolve, reject }))
  }

  /** The next event, as a loop asks for it. Acknowledges the one before. */
  next(): Promise<IteratorResult<StoredEvent<E, A>, undefined>> {
    const result = this.turn.then(() => this.following())
    this.turn = result.catch(() => undefined)
    return result as Promise<IteratorResult<StoredEvent<E, A>, undefined>>
  }

  /** Acknowledges the event that the loop is at, before the loop asks for the next one. */
  ack(): void {
    if (this.current === undefined) return
    this.progress.handle(this.current)
    this.current = undefined
    this.connection.acks(this.subscriber)
  }

  /** Ends the subscription, as `break` does. */
  async return(): Promise<IteratorResult<StoredEvent<E, A>, undefined>> {
    await this.close()
    return { done: true, value: undefined }
  }

  /** Ends the subscription. The promise is fulfilled when the server has ended it too, or cannot be reached. */
  async close(): Promise<void> {
    this.end()
    await this.connection.detach(this.subscriber)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  [asyncDispose](): Promise<void> {
    return this.close()
  }

  private async following(): Promise<IteratorResult<Envelope, undefined>> {
    this.ack()
    for (;;) {
      if (this.isOver) return this.over()
      const item = this.progress.take()
      if (this.progress.hasDue) this.connection.acks(this.subscriber)
      switch (item?.kind) {
        case "event":
          this.current = item.event
          return { done: false, value: item.event }
        case "erased":
          await this.options.onErased?.(item.entity)
          this.progress.handleErased(item.entity)
          this.connection.acks(this.subscriber)
          break
        case "caught_up":
          await this.options.onCaughtUp?.()
          break
        default:
          await new Promise<void>((resolve) => (this.wake = resolve))
      }
    }
  }

  private over(): IteratorResult<Envelope, undefined> {
    const { error } = this
    this.error = undefined
    if (error !== undefined) throw error
    return { done: true, value: undefined }
  }

  private started(cursor: unknown): void {
    if (typeof cursor === "string") this.progress.cursor = cursor
    this.isStarted = true
    for (const { resolve } of this.onStart.splice(0)) resolve()
  }

  private message(message: { [name: string]: unknown }, entity: string | undefined): void {
    const { events, erased, caught_up: caughtUp, checkpoint } = message
    if (events !== undefined) this.progress.add(readEvents(events, entity))
    // Only of a name: what was not acknowledged comes again behind it.
    if (message["active"] !== undefined) this.progress.restart()
    if (typeof erased === "string") this.progress.erase(erased)
    for (const cursor of [checkpoint, caughtUp]) {
      if (typeof cursor === "string") this.progress.cursor = cursor
    }
    if (caughtUp !== undefined) this.progress.caughtUp()
    this.wakeUp()
  }

  private readonly aborted = (): void => void this.close()

  private end(error?: WarpError): void {
    if (this.isOver) return
    this.isOver = true
    this.error = error
    this.options.signal?.removeEventListener("abort", this.aborted)
    for (const { reject } of this.onStart.splice(0)) reject(error ?? ended("subscription"))
    this.wakeUp()
  }

  private wakeUp(): void {
    this.wake?.()
    this.wake = undefined
  }
}

/** The error of whoever waits for the beginning of what has ended. */
export function ended(what: "subscription" | "fold"): WarpError {
  return new WarpError(`The ${what} has ended.`, { code: "client_closed", advice: "Subscribe again." })
}

function subscribeArguments({ entity, aggregates }: Source, options: ContextSubscribeOptions): object {
  const { credit = 100, types, prefix, name, consumers, from } = options
  if (!Number.isInteger(credit) || credit < 1 || credit > 1000)
    throw badArgument("credit", "is no integer from 1 to 1000")
  return {
    entity,
    aggregates,
    types,
    prefix,
    name,
    consumers,
    credit,
    from: from === undefined ? undefined : fromArgument(from),
  }
}

function fromArgument(from: From): unknown {
  return typeof from === "object" && "time" in from ? { time: micros(from.time) } : from
}
