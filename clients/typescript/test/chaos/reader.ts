/** A client that follows events until it is told to stop, and remembers what its loops got. */
import type { Subscription, Warp } from "../../src/node.js"
import type { Random } from "./random.js"
import type { Follower, Got } from "./record.js"
import type { Events } from "./writer.js"

export interface Follows {
  /** One entity, or all whose ids begin with the follower's prefix. */
  entity?: string
  name?: string
  consumers?: number
}

/** How long a loop goes on at least that ends, in milliseconds. A cursor is at most a second old. */
const LIFE = 2000
/** How often a loop is slow, for each event. */
const IS_SLOW = 1 / 200

export class Reader {
  readonly faults: string[] = []
  private subscription: Subscription<Events> | undefined
  private isStopping = false

  constructor(
    private readonly db: Warp<Events>,
    readonly follower: Follower,
    private readonly follows: Follows,
    private readonly random: Random,
  ) {}

  async run(): Promise<void> {
    let cursor: string | undefined
    while (!this.isStopping) {
      const life: Got[] = []
      const isEnding = this.follower.kind === "again"
      const end = isEnding ? Date.now() + this.random.between(LIFE, 3 * LIFE) : Infinity
      this.follower.lives.push(life)
      const subscription = this.subscribe(cursor)
      this.subscription = subscription
      try {
        await this.follow(subscription, life, end)
      } catch (error) {
        this.faults.push(`${this.follower.name} ended with ${String(error)}`)
        return
      }
      cursor = subscription.cursor ?? cursor
    }
  }

  stop(): void {
    this.isStopping = true
    void this.subscription?.close()
  }

  private subscribe(cursor: string | undefined): Subscription<Events> {
    const { entity, ...name } = this.follows
    const from = cursor === undefined ? ("beginning" as const) : { cursor }
    const options = { from, credit: this.random.between(1, 200) }
    if (entity !== undefined) return this.db.entity(entity).subscribe("Account", options)
    return this.db.subscribe("Account", { ...options, ...name, prefix: this.follower.prefix })
  }

  private async follow(subscription: Subscription<Events>, life: Got[], end: number): Promise<void> {
    for await (const { entity, seq, payload } of subscription) {
      life.push({ entity, seq, key: payload.key })
      if (this.random.isBelow(IS_SLOW)) {
        await new Promise((resolve) => setTimeout(resolve, this.random.between(1, 100)))
      }
      if (Date.now() >= end) return
    }
  }
}
