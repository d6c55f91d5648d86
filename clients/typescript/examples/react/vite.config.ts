import react from "@vitejs/plugin-react"
import { defineConfig, type Plugin } from "vite"
import { Warp } from "warp-db"

/**
 * Gives the page a token that expires after a minute. In production this is a route of your own server, behind your
 * own login: the token in WARP_TOKEN never reaches a browser.
 */
function tokens(): Plugin {
  return {
    name: "warp-tokens",
    configureServer(server) {
      const db = new Warp({ port: Number(process.env["WARP_PORT"] ?? 9090) })
      server.middlewares.use("/token", (_request, response) => {
        db.token({ seconds: 60 }).then(
          ({ token }) => response.end(token),
          (error: unknown) => response.writeHead(502).end(String(error)),
        )
      })
    },
  }
}

export default defineConfig({ plugins: [react(), tokens()] })
