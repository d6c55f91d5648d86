/**
 * How far a subscription is: what has come, what the loop got, and what it has handled. Pure, no sockets.
 *
 * In one shard events are ordered by position, and by seq in one position; a position is never given twice. So for each
 * shard one place says which events have come, whatever is sent again after a connection was lost.
 */

/** What tells an event's place. */
export interface Placed {
  readonly entity: string
  readonly shard?: number
  readonly position?: number
  readonly seq: number
}

type Place = readonly [position: number, seq: number]

/** What the loop gets next. */
export type Item<E> = { kind: "event"; event: E } | { kind: "erased"; entity: string } | { kind: "caught_up" }

/** What is to be sent as an `ack`. */
export type Ack = { events: [shard: number, position: number, seq: number][] } | { erased: string }

export class Progress<E extends Placed> {
  /** The newest cursor. The server makes it of what was acknowledged, so the loop has handled all before it. */
  cursor: string | undefined
  private queue: (Item<E> | { kind: "dropped"; event: E })[] = []
  private head = 0
  /** By shard, the last event that came, that the loop got, and that it has handled. */
  private came = new Map<number, Place>()
  private readonly got = new Map<number, Place>()
  private readonly handled = new Map<number, Place>()
  /** By shard, what is to be acknowledged. */
  private readonly due = new Map<number, Place>()
  private dueErased: string[] = []

  /** Takes events that came. Those that came before are dropped. */
  add(events: readonly E[]): void {
    for (const event of events) {
      const place = placeOf(event)
      const shard = event.shard ?? 0
      if (isBehind(this.came.get(shard), place)) {
        this.came.set(shard, place)
        this.queue.push({ kind: "event", event })
      } else if (!isBehind(this.handled.get(shard), place)) {
        // It is sent again, since the connection was lost before the server had the acknowledgement.
        this.acknowledge(shard, place)
      }
    }
  }

  /** An entity was deleted: what came of it and the loop has not got is dropped. */
  erase(entity: string): void {
    for (let n = this.head; n < this.queue.length; n++) {
      const item = this.queue[n]!
      if (item.kind === "event" && item.event.entity === entity) {
        this.queue[n] = { kind: "dropped", event: withoutPayload(item.event) }
      }
    }
    this.queue.push({ kind: "erased", entity })
  }

  caughtUp(): void {
    this.queue.push({ kind: "caught_up" })
  }

  /**
   * The subscription begins again, behind the cursor: what the loop has not got comes again, and is forgotten here.
   * Erasures stay: a subscription without a name is not told of them twice.
   */
  restart(): void {
    this.queue = this.queue.slice(this.head).filter(({ kind }) => kind === "erased")
    this.head = 0
    this.came = new Map(this.got)
    this.due.clear()
    this.dueErased = []
  }

  /** What the loop gets next. Undefined when nothing has come. */
  take(): Item<E> | undefined {
    while (this.head < this.queue.length) {
      const item = this.queue[this.head++]!
      if (this.head === this.queue.length || this.head > 1024) this.compact()
      if (item.kind === "dropped") {
        this.give(item.event)
        this.handle(item.event)
        continue
      }
      if (item.kind === "event") this.give(item.event)
      return item
    }
    return undefined
  }

  /** The loop has handled an event, and with it all before it in its shard. */
  handle(event: E): void {
    const shard = event.shard ?? 0
    const place = placeOf(event)
    if (isBehind(this.handled.get(shard), place)) this.handled.set(shard, place)
    this.acknowledge(shard, place)
  }

  /** The loop has erased what it made of an entity. */
  handleErased(entity: string): void {
    this.dueErased.push(entity)
  }

  get hasDue(): boolean {
    return this.due.size > 0 || this.dueErased.length > 0
  }

  /** What is to be acknowledged, once. */
  acks(): Ack[] {
    const acks: Ack[] = this.dueErased.map((erased) => ({ erased }))
    const events = [...this.due].map(([shard, [position, seq]]): [number, number, number] => [shard, position, seq])
    if (events.length > 0) acks.push({ events })
    this.due.clear()
    this.dueErased = []
    return acks
  }

  private give(event: E): void {
    this.got.set(event.shard ?? 0, placeOf(event))
  }

  private acknowledge(shard: number, place: Place): void {
    if (isBehind(this.due.get(shard), place)) this.due.set(shard, place)
  }

  private compact(): void {
    this.queue = this.queue.slice(this.head)
    this.head = 0
  }
}

function placeOf(event: Placed): Place {
  return [event.position ?? 0, event.seq]
}

/** Whether a place is behind another one, or there is no other one. */
function isBehind(other: Place | undefined, [position, seq]: Place): boolean {
  return other === undefined || position > other[0] || (position === other[0] && seq > other[1])
}

/** Nothing but the place of an event of a deleted entity. */
function withoutPayload<E extends Placed>({ entity, shard, position, seq }: E): E {
  return { entity, shard, position, seq } as E
}
