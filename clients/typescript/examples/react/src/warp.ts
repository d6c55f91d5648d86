import { Warp } from "warp-db"

export type Events = { Account: { Credited: { amount: number }; Debited: { amount: number } } }

/** The client of this page. It asks for a new token whenever it connects. */
export const db = new Warp<Events>({
  host: location.hostname,
  port: Number(new URLSearchParams(location.search).get("port") ?? 9090),
  token: async () => {
    const response = await fetch("/token")
    if (!response.ok) throw new Error(await response.text())
    return response.text()
  },
})
