/** Frames as a server sends and takes them, written apart from the client's so that the two check each other. */

/** A frame to the client, unmasked. */
export function serverFrame(opcode: number, payload: Buffer, fin = true): Buffer {
  const head = [(fin ? 0x80 : 0) | opcode]
  if (payload.length < 126) head.push(payload.length)
  else if (payload.length < 65536) head.push(126, payload.length >> 8, payload.length & 255)
  else {
    const size = Buffer.alloc(8)
    size.writeBigUInt64BE(BigInt(payload.length))
    head.push(127, ...size)
  }
  return Buffer.concat([Buffer.from(head), payload])
}

export interface ClientFrame {
  fin: boolean
  opcode: number
  payload: Buffer
}

/** Takes bytes of the client, and gives whole frames. Throws where a frame is not masked. */
export class ClientFrames {
  private rest = Buffer.alloc(0)

  push(bytes: Uint8Array): ClientFrame[] {
    this.rest = Buffer.concat([this.rest, bytes])
    const frames: ClientFrame[] = []
    for (let frame = this.one(); frame !== undefined; frame = this.one()) frames.push(frame)
    return frames
  }

  private one(): ClientFrame | undefined {
    const { rest } = this
    if (rest.length < 2) return undefined
    if ((rest[1]! & 0x80) === 0) throw new Error("a frame of the client is not masked")
    const short = rest[1]! & 0x7f
    const headSize = short < 126 ? 2 : short === 126 ? 4 : 10
    if (rest.length < headSize + 4) return undefined
    const size = short < 126 ? short : short === 126 ? rest.readUInt16BE(2) : Number(rest.readBigUInt64BE(2))
    const end = headSize + 4 + size
    if (rest.length < end) return undefined
    const mask = rest.subarray(headSize, headSize + 4)
    const payload = Buffer.from(rest.subarray(headSize + 4, end))
    for (let i = 0; i < size; i++) payload[i]! ^= mask[i % 4]!
    this.rest = rest.subarray(end)
    return { fin: (rest[0]! & 0x80) !== 0, opcode: rest[0]! & 15, payload }
  }
}
