/** The opening handshake of RFC 6455, from the client's side. Pure: texts in, decisions out. */

/** How many bytes the head of the server's answer may have. */
export const MAX_HEAD = 16384

const PROTOCOL = "warp.v1"

/** What the request needs. */
export interface Request {
  host: string
  port: number
  token: string | undefined
  /** Sixteen random bytes in base64. */
  key: string
}

/** The head of the request. */
export function requestHead({ host, port, token, key }: Request): string {
  const name = host.includes(":") ? `[${host}]` : host
  const lines = [
    "GET /v1/socket HTTP/1.1",
    `Host: ${name}:${port}`,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${key}`,
    `Sec-WebSocket-Protocol: ${PROTOCOL}`,
    ...(token === undefined ? [] : [`Authorization: Bearer ${token}`]),
  ]
  return `${lines.join("\r\n")}\r\n\r\n`
}

/** The head of an answer. Names of headers are in lower case. */
export interface Head {
  status: number
  headers: ReadonlyMap<string, string>
}

/** Reads the head of an answer, up to and without the empty line. Undefined for what is no HTTP/1.1. */
export function readHead(text: string): Head | undefined {
  const [first = "", ...lines] = text.split("\r\n")
  const status = /^HTTP\/1\.1 (\d{3})( |$)/.exec(first)?.[1]
  if (status === undefined) return undefined
  const headers = new Map<string, string>()
  for (const line of lines) {
    const colon = line.indexOf(":")
    if (colon < 1) return undefined
    headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim())
  }
  return { status: Number(status), headers }
}

/** What is wrong with an answer of status 101, or undefined when the socket is open. */
export function wrongUpgrade({ headers }: Head, accept: string): string | undefined {
  if (headers.get("upgrade")?.toLowerCase() !== "websocket") return "the answer has no Upgrade: websocket"
  if (!headers.get("connection")?.toLowerCase().includes("upgrade")) return "the answer has no Connection: Upgrade"
  if (headers.get("sec-websocket-accept") !== accept) return "the answer's Sec-WebSocket-Accept is wrong"
  if (headers.get("sec-websocket-protocol") !== PROTOCOL) return `the server does not speak ${PROTOCOL}`
  if (headers.has("sec-websocket-extensions")) return "the server uses an extension that was not asked for"
  return undefined
}

/** Whether a token can stand in a header and in the name of a subprotocol. */
export function isToken(token: string): boolean {
  return /^[A-Za-z0-9._~-]{1,4096}$/.test(token)
}
