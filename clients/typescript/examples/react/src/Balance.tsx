import { useEffect, useState } from "react"
import type { StoredEvent } from "warp-db"

import { db, type Events } from "./warp.js"

/** The balance after an event. */
function balanceAfter(balance: number, event: StoredEvent<Events, "Account">): number {
  return event.type === "Credited" ? balance + event.amount : balance - event.amount
}

/** The balance of an account, which changes as soon as somebody appends to it, wherever. */
export function Balance({ account }: { account: string }) {
  const [balance, setBalance] = useState<number>()
  const [error, setError] = useState<unknown>()

  useEffect(() => {
    const fold = db.entity(account).fold(balanceAfter, 0, { aggregate: "Account" })
    const follow = async (): Promise<void> => {
      for await (const state of fold) setBalance(state)
    }
    follow().catch(setError)
    return () => void fold.close()
  }, [account])

  const append = (type: "Credited" | "Debited") => (): void => {
    db.entity(account).append(type, { amount: 100 }, { aggregate: "Account" }).catch(setError)
  }

  return (
    <section>
      <h1>{account}</h1>
      <p id="balance">{balance ?? "…"}</p>
      <button id="credit" onClick={append("Credited")}>
        +100
      </button>
      <button id="debit" onClick={append("Debited")}>
        −100
      </button>
      {error !== undefined && <p role="alert">{String(error)}</p>}
    </section>
  )
}
