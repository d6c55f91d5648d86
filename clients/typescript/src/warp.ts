import { type Client, pages } from "./client.js"
import { Connection, type ConnectionState } from "./connection.js"
import { badArgument, type WarpError } from "./errors.js"
import { Entity, listOf } from "./entity.js"
import { protocolError, readEvents, resultOf } from "./events.js"
import { setOwn } from "./json.js"
import { SubscriptionName } from "./names.js"
import type { Platform, Target } from "./platform.js"
import { DEFAULT_RETRY, type RetryOptions } from "./retry.js"
import { describe, Saga, type SagaDescription } from "./saga.js"
import { asyncDispose, Subscription } from "./subscription.js"
import type {
  AggregateName,
  AnyEvents,
  AnyPayload,
  AnyStates,
  CallOptions,
  ContextSubscribeOptions,
  EventsOptions,
  IssuedToken,
  ListedEntity,
  ListOptions,
  QueryOptions,
  Scope,
  StoredEvent,
} from "./types.js"

/** Options of `new Warp`. All may be missing. */
export interface WarpOptions {
  /** Where the server is. Default: `"localhost"`. */
  host?: string
  /** Default: 9090. */
  port?: number
  /**
   * Whether the connection is encrypted. `{ ca }` are certificates to trust in PEM, in place of the system's, which
   * browsers do not take. Default: false.
   */
  tls?: boolean | { ca: string }
  /**
   * The token, or a function that gives one each time the client connects, so that one that has expired is replaced.
   * Default: the environment variable `WARP_TOKEN` in Node, Deno and Bun.
   */
  token?: string | (() => string | Promise<string>)
  /** The context. Default: the only one that the token may use. */
  context?: string
  /** How long a call may take, in milliseconds. Default: 5000; of `delete` 10000; of `saga.commit` without end. */
  timeout?: number
  /** How the client tries again. */
  retry?: RetryOptions
  /** After so many milliseconds without a call or a subscription the connection is closed. Default: 60000. */
  idleTimeout?: number
  /** After so many milliseconds without a word the client asks whether the server is there. Default: 30000. */
  heartbeat?: number
  /** How many calls may be open at once; more fail with `too_many_calls`. Default: 100000. */
  maxPending?: number
  /** Whether integers beyond 2^53 are read as `bigint`. Otherwise they are rounded. Default: false. */
  bigIntegers?: boolean
  /** Called when the connection is made, lost, or closed, with the error that it was lost with. */
  onState?: (state: ConnectionState, error?: WarpError) => void
}

/**
 * A client of a Warp server: one WebSocket, which all calls and subscriptions share. It is opened with the first call,
 * and again whenever it was lost.
 *
 * `Warp<Events>` knows the events: `Events` has for each aggregate the types of its events, and for each type the
 * payload. What does not fit does not compile. `Warp<Events, States>` knows the states that `get` gives too.
 *
 * ```ts
 * type Events = { Account: { Credited: { amount: number }; Debited: { amount: number } } }
 * await using db = new Warp<Events>({ token: "warp_..." })
 * await db.entity("user/alice").append("Credited", { amount: 5000 }, { aggregate: "Account" })
 * ```
 */
export class BaseWarp<E extends object = AnyEvents, S extends object = AnyStates> implements AsyncDisposable {
  private readonly client: Client

  /** Connects nowhere, and does not fail without a token: the first call does. Throws `bad_argument`. */
  constructor(options: WarpOptions, platform: Platform) {
    const { token, context, idleTimeout = 60_000, heartbeat = 30_000, maxPending = 100_000 } = options
    const connection = new Connection(
      {
        target: targetOf(options),
        context,
        token: typeof token === "function" ? token : () => token ?? platform.env("WARP_TOKEN"),
        canAskAgain: typeof token === "function",
        timeout: positive("timeout", options.timeout ?? 5000),
        idleTimeout: positive("idleTimeout", idleTimeout),
        heartbeat: positive("heartbeat", heartbeat),
        retry: { ...DEFAULT_RETRY, ...options.retry },
        bigIntegers: options.bigIntegers ?? false,
        maxPending: positive("maxPending", maxPending),
        onState: options.onState ?? (() => undefined),
      },
      platform,
    )
    this.client = { connection, platform }
  }

  /** How the connection is. */
  get state(): ConnectionState {
    return this.client.connection.state
  }

  /** The handle of an entity. Asks nobody. Throws `bad_argument` for an id that is empty or no text. */
  entity(id: string): Entity<E, S> {
    return new Entity<E, S>(this.client, id)
  }

  /** A saga of this id, to add steps to and commit, or to look at. Throws `bad_argument` likewise. */
  saga(id: string): Saga<E> {
    return new Saga<E>(this.client, id)
  }

  /** The name of a durable subscription, to see and change what the server keeps under it. */
  subscription(name: string): SubscriptionName {
    return new SubscriptionName(this.client, name)
  }

  /**
   * The events of all entities, as they come. See {@link Subscription}.
   *
   * @param aggregates - Only events of this aggregate, or of these. Default: of all.
   */
  subscribe<A extends AggregateName<E> = AggregateName<E>>(
    aggregates?: A | readonly A[],
    options: ContextSubscribeOptions = {},
  ): Subscription<E, A> {
    return new Subscription<E, A>(this.client.connection, { aggregates: listOf(aggregates) }, options)
  }

  /**
   * Queries the tables of the projections.
   *
   * @param sql - One statement that reads, with `?` for parameters.
   * @param params - The values of the parameters.
   * @returns The rows as objects, by the names of the columns. Of two columns of one name the last one counts.
   * @throws WarpError `sql_error`, `read_only`, `too_many_rows`, `result_too_large`, `query_too_large`, `bad_param`,
   * `no_projections`, `target_away`, `timeout`.
   */
  async query<Row = AnyPayload>(
    sql: string,
    params: readonly unknown[] = [],
    options: QueryOptions = {},
  ): Promise<Row[]> {
    const { timeout, signal, maxRows } = options
    const args = { sql, params, max_rows: maxRows }
    const { columns, rows } = resultOf(
      await this.client.connection.call({ op: "query", args, timeout, signal, isTimed: true }),
    )
    if (!Array.isArray(columns) || !Array.isArray(rows)) throw protocolError("rows that are no list")
    return (rows as unknown[][]).map((values) => {
      const row = {}
      for (const [n, column] of (columns as string[]).entries()) setOwn(row, column, values[n])
      return row as Row
    })
  }

  /** The entities of the context: `for await (const { id, seq } of db.entities({ prefix: "user/" }))`. */
  entities(options: ListOptions<AggregateName<E>> = {}): AsyncGenerator<ListedEntity, void, undefined> {
    const { prefix, aggregate, pageSize = 1000, timeout, signal } = options
    return pages(async (after) => {
      const args = { prefix, aggregate, after, limit: pageSize }
      const result = resultOf(
        await this.client.connection.call({ op: "entities", args, timeout, signal, isTimed: true }),
      )
      return { items: result["entities"] as ListedEntity[], next: result["next"] }
    })
  }

  /** All events that are stored, in the order of each shard. For those that come too see `subscribe`. */
  events(options: EventsOptions = {}): AsyncGenerator<StoredEvent<E>, void, undefined> {
    const { shard, pageSize = 1000, timeout, signal } = options
    return pages(async (after) => {
      const args = { shard, after, limit: pageSize }
      const result = resultOf(await this.client.connection.call({ op: "events", args, timeout, signal, isTimed: true }))
      const items = readEvents(result["events"]) as StoredEvent<E>[]
      return { items, next: result["more"] === true ? result["next"] : null }
    })
  }

  /** The sagas that wait for an operator (`"stuck"`, the default), or those that are under way (`"pending"`). */
  async sagas(state: "stuck" | "pending" = "stuck", options: CallOptions = {}): Promise<SagaDescription[]> {
    const request = { op: "sagas", args: { state }, ...options }
    const { sagas } = resultOf(await this.client.connection.call(request))
    return (sagas as unknown[]).map(describe)
  }

  /** How the context is, as the server says it. */
  async stats(options: CallOptions = {}): Promise<AnyPayload> {
    return resultOf(await this.client.connection.call({ op: "stats", ...options }))
  }

  /**
   * A token that expires soon, such as for a browser.
   *
   * @param options - `seconds`: 1 to 3600, 60 by default. `scopes`: what it may do, by default what this client may.
   * @throws WarpError `forbidden` for scopes that are wider.
   */
  async token(options: CallOptions & { seconds?: number; scopes?: readonly Scope[] } = {}): Promise<IssuedToken> {
    const { seconds, scopes, timeout, signal } = options
    const request = { op: "token", args: { seconds, scopes }, timeout, signal }
    const result = resultOf(await this.client.connection.call(request))
    return { token: String(result["token"]), expires: new Date(Number(result["expires"]) * 1000) }
  }

  /** Ends the subscriptions, waits for the calls that are open, and closes the connection. */
  close(): Promise<void> {
    return this.client.connection.close()
  }

  /** The same as `close`, for `await using`. */
  [asyncDispose](): Promise<void> {
    return this.close()
  }
}

function targetOf({ host = "localhost", port = 9090, tls = false }: WarpOptions): Target {
  if (typeof host !== "string" || !/^[A-Za-z0-9._:-]+$/.test(host))
    throw badArgument("host", "is no name and no address")
  if (!Number.isInteger(port) || port < 1 || port > 65535) throw badArgument("port", "is no integer from 1 to 65535")
  return { host, port, tls: tls !== false, ca: typeof tls === "object" ? tls.ca : undefined }
}

function positive(name: string, value: number): number {
  if (!(value > 0)) throw badArgument(name, "is no number above 0")
  return value
}
