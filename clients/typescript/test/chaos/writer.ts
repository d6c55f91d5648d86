/** A client that appends until it is told to stop, and remembers what was answered. */
import { isWarpError, type Warp } from "../../src/node.js"
import type { Random } from "./random.js"
import type { Appends } from "./record.js"

export type Events = { Account: { Credited: { amount: number; key: string } } }

/** Makes one append of one or more events with these keys. */
export type Append = (
  entity: string,
  keys: string[],
  options: { expected?: Expected; timeout: number },
) => Promise<Done>

type Expected = "no_stream" | number
/** The seq of the first event, and the ids of all. */
export type Done = { first: number; ids: string[] }

/** How long an append may take, in milliseconds; a few may take less than the faults do. */
const TIMEOUT = 60_000
/** How long a client waits between two appends at most, in milliseconds. */
const PAUSE = 200

export class Writer {
  readonly appends: Appends = { acknowledged: [], refused: [], unknown: [] }
  /** What was answered that no answer should be. */
  readonly faults: string[] = []
  private readonly lastSeqs = new Map<string, number>()
  private count = 0
  private isStopping = false
  private waiting: { begun: number; resolve: () => void } | undefined

  /** The first of the entities is this client's alone. */
  constructor(
    readonly name: string,
    private readonly entities: readonly [string, ...string[]],
    private readonly append: Append,
    private readonly random: Random,
  ) {}

  async run(): Promise<void> {
    const { random } = this
    while (!this.isStopping) {
      const begun = this.count
      const together = random.isBelow(0.1) ? random.between(2, 8) : 1
      const answered = await Promise.all(Array.from({ length: together }, () => this.once()))
      if (answered.includes(true) && this.waiting !== undefined && begun >= this.waiting.begun) this.waiting.resolve()
      await new Promise((resolve) => setTimeout(resolve, random.between(0, PAUSE)))
    }
  }

  stop(): void {
    this.isStopping = true
  }

  /** Waits until an append is acknowledged that has not begun yet. */
  works(): Promise<void> {
    return new Promise((resolve) => (this.waiting = { begun: this.count, resolve }))
  }

  /** Makes an append. Gives whether it was answered. */
  private async once(): Promise<boolean> {
    const { random } = this
    const entity = random.isBelow(0.5) ? this.entities[0] : random.of(this.entities)
    const number = ++this.count
    const keys = Array.from({ length: random.isBelow(0.2) ? random.between(2, 5) : 1 }, (_, n) => {
      return `${this.name}-${number}${n === 0 ? "" : `.${n}`}`
    })
    const timeout = random.isBelow(0.05) ? random.between(1, 1000) : TIMEOUT
    const known = this.lastSeqs.get(entity) ?? 0
    const isExpecting = random.isBelow(0.2)
    const expected = isExpecting ? { expected: known === 0 ? ("no_stream" as const) : known } : {}
    try {
      const { first, ids } = await this.append(entity, keys, { timeout, ...expected })
      for (const [n, key] of keys.entries()) {
        this.appends.acknowledged.push({ entity, key, seq: first + n, id: ids[n]! })
      }
      this.knows(entity, first + keys.length - 1)
      if (first <= known || (isExpecting && first !== known + 1)) {
        this.faults.push(`${this.name} knew of ${known} events of ${entity}, and ${keys[0]} became ${first}`)
      }
      return true
    } catch (error) {
      if (isWarpError(error, "wrong_expected_seq")) {
        this.appends.refused.push(...keys)
        this.knows(entity, error.parameters["actual"] as number)
        return true
      }
      this.appends.unknown.push(...keys)
      const isExpected = isWarpError(error) && (error.retryable || error.code === "unknown_outcome")
      if (!isExpected) this.faults.push(`${this.name} got for ${keys.join()}: ${String(error)}`)
      return false
    }
  }

  private knows(entity: string, seq: number): void {
    this.lastSeqs.set(entity, Math.max(seq, this.lastSeqs.get(entity) ?? 0))
  }
}

/** Appends over the WebSocket. Ids are made by the client. */
export function bySocket(db: Warp<Events>): Append {
  const aggregate = "Account"
  return async (entity, keys, options) => {
    const [key] = keys
    if (keys.length === 1) {
      const { seq, id } = await db.entity(entity).append("Credited", payload(key!), { aggregate, ...options })
      return { first: seq, ids: [id] }
    }
    const events = keys.map((each) => ({ type: "Credited", payload: payload(each), aggregate }) as const)
    return db.entity(entity).appendBatch(events, options)
  }
}

function payload(key: string): { amount: number; key: string } {
  return { amount: 1, key }
}
