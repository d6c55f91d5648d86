import { createServer, type Server, type Socket } from "node:net"
import type { AddressInfo } from "node:net"
import { afterEach, describe, expect, test } from "vitest"

import { Warp } from "../../src/node.js"
import { isToken, readHead, requestHead, wrongUpgrade } from "../../src/socket/handshake.js"

const GOOD = [
  "HTTP/1.1 101 Switching Protocols",
  "Upgrade: WebSocket",
  "connection: keep-alive, Upgrade",
  "Sec-WebSocket-Accept: abc=",
  "Sec-WebSocket-Protocol: warp.v1",
]

describe("the request", () => {
  test("names host, key, protocol and token", () => {
    expect(requestHead({ host: "::1", port: 9090, token: "warp_1", key: "k" })).toBe(
      "GET /v1/socket HTTP/1.1\r\nHost: [::1]:9090\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Protocol: warp.v1\r\n" +
        "Authorization: Bearer warp_1\r\n\r\n",
    )
  })

  test.each(["", "a b", "a\r\nb", "é", "a,b", "x".repeat(5000)])("has no token %j", (token) => {
    expect(isToken(token)).toBe(false)
  })
})

describe("the answer", () => {
  test("is taken as it should be", () => {
    expect(wrongUpgrade(readHead(GOOD.join("\r\n"))!, "abc=")).toBeUndefined()
  })

  test.each<[number, string, RegExp]>([
    [1, "X: y", /Upgrade: websocket/],
    [2, "X: y", /Connection: Upgrade/],
    [3, "Sec-WebSocket-Accept: abd=", /Accept/],
    [4, "Sec-WebSocket-Protocol: warp.v2", /warp\.v1/],
    [4, "Sec-WebSocket-Protocol: warp.v1\r\nSec-WebSocket-Extensions: x", /extension/],
  ])("with line %i as %j is wrong", (line, text, why) => {
    const lines = GOOD.map((good, n) => (n === line ? text : good))
    expect(wrongUpgrade(readHead(lines.join("\r\n"))!, "abc=")).toMatch(why)
  })

  test.each(["", "HTTP/2 101", "HTTP/1.1 1", "SSH-2.0", "HTTP/1.1 200 OK\r\nno colon"])("%j is no head", (text) => {
    expect(readHead(text)).toBeUndefined()
  })
})

describe("a server that is none", () => {
  let server: Server

  afterEach(() => new Promise((resolve) => server.close(resolve)))

  test.each<[string, (socket: Socket) => void]>([
    ["speaks something else", (socket) => socket.end("220 smtp.example.org\r\n\r\n")],
    ["sends a head without end", (socket) => void socket.write("HTTP/1.1 101 x\r\nA: ".padEnd(20_000, "a"))],
    ["has a wrong accept", (socket) => socket.end(`${GOOD.join("\r\n")}\r\n\r\n`)],
  ])("%s: an error at once", async (_, answer) => {
    server = createServer((socket) => {
      socket.on("error", () => undefined)
      socket.resume()
      answer(socket)
    })
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    const db = new Warp({ host: "127.0.0.1", port: (server.address() as AddressInfo).port, token: "warp_1" })
    await expect(db.entity("a").get("A")).rejects.toMatchObject({ code: "protocol_error", retryable: false })
  })
})
