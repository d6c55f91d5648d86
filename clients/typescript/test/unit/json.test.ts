import fc from "fast-check"
import { describe, expect, test } from "vitest"

import { parse, stringify } from "../../src/json.js"

/** Values of JSON, with integers of any size; `-0` is written as 0. */
const value = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.constantFrom(null, true, false),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => (n === 0 ? 0 : n)),
    fc.integer(),
    fc.bigInt({ min: -(10n ** 308n), max: 10n ** 308n }).map(small),
    fc.string({ unit: "binary" }),
    fc.array(tie("value")),
    fc.dictionary(fc.oneof(fc.string(), fc.constant("__proto__")), tie("value")),
  ),
})).value

/** As the parser gives an integer. */
function small(n: bigint): bigint | number {
  return n >= BigInt(Number.MIN_SAFE_INTEGER) && n <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(n) : n
}

/** Whether JSON.parse gives an integer beyond 2^53 for it, which the other parser gives as bigint. */
function isLongInteger(n: unknown): boolean {
  return typeof n === "number" && Number.isInteger(n) && !Number.isSafeInteger(n) && !/e/.test(String(n))
}

describe("the parser with big integers", () => {
  test("reads what the writer writes", () => {
    fc.assert(
      fc.property(value, (given) => {
        fc.pre(!someNumber(given, isLongInteger))
        expect(parse(stringify(given), true)).toEqual(given)
      }),
      { numRuns: 500 },
    )
  })

  test("reads what JSON.parse reads, where there is no big integer", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        fc.pre(!someNumber(JSON.parse(text), isLongInteger))
        // The long digits have the own parser used.
        const both = `[12345678901234567890,${text}]`
        expect((parse(both, true) as unknown[])[1]).toEqual(JSON.parse(text))
      }),
    )
  })

  test("refuses what JSON.parse refuses, and takes what it takes", () => {
    const pieces = fc.array(
      fc.constantFrom(
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"a"',
        '"',
        "1",
        "-",
        "0",
        ".5",
        "e3",
        "true",
        "nul",
        " ",
        "\\",
        "\n",
        "12345678901234567890",
      ),
    )
    fc.assert(
      fc.property(pieces, (given) => {
        const text = given.join("")
        const long = `[12345678901234567890,${text}]`
        expect(
          succeeds(() => parse(long, true)),
          text,
        ).toBe(succeeds(() => JSON.parse(long)))
      }),
      { numRuns: 5000 },
    )
  })

  test("keeps integers of 308 digits", () => {
    const digits = "9".repeat(308)
    expect(parse(`{"n":-${digits}}`, true)).toEqual({ n: -BigInt(digits) })
    expect(stringify({ n: BigInt(digits) })).toBe(`{"n":${digits}}`)
  })

  test("2^53 is a bigint, and the integer before it a number", () => {
    expect(parse("[9007199254740991,9007199254740992,-9007199254740993]", true)).toEqual([
      9007199254740991,
      9007199254740992n,
      -9007199254740993n,
    ])
  })

  test("a field __proto__ is a field", () => {
    const read = parse('{"__proto__":{"admin":12345678901234567890}}', true) as object
    expect(Object.keys(read)).toEqual(["__proto__"])
    expect((read as { admin?: unknown }).admin).toBeUndefined()
  })

  test("what is nested too deep is refused, and overflows no stack", () => {
    expect(() => parse(`[12345678901234567890,${"[".repeat(100_000)}`, true)).toThrow(SyntaxError)
  })
})

describe("the writer", () => {
  test("writes what JSON.stringify writes, where there is no bigint", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (given) => {
        expect(stringify(given)).toBe(JSON.stringify(given))
      }),
    )
  })

  test("leaves out undefined fields, and asks toJSON", () => {
    expect(stringify({ a: undefined, b: new Date(0), c: () => 1, d: { toJSON: () => 5n } })).toBe(
      '{"b":"1970-01-01T00:00:00.000Z","d":5}',
    )
  })

  test.each([NaN, Infinity, -Infinity, [undefined], [() => 1], undefined])("refuses %s", (given) => {
    expect(() => stringify(given)).toThrow(expect.objectContaining({ code: "bad_argument" }))
  })

  test("refuses what contains itself", () => {
    const self: { self?: unknown } = {}
    self.self = self
    expect(() => stringify(self)).toThrow(expect.objectContaining({ code: "bad_argument" }))
  })
})

function succeeds(run: () => unknown): boolean {
  try {
    run()
    return true
  } catch {
    return false
  }
}

function someNumber(given: unknown, is: (n: unknown) => boolean): boolean {
  if (typeof given === "object" && given !== null) return Object.values(given).some((inner) => someNumber(inner, is))
  return is(given)
}
