import fc from "fast-check"
import { describe, expect, test } from "vitest"

import { closeFrame, FrameError, FrameReader, type Message, textFrame } from "../../src/socket/frames.js"
import { ClientFrames, serverFrame } from "../fake/frames.js"

const text = fc.string({ unit: "grapheme", maxLength: 200 })
const long = fc.integer({ min: 0, max: 70_000 }).map((size) => "é".repeat(size))

/** Cuts bytes into pieces of these sizes, in turn. */
function cut(bytes: Buffer, sizes: number[]): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0, n = 0; at < bytes.length; n++) {
    const size = sizes[n % sizes.length]!
    pieces.push(bytes.subarray(at, at + size))
    at += size
  }
  return pieces
}

describe("frames to the server", () => {
  test("another codec reads them", () => {
    fc.assert(
      fc.property(fc.oneof(text, long), fc.uint8Array({ minLength: 4, maxLength: 4 }), (given, mask) => {
        const [frame] = new ClientFrames().push(textFrame(given, mask))
        expect([frame?.fin, frame?.opcode, frame?.payload.equals(Buffer.from(given))]).toEqual([true, 1, true])
      }),
    )
  })

  test("a reason that is too long is cut at a character", () => {
    const [frame] = new ClientFrames().push(closeFrame(1000, "é".repeat(100), new Uint8Array(4)))
    expect(frame?.payload.subarray(2).toString()).toBe("é".repeat(61))
  })
})

describe("frames of the server", () => {
  test("messages come whole, however they are divided into frames and pieces", () => {
    const parts = fc.array(fc.nat(400), { maxLength: 4 })
    const sizes = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 })
    fc.assert(
      fc.property(fc.array(fc.tuple(text, parts)), sizes, (messages, pieces) => {
        const bytes: Buffer[] = []
        for (const [message, cuts] of messages) {
          const all = Buffer.from(message)
          const ends = cuts.map((at) => at % (all.length + 1)).sort((a, b) => a - b)
          const starts = [0, ...ends]
          starts.forEach((start, n) => {
            const isLast = n === starts.length - 1
            bytes.push(serverFrame(n === 0 ? 1 : 0, all.subarray(start, starts[n + 1] ?? all.length), isLast))
            if (!isLast) bytes.push(serverFrame(9, Buffer.from("ping")))
          })
        }
        const reader = new FrameReader(1 << 20)
        const read: Message[] = cut(Buffer.concat(bytes), pieces).flatMap((piece) => reader.push(piece))
        const texts = read.flatMap((message) => (message.kind === "text" ? [message.text] : []))
        expect(texts).toEqual(messages.map(([message]) => message))
      }),
    )
  })

  test("a message of each size of length is read", () => {
    for (const size of [0, 125, 126, 65535, 65536, 200_000]) {
      const [message] = new FrameReader(1 << 20).push(serverFrame(1, Buffer.alloc(size, "a")))
      expect(message).toEqual({ kind: "text", text: "a".repeat(size) })
    }
  })

  test.each<[string, Buffer, number]>([
    ["a mask", Buffer.from([0x81, 0x80, 0, 0, 0, 0]), 1002],
    ["a reserved bit", Buffer.from([0xc1, 0]), 1002],
    ["an unknown opcode", serverFrame(3, Buffer.alloc(0)), 1002],
    ["a ping in parts", serverFrame(9, Buffer.alloc(0), false), 1002],
    ["a ping that is long", serverFrame(9, Buffer.alloc(126)), 1002],
    ["a continuation of nothing", serverFrame(0, Buffer.alloc(1)), 1002],
    [
      "a message in a message",
      Buffer.concat([serverFrame(1, Buffer.alloc(1), false), serverFrame(1, Buffer.alloc(1))]),
      1002,
    ],
    ["a close of one byte", serverFrame(8, Buffer.alloc(1)), 1002],
    ["a binary message", serverFrame(2, Buffer.alloc(1)), 1003],
    ["text that is no UTF-8", serverFrame(1, Buffer.from([0xff])), 1007],
    ["a message beyond the limit", serverFrame(1, Buffer.alloc(1001)), 1009],
    [
      "parts beyond the limit",
      Buffer.concat([serverFrame(1, Buffer.alloc(600), false), serverFrame(0, Buffer.alloc(600))]),
      1009,
    ],
    ["a length of 2^63", Buffer.from([0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]), 1009],
  ])("%s is refused", (_, bytes, code) => {
    const refused = (): unknown => new FrameReader(1000).push(bytes)
    expect(refused).toThrow(FrameError)
    expect(refused).toThrow(expect.objectContaining({ code }))
  })

  test("random bytes give messages or a FrameError, and nothing else", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 30 })), (pieces) => {
        const reader = new FrameReader(1000)
        try {
          for (const piece of pieces) reader.push(piece)
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError)
        }
      }),
      { numRuns: 2000 },
    )
  })
})
