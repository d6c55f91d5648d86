/** A server that speaks section "messages of the WebSocket" in memory, and breaks what a test tells it to break. */
import { createHash } from "node:crypto"
import { createServer, type IncomingMessage, type Server } from "node:http"
import type { AddressInfo, Socket } from "node:net"

import { ClientFrames, serverFrame } from "./frames.js"
import { type Given, Problem, Store } from "./store.js"
import { FakeSubscription, type Names, type SubscribeArgs } from "./subscription.js"

/** A call as it came. */
export type Call = { id?: number; op: string; [name: string]: unknown }

/**
 * What becomes of a call: `answer`; `lose`: the connection is cut before it is carried out; `cut`: after it was, without
 * an answer; `half`: in the middle of the answer's frame; `twice`: the answer comes twice; `silence`: nothing at all;
 * or the answer is this error, comes after so many milliseconds, or is this text with `ID` for the call's id.
 */
export type Fault = "answer" | "lose" | "cut" | "half" | "twice" | "silence" | Problem | number | { text: string }

export class FakeServer {
  readonly store = new Store()
  readonly names: Names = new Map()
  /** All messages of clients, as parsed. */
  readonly messages: unknown[] = []
  readonly texts: string[] = []
  readonly calls: Call[] = []
  readonly headers: IncomingMessage["headers"][] = []
  readonly connections = new Set<Connection>()
  token: string | undefined = "warp_secret"
  /** The status that refuses the next handshakes. */
  refuse: (() => number | undefined) | undefined
  fault: (call: Call) => Fault = () => "answer"
  /** How the bytes to the client are cut into pieces. */
  chunk: (() => number) | undefined
  private readonly http: Server

  constructor() {
    this.http = createServer((_, response) => response.writeHead(404).end())
    this.http.on("upgrade", (request, socket) => this.upgrade(request, socket as Socket))
  }

  listen(port = 0): Promise<number> {
    return new Promise((resolve) => {
      this.http.listen(port, "127.0.0.1", () => resolve(this.port))
    })
  }

  get port(): number {
    return (this.http.address() as AddressInfo).port
  }

  /** Cuts all connections. */
  cut(): void {
    for (const connection of this.connections) connection.socket.destroy()
  }

  async close(): Promise<void> {
    this.cut()
    await new Promise((resolve) => this.http.close(resolve))
  }

  private upgrade(request: IncomingMessage, socket: Socket): void {
    socket.on("error", () => undefined)
    socket.on("end", () => socket.end())
    this.headers.push(request.headers)
    const status = this.refuse?.()
    const bearer = request.headers["sec-websocket-protocol"]
      ?.split(/, */)
      .find((name) => name.startsWith("warp.bearer."))
    const token = request.headers.authorization?.replace("Bearer ", "") ?? bearer?.replace("warp.bearer.", "")
    if (status !== undefined || token !== this.token) {
      const code = status ?? 401
      const body = JSON.stringify({
        code: code === 401 ? "unauthorized" : "refused",
        detail: "It was refused.",
        advice: "Ask.",
      })
      const length = Buffer.byteLength(body)
      socket.end(
        `HTTP/1.1 ${code} No\r\nContent-Type: application/problem+json\r\nContent-Length: ${length}\r\n\r\n${body}`,
      )
      return
    }
    const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`
    const accept = createHash("sha1").update(key).digest("base64")
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: warp.v1\r\n\r\n`,
    )
    const connection = new Connection(this, socket)
    this.connections.add(connection)
    socket.on("close", () => {
      this.connections.delete(connection)
      connection.closed()
    })
  }
}

export class Connection {
  private readonly frames = new ClientFrames()
  readonly subscriptions = new Map<number, FakeSubscription>()
  private parts: Buffer[] = []
  private isCut = false

  constructor(
    readonly server: FakeServer,
    readonly socket: Socket,
  ) {
    socket.on("data", (bytes) => {
      for (const { opcode, payload, fin } of this.frames.push(bytes)) this.frame(opcode, payload, fin)
    })
  }

  send(message: unknown): void {
    this.write(serverFrame(1, Buffer.from(JSON.stringify(message))))
  }

  /** A message in two frames, with a ping between them. */
  sendInParts(message: unknown): void {
    const bytes = Buffer.from(JSON.stringify(message))
    const middle = bytes.length >> 1
    this.write(serverFrame(1, bytes.subarray(0, middle), false))
    this.write(serverFrame(9, Buffer.from("hi")))
    this.write(serverFrame(0, bytes.subarray(middle)))
  }

  close(code: number, reason = ""): void {
    const body = Buffer.alloc(2)
    body.writeUInt16BE(code)
    this.socket.end(serverFrame(8, Buffer.concat([body, Buffer.from(reason)])))
  }

  closed(): void {
    for (const subscription of this.subscriptions.values()) this.leave(subscription)
    this.subscriptions.clear()
  }

  private cut(): void {
    this.isCut = true
    this.socket.destroy()
  }

  private write(bytes: Buffer): void {
    const { chunk } = this.server
    if (chunk === undefined) return void this.socket.write(bytes)
    for (let at = 0; at < bytes.length;) {
      const size = chunk()
      this.socket.write(bytes.subarray(at, at + size))
      at += size
    }
  }

  private frame(opcode: number, payload: Buffer, fin: boolean): void {
    if (opcode === 8) return void this.socket.end(serverFrame(8, payload.subarray(0, 2)))
    if (opcode === 9) return this.write(serverFrame(10, payload))
    if (opcode > 2) return
    this.parts.push(payload)
    if (!fin) return
    const text = Buffer.concat(this.parts).toString()
    const message: unknown = JSON.parse(text)
    this.server.texts.push(text)
    this.parts = []
    this.server.messages.push(message)
    for (const call of Array.isArray(message) ? message : [message]) this.call(call as Call)
  }

  private call(call: Call): void {
    if (this.isCut) return
    this.server.calls.push(call)
    const fault = this.server.fault(call)
    if (fault === "lose") return this.cut()
    if (fault instanceof Problem) return this.send({ id: call.id, error: fault })
    const answer = this.carriedOut(call)
    if (answer === undefined || fault === "silence") return
    if (typeof fault === "number") return void setTimeout(() => this.send(answer), fault)
    if (typeof fault === "object")
      return this.write(serverFrame(1, Buffer.from(fault.text.replace("ID", String(call.id)))))
    if (fault === "cut") return this.cut()
    if (fault === "half") {
      const bytes = serverFrame(1, Buffer.from(JSON.stringify(answer)))
      this.isCut = true
      this.socket.write(bytes.subarray(0, bytes.length >> 1), () => this.socket.destroy())
      return
    }
    this.send(answer)
    if (fault === "twice") this.send(answer)
    this.subscriptions.get(call.id ?? 0)?.pump()
  }

  private carriedOut(call: Call): object | undefined {
    const { id } = call
    if (call.op === "ack") {
      if (Array.isArray(call["events"])) {
        this.subscriptions.get(call["subscription"] as number)?.ack(call["events"] as [number, number, number][])
      }
      return undefined
    }
    try {
      return { id, ok: this.result(call) }
    } catch (error) {
      if (error instanceof Problem) return { id, error }
      throw error
    }
  }

  private result(call: Call): unknown {
    const { store } = this.server
    const entity = call["entity"] as string
    switch (call.op) {
      case "append":
        return { seq: store.append(entity, [call["event"] as Given], call["expected"]).first }
      case "append_batch":
        return store.append(entity, call["events"] as Given[], call["expected"])
      case "get":
        return { state: { balance: store.balance(entity) } }
      case "history":
      case "export":
        return this.history(call, entity)
      case "delete":
        return {
          entity,
          deleted: true,
          shard: 3,
          events: store.delete(entity),
          erased_at: 1_750_000_000_000_000,
          erased_from: ["log"],
          nodes: ["nonode@nohost"],
          backups: [7],
        }
      case "command":
        return { seqs: [store.append(entity, [{ type: String(call["name"]), payload: call["input"] }]).first] }
      case "query":
        return { columns: ["id", "balance"], rows: [["user/alice", 150000]] }
      case "subscribe":
        return this.subscribe(call)
      case "unsubscribe": {
        const subscription = this.subscriptions.get(call["subscription"] as number)
        if (subscription !== undefined) this.leave(subscription)
        this.subscriptions.delete(call["subscription"] as number)
        return {}
      }
      case "saga":
        return {
          id: call["saga"],
          result: "COMMITTED",
          state: "committed",
          steps: [{ step: 0, entity: "a", compensation_seq: 2 }],
        }
      case "token":
        return { token: this.server.token, expires: Math.round(Date.now() / 1000) + 60 }
      case "wait":
      case "stats":
        return {}
      default:
        throw new Problem("bad_request")
    }
  }

  private history(call: Call, entity: string): object {
    const { from = 1, limit = 1000 } = call as { from?: number; limit?: number }
    const all = this.server.store.of(entity)
    const events = all.slice(from - 1, from - 1 + Math.min(limit, 3))
    const next = from - 1 + events.length < all.length ? from + events.length : null
    return { events: events.map(({ entity: _, shard: __, position: ___, ...event }) => event), next }
  }

  private subscribe(call: Call): object {
    const { store, names } = this.server
    const tell = (message: object): void => this.send({ subscription: call.id, ...message })
    const subscription = new FakeSubscription(store, call as SubscribeArgs, names, tell)
    this.subscriptions.set(call.id!, subscription)
    store.onCommit.add(subscription.pump)
    store.onErase.add(subscription.erased)
    return { cursor: subscription.cursor }
  }

  private leave(subscription: FakeSubscription): void {
    this.server.store.onCommit.delete(subscription.pump)
    this.server.store.onErase.delete(subscription.erased)
  }
}
