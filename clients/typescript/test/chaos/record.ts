/** What the clients of a run remember, for the check. */

/** An event that somebody appended: `key` is in its payload. */
export interface Stored {
  entity: string
  key: string
  seq: number
  id: string
}

/** What became of the appends of a run. */
export interface Appends {
  acknowledged: Stored[]
  /** Keys of events that were refused: they are not stored, and never will be. */
  refused: string[]
  /** Keys of events of which nobody knows. */
  unknown: string[]
}

/** An event as a loop got it. */
export interface Got {
  entity: string
  key: string
  seq: number
}

/**
 * What a subscriber got. Each of its lives is one loop, over any number of connections.
 *
 * `once`: one loop, which gets all events. `again`: a loop goes on at the cursor, or at the name, of the one before; it
 * may get again what that one had, and leaves nothing out. `shared`: of a name that several split.
 */
export interface Follower {
  name: string
  kind: "once" | "again" | "shared"
  /** What ids of entities begin with, or all of an id. */
  prefix: string
  lives: Got[][]
}

/** The events of each entity in their order, as the server has them. */
export type Histories = Map<string, Stored[]>
