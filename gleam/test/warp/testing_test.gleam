import gleam/string
import warp
import warp/aggregate
import warp/context.{WarpOptions, defaults}
import warp/error
import warp/testing
import warp_testing.{Credited, Debited, account}

pub fn events_are_appended_or_refused_test() {
  let given = testing.given(account(), [Credited(5)])
  let assert Error(error.Refused(_)) = testing.append(given, Debited(9))
  let assert Ok(next) = testing.append(given, Debited(2))
  assert testing.state(next) == 3
  assert testing.state(given) == 5
  let assert Ok(next) = testing.append_batch(next, [Credited(4), Debited(7)])
  assert testing.state(next) == 0
  assert testing.append_batch(next, []) == Error(error.EmptyBatch)
}

pub fn what_is_given_is_not_validated_test() {
  let given = testing.given(account(), [Debited(5)])
  assert testing.state(given) == -5
}

pub fn a_function_decides_test() {
  let given = testing.given(account(), [Credited(10)])
  let assert Ok(#(events, next)) =
    testing.decide(given, fn(balance) { Ok([Debited(balance / 2)]) })
  assert events == [Debited(5)]
  assert testing.state(next) == 5
  let assert Ok(#([], _)) = testing.decide(next, fn(_) { Ok([]) })
  let assert Error(error.Refused(_)) =
    testing.decide(next, fn(balance) { Ok([Debited(balance + 1)]) })
}

pub fn a_context_for_a_test_leaves_nothing_test() {
  let aggregates = [aggregate.definition(account())]
  let options = WarpOptions(..defaults(), aggregates:)
  assert testing.with_context(options, fn(ctx) {
      let alice = warp.entity(ctx, "alice")
      assert warp.shard_of(alice) == Ok(0)
      let assert Ok(1) = aggregate.append(alice, account(), Credited(5))
      aggregate.get(alice, account())
    })
    == Ok(Ok(5))
  let assert Error(error.BadOption("context", _)) =
    testing.with_context(
      WarpOptions(..options, context: string.repeat("x", 300)),
      fn(_) { Nil },
    )
}
