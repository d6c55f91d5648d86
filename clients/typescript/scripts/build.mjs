// Compiles the package twice, for import and for require, into dist/.
import { execFileSync } from "node:child_process"
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

process.chdir(fileURLToPath(new URL("..", import.meta.url)))
rmSync("dist", { recursive: true, force: true })
for (const [format, type] of Object.entries({ esm: "module", cjs: "commonjs" })) {
  execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", `tsconfig.${format}.json`], {
    stdio: "inherit",
  })
  mkdirSync(`dist/${format}`, { recursive: true })
  writeFileSync(`dist/${format}/package.json`, `{ "type": "${type}" }\n`)
}
