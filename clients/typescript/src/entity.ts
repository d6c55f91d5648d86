import { type Client, newId, pages } from "./client.js"
import { badArgument, WarpError } from "./errors.js"
import { micros, readEvents, resultOf, time, writeEvent } from "./events.js"
import { Fold, type Reducer } from "./fold.js"
import { Subscription } from "./subscription.js"
import type {
  AggregateName,
  AnyEvents,
  AnyPayload,
  AnyStates,
  Appended,
  AppendedBatch,
  AppendOptions,
  BatchOptions,
  CallOptions,
  CommandOptions,
  Envelope,
  EventType,
  GetOptions,
  HistoryOptions,
  NewEvent,
  OnlyAggregate,
  PayloadOf,
  Receipt,
  StateOf,
  StoredEvent,
  SubscribeOptions,
  WaitOptions,
} from "./types.js"

/** How many events one answer has at most. */
const PAGE = 1000

/** What `entity.append(type, payload, options)` takes last, where the aggregate has to be named. */
export type AppendTo<A extends string> = AppendOptions & { aggregate: A }

/**
 * One entity: a user, an account, an order. It is a handle, made by `db.entity(id)`, that costs nothing.
 *
 * Beside the errors that each function names, every one may fail with `unauthorized`, `forbidden`, `bad_entity_id`,
 * `unknown_context`, `overloaded`, `shard_unavailable`, `node_unavailable`, `context_stopped`, `timeout`, `unreachable`
 * and `internal`; those that are retryable only after the client has tried as often as the timeout allows.
 */
export class Entity<E extends object = AnyEvents, S extends object = AnyStates> {
  constructor(
    private readonly client: Client,
    /** The id of the entity. */
    readonly id: string,
  ) {
    if (typeof id !== "string" || id === "") throw badArgument("The entity's id", "is no text")
  }

  /**
   * Appends an event. When the promise is fulfilled the event is on the server's disk.
   *
   * The event has an id, so it is stored once, however often the client sends it. Appends to one entity that are made
   * without waiting are stored in the order of the calls, unless one of them fails and is tried again.
   *
   * @param type - The type of the event, such as `"Credited"`.
   * @param payload - An object of at most 1 MiB as JSON. `bigint` is stored as an integer.
   * @param options - The aggregate, which may be missing where there is only one, and what else an event may have.
   * @returns The seq and the id of the event.
   * @throws WarpError `rejected` by the aggregate's `validate`; `wrong_expected_seq`; `id_conflict`; `bad_event`;
   * `unknown_aggregate`; `disk_full`; `bad_argument` for what is no JSON.
   */
  append<A extends AggregateName<E>, T extends EventType<E, A>>(
    type: T,
    payload: PayloadOf<E, A, T>,
    options: AppendTo<A>,
  ): Promise<Appended>
  append<T extends EventType<E, OnlyAggregate<E>>>(
    type: T,
    payload: PayloadOf<E, OnlyAggregate<E>, T>,
    options?: AppendOptions & { aggregate?: OnlyAggregate<E> },
  ): Promise<Appended>
  async append(type: string, payload: unknown, options: AppendOptions = {}): Promise<Appended> {
    const { timeout, signal, expected, id = newId(this.client), ...rest } = options
    const event = writeEvent({ ...rest, type, payload: payload as AnyPayload }, id)
    const result = await this.call("append", { event, expected }, { timeout, signal })
    return { seq: Number(result["seq"]), id }
  }

  /**
   * Appends several events, all or none.
   *
   * @param events - 1 to 10000 events. Each without an `id` gets one.
   * @returns The seqs of the first and the last event, and the ids.
   * @throws WarpError as `append`, and `empty_batch`, `batch_too_large`, `batch_too_large_bytes`, `duplicate_event_id`.
   */
  async appendBatch(events: readonly NewEvent<E>[], options: BatchOptions = {}): Promise<AppendedBatch> {
    const { timeout, signal, expected } = options
    const all = events as readonly NewEvent[]
    const ids = all.map(({ id }) => id ?? newId(this.client))
    const written = all.map((event, n) => writeEvent(event, ids[n]!))
    const result = await this.call("append_batch", { events: written, expected }, { timeout, signal })
    return { first: Number(result["first"]), last: Number(result["last"]), ids }
  }

  /**
   * The state of an aggregate: now, after an event, or at a time.
   *
   * @throws WarpError `unknown_aggregate`; `state_not_json` when the server has no view of the aggregate as JSON;
   * `apply_failed`, `migrate_failed` when the aggregate's functions crash.
   */
  async get<A extends AggregateName<E>>(aggregate: A, options: GetOptions = {}): Promise<StateOf<S, A>> {
    const { timeout, signal, seq, time } = options
    const args = { aggregate, seq, time: time === undefined ? undefined : micros(time) }
    const result = await this.call("get", args, { timeout, signal })
    return result["state"] as StateOf<S, A>
  }

  /**
   * The events of the entity, the oldest first.
   *
   * @param options - How many at most, or options. Default: 1000 from the first one on.
   * @throws WarpError `migrate_failed` when the aggregate's function crashes.
   */
  async history(options: number | HistoryOptions = {}): Promise<StoredEvent<E>[]> {
    const {
      limit = PAGE,
      from,
      direction,
      timeout,
      signal,
    } = typeof options === "number" ? { limit: options } : options
    const events: StoredEvent<E>[] = []
    const page = async (after: unknown) => {
      const args = { from: after, limit: Math.min(PAGE, limit - events.length), direction }
      const result = await this.call("history", args, { timeout, signal })
      return { items: readEvents(result["events"], this.id) as StoredEvent<E>[], next: result["next"] }
    }
    for await (const event of pages(page, from)) {
      events.push(event)
      if (events.length >= limit) break
    }
    return events
  }

  /**
   * All events of the entity as they were stored, such as to hand them to the person that they are about. The token
   * needs the operation `export`.
   *
   * @param options - `timeout` holds for each piece of 1000 events.
   * @throws WarpError `interrupted` when the entity was deleted meanwhile.
   */
  async export(options: CallOptions = {}): Promise<StoredEvent<E>[]> {
    const events: StoredEvent<E>[] = []
    for await (const event of this.exportEach(options)) events.push(event)
    return events
  }

  /** The same as `export`, piece by piece, for logs that should not be in memory at once. */
  async *exportEach(options: CallOptions = {}): AsyncGenerator<StoredEvent<E>, void, undefined> {
    const page = async (from: unknown, limit = PAGE) => {
      const result = await this.call("export", { from, limit }, options, false)
      return { items: readEvents(result["events"], this.id), next: result["next"] }
    }
    let first: Envelope | undefined
    let count = 0
    let pieces = 0
    for await (const event of pages((after) => (pieces++, page(after)))) {
      if (event.seq !== ++count) throw changedMeanwhile(this.id)
      first ??= event
      yield event as StoredEvent<E>
    }
    if (pieces < 2) return
    // Between two pieces the entity may have been deleted, and have begun a new life.
    const [again] = (await page(undefined, 1)).items
    if (!isSame(again, first)) throw changedMeanwhile(this.id)
  }

  /**
   * Deletes the entity: its events, states, rows of projections, and what is kept of it elsewhere. When the promise is
   * fulfilled nothing of it is left. Deleting what is not there is no error.
   *
   * @returns The receipt, which says what was erased from where. The server does not keep it.
   * @throws WarpError `still_to_erase` when a projection's database, or a backup, cannot be reached; the rest is gone, and
   * the server goes on; `disk_full`.
   */
  async delete(options: CallOptions = {}): Promise<Receipt> {
    const result = await this.call("delete", {}, { timeout: options.timeout ?? 10_000, signal: options.signal })
    return receiptOf(result)
  }

  /**
   * Has the server decide: a command of the context gets the state and the input, and appends what follows.
   *
   * @param name - The command's name on the server.
   * @param input - Any JSON.
   * @returns The seqs of the events that were appended.
   * @throws WarpError what the command refuses with (`rejected`); `unknown_command`; `unknown_outcome` when the
   * connection was lost after the command was sent, unless it is `repeatable`.
   */
  async command(name: string, input: unknown = {}, options: CommandOptions = {}): Promise<{ seqs: number[] }> {
    const { timeout, signal, repeatable = false } = options
    const repeat = repeatable ? "always" : "unless_done"
    const args = { entity: this.id, name, input }
    const result = await this.client.connection.call({ op: "command", args, repeat, timeout, signal, isTimed: true })
    return { seqs: resultOf(result)["seqs"] as number[] }
  }

  /**
   * Waits until the entity has an event of this seq, and with `projection` until the tables that `query` reads have
   * what follows from it.
   *
   * @throws WarpError `timeout`.
   */
  async wait(seq: number, options: WaitOptions = {}): Promise<void> {
    const { timeout, signal, projection } = options
    await this.call("wait", { seq, projection }, { timeout, signal })
  }

  /**
   * The events of the entity, as they come. See {@link Subscription}.
   *
   * @param aggregates - Only events of this aggregate, or of these. Default: of all.
   */
  subscribe<A extends AggregateName<E> = AggregateName<E>>(
    aggregates?: A | readonly A[],
    options: SubscribeOptions = {},
  ): Subscription<E, A> {
    const source = { entity: this.id, aggregates: listOf(aggregates) }
    return new Subscription<E, A>(this.client.connection, source, options)
  }

  /**
   * A state that the client computes from all events of the entity and those that come. See {@link Fold}.
   *
   * @param reducer - Makes the state after an event of the state before it.
   * @param initial - The state before the first event. The reducer must not change it.
   * @param options - `aggregate`: only events of this one. Default: of all. `signal` ends the fold.
   */
  fold<State, A extends AggregateName<E> = AggregateName<E>>(
    reducer: Reducer<State, StoredEvent<E, A>>,
    initial: State,
    options: { aggregate?: A; signal?: AbortSignal } = {},
  ): Fold<State, E, A> {
    const { aggregate, signal } = options
    const rest = signal === undefined ? {} : { signal }
    return new Fold<State, E, A>(
      (handlers) => this.subscribe<A>(aggregate, { from: "beginning", ...rest, ...handlers }),
      reducer,
      initial,
    )
  }

  private async call(
    op: string,
    args: object,
    { timeout, signal }: { timeout?: number | undefined; signal?: AbortSignal | undefined },
    isTimed = true,
  ): Promise<{ [name: string]: unknown }> {
    const request = { op, args: { entity: this.id, ...args }, timeout, signal, isTimed }
    return resultOf(await this.client.connection.call(request))
  }
}

/** What may be one or several, as a list; undefined for all. */
export function listOf<T extends string>(given: T | readonly T[] | undefined): readonly T[] | undefined {
  return typeof given === "string" ? [given] : given
}

function isSame(one: Envelope | undefined, other: Envelope | undefined): boolean {
  return one?.id === other?.id && one?.recordedAt.getTime() === other?.recordedAt.getTime()
}

function receiptOf(result: { [name: string]: unknown }): Receipt {
  return {
    entity: String(result["entity"]),
    deleted: true,
    shard: Number(result["shard"]),
    events: Number(result["events"]),
    erasedAt: time(result["erased_at"]),
    erasedFrom: result["erased_from"] as string[],
    nodes: result["nodes"] as string[],
    backups: result["backups"] as number[],
  }
}

function changedMeanwhile(entity: string): WarpError {
  return new WarpError(`The entity ${entity} was deleted while it was exported.`, {
    code: "interrupted",
    retryable: true,
    advice: "Export it again.",
  })
}
