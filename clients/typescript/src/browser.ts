/** The package in browsers. */
import { browserPlatform } from "./socket/browser.js"
import type { AnyEvents, AnyStates } from "./types.js"
import { BaseWarp, type WarpOptions } from "./warp.js"

export * from "./exports.js"

/** A client of a Warp server. See {@link BaseWarp}. */
export class Warp<E extends object = AnyEvents, S extends object = AnyStates> extends BaseWarp<E, S> {
  /** Connects nowhere, and does not fail without a token: the first call does. Throws `bad_argument`. */
  constructor(options: WarpOptions = {}) {
    super(options, browserPlatform)
  }
}
