import fc from "fast-check"
import { describe, expect, test } from "vitest"

import { Progress } from "../../src/progress.js"
import { type Names, FakeSubscription } from "../fake/subscription.js"
import { Store, type Stored } from "../fake/store.js"

type Step =
  | { do: "append"; entity: number; count: number }
  | { do: "erase"; entity: number }
  | { do: "deliver"; count: number }
  | { do: "take"; count: number }
  | { do: "acks" }
  | { do: "checkpoint" }
  | { do: "cut" }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("append" as const),
      entity: fc.nat(5),
      count: fc.integer({ min: 1, max: 4 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("erase" as const), entity: fc.nat(5) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("deliver" as const), count: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("take" as const), count: fc.integer({ min: 1, max: 8 }) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("acks" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("checkpoint" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("cut" as const) }) },
)

/** A client and a server with a connection between them that may be cut, one step at a time. */
class World {
  readonly store = new Store()
  readonly names: Names = new Map()
  readonly progress = new Progress<Stored>()
  /** What the loop got, and which entities it was told of as erased. */
  readonly got: Stored[] = []
  readonly erased: string[] = []
  /** Everything that was ever stored. */
  readonly all: Stored[] = []
  private current: Stored | undefined
  private wire: { [name: string]: unknown }[] = []
  private subscription!: FakeSubscription

  constructor(
    private readonly credit: number,
    private readonly name: string | undefined,
  ) {
    this.connect()
  }

  run(step: Step): void {
    switch (step.do) {
      case "append": {
        const events = Array.from({ length: step.count }, () => ({ type: "Credited", payload: {} }))
        const entity = `e${step.entity}`
        this.store.append(entity, events)
        this.all.push(...this.store.of(entity).slice(-step.count))
        break
      }
      case "erase":
        this.store.delete(`e${step.entity}`)
        break
      case "deliver":
        for (const message of this.wire.splice(0, step.count)) this.deliver(message)
        break
      case "take":
        for (let n = 0; n < step.count; n++) this.take()
        break
      case "acks":
        for (const ack of this.progress.acks()) if ("events" in ack) this.subscription.ack(ack.events)
        break
      case "checkpoint":
        this.subscription.checkpoint()
        break
      case "cut":
        this.store.onCommit.clear()
        this.store.onErase.clear()
        this.progress.restart()
        this.connect()
    }
  }

  /** Until nothing moves any more. */
  settle(): void {
    for (let n = 0; n < 2000; n++) {
      this.run({ do: "deliver", count: 10 })
      this.run({ do: "take", count: 10 })
      this.run({ do: "acks" })
    }
  }

  private connect(): void {
    this.wire = []
    const { name, credit } = this
    const from = this.progress.cursor === undefined ? ("beginning" as const) : { cursor: this.progress.cursor }
    const args = name === undefined ? { from, credit } : { name, from: "beginning" as const, credit }
    this.subscription = new FakeSubscription(this.store, args, this.names, (message) => this.wire.push({ ...message }))
    this.progress.cursor = this.subscription.cursor
    this.store.onCommit.add(this.subscription.pump)
    this.store.onErase.add(this.subscription.erased)
    this.subscription.pump()
  }

  private deliver(message: { [name: string]: unknown }): void {
    if (message["events"] !== undefined) this.progress.add(message["events"] as Stored[])
    if (typeof message["erased"] === "string") this.progress.erase(message["erased"])
    for (const cursor of [message["checkpoint"], message["caught_up"]]) {
      if (typeof cursor === "string") this.progress.cursor = cursor
    }
  }

  private take(): void {
    if (this.current !== undefined) this.progress.handle(this.current)
    this.current = undefined
    const item = this.progress.take()
    if (item?.kind === "erased") this.erased.push(item.entity)
    if (item?.kind === "event") {
      this.got.push(item.event)
      this.current = item.event
    }
  }
}

function keyOf({ shard, position, seq }: Stored): string {
  return `${shard}.${position}.${seq}`
}

function byShard(events: Stored[]): string[][] {
  return [0, 1, 2, 3].map((shard) => events.filter((event) => event.shard === shard).map(keyOf))
}

describe.each([undefined, "mail"])(
  "a subscription with the name %s, over connections that are cut anywhere",
  (name) => {
    test("gives each event once, and those of a shard in order", () => {
      const credit = fc.integer({ min: 1, max: 20 })
      fc.assert(
        fc.property(fc.array(step, { maxLength: 60 }), credit, (steps, credit) => {
          const world = new World(credit, name)
          for (const step of steps) world.run(step)
          world.settle()
          const isGone = new Set(world.all.map(keyOf))
          for (const log of world.store.logs) for (const event of log) isGone.delete(keyOf(event))
          const got = new Set(world.got.map(keyOf))
          // All that are still stored came, and those of deleted entities that came are among what was stored.
          const wanted = world.all.filter((event) => !isGone.has(keyOf(event)) || got.has(keyOf(event)))
          expect(byShard(world.got)).toEqual(byShard(wanted))
        }),
        { numRuns: 600 },
      )
    })
  },
)

describe("an entity that was deleted", () => {
  const event = (seq: number, entity = "alice"): Stored =>
    ({ entity, shard: 0, position: seq, seq, payload: { secret: 1 } }) as unknown as Stored

  test("has no events any more that the loop has not got, and they are acknowledged", () => {
    const progress = new Progress<Stored>()
    progress.add([event(1), event(2), event(3, "bob")])
    expect(progress.take()).toMatchObject({ kind: "event", event: { seq: 1 } })
    progress.erase("alice")
    expect(progress.take()).toMatchObject({ kind: "event", event: { entity: "bob" } })
    expect(progress.acks()).toEqual([{ events: [[0, 2, 2]] }])
    expect(progress.take()).toEqual({ kind: "erased", entity: "alice" })
    progress.handleErased("alice")
    expect(progress.acks()).toEqual([{ erased: "alice" }])
  })

  test("is still told of as erased when the connection is lost before the loop is there", () => {
    const progress = new Progress<Stored>()
    progress.add([event(1)])
    progress.erase("alice")
    progress.restart()
    expect(progress.take()).toEqual({ kind: "erased", entity: "alice" })
  })
})

test("an event that is sent again is acknowledged only when the loop has handled it", () => {
  const progress = new Progress<Stored>()
  const event = { entity: "alice", shard: 0, position: 1, seq: 1 } as Stored
  progress.add([event])
  progress.take()
  progress.restart()
  progress.add([event])
  expect(progress.take()).toBeUndefined()
  expect(progress.acks()).toEqual([])
  progress.handle(event)
  expect(progress.acks()).toEqual([{ events: [[0, 1, 1]] }])
})
