import { asyncDispose, ended, type Subscription } from "./subscription.js"
import type { AnyEvents, StoredEvent } from "./types.js"

/** What makes the state after an event of the state before it. It may be called again for the same event. */
export type Reducer<State, Event> = (state: State, event: Event) => State

/**
 * A state that the client computes itself, from all events of an entity and those that come, for teams that keep their
 * domain in TypeScript.
 *
 * ```ts
 * await using balance = alice.fold((sum, event) => sum + event.amount, 0, { aggregate: "Account" })
 * await balance.ready() // the state now
 * for await (const sum of balance) show(sum) // and whenever it changes
 * ```
 *
 * The loop gets the state when everything that was stored is in it, and then after changes. States that come while the
 * loop is busy are left out: it gets the newest. When the entity is deleted the state is the initial one again. What
 * the reducer throws ends the fold: `ready()` and the loop throw it.
 */
export class Fold<State, E = AnyEvents, A extends keyof E & string = keyof E & string>
  implements AsyncIterable<State>, AsyncDisposable
{
  private current: State
  private lastSeq = 0
  private version = 0
  private isCaughtUp = false
  private isOver = false
  private error: unknown
  private waiting: (() => void)[] = []
  private readonly subscription: Subscription<E, A>

  /** Made by `entity.fold`. */
  constructor(
    subscribe: (handlers: { onErased: () => void; onCaughtUp: () => void }) => Subscription<E, A>,
    private readonly reducer: Reducer<State, StoredEvent<E, A>>,
    private readonly initial: State,
  ) {
    this.current = initial
    this.subscription = subscribe({
      onErased: () => this.change(this.initial, 0),
      onCaughtUp: () => this.caughtUp(),
    })
    void this.run()
  }

  /** The newest state. Until `ready()` it may lack events that were stored before. */
  get state(): State {
    return this.current
  }

  /** The seq of the last event in the state; 0 when there is none. */
  get seq(): number {
    return this.lastSeq
  }

  /**
   * The state, as soon as everything that was stored is in it.
   *
   * @throws WarpError of the subscription, what the reducer threw, or `client_closed` when the fold ended before.
   */
  async ready(): Promise<State> {
    while (!this.isCaughtUp && !this.isOver) await this.changed()
    if (this.error !== undefined) throw this.error
    if (!this.isCaughtUp) throw ended("fold")
    return this.current
  }

  /** Ends the fold and its subscription. Its loops end. */
  async close(): Promise<void> {
    this.isOver = true
    this.wake()
    await this.subscription.close()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<State, void, undefined> {
    while (!this.isCaughtUp && !this.isOver) await this.changed()
    let shown = -1
    while (!this.isOver) {
      if (this.version === shown) await this.changed()
      else {
        shown = this.version
        yield this.current
      }
    }
    if (this.error !== undefined) throw this.error
  }

  [asyncDispose](): Promise<void> {
    return this.close()
  }

  private async run(): Promise<void> {
    try {
      for await (const event of this.subscription) this.change(this.reducer(this.current, event), event.seq)
    } catch (error) {
      this.error = error
    }
    this.isOver = true
    this.wake()
  }

  private change(state: State, seq: number): void {
    this.current = state
    this.lastSeq = seq
    this.version++
    if (this.isCaughtUp) this.wake()
  }

  private caughtUp(): void {
    this.isCaughtUp = true
    this.wake()
  }

  private changed(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  private wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve()
  }
}
