/**
 * The frames of RFC 6455, as a client sends and takes them. Pure: bytes in, messages out.
 */

const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

/** What the server has sent. */
export type Message =
  | { kind: "text"; text: string }
  | { kind: "ping"; data: Uint8Array }
  | { kind: "pong" }
  | { kind: "close"; code: number; reason: string }

/** The server has broken the protocol. The connection is closed with the code. */
export class FrameError extends Error {
  override readonly name = "FrameError"
  constructor(
    readonly code: 1002 | 1003 | 1007 | 1009,
    message: string,
  ) {
    super(message)
  }
}

const encoder = new TextEncoder()

/** The bytes of a text message. `mask` are four random bytes. */
export function textFrame(text: string, mask: Uint8Array): Uint8Array {
  return frame(OPCODE.text, encoder.encode(text), mask)
}

export function pingFrame(mask: Uint8Array): Uint8Array {
  return frame(OPCODE.ping, new Uint8Array(0), mask)
}

export function pongFrame(data: Uint8Array, mask: Uint8Array): Uint8Array {
  return frame(OPCODE.pong, data, mask)
}

/** The bytes of a close frame. The reason has 123 bytes at most; what is longer is cut off. */
export function closeFrame(code: number, reason: string, mask: Uint8Array): Uint8Array {
  const body = new Uint8Array(125)
  new DataView(body.buffer).setUint16(0, code)
  const { written } = encoder.encodeInto(reason, body.subarray(2))
  return frame(OPCODE.close, body.subarray(0, 2 + written), mask)
}

function frame(opcode: number, payload: Uint8Array, mask: Uint8Array): Uint8Array {
  const size = payload.length
  const extended = size < 126 ? 0 : size < 65536 ? 2 : 8
  const bytes = new Uint8Array(2 + extended + 4 + size)
  const view = new DataView(bytes.buffer)
  bytes[0] = 0x80 | opcode
  bytes[1] = 0x80 | (extended === 0 ? size : extended === 2 ? 126 : 127)
  if (extended === 2) view.setUint16(2, size)
  if (extended === 8) view.setBigUint64(2, BigInt(size))
  bytes.set(mask, 2 + extended)
  const start = 6 + extended
  for (let i = 0; i < size; i++) bytes[start + i] = payload[i]! ^ mask[i & 3]!
  return bytes
}

interface Head {
  isLast: boolean
  opcode: number
  headSize: number
  size: number
}

/** Takes the server's bytes, in pieces of any size, and gives the messages in them. */
export class FrameReader {
  private readonly bytes = new Bytes()
  /** The parts of a message that came in several frames. */
  private parts: Uint8Array[] | undefined
  private partsSize = 0

  /** @param limit - How many bytes a message may have. */
  constructor(private readonly limit: number) {}

  /**
   * The messages that are complete with these bytes.
   *
   * @throws FrameError with the code to close with: 1002 for a frame that no server may send, 1003 for a binary
   * message, 1007 for text that is no UTF-8, 1009 for a message beyond the limit.
   */
  push(chunk: Uint8Array): Message[] {
    this.bytes.add(chunk)
    const messages: Message[] = []
    for (;;) {
      const head = this.head()
      if (head === undefined || this.bytes.size < head.headSize + head.size) return messages
      this.bytes.take(head.headSize)
      const message = this.taken(head, this.bytes.take(head.size))
      if (message !== undefined) messages.push(message)
    }
  }

  private head(): Head | undefined {
    const start = this.bytes.peek(Math.min(this.bytes.size, 10))
    const [first, second] = start
    if (first === undefined || second === undefined) return undefined
    if ((first & 0x70) !== 0) throw new FrameError(1002, "a reserved bit is set")
    if ((second & 0x80) !== 0) throw new FrameError(1002, "a frame of a server is masked")
    const short = second & 0x7f
    const headSize = short < 126 ? 2 : short === 126 ? 4 : 10
    const opcode = first & 0x0f
    const isLast = (first & 0x80) !== 0
    if (opcode >= 8 && (short > 125 || !isLast)) throw new FrameError(1002, "a control frame is long or in parts")
    if (start.length < headSize) return undefined
    const view = new DataView(start.buffer, start.byteOffset, start.length)
    const size = short < 126 ? short : short === 126 ? view.getUint16(2) : Number(view.getBigUint64(2))
    if (this.partsSize + size > this.limit) throw new FrameError(1009, `a message is longer than ${this.limit} bytes`)
    return { isLast, opcode, headSize, size }
  }

  private taken({ opcode, isLast }: Head, payload: Uint8Array): Message | undefined {
    switch (opcode) {
      case OPCODE.ping:
        return { kind: "ping", data: payload }
      case OPCODE.pong:
        return { kind: "pong" }
      case OPCODE.close:
        return closed(payload)
      case OPCODE.text:
        if (this.parts !== undefined) throw new FrameError(1002, "a message begins within another one")
        this.parts = []
        return this.part(payload, isLast)
      case OPCODE.continuation:
        if (this.parts === undefined) throw new FrameError(1002, "a part of no message")
        return this.part(payload, isLast)
      case OPCODE.binary:
        throw new FrameError(1003, "a binary message")
      default:
        throw new FrameError(1002, `an unknown opcode, ${opcode}`)
    }
  }

  private part(payload: Uint8Array, isLast: boolean): Message | undefined {
    const parts = this.parts ?? []
    parts.push(payload)
    this.partsSize += payload.length
    if (!isLast) return undefined
    const whole = joined(parts, this.partsSize)
    this.parts = undefined
    this.partsSize = 0
    return { kind: "text", text: utf8(whole) }
  }
}

function closed(payload: Uint8Array): Message {
  if (payload.length === 0) return { kind: "close", code: 1005, reason: "" }
  if (payload.length === 1) throw new FrameError(1002, "a close frame of one byte")
  const code = new DataView(payload.buffer, payload.byteOffset).getUint16(0)
  return { kind: "close", code, reason: utf8(payload.subarray(2)) }
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

function utf8(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch {
    throw new FrameError(1007, "a text that is no UTF-8")
  }
}

function joined(parts: Uint8Array[], size: number): Uint8Array {
  const [first] = parts
  if (first !== undefined && parts.length === 1) return first
  const whole = new Uint8Array(size)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** Pieces of bytes that are read as one. Each byte is copied at most twice, however small the pieces are. */
class Bytes {
  private chunks: Uint8Array[] = []
  size = 0

  add(chunk: Uint8Array): void {
    if (chunk.length === 0) return
    this.chunks.push(chunk)
    this.size += chunk.length
  }

  /** The first bytes, which stay. */
  peek(count: number): Uint8Array {
    const [first] = this.chunks
    if (first !== undefined && first.length >= count) return first.subarray(0, count)
    const peeked = new Uint8Array(count)
    let at = 0
    for (const chunk of this.chunks) {
      const part = chunk.subarray(0, count - at)
      peeked.set(part, at)
      at += part.length
      if (at === count) break
    }
    return peeked
  }

  /** The first bytes, which are gone then. */
  take(count: number): Uint8Array {
    const taken = this.peek(count)
    let left = count
    let whole = 0
    for (const chunk of this.chunks) {
      if (chunk.length > left) break
      left -= chunk.length
      whole++
    }
    this.chunks.splice(0, whole)
    const [first] = this.chunks
    if (first !== undefined && left > 0) this.chunks[0] = first.subarray(left)
    this.size -= count
    return taken
  }
}
