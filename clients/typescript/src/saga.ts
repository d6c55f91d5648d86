import type { Client } from "./client.js"
import { badArgument } from "./errors.js"
import { resultOf, time } from "./events.js"
import { setOwn } from "./json.js"
import type { AggregateName, AnyEvents, CallOptions } from "./types.js"

/** What a step does: it appends an event, or runs a function of the context that decides which one. */
export type Action<E = AnyEvents, A extends AggregateName<E> = AggregateName<E>> =
  { [T in keyof E[A] & string]: { type: T; payload: E[A][T] } }[keyof E[A] & string] | { run: string; input?: unknown }

/** What a step is about. */
export interface StepOptions<A extends string = string> {
  /** The aggregate that checks both events. */
  aggregate: A
  /** The version of the aggregate that the payloads are written for. Default: the newest. */
  schemaVsn?: number
}

/** Options of `commit`. */
export interface CommitOptions {
  /** Milliseconds until a saga that is not done turns back. Default: it never does. */
  timeout?: number
  /** How often the server tries a step again after a transient failure. Default: 10. */
  retries?: number
  /** Milliseconds that `commit` waits; the saga goes on all the same. Default: until the saga ends. */
  wait?: number
  /** Ends the waiting. The saga goes on. */
  signal?: AbortSignal
}

/** What became of a step. */
export interface SagaStep {
  step: number
  entity: string
  aggregate: string
  status: "applied" | "reversed" | "refused" | "not_run" | "not_reversed"
  /** The seq of the step's event, and of the one that reversed it, where there is one. */
  seq?: number
  compensationSeq?: number
  reason?: unknown
}

/** How a saga ended. */
export type SagaResultType = "COMMITTED" | "COMPENSATED" | "STUCK"

/** How a saga stands. `RESOLVED`: somebody closed a stuck one as it was. */
export type SagaState = SagaResultType | "RUNNING" | "COMPENSATING" | "WAITING" | "RESOLVED"

/** A saga as the server describes it. */
export interface SagaDescription<R extends string = SagaState> {
  /** The saga's id. */
  id: string
  /**
   * `COMMITTED`: all steps are applied. `COMPENSATED`: one was refused, and those before it are reversed. `STUCK`: a
   * compensation was refused, so some steps are not reversed; see `retry` and `resolve`.
   */
  resultType: R
  steps: SagaStep[]
  /** Why the saga turned back. */
  failed?: unknown
  /** The compensation that was refused. */
  blocked?: unknown
  /** Why somebody closed it. */
  note?: string
  startedAt?: Date
  updatedAt?: Date
  /** Whatever else the server says. */
  [name: string]: unknown
}

/** What `commit`, `retry`, `resolve` and `cancel` give. */
export type SagaResult = SagaDescription<SagaResultType>

interface WireStep {
  entity: string
  aggregate: string
  schema_vsn: number | undefined
  forward: object
  compensate: object
}

/** Steps of a saga that run side by side. */
export interface StepGroup<E extends object> {
  step<A extends AggregateName<E>>(
    entity: string,
    forward: Action<E, A>,
    compensate: Action<E, A>,
    options: StepOptions<A>,
  ): StepGroup<E>
}

/**
 * A saga: an operation over several entities. Each step appends an event to its entity; when one is refused, those
 * before it are compensated, the last one first.
 *
 * The id names the saga for ever: committing it again runs nothing twice, and gives the recorded result.
 */
export class Saga<E extends object = AnyEvents> implements StepGroup<E> {
  private readonly steps: (WireStep | WireStep[])[] = []

  /** Made by `db.saga(id)`. */
  constructor(
    private readonly client: Client,
    /** The id of the saga. */
    readonly id: string,
  ) {
    if (typeof id !== "string" || id === "") throw badArgument("The saga's id", "is no text")
  }

  /**
   * Adds a step, which runs when all steps before it are applied.
   *
   * @param entity - The id of the entity.
   * @param forward - What the step appends.
   * @param compensate - What reverses it.
   * @returns The same saga.
   */
  step<A extends AggregateName<E>>(
    entity: string,
    forward: Action<E, A>,
    compensate: Action<E, A>,
    options: StepOptions<A>,
  ): this {
    this.steps.push(wireStep(entity, forward, compensate, options))
    return this
  }

  /**
   * Adds steps that run side by side when all steps before them are applied:
   * `saga.parallel((group) => group.step(...).step(...))`.
   *
   * @returns The same saga.
   */
  parallel(add: (group: StepGroup<E>) => unknown): this {
    const steps: WireStep[] = []
    const group: StepGroup<E> = {
      step(entity, forward, compensate, options) {
        steps.push(wireStep(entity, forward, compensate, options))
        return group
      },
    }
    add(group)
    this.steps.push(steps)
    return this
  }

  /**
   * Runs the saga to its end, or gives the recorded result of one that was run before. It goes on when the client ends
   * meanwhile. A connection that is lost is no error: the client asks again.
   *
   * @throws WarpError `empty_saga`, `bad_step`, `too_many_steps`: it was not started. `saga_conflict`: there is one of
   * that id with other steps. `saga_waits`: it was started, and cannot go on for now. `timeout`: `wait` is over.
   * `unreachable`: there was no server within the client's `timeout`.
   */
  async commit(options: CommitOptions = {}): Promise<SagaResult> {
    const { timeout, retries, wait, signal } = options
    const args = { saga: this.id, steps: this.steps, timeout, retries, wait }
    const result = await this.client.connection.call({ op: "saga", args, timeout: wait ?? null, signal })
    return describe(result) as SagaResult
  }

  /**
   * What became of the saga so far.
   *
   * @throws WarpError `not_found`.
   */
  status(options: CallOptions = {}): Promise<SagaDescription> {
    return this.call("saga_status", {}, options)
  }

  /**
   * Tries the compensations of a stuck saga again, and waits for the result.
   *
   * @throws WarpError `not_found`, `not_stuck`.
   */
  retry(options: CallOptions = {}): Promise<SagaResult> {
    return this.call("saga_retry", {}, options) as Promise<SagaResult>
  }

  /**
   * Closes a stuck saga as it is.
   *
   * @param note - Why, 1 to 4096 bytes. The server keeps it.
   * @throws WarpError `not_found`, `not_stuck`, `bad_note`.
   */
  resolve(note: string, options: CallOptions = {}): Promise<SagaResult> {
    return this.call("saga_resolve", { note }, options) as Promise<SagaResult>
  }

  /**
   * Turns the saga back, unless all its steps are applied, and waits for the result.
   *
   * @throws WarpError `not_found`, `saga_waits`.
   */
  cancel(options: CallOptions = {}): Promise<SagaResult> {
    return this.call("saga_cancel", {}, options) as Promise<SagaResult>
  }

  private async call(op: string, args: object, { timeout, signal }: CallOptions): Promise<SagaDescription> {
    const request = { op, args: { saga: this.id, ...args }, timeout, signal }
    return describe(await this.client.connection.call(request))
  }
}

function wireStep(entity: string, forward: object, compensate: object, options: StepOptions): WireStep {
  const { aggregate, schemaVsn } = options
  return { entity, aggregate, schema_vsn: schemaVsn, forward, compensate }
}

/** The server's description with names as TypeScript has them. */
export function describe(given: unknown): SagaDescription {
  const { result, status, steps, started_at: startedAt, updated_at: updatedAt, ...rest } = resultOf(given)
  return {
    ...rest,
    id: String(rest["id"]),
    resultType: (result ?? status) as SagaResultType,
    steps: Array.isArray(steps) ? steps.map(describeStep) : [],
    ...(startedAt === undefined ? {} : { startedAt: time(startedAt) }),
    ...(updatedAt === undefined ? {} : { updatedAt: time(updatedAt) }),
  }
}

function describeStep(given: unknown): SagaStep {
  const step = {}
  for (const [name, value] of Object.entries(resultOf(given))) {
    setOwn(step, name === "compensation_seq" ? "compensationSeq" : name, value)
  }
  return step as SagaStep
}
