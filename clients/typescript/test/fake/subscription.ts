/** A subscription of the fake server: from a cursor, as far as the credit goes. */
import { SHARDS, type Store, type Stored } from "./store.js"

type Mark = [position: number, seq: number]

export interface SubscribeArgs {
  entity?: string
  from?: "beginning" | "now" | { cursor: string } | { time: number }
  aggregates?: string[]
  types?: string[]
  prefix?: string
  name?: string
  credit?: number
}

/** What names have acknowledged, over all connections. */
export type Names = Map<string, Mark[]>

export class FakeSubscription {
  /** By shard: up to where it has sent, and up to where it was acknowledged. */
  private readonly sent: Mark[]
  private acked: Mark[]
  private open: Stored[] = []
  private isBehind = true

  constructor(
    private readonly store: Store,
    private readonly args: SubscribeArgs,
    private readonly names: Names,
    private readonly tell: (message: object) => void,
  ) {
    this.acked = (args.name !== undefined && names.get(args.name)) || begin(store, args.from ?? "now")
    this.sent = [...this.acked]
  }

  get cursor(): string {
    return `w1${Buffer.from(JSON.stringify(this.acked)).toString("base64url")}`
  }

  readonly erased = (entity: string): void => {
    this.tell({ erased: entity })
  }

  /** Sends what there is, in random order of the shards. */
  readonly pump = (): void => {
    const { credit = 100 } = this.args
    const events: Stored[] = []
    for (let shard = 0; shard < SHARDS; shard++) {
      for (const event of this.store.logs[shard]!) {
        if (!isBehind(event, this.sent[shard]!)) continue
        if (this.open.length >= credit) break
        this.sent[shard] = [event.position, event.seq]
        if (!this.lets(event)) continue
        events.push(event)
        this.open.push(event)
      }
    }
    if (events.length > 0) {
      this.isBehind = true
      this.tell({ events })
    }
    if (this.isBehind && this.open.length < credit) {
      this.isBehind = false
      this.tell({ caught_up: this.cursor })
    }
  }

  ack(places: [number, number, number][]): void {
    for (const [shard, position, seq] of places) {
      const known = this.open.some((event) => event.shard === shard && event.position === position && event.seq === seq)
      if (!known) continue
      this.open = this.open.filter((event) => event.shard !== shard || isBehind(event, [position, seq]))
      this.acked[shard] = [position, seq]
    }
    if (this.args.name !== undefined) this.names.set(this.args.name, [...this.acked])
    this.pump()
  }

  checkpoint(): void {
    this.tell({ checkpoint: this.cursor })
  }

  private lets({ entity, aggregate, type }: Stored): boolean {
    const { entity: only, aggregates, types, prefix = "" } = this.args
    return (
      (only === undefined || entity === only) &&
      (aggregates === undefined || aggregates.includes(aggregate)) &&
      (types === undefined || types.includes(type)) &&
      entity.startsWith(prefix)
    )
  }
}

function isBehind({ position, seq }: Stored, [at, upto]: Mark): boolean {
  return position > at || (position === at && seq > upto)
}

function begin(store: Store, from: NonNullable<SubscribeArgs["from"]>): Mark[] {
  if (typeof from === "object" && "cursor" in from) {
    return JSON.parse(Buffer.from(from.cursor.slice(2), "base64url").toString()) as Mark[]
  }
  if (from === "now") return store.logs.map((log) => [log.at(-1)?.position ?? 0, log.at(-1)?.seq ?? 0])
  return store.logs.map(() => [0, 0])
}
