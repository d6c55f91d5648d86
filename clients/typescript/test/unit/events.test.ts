import { expect, test } from "vitest"

import { readEvent } from "../../src/events.js"

const given = {
  type: "Credited",
  payload: { amount: 5000 },
  aggregate: "Account",
  id: "x",
  schema_vsn: 2,
  metadata: { by: "bob" },
  seq: 1,
  recorded_at: 1_764_306_209_123_456,
}

test("an event has its envelope, and the payload's fields beside it", () => {
  const event = readEvent(given, "alice") as ReturnType<typeof readEvent> & { amount: number }
  expect({ ...event }).toEqual({
    type: "Credited",
    payload: { amount: 5000 },
    aggregate: "Account",
    id: "x",
    schemaVsn: 2,
    metadata: { by: "bob" },
    seq: 1,
    entity: "alice",
    recordedAt: new Date(1_764_306_209_123),
  })
  expect([event.amount, event.eventType]).toEqual([5000, "Credited"])
  expect(JSON.parse(JSON.stringify(event))).not.toHaveProperty("amount")
})

test("fields with names of the envelope, or of every object, stay in the payload", () => {
  const payload = JSON.parse(
    '{"seq":99,"type":"x","toString":1,"constructor":1,"__proto__":{"a":1},"toJSON":1}',
  ) as object
  const event = readEvent({ ...given, payload }, "alice")
  expect([event.seq, event.type, String(event), event.constructor]).toEqual([1, "Credited", "[object Object]", Object])
  expect(Object.getPrototypeOf(event)).toBe(Object.prototype)
  expect(JSON.stringify(event)).toContain('"seq":1,')
  expect(event.payload["seq"]).toBe(99)
})
