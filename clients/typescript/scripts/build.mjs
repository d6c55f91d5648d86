// Compiles the package twice, for import and for require, into dist/.
import { spawnSync } from "node:child_process"
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

process.chdir(fileURLToPath(new URL("..", import.meta.url)))
rmSync("dist", { recursive: true, force: true })
for (const [format, type] of Object.entries({ esm: "module", cjs: "commonjs" })) {
  const tsc = ["node_modules/typescript/bin/tsc", "-p", `tsconfig.${format}.json`]
  const { status } = spawnSync(process.execPath, tsc, { stdio: "inherit" })
  if (status !== 0) process.exit(1)
  mkdirSync(`dist/${format}`, { recursive: true })
  writeFileSync(`dist/${format}/package.json`, `{ "type": "${type}" }\n`)
}
