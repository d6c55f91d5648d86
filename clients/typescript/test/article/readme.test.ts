/** Compiles every block of the README against the built package, and runs the one that begins it. */
import { execFile } from "node:child_process"
import { mkdtempSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

import { afterAll, beforeAll, describe, expect, test } from "vitest"

import { servers } from "../server/servers.js"

const PACKAGE = fileURLToPath(new URL("../..", import.meta.url))
const README = readFileSync(join(PACKAGE, "README.md"), "utf8")
const FLAGS = "--ignoreConfig --strict --target es2022 --module nodenext --lib es2022,dom,esnext.disposable --types"

interface Block {
  text: string
  /** What the comment before it says. */
  mark: string | undefined
}

const BLOCKS: Block[] = [...README.matchAll(/(?:<!-- (.*?) -->\n)?```ts\n([\s\S]*?)```/g)].map(([, mark, text]) => ({
  mark,
  text: text!,
}))

/** What blocks take for granted, unless they make it themselves. */
const NAMES: { [name: string]: string } = {
  db: "declare const db: import('warp-db').Warp<Events>",
  alice: "declare const alice: import('warp-db').Entity<Events>",
  serverSide: "declare const serverSide: import('warp-db').Warp",
  show: "declare function show(sum: number): void",
  sendMail: "declare function sendMail(to: string): Promise<void>",
  Events: `type Events = {
    Account: { Credited: { amount: number }; Debited: { amount: number } }
    User: { SignedUp: { email: string } }
  }`,
}

const IMPORT = `import { Warp } from "warp-db"\n`

function program({ text }: Block): string {
  const missing = Object.entries(NAMES).filter(([name]) => !new RegExp(`(const|using|type) ${name}\\b`).test(text))
  const head = text.includes("import {") ? "export {}\n" : IMPORT
  return `${head}${missing.map(([, declaration]) => `${declaration}\n`).join("")}${text}`
}

let folder: string

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "warp-readme-"))
  mkdirSync(join(folder, "node_modules"))
  symlinkSync(PACKAGE, join(folder, "node_modules", "warp-db"))
  writeFileSync(join(folder, "package.json"), `{ "type": "module" }`)
})

afterAll(() => rmSync(folder, { recursive: true }))

/** What tsc says about a program; nothing when it compiles. */
async function compile(name: string, text: string): Promise<string[]> {
  writeFileSync(join(folder, `${name}.ts`), text)
  const tsc = join(PACKAGE, "node_modules/typescript/bin/tsc")
  const run = promisify(execFile)(process.execPath, [tsc, ...FLAGS.split(" "), "", `${name}.ts`], { cwd: folder })
  const said = await run.then(
    ({ stdout }) => stdout,
    ({ stdout }: { stdout: string }) => stdout,
  )
  return said.split("\n").filter((line) => line.includes("error TS"))
}

test("every block compiles, but for the one that shows what does not", async () => {
  expect(BLOCKS.length).toBeGreaterThan(6)
  await Promise.all(
    BLOCKS.map(async (block, n) => {
      const errors = await compile(`block${n}`, program(block))
      if (block.mark === "wrong") expect(errors).toHaveLength(block.text.trim().split("\n").length)
      else expect(errors, block.text).toEqual([])
    }),
  )
}, 60_000)

describe.each(servers)("with %s", (_, start) => {
  test("the first block prints what it says", async () => {
    const { text } = BLOCKS.find(({ mark }) => mark?.startsWith("run"))!
    const wanted = [...text.matchAll(/\/\/=> (.*)/g)].map(([, line]) => line!)
    const server = await start()
    try {
      expect(await compile("start", text.replace("9090", String(server.port)))).toEqual([])
      const env = { ...process.env, WARP_TOKEN: server.token }
      const options = { cwd: folder, env, timeout: 15_000 }
      const { stdout } = await promisify(execFile)(process.execPath, [join(folder, "start.js")], options)
      expect(stdout.trim().split("\n")).toEqual(wanted)
    } finally {
      await server.stop()
    }
  }, 60_000)
})
