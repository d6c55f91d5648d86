/** What differs between Node, Deno and Bun on one side and browsers on the other. */

/** Where the server is. */
export interface Target {
  host: string
  port: number
  tls: boolean
  /** Certificates to trust, in PEM, in place of the system's. Browsers know no such option. */
  ca?: string | undefined
}

/** Why a socket is no more, or never was. */
export interface Closed {
  /** The WebSocket close code; 1006 where the connection was lost or not made. */
  code: number
  reason: string
  /** The status of an answer that refused the handshake, and the problem details in it. */
  status?: number
  problem?: unknown
  cause?: unknown
}

/** What a socket tells its owner. */
export interface SocketHandlers {
  /** The handshake is done. */
  opened(): void
  /** A text message. */
  message(text: string): void
  /** Something was received, whatever it is. */
  heard(): void
  /** What was to be sent is on its way. */
  drained(): void
  /** Comes once, also in place of `opened`. Nothing follows. */
  closed(why: Closed): void
}

/** One WebSocket. */
export interface Socket {
  /** Sends a text message. */
  send(text: string): void
  /** How many bytes wait to be sent. */
  readonly buffered: number
  /** Sends a ping, where the platform can. */
  readonly ping: (() => void) | undefined
  /** Begins the closing handshake. */
  close(code: number, reason: string): void
  /** Gives the connection up at once. */
  drop(): void
  /** Whether the open socket keeps the process running. */
  hold(isHeld: boolean): void
}

/** What the client needs from where it runs. */
export interface Platform {
  /** Opens a WebSocket at `/v1/socket`. */
  open(target: Target, token: string | undefined, handlers: SocketHandlers): Socket
  /** Random bytes that nobody can guess. */
  random(count: number): Uint8Array
  /** An environment variable, where there are any and they may be read. */
  env(name: string): string | undefined
  /** Calls the function when the current turn of the event loop, with all its promises, is over. */
  later(run: () => void): void
}
