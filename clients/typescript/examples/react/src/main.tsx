import { StrictMode } from "react"
import { createRoot } from "react-dom/client"

import { Balance } from "./Balance.js"

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <Balance account={new URLSearchParams(location.search).get("account") ?? "user/alice"} />
  </StrictMode>,
)
