/** Whether what clients remember fits what the server has stored. Pure. */
import type { Appends, Follower, Got, Histories } from "./record.js"

/** What is wrong with the events that are stored, in words. */
export function storedFaults(histories: Histories, { acknowledged, refused, unknown }: Appends): string[] {
  const faults: string[] = []
  const byKey = new Map<string, string>()
  for (const [entity, events] of histories) {
    const ids = new Set<string>()
    for (const [n, { key, id, seq }] of events.entries()) {
      if (seq !== n + 1) faults.push(`${entity} has seq ${seq} as its event ${n + 1}`)
      if (ids.has(id)) faults.push(`${entity} has the id ${id} twice`)
      if (byKey.has(key)) faults.push(`${key} is stored twice, in ${entity} and ${byKey.get(key)}`)
      ids.add(id)
      byKey.set(key, `${entity} ${seq} ${id}`)
    }
  }
  for (const { entity, key, seq, id } of acknowledged) {
    const [said, is] = [`${entity} ${seq} ${id}`, byKey.get(key)]
    if (is !== said) faults.push(`${key} was acknowledged as ${said}, and ${is ?? "nothing"} is stored`)
  }
  for (const key of refused) if (byKey.has(key)) faults.push(`${key} was refused, and ${byKey.get(key)} is stored`)
  const made = new Set([...acknowledged.map(({ key }) => key), ...unknown])
  for (const key of byKey.keys()) if (!made.has(key)) faults.push(`${key} is stored, and nobody appended it`)
  return faults
}

/** What is wrong with what a subscriber got, in words. */
export function followerFaults(histories: Histories, { name, kind, prefix, lives }: Follower): string[] {
  const faults: string[] = []
  const seen = new Map<string, number>()
  for (const [life, events] of lives.entries()) {
    const last = new Map<string, number>()
    for (const { entity, key, seq } of events) {
      const where = `${name}, loop ${life + 1}: ${entity} ${seq}`
      const stored = histories.get(entity)?.[seq - 1]
      if (!entity.startsWith(prefix)) faults.push(`${where} was not asked for`)
      if (stored?.key !== key) faults.push(`${where} came as ${key}, and is ${stored?.key ?? "not there"}`)
      const before = last.get(entity)
      if (before !== undefined && seq <= before) faults.push(`${where} came after ${before}`)
      // A name that is shared may give another loop what is between.
      const most = (kind === "shared" ? Infinity : (before ?? seen.get(entity) ?? 0)) + 1
      if (seq > most) faults.push(`${where} came where ${most} was to come`)
      last.set(entity, seq)
      seen.set(entity, Math.max(seq, seen.get(entity) ?? 0))
    }
  }
  return [...faults, ...missing(histories, name, prefix, lives)]
}

/** What a follower never got, in words. */
export function missing(histories: Histories, name: string, prefix: string, lives: Got[][]): string[] {
  const keys = new Set(lives.flat().map(({ key }) => key))
  return [...histories]
    .filter(([entity]) => entity.startsWith(prefix))
    .flatMap(([, events]) => events)
    .filter(({ key }) => !keys.has(key))
    .map(({ entity, seq, key }) => `${name} never got ${entity} ${seq}, ${key}`)
}
