/** Which faults happen in a round, and when: it follows from a seed. Pure. */
import type { Random } from "./random.js"

/** `share`: of how many connections, from 0 to 1. `pause`: milliseconds until it is undone. */
export type Fault =
  /** Connections end, or in the middle of what comes next. */
  | { kind: "cut" | "cut_later"; share: number; isReset: boolean }
  /** Connections carry nothing, and then what was held up, or end. */
  | { kind: "stall"; share: number; pause: number; isCut: boolean }
  /** SIGKILL; the gateway is started again by the VM, and the VM by what started it. */
  | { kind: "kill_gateway" | "kill_vm" }
  /** SIGSTOP and SIGCONT. */
  | { kind: "freeze_gateway" | "freeze_vm"; pause: number }

/** Faults, each with the milliseconds after which it happens. */
export type Schedule = (Fault & { after: number })[]

/** One to four faults within a second and a half. */
export function schedule(random: Random): Schedule {
  return Array.from({ length: random.between(1, 4) }, () => ({ ...fault(random), after: random.between(0, 1500) }))
}

function fault(random: Random): Fault {
  const share = random.of([0.1, 0.5, 1])
  const pause = random.between(200, 2500)
  const which = random.between(1, 12)
  if (which <= 2) return { kind: "cut", share, isReset: random.isBelow(0.5) }
  if (which <= 4) return { kind: "cut_later", share, isReset: random.isBelow(0.5) }
  if (which <= 6) return { kind: "stall", share, pause, isCut: random.isBelow(0.5) }
  if (which <= 8) return { kind: "kill_gateway" }
  if (which <= 10) return { kind: "kill_vm" }
  return { kind: which === 11 ? "freeze_gateway" : "freeze_vm", pause }
}
