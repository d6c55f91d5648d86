/** Events between the wire and the program. */
import { badArgument, isObject, WarpError } from "./errors.js"
import type { AnyPayload, Envelope, NewEvent } from "./types.js"

/** Names that the fields of a payload do not get beside the envelope. */
const TAKEN: ReadonlySet<string> = new Set([
  "type",
  "eventType",
  "payload",
  "aggregate",
  "id",
  "seq",
  "entity",
  "recordedAt",
  "metadata",
  "schemaVsn",
  "shard",
  "position",
  "toJSON",
])

/** The event that the server described. `entity` is whose it is, where the server does not say. */
export function readEvent(given: unknown, entity?: string): Envelope {
  if (!isObject(given)) throw protocolError("an event that is no object")
  const payload = isObject(given["payload"]) ? given["payload"] : {}
  const type = String(given["type"])
  const event: { [name: string]: unknown } = {
    type,
    payload,
    aggregate: given["aggregate"],
    id: given["id"],
    seq: given["seq"],
    entity: given["entity"] ?? entity,
    recordedAt: time(given["recorded_at"]),
    metadata: given["metadata"] ?? {},
    schemaVsn: given["schema_vsn"],
  }
  if (given["shard"] !== undefined) event["shard"] = given["shard"]
  if (given["position"] !== undefined) event["position"] = given["position"]
  beside(event, "eventType", type)
  for (const name of Object.keys(payload)) {
    if (!TAKEN.has(name) && !(name in Object.prototype)) beside(event, name, payload[name])
  }
  return event as unknown as Envelope
}

function beside(event: object, name: string, value: unknown): void {
  Object.defineProperty(event, name, { value, enumerable: false, configurable: true, writable: true })
}

/** The events of a page. */
export function readEvents(given: unknown, entity?: string): Envelope[] {
  if (!Array.isArray(given)) throw protocolError("events that are no list")
  return given.map((event) => readEvent(event, entity))
}

/** An event as the server takes it. */
export function writeEvent(event: NewEvent, id: string): object {
  if (typeof event.type !== "string" || event.type === "") throw badArgument("The event's type", "is no text")
  return {
    type: event.type,
    payload: payloadOf(event.payload),
    aggregate: event.aggregate,
    id,
    schema_vsn: event.schemaVsn,
    metadata: event.metadata,
  }
}

function payloadOf(payload: AnyPayload): AnyPayload {
  if (!isObject(payload)) throw badArgument("The event's payload", "is no object")
  return payload
}

/** A time of the server, microseconds since 1970. */
export function time(micros: unknown): Date {
  return new Date(Number(micros) / 1000)
}

/** A time for the server. */
export function micros(date: Date): number {
  const millis = date.getTime()
  if (Number.isNaN(millis)) throw badArgument("The time", "is no valid date")
  return Math.round(millis * 1000)
}

/** The result of a call as an object, which it has to be. */
export function resultOf(result: unknown): { [name: string]: unknown } {
  if (!isObject(result)) throw protocolError("a result that is no object")
  return result
}

/** The server has sent what it does not send. */
export function protocolError(what: string): WarpError {
  return new WarpError(`The server sent ${what}.`, {
    code: "protocol_error",
    advice: "See whether this is a Warp server of this version.",
  })
}
