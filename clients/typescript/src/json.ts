/**
 * JSON with integers of any size. `JSON.parse` rounds what is beyond 2^53, and `JSON.stringify` refuses `bigint` and
 * writes `null` for numbers that JSON has not: in a database both would change data silently.
 */
import { badArgument } from "./errors.js"

/** How deep a value may be nested. The server takes 128 levels of a payload. */
const MAX_DEPTH = 512

/** Any run of digits that might be an integer beyond 2^53: 17 digits, or 16 from 9 on. Others need no own parser. */
const LONG = /\d{17}|9\d{15}/

/**
 * The value of a JSON text.
 *
 * @param text - One JSON value.
 * @param bigIntegers - Whether integers beyond 2^53 become `bigint`. Otherwise they are rounded, as by `JSON.parse`.
 * @throws SyntaxError when it is no JSON, or is nested deeper than 512.
 */
export function parse(text: string, bigIntegers: boolean): unknown {
  return bigIntegers && LONG.test(text) ? new Parser(text).all() : JSON.parse(text)
}

const NUMBER = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y
const BLANKS = /[ \t\n\r]*/y
/** A string up to its closing quote; `JSON.parse` reads what is between. */
const STRING = /"(?:[^"\\\u0000-\u001f]|\\.)*"/y

/** Reads one text from left to right. */
class Parser {
  private at = 0

  constructor(private readonly text: string) {}

  all(): unknown {
    const value = this.value(0)
    this.blanks()
    if (this.at < this.text.length) throw this.wrong()
    return value
  }

  private value(depth: number): unknown {
    if (depth > MAX_DEPTH) throw new SyntaxError(`JSON is nested deeper than ${MAX_DEPTH}`)
    this.blanks()
    switch (this.text[this.at]) {
      case "{":
        return this.object(depth)
      case "[":
        return this.array(depth)
      case '"':
        return this.string()
      case "t":
        return this.word("true", true)
      case "f":
        return this.word("false", false)
      case "n":
        return this.word("null", null)
      default:
        return this.number()
    }
  }

  private object(depth: number): unknown {
    const object: { [name: string]: unknown } = {}
    this.at++
    if (this.took("}")) return object
    do {
      this.blanks()
      const name = this.string()
      if (!this.took(":")) throw this.wrong()
      setOwn(object, name, this.value(depth + 1))
    } while (this.took(","))
    if (!this.took("}")) throw this.wrong()
    return object
  }

  private array(depth: number): unknown {
    const array: unknown[] = []
    this.at++
    if (this.took("]")) return array
    do array.push(this.value(depth + 1))
    while (this.took(","))
    if (!this.took("]")) throw this.wrong()
    return array
  }

  private string(): string {
    return JSON.parse(this.match(STRING)[0]) as string
  }

  private word<T>(word: string, value: T): T {
    if (!this.text.startsWith(word, this.at)) throw this.wrong()
    this.at += word.length
    return value
  }

  private number(): number | bigint {
    const [digits, fraction, exponent] = this.match(NUMBER)
    const value = Number(digits)
    const isSmall = fraction !== undefined || exponent !== undefined || Number.isSafeInteger(value)
    return isSmall ? value : BigInt(digits)
  }

  private took(sign: string): boolean {
    this.blanks()
    if (this.text[this.at] !== sign) return false
    this.at++
    return true
  }

  private blanks(): void {
    this.match(BLANKS)
  }

  private match(pattern: RegExp): RegExpExecArray {
    pattern.lastIndex = this.at
    const found = pattern.exec(this.text)
    if (found === null) throw this.wrong()
    this.at += found[0].length
    return found
  }

  private wrong(): SyntaxError {
    const what = this.at < this.text.length ? "Unexpected character" : "Unexpected end"
    return new SyntaxError(`${what} in JSON at position ${this.at}`)
  }
}

/** Sets a field of the object itself, also one named `__proto__`. */
export function setOwn(object: object, name: string, value: unknown): void {
  if (name === "__proto__") {
    Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true })
  } else {
    ;(object as { [name: string]: unknown })[name] = value
  }
}

/**
 * The JSON text of a value. `bigint` is written as an integer, `toJSON` is called where there is one (a `Date` becomes
 * text), and fields that are `undefined`, functions or symbols are left out.
 *
 * @throws WarpError `bad_argument` for a number that JSON has not (`NaN`, `Infinity`), for `undefined` and functions in
 * an array or as the whole value, and for what is nested deeper than 512, such as an object that contains itself.
 */
export function stringify(value: unknown): string {
  const text = written(value, "", 0)
  if (text === undefined) throw badArgument("The value", "cannot be written as JSON")
  return text
}

function written(given: unknown, name: string, depth: number): string | undefined {
  const value = hasToJson(given) ? given.toJSON(name) : given
  switch (typeof value) {
    case "string":
      return JSON.stringify(value)
    case "number":
      if (!Number.isFinite(value)) throw badArgument(`The number ${value}`, "cannot be written as JSON")
      return String(value)
    case "bigint":
    case "boolean":
      return String(value)
    case "object":
      if (value === null) return "null"
      if (depth > MAX_DEPTH) throw badArgument("The value", `is nested deeper than ${MAX_DEPTH}, or contains itself`)
      return Array.isArray(value) ? writtenArray(value, depth) : writtenObject(value, depth)
    default:
      return undefined
  }
}

function hasToJson(value: unknown): value is { toJSON(name: string): unknown } {
  return typeof value === "object" && value !== null && typeof (value as { toJSON?: unknown }).toJSON === "function"
}

function writtenArray(array: unknown[], depth: number): string {
  const parts: string[] = []
  for (const [n, element] of array.entries()) {
    const text = written(element, String(n), depth + 1)
    if (text === undefined) throw badArgument(`Element ${n} of an array`, "cannot be written as JSON")
    parts.push(text)
  }
  return `[${parts.join(",")}]`
}

function writtenObject(object: object, depth: number): string {
  const parts: string[] = []
  for (const name of Object.keys(object)) {
    const text = written((object as { [name: string]: unknown })[name], name, depth + 1)
    if (text !== undefined) parts.push(`${JSON.stringify(name)}:${text}`)
  }
  return `{${parts.join(",")}}`
}
