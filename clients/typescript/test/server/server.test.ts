/** The client with the real server. */
import { afterAll, beforeAll, describe, expect, test } from "vitest"

import { parseJson, Warp, type WarpOptions } from "../../src/node.js"
import { hasServer, type RealServer, startServer } from "./servers.js"

type Events = { Account: { Credited: { amount: number | bigint }; Debited: { amount: number } } }

describe.skipIf(!hasServer)("with the real server", () => {
  let server: RealServer
  let db: Warp<Events>
  const clients: Warp<Events>[] = []
  let last = 0

  function client(options: WarpOptions = {}): Warp<Events> {
    const made = new Warp<Events>({ port: server.port, token: server.token, ...options })
    clients.push(made)
    return made
  }

  /** An entity that no other test has. */
  const fresh = () => db.entity(`user/${++last}`)
  const account = { aggregate: "Account" } as const

  beforeAll(async () => {
    server = await startServer()
    db = client()
  }, 60_000)

  afterAll(async () => {
    await Promise.all(clients.map((made) => made.close()))
    await server.stop()
  })

  describe("calls", () => {
    test("append, with what an event may have", async () => {
      const alice = fresh()
      const options = { ...account, id: "first", metadata: { by: "bob" }, schemaVsn: 1, expected: "no_stream" } as const
      expect(await alice.append("Credited", { amount: 5000 }, options)).toEqual({ seq: 1, id: "first" })
      expect(await alice.append("Credited", { amount: 5000 }, options)).toEqual({ seq: 1, id: "first" })
      const [event] = await alice.history()
      expect({ ...event }).toEqual({
        type: "Credited",
        payload: { amount: 5000 },
        aggregate: "Account",
        id: "first",
        seq: 1,
        entity: alice.id,
        recordedAt: expect.any(Date) as Date,
        metadata: { by: "bob" },
        schemaVsn: 1,
      })
      expect(Math.abs(event!.recordedAt.getTime() - Date.now())).toBeLessThan(10_000)
    })

    test("thousands that go out together are stored in order", async () => {
      const alice = fresh()
      const all = Array.from({ length: 3000 }, () => alice.append("Credited", { amount: 1 }, account))
      expect((await Promise.all(all)).map(({ seq }) => seq)).toEqual(all.map((_, n) => n + 1))
      expect(await alice.get("Account")).toEqual({ balance: 3000 })
      expect(await alice.get("Account", { seq: 10 })).toEqual({ balance: 10 })
      expect((await alice.history(2500)).map(({ seq }) => seq)).toEqual(all.slice(0, 2500).map((_, n) => n + 1))
      expect((await alice.history({ limit: 2, direction: "backward" })).map(({ seq }) => seq)).toEqual([3000, 2999])
      expect(await alice.export()).toHaveLength(3000)
    }, 30_000)

    test("a batch is all or nothing", async () => {
      const alice = fresh()
      const credit = { type: "Credited", payload: { amount: 5 }, ...account } as const
      const debit = { type: "Debited", payload: { amount: 50 }, ...account } as const
      await expect(alice.appendBatch([credit, debit])).rejects.toMatchObject({ code: "rejected", retryable: false })
      expect(await alice.appendBatch([credit, credit], { expected: 0 })).toMatchObject({ first: 1, last: 2 })
      await expect(alice.appendBatch([credit], { expected: 1 })).rejects.toMatchObject({
        code: "wrong_expected_seq",
        parameters: { actual: 2 },
      })
      await expect(alice.appendBatch([])).rejects.toMatchObject({ code: "empty_batch" })
    })

    test("integers of 300 digits come back as they went", async () => {
      const alice = client({ bigIntegers: true }).entity(fresh().id)
      const amount = 7n * 10n ** 300n + 1n
      await alice.append("Credited", { amount }, account)
      expect((await alice.history())[0]!.payload).toEqual({ amount })
      expect(await alice.get("Account")).toEqual({ balance: amount })
      for await (const event of alice.subscribe("Account", { from: "beginning" })) {
        expect(event.payload).toEqual({ amount })
        break
      }
      expect(parseJson(`${amount}`, true)).toBe(amount)
    })

    test("any text comes back as it went", async () => {
      const id = "user/ü \u{1f600} %2F?#\n"
      const alice = new Warp({ port: server.port, token: server.token })
      const payload = {
        amount: 1,
        text: '\u0000"\\ \u2028 é \u{1f600}',
        list: [1.5, -0.25, 1e300, null, true, { "": [] }],
      }
      await alice.entity(id).append("Credited", payload, account)
      expect((await alice.entity(id).history())[0]!.payload).toEqual(payload)
      await alice.close()
    })

    test("delete leaves nothing", async () => {
      const alice = fresh()
      await alice.append("Credited", { amount: 1 }, account)
      const before = Date.now()
      const receipt = await alice.delete()
      expect(receipt).toMatchObject({ entity: alice.id, deleted: true, events: 1 })
      expect(receipt.erasedFrom).toContain("log")
      expect(receipt.nodes).toHaveLength(1)
      expect(receipt.backups).toEqual([])
      expect(receipt.shard).toBeGreaterThanOrEqual(0)
      expect(receipt.erasedAt.getTime()).toBeGreaterThanOrEqual(before)
      expect(await alice.history()).toEqual([])
      expect(await alice.delete()).toMatchObject({ entity: alice.id, deleted: true, events: 0 })
    })

    test("a command decides on the server", async () => {
      const alice = fresh()
      await alice.append("Credited", { amount: 5 }, account)
      expect(await alice.command("pay", { amount: 3 })).toEqual({ seqs: [2] })
      await expect(alice.command("pay", { amount: 3 })).rejects.toMatchObject({ code: "rejected" })
      await expect(alice.command("nothing")).rejects.toMatchObject({ code: "unknown_command" })
    })

    test("query, entities, events and stats", async () => {
      const ids = [1, 2, 3].map(() => fresh())
      const prefix = `list${Date.now()}/`
      for (const [n] of ids.entries()) {
        const entity = db.entity(`${prefix}${n}`)
        await entity.append("Credited", { amount: 700_000 + n }, account)
        await entity.wait(1, { projection: true })
      }
      const rows = await db.query("SELECT id, balance FROM accounts WHERE balance > ? ORDER BY balance", [700_000])
      expect(rows).toEqual([1, 2].map((n) => ({ id: `${prefix}${n}`, balance: 700_000 + n })))
      const listed = []
      for await (const entity of db.entities({ prefix, aggregate: "Account", pageSize: 1 })) listed.push(entity)
      expect(listed).toHaveLength(3)
      expect(listed).toContainEqual({ id: `${prefix}0`, seq: 1 })
      let found = 0
      for await (const event of db.events({ pageSize: 7 })) if (event.entity.startsWith(prefix)) found++
      expect(found).toBe(3)
      expect(await db.stats()).toBeTypeOf("object")
      await expect(db.query("SELECT nonsense FROM nowhere")).rejects.toMatchObject({ code: "sql_error" })
    })

    test("errors name what is wrong", async () => {
      const alice = fresh()
      await expect(alice.append("Credited", { amount: 1 }, { aggregate: "Nope" as never })).rejects.toMatchObject({
        code: "unknown_aggregate",
        advice: expect.stringMatching(/./) as string,
      })
      await expect(alice.get("Raw" as never)).rejects.toMatchObject({ code: "state_not_json" })
      await expect(db.entity("$warp/x").get("Account")).rejects.toMatchObject({ code: "bad_entity_id" })
      await expect(client({ context: "nope" }).entity("a").get("Account")).rejects.toMatchObject({
        code: /context|forb/,
      })
      await expect(client({ token: "warp_wrong" }).entity("a").get("Account")).rejects.toMatchObject({
        code: "unauthorized",
      })
      const reader = client({ token: server.reader })
      await expect(reader.entity(alice.id).append("Credited", { amount: 1 }, account)).rejects.toMatchObject({
        code: "forbidden",
      })
    })
  })

  describe("sagas", () => {
    const move = (id: string, from: string, to: string, amount: number) =>
      db
        .saga(id)
        .step(from, { type: "Debited", payload: { amount } }, { type: "Credited", payload: { amount } }, account)
        .step(to, { type: "Credited", payload: { amount } }, { type: "Debited", payload: { amount } }, account)

    test("commit, and the same again is the same", async () => {
      const [alice, bob] = [fresh(), fresh()]
      await alice.append("Credited", { amount: 500 }, account)
      const saga = move(`t${last}`, alice.id, bob.id, 500)
      const result = await saga.commit()
      expect(result).toMatchObject({ resultType: "COMMITTED", steps: [{ seq: 2, status: "applied" }, { seq: 1 }] })
      expect((await saga.commit()).resultType).toBe("COMMITTED")
      expect(await bob.get("Account")).toEqual({ balance: 500 })
      const status = await db.saga(saga.id).status()
      expect(status).toMatchObject({ resultType: "COMMITTED", startedAt: expect.any(Date) as Date })
    })

    test("are reversed when a step is refused", async () => {
      const [alice, bob] = [fresh(), fresh()]
      await alice.append("Credited", { amount: 500 }, account)
      const debit = (amount: number) => ({ type: "Debited", payload: { amount } }) as const
      const credit = (amount: number) => ({ type: "Credited", payload: { amount } }) as const
      const result = await db
        .saga(`r${last}`)
        .step(alice.id, debit(100), credit(100), account)
        .parallel((group) => group.step(bob.id, debit(1), credit(1), account))
        .commit()
      expect(result.resultType).toBe("COMPENSATED")
      expect(result.steps).toMatchObject([{ status: "reversed", compensationSeq: 3 }, { status: "refused" }])
      expect(await alice.get("Account")).toEqual({ balance: 500 })
    })

    test("get stuck when a compensation is refused, and are resolved", async () => {
      const [alice, bob] = [fresh(), fresh()]
      const result = await db
        .saga(`s${last}`)
        .step(
          alice.id,
          { type: "Credited", payload: { amount: 1 } },
          { type: "Debited", payload: { amount: 9 } },
          account,
        )
        .step(
          bob.id,
          { type: "Debited", payload: { amount: 1 } },
          { type: "Credited", payload: { amount: 1 } },
          account,
        )
        .commit()
      expect(result.resultType).toBe("STUCK")
      expect((await db.sagas()).map(({ id }) => id)).toContain(`s${last}`)
      expect((await db.saga(`s${last}`).retry()).resultType).toBe("STUCK")
      await db.saga(`s${last}`).resolve("The test is over.")
      expect(await db.saga(`s${last}`).status()).toMatchObject({ resultType: "RESOLVED", note: "The test is over." })
      await expect(db.saga("nothing").status()).rejects.toMatchObject({ code: "not_found" })
    })
  })

  describe("subscriptions", () => {
    test("to an entity, from the beginning and on", async () => {
      const alice = fresh()
      for (let n = 0; n < 3; n++) await alice.append("Credited", { amount: n }, account)
      const seqs: number[] = []
      let isCaughtUp = false
      const onCaughtUp = (): void => void (isCaughtUp = true)
      for await (const event of alice.subscribe("Account", { from: "beginning", onCaughtUp })) {
        seqs.push(event.seq)
        expect(event.shard).toBeTypeOf("number")
        if (event.seq === 3) void alice.append("Credited", { amount: 9 }, account)
        if (event.seq === 4) break
      }
      expect(seqs).toEqual([1, 2, 3, 4])
      expect(isCaughtUp).toBe(true)
    })

    test("more events than there is credit, to a loop that is slow", async () => {
      const alice = fresh()
      await alice.appendBatch(
        Array.from({ length: 500 }, () => ({ type: "Credited", payload: { amount: 1 }, ...account }) as const),
      )
      let count = 0
      for await (const event of alice.subscribe(undefined, { from: "beginning", credit: 7 })) {
        expect(event.seq).toBe(++count)
        if (count % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 20))
        if (count === 500) break
      }
    })

    test("a cursor goes on where the loop was", async () => {
      const prefix = `cursor${Date.now()}/`
      const one = db.subscribe("Account", { prefix })
      await one.ready()
      await db.entity(`${prefix}a`).append("Credited", { amount: 1 }, account)
      await one.next()
      const from = { cursor: one.cursor! }
      await one.close()
      const two = db.subscribe("Account", { prefix, from })
      expect((await two.next()).value?.seq).toBe(1)
      await two.close()
      await expect(db.subscribe(undefined, { from: { cursor: "nonsense" } }).next()).rejects.toMatchObject({
        code: "bad_cursor",
      })
    })

    test("a name keeps the place, and tells of erasures", async () => {
      const prefix = `name${Date.now()}/`
      const entity = db.entity(`${prefix}a`)
      for (let n = 0; n < 5; n++) await entity.append("Credited", { amount: 1 }, account)
      for await (const event of db.subscribe("Account", { name: prefix, prefix, from: "beginning" }))
        if (event.seq === 3) break
      const erased: string[] = []
      const again = client().subscribe("Account", { name: prefix, prefix, onErased: (id) => void erased.push(id) })
      for (const seq of [3, 4, 5]) expect((await again.next()).value?.seq).toBe(seq)
      const next = again.next()
      await entity.delete()
      await expect.poll(() => erased).toContain(entity.id)
      await again.close()
      expect((await next).done).toBe(true)
      await expect
        .poll(() =>
          db
            .subscription(prefix)
            .forget()
            .then(
              () => "forgotten",
              (error: { code: string }) => error.code,
            ),
        )
        .toBe("forgotten")
      await expect(db.subscription("nobody").parked()).rejects.toMatchObject({ code: "unknown_subscription" })
    })

    test("a fold follows, and begins anew after a deletion", async () => {
      const alice = fresh()
      await alice.append("Credited", { amount: 5 }, account)
      await using fold = alice.fold((sum, event) => sum + Number(event.amount), 0, account)
      expect(await fold.ready()).toBe(5)
      await alice.append("Credited", { amount: 2 }, account)
      await expect.poll(() => fold.state).toBe(7)
      await alice.delete()
      await expect.poll(() => fold.state).toBe(0)
    })

    test("need permission", async () => {
      await expect(client({ token: server.reader }).subscribe().next()).rejects.toMatchObject({ code: "forbidden" })
    })
  })

  describe("tokens", () => {
    test("that are signed do what their scopes say", async () => {
      const alice = fresh()
      const { token, expires } = await db.token({ seconds: 30, scopes: [{ operations: ["append"], context: "bank" }] })
      expect(expires.getTime() - Date.now()).toBeGreaterThan(20_000)
      const writer = client({ token })
      await writer.entity(alice.id).append("Credited", { amount: 1 }, account)
      await expect(writer.entity(alice.id).get("Account")).rejects.toMatchObject({ code: "forbidden" })
    })

    test("that expire are asked for again, and a loop goes on", async () => {
      const alice = fresh()
      let asked = 0
      const short = client({
        token: async () => {
          asked++
          return (await db.token({ seconds: 1 })).token
        },
      })
      const subscription = short.entity(alice.id).subscribe()
      await subscription.ready()
      for (let n = 1; n <= 3; n++) {
        await new Promise((resolve) => setTimeout(resolve, 900))
        await alice.append("Credited", { amount: 1 }, account)
        expect((await subscription.next()).value?.seq).toBe(n)
      }
      expect(asked).toBeGreaterThan(1)
      await subscription.close()
    })
  })

  describe("while the gateway is killed", () => {
    test("appends are stored once and loops get each event once", async () => {
      const prefix = `killed${Date.now()}/`
      const options = { timeout: 30_000, retry: { initialDelay: 10, maxDelay: 200 } }
      const [writer, reader] = [client(options), client(options)]
      const killer = setInterval(() => void server.kill(), 400)
      const followed = (async () => {
        const seqs = new Map<string, number>()
        let count = 0
        for await (const { entity, seq } of reader.subscribe("Account", { prefix, from: "beginning", credit: 20 })) {
          expect(seq).toBe((seqs.get(entity) ?? 0) + 1)
          seqs.set(entity, seq)
          if (++count === 1000) return
        }
      })()
      const write = async (n: number): Promise<void> => {
        for (let i = 1; i <= 200; i++) {
          const { seq } = await writer.entity(`${prefix}${n}`).append("Credited", { amount: 1 }, account)
          expect(seq).toBe(i)
          await new Promise((resolve) => setTimeout(resolve, 10))
        }
      }
      try {
        await Promise.all([0, 1, 2, 3, 4].map(write))
        await followed
      } finally {
        clearInterval(killer)
      }
      for (let n = 0; n < 5; n++) expect(await db.entity(`${prefix}${n}`).get("Account")).toEqual({ balance: 200 })
    }, 60_000)
  })
})
