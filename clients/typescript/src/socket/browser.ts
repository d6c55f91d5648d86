/** The WebSocket of browsers. It can send no header, so the token goes in the name of a subprotocol. */
import type { Platform, Socket, SocketHandlers, Target } from "../platform.js"

/** How long the handshake and the closing may take, in milliseconds. */
const OPEN_MS = 10_000
const CLOSE_MS = 2_000
/** How often one looks whether what waits has been sent, in milliseconds: a browser does not say. */
const DRAIN_MS = 10

/** The platform of browsers, and of workers in them. */
export const browserPlatform: Platform = {
  open: (target, token, handlers) => new BrowserSocket(target, token, handlers),
  random: (count) => crypto.getRandomValues(new Uint8Array(count)),
  env: () => undefined,
  later: soon(),
}

/** A message to oneself comes when the current turn is over; a timer would come up to 4 ms later. */
function soon(): (run: () => void) => void {
  if (typeof MessageChannel === "undefined") return (run) => void setTimeout(run, 0)
  const waiting: (() => void)[] = []
  const { port1, port2 } = new MessageChannel()
  port1.onmessage = () => waiting.shift()?.()
  return (run) => {
    waiting.push(run)
    port2.postMessage(null)
  }
}

class BrowserSocket implements Socket {
  private readonly socket: WebSocket
  private isClosed = false
  private timer: ReturnType<typeof setTimeout> | undefined
  private drain: ReturnType<typeof setTimeout> | undefined
  readonly ping = undefined

  constructor(
    target: Target,
    token: string | undefined,
    private readonly handlers: SocketHandlers,
  ) {
    const host = target.host.includes(":") ? `[${target.host}]` : target.host
    const url = `${target.tls ? "wss" : "ws"}://${host}:${target.port}/v1/socket`
    this.socket = new WebSocket(url, ["warp.v1", ...(token === undefined ? [] : [`warp.bearer.${token}`])])
    this.socket.onopen = () => {
      clearTimeout(this.timer)
      this.handlers.heard()
      this.handlers.opened()
    }
    this.socket.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (this.isClosed) return
      this.handlers.heard()
      if (typeof data === "string") this.handlers.message(data)
      else this.close(1003, "a binary message")
    }
    this.socket.onclose = ({ code, reason }) => this.end(code, reason)
    this.within(OPEN_MS)
  }

  get buffered(): number {
    return this.socket.bufferedAmount
  }

  send(text: string): void {
    if (this.isClosed || this.socket.readyState !== WebSocket.OPEN) return
    this.socket.send(text)
    this.drain ??= setTimeout(() => this.drained(), DRAIN_MS)
  }

  close(code: number, reason: string): void {
    // A page may say only 1000 and codes from 3000 on.
    this.socket.close(code === 1000 || code >= 3000 ? code : 1000, reason)
    this.within(CLOSE_MS)
  }

  drop(): void {
    this.socket.close()
    this.end(1006, "the client gave the connection up")
  }

  hold(): void {
    // A page runs anyhow.
  }

  private drained(): void {
    this.drain = undefined
    if (this.isClosed) return
    if (this.socket.bufferedAmount > 0) this.drain = setTimeout(() => this.drained(), DRAIN_MS)
    else this.handlers.drained()
  }

  private within(millis: number): void {
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.drop(), millis)
  }

  private end(code: number, reason: string): void {
    if (this.isClosed) return
    this.isClosed = true
    clearTimeout(this.timer)
    clearTimeout(this.drain)
    this.handlers.closed({ code, reason })
  }
}
