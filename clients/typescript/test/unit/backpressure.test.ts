import { expect, test } from "vitest"

import { nodePlatform } from "../../src/socket/node.js"
import type { Platform, SocketHandlers } from "../../src/platform.js"
import { BaseWarp } from "../../src/warp.js"

test("nothing is sent while a megabyte waits in the socket", async () => {
  let handlers!: SocketHandlers
  const sent: string[] = []
  const socket = {
    buffered: 0,
    ping: undefined,
    send: (text: string) => {
      sent.push(text)
      socket.buffered += text.length
    },
    close: () => undefined,
    drop: () => undefined,
    hold: () => undefined,
  }
  const platform: Platform = {
    ...nodePlatform,
    open: (_target, _token, given) => {
      handlers = given
      queueMicrotask(() => given.opened())
      return socket
    },
  }
  const db = new BaseWarp({}, platform)
  const text = "x".repeat(300_000)
  const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20))
  const calls = Array.from({ length: 10 }, () => db.entity("a").append("T", { text }, { aggregate: "A" }))
  await turn()
  expect(sent).toHaveLength(4)
  socket.buffered = 0
  handlers.drained()
  expect(sent).toHaveLength(8)
  socket.buffered = 0
  handlers.drained()
  expect(sent).toHaveLength(10)
  for (let id = 1; id <= 10; id++) handlers.message(JSON.stringify({ id, ok: { seq: id } }))
  expect((await Promise.all(calls)).map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  await db.close()
})
