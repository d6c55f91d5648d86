/** What entities, sagas and subscriptions share: the connection, and how ids are made. */
import type { Connection } from "./connection.js"
import type { Platform } from "./platform.js"

export interface Client {
  readonly connection: Connection
  readonly platform: Platform
}

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

/** A new id of an event: 22 characters, 132 random bits. */
export function newId({ platform }: Client): string {
  let id = ""
  for (const byte of platform.random(22)) id += ALPHABET[byte & 63]!
  return id
}

/** Follows pages until there is none behind them. */
export async function* pages<Item>(
  page: (after: unknown) => Promise<{ items: Item[]; next: unknown }>,
  first?: unknown,
): AsyncGenerator<Item, void, undefined> {
  let after = first
  do {
    const { items, next } = await page(after)
    yield* items
    after = next
  } while (after !== undefined && after !== null)
}
