import type { Client } from "./client.js"
import { resultOf, time } from "./events.js"
import type { CallOptions } from "./types.js"

/** An entity whose event a subscriber that the server runs has failed with. */
export interface WaitingEntity {
  entity: string
  seq: number
  shard: number
  state: "retrying" | "parked"
  /** How often it was tried. */
  tries: number
  /** The last error. */
  why: string
  /** When it failed first. */
  since: Date
}

/** The name of a durable subscription, and what the server keeps under it. Made by `db.subscription(name)`. */
export class SubscriptionName {
  constructor(
    private readonly client: Client,
    /** The name. */
    readonly name: string,
  ) {}

  /**
   * The entities that wait since a subscriber failed with an event of them.
   *
   * @throws WarpError `unknown_subscription`.
   */
  async parked(options: CallOptions = {}): Promise<WaitingEntity[]> {
    const result = await this.call("parked", {}, options)
    const parked = Array.isArray(result) ? result : (resultOf(result)["parked"] as unknown[])
    return parked.map((given) => {
      const waiting = resultOf(given)
      return { ...waiting, since: time(waiting["since"]) } as WaitingEntity
    })
  }

  /**
   * Hands the event of an entity that waits over again, and then those behind it.
   *
   * @throws WarpError `unknown_subscription`, `not_waiting`.
   */
  async retry(entity: string, options: CallOptions = {}): Promise<void> {
    await this.call("retry", { entity }, options)
  }

  /**
   * Gives up the event of an entity that waits, and goes on behind it.
   *
   * @throws WarpError `unknown_subscription`, `not_waiting`.
   */
  async skip(entity: string, options: CallOptions = {}): Promise<void> {
    await this.call("skip", { entity }, options)
  }

  /**
   * Forgets the name: how far it is, and what waits. The next one who subscribes with it begins anew.
   *
   * @throws WarpError `unknown_subscription`, `in_use`.
   */
  async forget(options: CallOptions = {}): Promise<void> {
    await this.call("forget", {}, options)
  }

  private call(op: string, args: object, { timeout, signal }: CallOptions): Promise<unknown> {
    return this.client.connection.call({ op, args: { name: this.name, ...args }, timeout, signal })
  }
}
