/**
 * What compiles with `Warp<Events>`, and what does not. Nothing here runs: tsc says whether each `@ts-expect-error` is
 * an error, and whether everything else is none.
 */
import { type StoredEvent, type SagaResultType, Warp } from "../../src/node.js"

interface Credited {
  amount: number
  reference?: string
}

interface Events {
  Account: { Credited: Credited; Debited: { amount: number } }
  User: { SignedUp: { email: string } }
}

interface States {
  Account: { balance: number }
}

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function same<A, B>(_: Equal<A, B>): void {}

const db = new Warp<Events, States>({ host: "localhost", port: 9090 })
const alice = db.entity("user/alice")

async function appends(): Promise<void> {
  const { seq, id } = await alice.append("Credited", { amount: 5000 }, { aggregate: "Account" })
  same<typeof seq, number>(true)
  same<typeof id, string>(true)
  const credited: Credited = { amount: 1, reference: "a" }
  await alice.append("Credited", credited, { aggregate: "Account", expected: "no_stream", timeout: 100 })
  await alice.append("SignedUp", { email: "a@example.org" }, { aggregate: "User" })

  // @ts-expect-error There is no such event.
  await alice.append("Creditd", { amount: 1 }, { aggregate: "Account" })
  // @ts-expect-error The event is one of another aggregate.
  await alice.append("SignedUp", { email: "a@example.org" }, { aggregate: "Account" })
  // @ts-expect-error There is no such aggregate.
  await alice.append("Credited", { amount: 1 }, { aggregate: "Acount" })
  // @ts-expect-error The amount is a number.
  await alice.append("Credited", { amount: "1" }, { aggregate: "Account" })
  // @ts-expect-error The amount is missing.
  await alice.append("Credited", {}, { aggregate: "Account" })
  // @ts-expect-error There is no such field.
  await alice.append("Credited", { amount: 1, currency: "EUR" }, { aggregate: "Account" })
  // @ts-expect-error There are two aggregates, so one has to be named.
  await alice.append("Credited", { amount: 1 })
  // @ts-expect-error There is no such option.
  await alice.append("Credited", { amount: 1 }, { aggregate: "Account", timeOut: 5 })
  // @ts-expect-error What is expected is a word or a seq.
  await alice.append("Credited", { amount: 1 }, { aggregate: "Account", expected: "nothing" })

  await alice.appendBatch([
    { type: "Credited", payload: { amount: 1 }, aggregate: "Account" },
    { type: "SignedUp", payload: { email: "a@example.org" }, aggregate: "User", id: "signed-up" },
  ])
  // @ts-expect-error The payload is that of another event.
  await alice.appendBatch([{ type: "Credited", payload: { email: "a@example.org" }, aggregate: "Account" }])
}

async function appendsOfOneAggregate(): Promise<void> {
  const one = new Warp<{ Account: Events["Account"] }>().entity("a")
  await one.append("Credited", { amount: 1 })
  await one.append("Credited", { amount: 1 }, { expected: 3 })
  // @ts-expect-error There is no such event.
  await one.append("SignedUp", { amount: 1 })
}

async function reads(): Promise<void> {
  same<Awaited<ReturnType<typeof readAccount>>, { balance: number }>(true)
  const unknownState = await alice.get("User")
  same<typeof unknownState, unknown>(true)
  // @ts-expect-error There is no such aggregate.
  await alice.get("Acount")

  for (const event of await alice.history(100)) {
    if (event.type === "Credited") {
      same<typeof event.payload, Credited>(true)
      same<typeof event.amount, number>(true)
      same<typeof event.aggregate, "Account">(true)
      // @ts-expect-error It has no such field.
      event.email
    } else if (event.type === "SignedUp") {
      same<typeof event.email, string>(true)
    }
    same<typeof event.recordedAt, Date>(true)
    // @ts-expect-error There is no such event.
    event.type === "Creditd"
    // @ts-expect-error Events do not change.
    event.seq = 5
  }
  const rows = await db.query<{ id: string; balance: number }>("SELECT id, balance FROM accounts")
  same<typeof rows, { id: string; balance: number }[]>(true)
}

function readAccount(): Promise<{ balance: number }> {
  return alice.get("Account", { seq: 3 })
}

async function subscribes(): Promise<void> {
  for await (const event of alice.subscribe("Account", { from: "beginning", signal: AbortSignal.timeout(1) })) {
    same<typeof event.type, "Credited" | "Debited">(true)
    same<typeof event.eventType, "Credited" | "Debited">(true)
    same<typeof event.amount, number>(true)
  }
  for await (const event of db.subscribe(["Account", "User"], { name: "mail", prefix: "user/" })) {
    same<typeof event.aggregate, "Account" | "User">(true)
  }
  // @ts-expect-error There is no such aggregate.
  alice.subscribe("Acount")
  // @ts-expect-error Only subscriptions to a context have names.
  alice.subscribe("Account", { name: "mail" })
  // @ts-expect-error A time is a Date.
  alice.subscribe("Account", { from: { time: 5 } })
}

async function folds(): Promise<void> {
  const balance = alice.fold((sum, event) => (event.type === "Credited" ? sum + event.amount : sum - event.amount), 0, {
    aggregate: "Account",
  })
  same<Awaited<ReturnType<typeof balance.ready>>, number>(true)
  for await (const sum of balance) same<typeof sum, number>(true)
  // @ts-expect-error The reducer gives the state.
  alice.fold((sum: number) => String(sum), 0)
}

async function sagas(): Promise<void> {
  const result = await db
    .saga("transfer-001")
    .step(
      "user/alice",
      { type: "Debited", payload: { amount: 500 } },
      { type: "Credited", payload: { amount: 500 } },
      { aggregate: "Account", schemaVsn: 1 },
    )
    .step("user/bob", { run: "reserve", input: { seats: 2 } }, { run: "release" }, { aggregate: "User" })
    .parallel((group) => group.step("a", { run: "a" }, { run: "b" }, { aggregate: "Account" }))
    .commit()
  same<typeof result.resultType, SagaResultType>(true)
  same<SagaResultType, "COMMITTED" | "COMPENSATED" | "STUCK">(true)
  // @ts-expect-error There is no such event.
  db.saga("t").step("a", { type: "Debit", payload: { amount: 1 } }, { run: "a" }, { aggregate: "Account" })
  // @ts-expect-error The event is one of another aggregate.
  db.saga("t").step("a", { type: "Debited", payload: { amount: 1 } }, { run: "a" }, { aggregate: "User" })
}

async function untyped(): Promise<void> {
  const any = new Warp().entity("a")
  await any.append("Whatever", { a: [1, { b: null }] }, { aggregate: "Any" })
  const credited: Credited = { amount: 1 }
  await any.append("Credited", credited)
  const state = await any.get("Account")
  state.balance.toFixed()
  for (const event of await any.history()) {
    event.amount.toFixed()
    event.payload["amount"]
    same<typeof event.seq, number>(true)
    same<typeof event.recordedAt, Date>(true)
  }
  const events: StoredEvent[] = await any.export()
  for await (const event of any.subscribe("Account")) console.log(event.eventType, event.payload)
  // @ts-expect-error A payload is an object.
  await any.append("Whatever", 5)
  // @ts-expect-error A port is a number.
  new Warp({ port: "9090" })
  // @ts-expect-error A token is no number.
  new Warp({ token: 5 })
}
