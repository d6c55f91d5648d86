/** The events of a fake server, in memory: entities, and a log for each shard. */

export interface Stored {
  entity: string
  shard: number
  position: number
  seq: number
  type: string
  payload: unknown
  aggregate: string
  id: string
  schema_vsn: number
  metadata: unknown
  recorded_at: number
}

export interface Given {
  type: string
  payload: unknown
  aggregate?: string
  id?: string
  schema_vsn?: number
  metadata?: unknown
}

/** An error as the server words it. */
export class Problem extends Error {
  constructor(
    readonly code: string,
    readonly retryable = false,
    readonly parameters: object = {},
  ) {
    super(code)
  }

  toJSON(): object {
    const { code, retryable, parameters } = this
    const status = retryable ? 503 : 400
    return {
      type: `urn:warp:problem:${code}`,
      title: code,
      status,
      detail: `It is ${code}.`,
      advice: "Do it.",
      code,
      retryable,
      parameters,
    }
  }
}

export const SHARDS = 4

export class Store {
  /** By shard, in order of positions; rows of deleted entities are gone. */
  readonly logs: Stored[][] = Array.from({ length: SHARDS }, () => [])
  private readonly positions = new Array<number>(SHARDS).fill(0)
  readonly onCommit = new Set<() => void>()
  readonly onErase = new Set<(entity: string) => void>()

  shardOf(entity: string): number {
    let hash = 0
    for (const char of entity) hash = (hash * 31 + char.codePointAt(0)!) >>> 0
    return hash % SHARDS
  }

  of(entity: string): Stored[] {
    return this.logs[this.shardOf(entity)]!.filter((event) => event.entity === entity)
  }

  append(entity: string, given: Given[], expected: unknown = "any"): { first: number; last: number } {
    const log = this.of(entity)
    const before = log.find((event) => event.id === given[0]?.id)
    if (before !== undefined) return { first: before.seq, last: before.seq + given.length - 1 }
    if (expected !== "any" && expected !== undefined && (expected === "no_stream" ? 0 : expected) !== log.length) {
      throw new Problem("wrong_expected_seq", false, { actual: log.length })
    }
    const shard = this.shardOf(entity)
    const position = ++this.positions[shard]!
    for (const [n, event] of given.entries()) {
      const seq = log.length + n + 1
      const { type, payload, aggregate = "Account", id = `${entity}#${seq}`, schema_vsn = 1, metadata = {} } = event
      const recorded_at = Date.now() * 1000
      this.logs[shard]!.push({
        entity,
        shard,
        position,
        seq,
        type,
        payload,
        aggregate,
        id,
        schema_vsn,
        metadata,
        recorded_at,
      })
    }
    for (const commit of this.onCommit) commit()
    return { first: log.length + 1, last: log.length + given.length }
  }

  /** How many events were deleted. */
  delete(entity: string): number {
    const events = this.of(entity).length
    const shard = this.shardOf(entity)
    this.logs[shard] = this.logs[shard]!.filter((event) => event.entity !== entity)
    for (const erase of this.onErase) erase(entity)
    return events
  }

  balance(entity: string): number {
    return this.of(entity).reduce((sum, { type, payload }) => {
      const { amount = 0 } = payload as { amount?: number }
      return type === "Credited" ? sum + amount : sum - amount
    }, 0)
  }
}
