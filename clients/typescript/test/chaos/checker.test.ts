/** The checker sees what it looks for. */
import { describe, expect, test } from "vitest"

import { followerFaults, storedFaults } from "./checker.js"
import type { Follower, Got, Histories, Stored } from "./record.js"

const stored = (entity: string, seq: number, key = `${entity}${seq}`): Stored => ({ entity, key, seq, id: `id-${key}` })
const histories = (...events: Stored[]): Histories => {
  const all: Histories = new Map()
  for (const event of events) all.set(event.entity, [...(all.get(event.entity) ?? []), event])
  return all
}
const three = histories(stored("a", 1), stored("a", 2), stored("b", 1))
const none = { acknowledged: [], refused: [], unknown: [] }
const known = { ...none, unknown: ["a1", "a2", "b1"] }

describe("what is stored", () => {
  test("is right where it fits", () => {
    expect(
      storedFaults(three, { ...none, acknowledged: [stored("a", 1), stored("b", 1)], unknown: ["a2", "x"] }),
    ).toEqual([])
  })

  test.each([
    ["an acknowledged event that is lost", three, { ...known, acknowledged: [stored("b", 2)] }],
    ["one at another seq", three, { ...known, acknowledged: [stored("a", 2, "a1")] }],
    ["one with another id", three, { ...known, acknowledged: [{ ...stored("a", 1), id: "other" }] }],
    ["one that was refused", three, { ...known, refused: ["a2"] }],
    ["one that nobody appended", three, { ...known, unknown: ["a1", "a2"] }],
    ["one that is stored twice", histories(stored("a", 1), { ...stored("a", 2, "a1"), id: "other" }), known],
    ["an id that is there twice", histories(stored("a", 1), { ...stored("a", 2), id: "id-a1" }), known],
    ["a gap", histories(stored("a", 2)), known],
  ])("%s", (_, stored, appends) => {
    expect(storedFaults(stored, appends)).toHaveLength(1)
  })
})

describe("what subscribers get", () => {
  const [a1, a2, b1]: Got[] = [stored("a", 1), stored("a", 2), stored("b", 1)] as never
  const faults = (kind: Follower["kind"], ...lives: (Got | undefined)[][]): number =>
    followerFaults(three, { name: "f", kind, prefix: "", lives: lives as Got[][] }).length

  test("is right where each event comes once", () => {
    expect(faults("once", [b1, a1, a2])).toBe(0)
    expect(faults("again", [a1, b1], [a1, a2])).toBe(0)
    expect(faults("shared", [a2, b1], [a1])).toBe(0)
    expect(followerFaults(three, { name: "f", kind: "once", prefix: "b", lives: [[b1!]] })).toEqual([])
  })

  test.each([
    ["an event that comes twice", faults("once", [a1, a2, a2, b1])],
    ["one that comes twice to one of several", faults("shared", [a1, a2, a2, b1])],
    ["one that does not come", faults("once", [a1, b1])],
    ["one that comes to nobody of several", faults("shared", [a1], [b1])],
    ["one that comes where another was to come", faults("again", [a2, b1], [a1])],
    ["another one", faults("once", [a1, a2, b1, { ...a2!, seq: 3 }])],
    [
      "one that was not asked for",
      followerFaults(three, { name: "f", kind: "once", prefix: "b", lives: [[b1!, a1!]] }).length,
    ],
  ])("%s", (_, count) => {
    expect(count).toBe(1)
  })
})
