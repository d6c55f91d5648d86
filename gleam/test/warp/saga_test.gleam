//// Sagas of the engine.

import gleam/dynamic/decode
import gleam/erlang/process
import gleam/list
import gleam/option.{None, Some}
import warp
import warp/aggregate
import warp/context.{KeepFor, WarpOptions}
import warp/error
import warp/event
import warp/json
import warp/saga.{
  type Saga, Append, Applied, Committed, Compensated, NotRun, Pending, Recovered,
  Reversed, Run, Step, StepEvent, StepNotTaken, StepRefused, StepResult, Stuck,
  UnknownStepRefused,
}
import warp_testing.{
  type Overdraft, Credited, Debited, Overdraft, account, coerce, with_accounts,
  with_context, with_options,
}

fn debited(amount: String) -> saga.Action {
  StepEvent("Debited", "{\"amount\":" <> amount <> "}")
}

fn credited(amount: String) -> saga.Action {
  StepEvent("Credited", "{\"amount\":" <> amount <> "}")
}

fn transfer(id: String, amount: String) -> Saga {
  saga.new(id)
  |> saga.step(
    entity: "alice",
    aggregate: "Account",
    schema_vsn: 1,
    forward: debited(amount),
    compensate: credited(amount),
  )
  |> saga.step(
    entity: "bob",
    aggregate: "Account",
    schema_vsn: 1,
    forward: credited(amount),
    compensate: debited(amount),
  )
}

fn give(ctx: warp.Context, id: String, amount: Int) -> Nil {
  let assert Ok(_) =
    warp.entity(ctx, id) |> aggregate.append(account(), Credited(amount))
  Nil
}

fn balance(ctx: warp.Context, id: String) -> Int {
  let assert Ok(balance) = warp.entity(ctx, id) |> aggregate.get(account())
  balance
}

pub fn the_transfer_of_the_guide_test() {
  use ctx <- with_accounts
  give(ctx, "alice", 1000)
  let assert Ok(Committed(..)) =
    saga.new("xfr-001")
    |> saga.step(
      entity: "alice",
      aggregate: "Account",
      schema_vsn: 1,
      forward: StepEvent("Debited", "{\"amount\":500}"),
      compensate: StepEvent("Credited", "{\"amount\":500}"),
    )
    |> saga.step(
      entity: "bob",
      aggregate: "Account",
      schema_vsn: 1,
      forward: StepEvent("Credited", "{\"amount\":500}"),
      compensate: StepEvent("Debited", "{\"amount\":500}"),
    )
    |> saga.commit(ctx)
  assert balance(ctx, "alice") == 500
  assert balance(ctx, "bob") == 500
}

pub fn a_saga_tells_what_became_of_its_steps_and_runs_once_test() {
  use ctx <- with_accounts
  give(ctx, "alice", 1000)
  let committed =
    Ok(
      Committed(id: "xfr-001", steps: [
        StepResult(0, "alice", "Account", Applied(seq: 2)),
        StepResult(1, "bob", "Account", Applied(seq: 1)),
      ]),
    )
  assert transfer("xfr-001", "500") |> saga.commit(ctx) == committed
  assert transfer("xfr-001", "500") |> saga.commit(ctx) == committed
  assert balance(ctx, "bob") == 500
  // The ids of the saga's events.
  let assert Ok([_, stored]) = warp.entity(ctx, "alice") |> warp.export()
  assert event.id(stored) == "xfr-001/fwd/0"

  assert transfer("xfr-001", "7") |> saga.commit(ctx)
    == Error(error.SagaConflict("xfr-001"))
}

pub fn a_refused_step_compensates_those_before_it_test() {
  use ctx <- with_accounts
  give(ctx, "alice", 1000)
  let saga =
    transfer("xfr-001", "500")
    |> saga.step(
      entity: "carol",
      aggregate: "Account",
      schema_vsn: 1,
      forward: debited("1"),
      compensate: credited("1"),
    )
  let assert Ok(Compensated(id: "xfr-001", steps:, failed:)) =
    saga.commit(saga, ctx)
  let assert [
    StepResult(0, "alice", "Account", Reversed(seq: 2, compensation_seq: 3)),
    StepResult(1, "bob", "Account", Reversed(seq: 1, compensation_seq: 2)),
    StepResult(2, "carol", "Account", StepNotTaken(error.Rejected(reason))),
  ] = steps
  assert coerce(reason) == Overdraft(by: 1)
  let assert StepRefused(2, "carol", reason) = failed
  assert aggregate.refusal(account(), reason) == error.Refused(Overdraft(by: 1))
  assert aggregate.refusal(account(), error.Overloaded) == error.Overloaded
  assert balance(ctx, "alice") == 1000
  assert balance(ctx, "bob") == 0
}

pub fn a_step_takes_a_typed_event_test() {
  use ctx <- with_accounts
  give(ctx, "alice", 10)
  let assert Ok(debit) = aggregate.encode(account(), Debited(10))
  let assert Ok(credit) = aggregate.encode(account(), Credited(10))
  let assert Ok(Committed(..)) =
    saga.new("empty-alice")
    |> saga.step(
      entity: "alice",
      aggregate: "Account",
      schema_vsn: 1,
      forward: Append(debit),
      compensate: Append(credit),
    )
    |> saga.commit(ctx)
  assert balance(ctx, "alice") == 0
}

pub fn steps_side_by_side_test() {
  use ctx <- with_accounts
  let assert Ok(Committed(steps:, ..)) =
    saga.new("gifts")
    |> saga.parallel(
      list.map(["a", "b", "c"], fn(entity) {
        Step(
          entity:,
          aggregate: "Account",
          schema_vsn: 1,
          forward: credited("5"),
          compensate: debited("5"),
        )
      }),
    )
    |> saga.commit(ctx)
  assert list.map(steps, fn(step) { step.step }) == [0, 1, 2]
  assert list.map(["a", "b", "c"], balance(ctx, _)) == [5, 5, 5]
}

// Step functions.

fn steps() -> List(saga.StepFunction) {
  [
    saga.function(
      "withdraw",
      of: account(),
      arguments: decode.at(["percent"], decode.int),
      run: fn(balance, percent) -> Result(_, Overdraft) {
        case percent > 100 {
          True -> Error(Overdraft(by: percent - 100))
          False -> Ok(Debited(balance * percent / 100))
        }
      },
    ),
    saga.compensation(
      "give back",
      of: account(),
      arguments: decode.success(Nil),
      run: fn(_balance, _arguments, forward) {
        case forward {
          Debited(amount:) -> Ok(Credited(amount))
          Credited(amount:) -> Ok(Debited(amount))
        }
      },
    ),
    saga.dynamic_function("raw", fn(_state, _arguments) {
      Ok(event.from_json("Credited", "{\"amount\":3}"))
    }),
    saga.dynamic_compensation("raw back", fn(_state, _arguments, forward) {
      let assert "Credited" = event.type_(forward)
      Ok(event.from_json("Debited", "{\"amount\":3}"))
    }),
    saga.dynamic_function("never", fn(_state, _arguments) { Error("never") }),
  ]
}

fn with_steps(run: fn(warp.Context) -> a) -> a {
  use options <- with_options([aggregate.definition(account())])
  use ctx <- with_context(WarpOptions(..options, steps: steps()))
  run(ctx)
}

fn run_on(
  saga: Saga,
  entity: String,
  forward: saga.Action,
  back: String,
) -> Saga {
  saga.step(
    saga,
    entity:,
    aggregate: "Account",
    schema_vsn: 1,
    forward:,
    compensate: Run(back, json.object([])),
  )
}

fn percent(amount: Int) -> saga.Action {
  Run("withdraw", json.object([#("percent", json.int(amount))]))
}

pub fn step_functions_look_at_the_state_test() {
  use ctx <- with_steps
  give(ctx, "alice", 200)
  let assert Ok(Committed(..)) =
    saga.new("quarter")
    |> run_on("alice", percent(25), "give back")
    |> saga.commit(ctx)
  assert balance(ctx, "alice") == 150

  // The step functions compensate too.
  let assert Ok(Compensated(failed: StepRefused(2, "carol", reason), ..)) =
    saga.new("undone")
    |> run_on("alice", percent(50), "give back")
    |> run_on("bob", Run("raw", json.object([])), "raw back")
    |> run_on("carol", Run("never", json.object([])), "raw back")
    |> saga.commit(ctx)
  assert coerce(reason) == error.Refused("never")
  assert balance(ctx, "alice") == 150
  assert balance(ctx, "bob") == 0
}

pub fn what_a_step_function_refuses_is_said_test() {
  use ctx <- with_steps
  let refusal = fn(id, forward) {
    let assert Ok(Compensated(failed: StepRefused(0, "alice", reason), ..)) =
      saga.new(id) |> run_on("alice", forward, "give back") |> saga.commit(ctx)
    reason
  }
  assert coerce(refusal("a", percent(130))) == error.Refused(Overdraft(by: 30))
  let assert error.UndecodableArguments([_]) =
    refusal("b", Run("withdraw", json.object([])))
  // An unknown step function, and one that can only compensate.
  let commit = fn(id, forward) {
    saga.new(id) |> run_on("alice", forward, "give back") |> saga.commit(ctx)
  }
  assert commit("c", Run("nobody", json.object([])))
    == Error(error.BadStep(0, "forward", error.NoSuchFunction("nobody")))
  let assert Error(error.BadStep(0, "forward", error.Because(_))) =
    commit("d", Run("give back", json.object([])))
}

// Stuck sagas.

/// Bob spends the money of the second step before the third step is refused.
///
fn get_stuck(ctx: warp.Context) -> saga.Outcome {
  give(ctx, "alice", 1000)
  let assert Ok(outcome) =
    transfer("xfr-001", "500")
    |> saga.step(
      entity: "bob",
      aggregate: "Account",
      schema_vsn: 1,
      forward: debited("400"),
      compensate: debited("999"),
    )
    |> saga.step(
      entity: "carol",
      aggregate: "Account",
      schema_vsn: 1,
      forward: debited("1"),
      compensate: credited("1"),
    )
    |> saga.commit(ctx)
  outcome
}

pub fn a_stuck_saga_is_retried_test() {
  use ctx <- with_accounts
  let stuck = get_stuck(ctx)
  let assert Stuck(
    id: "xfr-001",
    failed: StepRefused(3, "carol", _),
    blocked: StepRefused(2, "bob", error.Rejected(_)),
    note: None,
    ..,
  ) = stuck
  assert saga.stuck(ctx) == Ok([stuck])
  let assert Ok(saga.Status(state: saga.IsStuck, ..)) =
    saga.status(ctx, "xfr-001")
  give(ctx, "bob", 5000)
  let assert Ok(Compensated(..)) = saga.retry(ctx, "xfr-001")
  assert balance(ctx, "alice") == 1000
  assert saga.stuck(ctx) == Ok([])
  assert saga.retry(ctx, "xfr-001") == Error(error.NotStuck("compensated"))
}

pub fn a_stuck_saga_is_resolved_test() {
  use ctx <- with_accounts
  let _ = get_stuck(ctx)
  assert saga.resolve(ctx, "xfr-001", note: "")
    == Error(error.BadNote(error.Empty))
  let assert Ok(Stuck(note: Some("paid by hand"), ..)) =
    saga.resolve(ctx, "xfr-001", note: "paid by hand")
  let assert Ok(saga.Status(
    state: saga.IsResolved,
    note: Some("paid by hand"),
    ..,
  )) = saga.status(ctx, "xfr-001")
}

// Running sagas.

pub fn a_saga_under_way_can_be_seen_and_cancelled_test() {
  use ctx <- with_accounts
  give(ctx, "alice", 1000)
  // Bob's process is busy, so the second step waits.
  let begun = process.new_subject()
  let bob = warp.entity(ctx, "bob")
  let _ =
    process.spawn(fn() {
      aggregate.decide(bob, account(), fn(_balance) {
        let go_on = process.new_subject()
        process.send(begun, go_on)
        process.receive_forever(go_on)
        Ok([])
      })
    })
  let assert Ok(go_on) = process.receive(begun, 60_000)
  assert transfer("xfr-001", "500")
    |> saga.commit_with(ctx, saga.options() |> saga.wait(200))
    == Error(error.Timeout)
  let assert Ok([Pending(id: "xfr-001", state: saga.Running, ..)]) =
    saga.pending(ctx)
  let assert Ok(saga.Status(state: saga.Running, failed: None, ..)) =
    saga.status(ctx, "xfr-001")
  let cancelled = process.new_subject()
  let _ =
    process.spawn(fn() { process.send(cancelled, saga.cancel(ctx, "xfr-001")) })
  process.sleep(50)
  process.send(go_on, Nil)
  let assert Ok(Ok(outcome)) = process.receive(cancelled, 60_000)
  case outcome {
    Compensated(failed: saga.WasCancelled, ..) -> {
      assert balance(ctx, "alice") == 1000
      assert balance(ctx, "bob") == 0
    }
    // The saga was committed before it was cancelled.
    Committed(..) -> {
      assert balance(ctx, "bob") == 500
    }
    _ -> panic as "neither"
  }
  assert saga.pending(ctx) == Ok([])
  assert saga.recover_pending(ctx) == Ok(Recovered(0, 0, 0, 0))
}

pub fn a_saga_waits_for_the_aggregate_of_its_step_test() {
  use options <- with_options([aggregate.definition(account())])
  {
    use ctx <- with_context(options)
    give(ctx, "alice", 1000)
    // Bob's process does not answer, so the saga stops at his step.
    let begun = process.new_subject()
    let bob = warp.entity(ctx, "bob")
    let _ =
      process.spawn_unlinked(fn() {
        aggregate.decide(bob, account(), fn(_balance) {
          process.send(begun, Nil)
          process.sleep(60_000)
          Ok([])
        })
      })
    let assert Ok(Nil) = process.receive(begun, 60_000)
    assert transfer("xfr-001", "500")
      |> saga.commit_with(ctx, saga.options() |> saga.wait(500))
      == Error(error.Timeout)
    assert balance(ctx, "alice") == 500
  }

  let renamed = aggregate.new("Konto", initial: 0, apply: fn(n, _) { n })
  let renamed =
    renamed
    |> aggregate.codec(
      encode: warp_testing.encode,
      decode: warp_testing.decode,
    )
  {
    use ctx <- with_context(
      WarpOptions(..options, aggregates: [aggregate.definition(renamed)]),
    )
    assert saga.recover_pending(ctx) == Ok(Recovered(0, 0, 0, waiting: 1))
    let assert Ok([Pending(id: "xfr-001", state: saga.IsWaiting(waiting), ..)]) =
      saga.pending(ctx)
    let assert saga.Waiting(
      step: 1,
      entity: "bob",
      direction: saga.Forward,
      reason: error.UnknownAggregate("Account"),
      since:,
    ) = waiting
    assert since > 0
    let assert Ok(saga.Status(state: saga.IsWaiting(again), failed: None, ..)) =
      saga.status(ctx, "xfr-001")
    assert again == waiting
    // A cancelled saga waits for the aggregate too.
    assert saga.cancel(ctx, "xfr-001")
      == Error(error.SagaWaits(0, "alice", error.UnknownAggregate("Account")))
    let assert Ok([
      Pending(
        state: saga.IsWaiting(saga.Waiting(direction: saga.Backward, ..)),
        ..,
      ),
    ]) = saga.pending(ctx)
    Nil
  }

  use ctx <- with_context(options)
  let assert Ok(_) = saga.recover_pending(ctx)
  let assert Ok(saga.Status(state: saga.IsCompensated, ..)) =
    saga.status(ctx, "xfr-001")
  assert balance(ctx, "alice") == 1000
  assert balance(ctx, "bob") == 0
}

pub fn a_saga_that_takes_too_long_is_compensated_test() {
  use ctx <- with_accounts
  give(ctx, "alice", 1000)
  let assert Ok(Compensated(steps:, failed: saga.DeadlinePassed, ..)) =
    transfer("late", "500")
    |> saga.commit_with(
      ctx,
      saga.options() |> saga.deadline(0) |> saga.retries(1),
    )
  assert list.map(steps, fn(step) { step.status }) == [NotRun, NotRun]
  assert balance(ctx, "alice") == 1000
}

pub fn the_outcome_of_a_removed_saga_is_known_test() {
  use options <- with_options([aggregate.definition(account())])
  use ctx <- with_context(WarpOptions(..options, keep_sagas: KeepFor(0)))
  give(ctx, "alice", 100)
  let assert Ok(Committed(..)) = transfer("good", "7") |> saga.commit(ctx)
  let assert Ok(Compensated(failed: StepRefused(reason:, ..), ..)) =
    transfer("bad", "500") |> saga.commit(ctx)
  let assert Ok(Compensated(failed: saga.DeadlinePassed, ..)) =
    transfer("late", "1")
    |> saga.commit_with(ctx, saga.options() |> saga.deadline(0))
  await_removed(ctx, "good")
  await_removed(ctx, "bad")
  await_removed(ctx, "late")

  assert transfer("good", "7") |> saga.commit(ctx)
    == Ok(Committed(id: "good", steps: []))
  assert transfer("bad", "500") |> saga.commit(ctx)
    == Ok(Compensated(id: "bad", steps: [], failed: UnknownStepRefused(reason:)))
  assert transfer("late", "1") |> saga.commit(ctx)
    == Ok(Compensated(id: "late", steps: [], failed: saga.DeadlinePassed))
  assert balance(ctx, "alice") == 93
}

fn await_removed(ctx: warp.Context, id: String) -> Nil {
  let assert Ok(status) = saga.status(ctx, id)
  case status.steps {
    [] -> Nil
    _ -> {
      process.sleep(50)
      await_removed(ctx, id)
    }
  }
}

// Mistakes.

pub fn what_is_wrong_with_a_saga_is_said_test() {
  use ctx <- with_accounts
  let commit = fn(saga) { saga.commit(saga, ctx) }
  assert commit(saga.new("")) == Error(error.BadSagaId(error.Empty))
  assert commit(saga.new("empty")) == Error(error.EmptySaga)
  let many =
    list.fold(list.repeat(Nil, 1001), saga.new("many"), fn(saga, _) {
      run_on(saga, "alice", credited("1"), "back")
    })
  assert commit(many) == Error(error.TooManySteps(1001, 1000))
  let assert Error(error.BadStep(0, "entity", error.Empty)) =
    saga.new("nobody")
    |> saga.step(
      entity: "",
      aggregate: "Account",
      schema_vsn: 1,
      forward: credited("1"),
      compensate: debited("1"),
    )
    |> commit
  let assert Error(error.BadStep(0, "forward payload", error.InvalidJson(_))) =
    saga.new("text")
    |> saga.step(
      entity: "alice",
      aggregate: "Account",
      schema_vsn: 1,
      forward: StepEvent("Credited", "no json"),
      compensate: debited("1"),
    )
    |> commit
  assert saga.status(ctx, "nobody") == Error(error.SagaNotFound)
  assert saga.cancel(ctx, "nobody") == Error(error.SagaNotFound)
  assert saga.retry(ctx, "nobody") == Error(error.SagaNotFound)
  assert saga.resolve(ctx, "nobody", note: "x") == Error(error.SagaNotFound)
  let assert Error(error.BadOption("retries", _)) =
    transfer("options", "1")
    |> saga.commit_with(ctx, saga.options() |> saga.retries(-1))
  warp.stop(ctx)
  assert saga.pending(ctx) == Error(error.ContextStopped)
}

pub fn ids_of_warp_itself_are_reserved_test() {
  use ctx <- with_accounts
  assert warp.entity(ctx, "$warp/saga/x") |> aggregate.get(account())
    == Error(error.BadEntityId(error.Reserved))
}
