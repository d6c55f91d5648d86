/// <reference lib="esnext.disposable" preserve="true" />

/** A JSON value. With the option `bigIntegers` integers beyond 2^53 are read as `bigint`; writing takes both always. */
export type Json = null | boolean | number | bigint | string | Json[] | { [name: string]: Json }

/** What a client without types of its own may send and gets: an object with any fields. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type AnyPayload = { [name: string]: any }

/** The events of a client that was made without `Warp<Events>`: any aggregate, any type, any payload. */
export type AnyEvents = { [aggregate: string]: { [type: string]: AnyPayload } }

/** The states of a client that was made without `Warp<Events, States>`. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type AnyStates = { [aggregate: string]: any }

/** The names of the aggregates of `E`. */
export type AggregateName<E> = keyof E & string

/** The types of the events of an aggregate. */
export type EventType<E, A extends AggregateName<E> = AggregateName<E>> = { [X in A]: keyof E[X] & string }[A]

/** The payload of an event, by its aggregate and type. */
export type PayloadOf<E, A extends AggregateName<E>, T> = T extends keyof E[A] ? E[A][T] : never

/** The state of an aggregate, as its view on the server gives it. */
export type StateOf<S, A> = A extends keyof S ? S[A] : unknown

/** The only aggregate of `E`, or `never` where it has several. */
export type OnlyAggregate<E> = IsUnion<AggregateName<E>> extends true ? never : AggregateName<E>

type IsUnion<T, U = T> = T extends unknown ? ([U] extends [T] ? false : true) : never

/** What every event has, whatever its payload. */
export interface Envelope<A extends string = string, T extends string = string, P = AnyPayload> {
  /** The type of the event, such as `"Credited"`. */
  readonly type: T
  /** The same as `type`. */
  readonly eventType: T
  /** What the event says. */
  readonly payload: P
  /** The aggregate that the event belongs to. */
  readonly aggregate: A
  /** The id of the event, which is one of its entity alone. */
  readonly id: string
  /** The number of the event in its entity's log, from 1. */
  readonly seq: number
  /** The id of the entity. */
  readonly entity: string
  /** When the event was stored. */
  readonly recordedAt: Date
  /** What was stored beside the payload. */
  readonly metadata: AnyPayload
  /** The version of the aggregate that the payload was written for. */
  readonly schemaVsn: number
  /** The number of the entity's shard. Of events of subscriptions and of `db.events`. */
  readonly shard?: number
  /** Where the append stands in the shard's log. Of events of subscriptions and of `db.events`. */
  readonly position?: number
}

/**
 * An event that was read: its {@link Envelope}, and beside it the fields of the payload that have no name of the
 * envelope's. `event.amount` is `event.payload.amount`. Those fields and `eventType` are not enumerable, so printing,
 * copying and `JSON.stringify` show each value once, under `payload`.
 *
 * With `Warp<Events>` this is a union over the types of events: `event.type === "Credited"` narrows the payload.
 */
export type StoredEvent<E = AnyEvents, A extends AggregateName<E> = AggregateName<E>> = {
  [X in A]: {
    [T in keyof E[X] & string]: Envelope<X, T, E[X][T]> & Omit<E[X][T], keyof Envelope>
  }[keyof E[X] & string]
}[A]

/** An event to append, with everything that it may have. */
export type NewEvent<E = AnyEvents> = {
  [A in AggregateName<E>]: {
    [T in keyof E[A] & string]: {
      type: T
      payload: E[A][T]
      /** May be missing where the context has only one aggregate. */
      aggregate?: A
      /** By default an id that is made once for the call. */
      id?: string
      /** By default the version of the aggregate. */
      schemaVsn?: number
      /** By default empty. */
      metadata?: AnyPayload
    }
  }[keyof E[A] & string]
}[AggregateName<E>]

/** What every call takes. */
export interface CallOptions {
  /**
   * How long the call may take, in milliseconds, with everything that is tried again meanwhile. Default: the client's
   * `timeout`, which is 5000. Then the call fails with the code `timeout` or `unreachable`.
   */
  timeout?: number
  /** Ends the call: it fails with the signal's reason. What was sent already may be carried out all the same. */
  signal?: AbortSignal
}

/** What the seq of the entity's last event has to be; `"no_stream"` means that it has none. */
export type Expected = "any" | "no_stream" | number

/** Options of `append`. */
export interface AppendOptions extends CallOptions {
  /** The aggregate of the event. May be missing where the context has only one. */
  aggregate?: string
  /** The id of the event: one id stands for one event of the entity. Default: made once for the call. */
  id?: string
  /** What the event was written for. Default: the version of the aggregate. */
  schemaVsn?: number
  /** An object that is stored beside the payload. Default: empty. */
  metadata?: AnyPayload
  /** Default: `"any"`. Another seq is the error `wrong_expected_seq`, whose `parameters.actual` is the real one. */
  expected?: Expected
}

/** Options of `appendBatch`. */
export interface BatchOptions extends CallOptions {
  /** See {@link AppendOptions.expected}. */
  expected?: Expected
}

/** What `append` gives. */
export interface Appended {
  /** The number of the event in its entity's log. */
  seq: number
  /** The event's id. */
  id: string
}

/** What `appendBatch` gives. */
export interface AppendedBatch {
  /** The seq of the first event. */
  first: number
  /** The seq of the last event. */
  last: number
  /** The ids of the events, in order. */
  ids: string[]
}

/** Options of `get`: the state now, at a seq, or at a time. */
export interface GetOptions extends CallOptions {
  /** The state after this event. */
  seq?: number
  /** The state as it was then. Not together with `seq`. */
  time?: Date
}

/** Options of `history`. */
export interface HistoryOptions extends CallOptions {
  /** How many events at most. Default: 1000. */
  limit?: number
  /** The seq to begin with. Default: the first event, or the last one backward. */
  from?: number
  /** Default: `"forward"`, the oldest event first. */
  direction?: "forward" | "backward"
}

/** Options of `wait`. */
export interface WaitOptions extends CallOptions {
  /** Waits until the projection has the event too. */
  projection?: boolean
}

/** Options of `command`. */
export interface CommandOptions extends CallOptions {
  /**
   * Whether the command may be carried out twice without harm. Then it is sent again when the connection was lost
   * before its answer; otherwise the call fails with `unknown_outcome`. Default: false.
   */
  repeatable?: boolean
}

/** Options of `query`. */
export interface QueryOptions extends CallOptions {
  /** More rows are the error `too_many_rows`. Default: 10000. */
  maxRows?: number
}

/** Options of `entities`. */
export interface ListOptions<A extends string = string> extends CallOptions {
  /** Only entities whose ids begin with it. Default: all. */
  prefix?: string
  /** Only entities that have events of this aggregate. Default: of any. */
  aggregate?: A
  /** How many entities each request to the server asks for, 1 to 10000. Default: 1000. */
  pageSize?: number
}

/** An entity of a list. */
export interface ListedEntity {
  id: string
  /** The seq of its last event. */
  seq: number
}

/** Options of `db.events`. */
export interface EventsOptions extends CallOptions {
  /** The number of a shard. Default: all shards, one after the other. */
  shard?: number
  /** How many events each request to the server asks for, 1 to 10000. Default: 1000. */
  pageSize?: number
}

/** Where a subscription begins. `{ time }`: with the first event that was stored then or later. */
export type From = "beginning" | "now" | { cursor: string } | { time: Date }

/** Options of a subscription to an entity. */
export interface SubscribeOptions {
  /** Default: `"now"`, with the next event that is stored. For a `name` it counts only when the name is new. */
  from?: From
  /** Only events of these types. Default: all. */
  types?: readonly string[]
  /** How many events the server may send that the loop has not asked for, 1 to 1000. Default: 100. */
  credit?: number
  /** Ends the loop, without an error. */
  signal?: AbortSignal
  /**
   * Called when an entity was deleted, in order with the events, and awaited. Whoever keeps something that was made
   * of its events erases it here. Events of it that the loop has not got yet do not come any more.
   */
  onErased?: (entity: string) => void | Promise<void>
  /** Called, and awaited, when all events that were stored have come; again after the loop was behind. */
  onCaughtUp?: () => void | Promise<void>
}

/** Options of a subscription to a context. */
export interface ContextSubscribeOptions extends SubscribeOptions {
  /** Only entities whose ids begin with it. Default: all. */
  prefix?: string
  /**
   * Makes the subscription durable: the server stores under this name what the loop has handled, and whoever
   * subscribes with the name goes on there.
   */
  name?: string
  /** How many subscribers of the name split the shards between them. Default: 1. */
  consumers?: number
}

/** The receipt of `delete`. */
export interface Receipt {
  entity: string
  deleted: true
  /** The number of the shard that had it. */
  shard: number
  /** How many events were erased: 0 for an entity that had none. */
  events: number
  erasedAt: Date
  /** The parts of Warp that hold nothing of the entity any more, such as `log` and `embedded`. */
  erasedFrom: string[]
  /** The nodes of the cluster that have done their part. */
  nodes: string[]
  /** Of each backup of the context the last cut: no cut up to it has anything of the entity that can be read. */
  backups: number[]
}

/** A short-lived token, for browsers. */
export interface IssuedToken {
  token: string
  expires: Date
}

/** What a token may do. */
export interface Scope {
  /** Default: what the client's own token may do. */
  operations?: "all" | readonly string[]
  context?: string
  prefix?: string
  aggregates?: "all" | readonly string[]
}
