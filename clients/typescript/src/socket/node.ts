/**
 * A WebSocket over `node:net` and `node:tls`, for Node, Deno and Bun: Node 18 and 20 have none of their own, and no
 * platform's own one can send a header.
 */
import { Buffer } from "node:buffer"
import { createHash, randomFillSync } from "node:crypto"
import net from "node:net"
import process from "node:process"
import { setImmediate } from "node:timers"
import tls from "node:tls"

import type { Closed, Platform, Socket, SocketHandlers, Target } from "../platform.js"
import { closeFrame, FrameError, FrameReader, type Message, pingFrame, pongFrame, textFrame } from "./frames.js"
import { MAX_HEAD, readHead, requestHead, wrongUpgrade } from "./handshake.js"

/** How many bytes a message of the server may have: as many as the server takes of the client, and room. */
const MAX_MESSAGE = 64 * 1024 * 1024
/** How many bytes are read of an answer that refuses the handshake. */
const MAX_PROBLEM = 65536
/** How long the connection and the handshake may take, and the closing handshake, in milliseconds. */
const OPEN_MS = 10_000
const CLOSE_MS = 2_000

/** The platform of Node, Deno and Bun. */
export const nodePlatform: Platform = {
  open: (target, token, handlers) => new NodeSocket(target, token, handlers),
  random: (count) => randomFillSync(new Uint8Array(count)),
  env: (name) => {
    try {
      return process.env[name]
    } catch {
      // Deno without the permission to read it.
      return undefined
    }
  },
  later: (run) => void setImmediate(run),
}

type Phase = "opening" | "refused" | "open" | "closing" | "closed"

class NodeSocket implements Socket {
  private phase: Phase = "opening"
  private readonly socket: net.Socket
  private readonly reader = new FrameReader(MAX_MESSAGE)
  private readonly key = Buffer.from(randomFillSync(new Uint8Array(16))).toString("base64")
  private readonly masks = new Masks()
  /** What came of the answer to the handshake. */
  private answer = Buffer.alloc(0)
  private refusal: Pick<Closed, "status"> & { size: number } = { size: MAX_PROBLEM }
  /** What the server's close frame said, or ours. */
  private why: Closed | undefined
  private timer: NodeJS.Timeout | undefined

  constructor(
    target: Target,
    token: string | undefined,
    private readonly handlers: SocketHandlers,
  ) {
    this.socket = connected(target)
    this.socket.setNoDelay(true)
    this.socket.on(target.tls ? "secureConnect" : "connect", () => {
      this.socket.write(requestHead({ ...target, token, key: this.key }))
    })
    this.socket.on("data", (bytes) => this.received(bytes))
    this.socket.on("drain", () => this.handlers.drained())
    this.socket.on("error", (cause) => this.end({ code: 1006, reason: reasonOf(cause), cause }))
    this.socket.on("end", () => this.ended())
    this.socket.on("close", () => this.ended())
    this.within(OPEN_MS, `no connection within ${OPEN_MS} ms`)
  }

  get buffered(): number {
    return this.socket.writableLength
  }

  send(text: string): void {
    if (this.phase === "open") this.socket.write(textFrame(text, this.masks.next()))
  }

  readonly ping = (): void => {
    if (this.phase === "open") this.socket.write(pingFrame(this.masks.next()))
  }

  close(code: number, reason: string): void {
    if (this.phase !== "open") return this.drop()
    this.phase = "closing"
    this.why = { code, reason }
    this.socket.write(closeFrame(code, reason, this.masks.next()))
    this.within(CLOSE_MS, reason)
  }

  drop(): void {
    this.end({ code: 1006, reason: "the client gave the connection up" })
    this.socket.destroy()
  }

  hold(isHeld: boolean): void {
    if (isHeld) this.socket.ref()
    else this.socket.unref()
  }

  private received(bytes: Buffer): void {
    if (this.phase === "closed") return
    this.handlers.heard()
    if (this.phase === "opening" || this.phase === "refused") this.answered(bytes)
    else this.framed(bytes)
  }

  private answered(bytes: Buffer): void {
    this.answer = Buffer.concat([this.answer, bytes])
    if (this.phase === "refused") return this.refused()
    const end = this.answer.indexOf("\r\n\r\n")
    if (end < 0) {
      if (this.answer.length > MAX_HEAD) this.end({ code: 1002, reason: "the server's answer is too long" })
      return
    }
    const head = readHead(this.answer.toString("latin1", 0, end))
    const rest = this.answer.subarray(end + 4)
    if (head === undefined) return this.end({ code: 1002, reason: "the server does not speak HTTP/1.1" })
    if (head.status !== 101) {
      this.phase = "refused"
      this.answer = rest
      const length = Number(head.headers.get("content-length") ?? MAX_PROBLEM)
      this.refusal = { status: head.status, size: Math.min(length, MAX_PROBLEM) }
      return this.refused()
    }
    const wrong = wrongUpgrade(head, accept(this.key))
    if (wrong !== undefined) return this.end({ code: 1002, reason: wrong })
    this.phase = "open"
    this.answer = Buffer.alloc(0)
    clearTimeout(this.timer)
    this.handlers.opened()
    if (rest.length > 0) this.framed(rest)
  }

  private refused(): void {
    const { status, size } = this.refusal
    if (this.answer.length < size || status === undefined) return
    this.end({ code: 1006, reason: `the server answered with status ${status}`, status, problem: json(this.answer) })
  }

  private framed(bytes: Uint8Array): void {
    try {
      for (const message of this.reader.push(bytes)) this.took(message)
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      this.socket.write(closeFrame(error.code, error.message, this.masks.next()))
      this.end({ code: error.code, reason: error.message })
    }
  }

  private took(message: Message): void {
    if (this.phase === "closed") return
    switch (message.kind) {
      case "text":
        if (this.phase === "open") this.handlers.message(message.text)
        break
      case "ping":
        this.socket.write(pongFrame(message.data, this.masks.next()))
        break
      case "pong":
        break
      case "close":
        if (this.phase === "open") {
          this.socket.write(closeFrame(message.code === 1005 ? 1000 : message.code, "", this.masks.next()))
        }
        this.end({ code: message.code, reason: message.reason })
    }
  }

  /** The server has ended the connection. */
  private ended(): void {
    if (this.phase === "refused") {
      this.refusal.size = 0
      this.refused()
    }
    this.end(this.why ?? { code: 1006, reason: "the server closed the connection" })
  }

  private within(millis: number, reason: string): void {
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.end(this.why ?? { code: 1006, reason }), millis)
  }

  private end(why: Closed): void {
    if (this.phase === "closed") return
    this.phase = "closed"
    clearTimeout(this.timer)
    // What was written still goes out, but nobody waits for it.
    this.socket.end()
    this.socket.destroySoon?.()
    this.socket.unref()
    this.handlers.closed(why)
  }
}

function connected({ host, port, tls: isTls, ca }: Target): net.Socket {
  // Node 18 would try only the first address of localhost, which may be ::1 where the server is at 127.0.0.1.
  const options = { host, port, autoSelectFamily: true }
  if (!isTls) return net.connect(options)
  const servername = net.isIP(host) === 0 ? { servername: host } : {}
  return tls.connect({ ...options, ...servername, ALPNProtocols: ["http/1.1"], ...(ca === undefined ? {} : { ca }) })
}

/** An error of several addresses that were tried has no message of its own. */
function reasonOf(error: Error): string {
  const all = error instanceof AggregateError ? (error.errors as Error[]) : [error]
  return all.map(({ message }) => message).join(", ")
}

function accept(key: string): string {
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64")
}

function json(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"))
  } catch {
    return undefined
  }
}

/** Four random bytes for each frame, from a stock that is filled seldom. */
class Masks {
  private readonly stock = new Uint8Array(1024)
  private at = this.stock.length

  next(): Uint8Array {
    if (this.at === this.stock.length) {
      randomFillSync(this.stock)
      this.at = 0
    }
    this.at += 4
    return this.stock.subarray(this.at - 4, this.at)
  }
}
