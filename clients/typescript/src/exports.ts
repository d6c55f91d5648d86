/** What the package exports beside `Warp`. */
export { type ClientErrorCode, type ErrorCode, isWarpError, type ServerErrorCode, WarpError } from "./errors.js"
export type { ConnectionState } from "./connection.js"
export type { AppendTo, Entity } from "./entity.js"
export type { Fold, Reducer } from "./fold.js"
export { parse as parseJson, stringify as stringifyJson } from "./json.js"
export type { SubscriptionName, WaitingEntity } from "./names.js"
export type { RetryOptions } from "./retry.js"
export type {
  Action,
  CommitOptions,
  Saga,
  SagaDescription,
  SagaResult,
  SagaResultType,
  SagaState,
  SagaStep,
  StepGroup,
  StepOptions,
} from "./saga.js"
export type { Subscription } from "./subscription.js"
export type * from "./types.js"
export type { WarpOptions } from "./warp.js"
