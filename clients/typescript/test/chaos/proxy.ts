/** What stands between the clients and the server: it forwards bytes, and breaks the connections that it is told to. */
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net"

import type { Random } from "./random.js"

/** One connection: both of its sockets, and how many bytes it still forwards. */
interface Pair {
  sockets: [client: Socket, server: Socket]
  left: number
  isReset: boolean
  isStalled: boolean
}

/** How many bytes pass at most before a connection is cut in their middle. */
const MAX_LATER = 3000

export class Proxy {
  private readonly pairs = new Set<Pair>()
  private readonly server: Server

  constructor(
    private readonly target: number,
    private readonly random: Random,
  ) {
    this.server = createServer((client) => this.connected(client))
  }

  listen(): Promise<number> {
    return new Promise((resolve) => {
      this.server.listen(0, "127.0.0.1", () => resolve((this.server.address() as AddressInfo).port))
    })
  }

  /** Cuts a share of the connections, now or after some more bytes. Gives how many. */
  cut(share: number, isReset: boolean, isLater = false): number {
    const some = this.some(share)
    for (const pair of some) {
      pair.isReset = isReset
      if (isLater) pair.left = this.random.between(0, MAX_LATER)
      else end(pair)
    }
    return some.length
  }

  /** A share of the connections carries nothing until the function that this gives is called. */
  stall(share: number): (isCut: boolean) => void {
    const some = this.some(share)
    for (const pair of some) hold(pair, true)
    return (isCut) => {
      for (const pair of some) {
        if (isCut) end(pair)
        else hold(pair, false)
      }
    }
  }

  async close(): Promise<void> {
    this.cut(1, false)
    await new Promise((resolve) => this.server.close(resolve))
  }

  private some(share: number): Pair[] {
    return [...this.pairs].filter(() => this.random.isBelow(share))
  }

  private connected(client: Socket): void {
    const server = connect(this.target, "127.0.0.1")
    const pair: Pair = { sockets: [client, server], left: Infinity, isReset: false, isStalled: false }
    this.pairs.add(pair)
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      from.setNoDelay(true)
      from.on("data", (bytes) => {
        const isLast = bytes.length > pair.left
        // What is written last goes out before the end, but not before a reset.
        const isFull = !to.write(isLast ? bytes.subarray(0, pair.left) : bytes)
        pair.left -= bytes.length
        if (isLast) setTimeout(() => end(pair), 5)
        if (isLast || isFull) from.pause()
      })
      to.on("drain", () => pair.isStalled || from.resume())
      from.on("end", () => to.end())
      from.on("error", () => end(pair))
      from.on("close", () => {
        end(pair)
        this.pairs.delete(pair)
      })
    }
  }
}

function hold(pair: Pair, isStalled: boolean): void {
  pair.isStalled = isStalled
  for (const socket of pair.sockets) {
    if (isStalled) socket.pause()
    else socket.resume()
  }
}

function end({ sockets, isReset }: Pair): void {
  for (const socket of sockets) {
    if (isReset) socket.resetAndDestroy()
    else socket.destroy()
  }
}
