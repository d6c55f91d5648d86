//// Appends that are not waited for: typed answers, order, limits, and giving up.

import gleam/erlang/process
import gleam/list
import testkit
import warp
import warp/aggregate
import warp/append
import warp/error
import warp/event
import warp/json
import warp/pipeline
import warp_testing.{
  Credited, Debited, Overdraft, account, kill_entity, messages, with_accounts,
}

fn credited(amount: Int) -> event.Event {
  event.new("Credited", json.object([#("amount", json.int(amount))]))
}

pub fn an_answer_is_what_the_append_would_have_returned_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let first = warp.append_request(alice, credited(5))
  let batch = warp.append_batch_request(alice, [credited(1), credited(2)])
  let typed = alice |> aggregate.append_request(account(), Debited(3))
  let refused = alice |> aggregate.append_request(account(), Debited(9))
  let both =
    alice
    |> aggregate.append_batch_request(account(), [Credited(1), Debited(6)])
  assert pipeline.receive(first, within: 60_000) == Ok(1)
  assert pipeline.receive(batch, within: 60_000) == Ok(#(2, 3))
  assert pipeline.receive(typed, within: 60_000) == Ok(4)
  assert pipeline.receive(refused, within: 60_000)
    == Error(error.Refused(Overdraft(4)))
  assert pipeline.receive(both, within: 60_000) == Ok(#(5, 6))
  assert aggregate.get(alice, account()) == Ok(0)
}

pub fn options_of_an_append_hold_for_a_request_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let once = append.options() |> append.id("order-17")
  let requests =
    list.map([1, 2, 3], fn(_) {
      aggregate.append_request_with(alice, account(), Credited(5), once)
    })
  assert list.map(requests, pipeline.receive(_, within: 60_000))
    == [Ok(1), Ok(1), Ok(1)]
  let expecting = append.options() |> append.expect(append.NoStream)
  assert warp.append_request_with(alice, credited(1), expecting)
    |> pipeline.receive(within: 60_000)
    == Error(error.WrongExpectedSeq(1))
  // A batch has no id, which its answer says.
  let assert Error(error.BadOption("id", _)) =
    warp.append_batch_request_with(alice, [credited(1)], once)
    |> pipeline.receive(within: 60_000)
  assert aggregate.get(alice, account()) == Ok(5)
}

pub fn a_pipeline_keeps_to_its_limit_and_loses_nothing_test() {
  use ctx <- with_accounts
  let entities = list.map(["a", "b", "c"], warp.entity(ctx, _))
  let items =
    list.flat_map(numbers(1, 300), fn(n) {
      list.map(entities, fn(entity) { #(entity, n) })
    })
  let #(pipeline, early) =
    list.fold(items, #(pipeline.new(limit: 10), []), fn(state, item) {
      let #(pipeline, done) = state
      let #(pipeline, answers) =
        pipeline.add(pipeline, item, fn() {
          aggregate.append_request(item.0, account(), Credited(item.1))
        })
      assert pipeline.size(pipeline) <= 10
      #(pipeline, list.append(done, answers))
    })
  assert pipeline.size(pipeline) == 10
  let answers = list.append(early, pipeline.finish(pipeline))
  assert list.length(answers) == 900
  // The requests to an entity are carried out in their order.
  list.each(entities, fn(entity) {
    let seqs =
      list.filter_map(answers, fn(answer) {
        case answer {
          #(#(of, n), Ok(seq)) if of == entity -> Ok(#(n, seq))
          _ -> Error(Nil)
        }
      })
    assert seqs == list.map(numbers(1, 300), fn(n) { #(n, n) })
  })
}

pub fn a_fold_gets_every_answer_with_its_item_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  // The account can pay for these in turn, and not for more than it has.
  let items = [Credited(10), Debited(4), Debited(7), Debited(6), Debited(1)]
  let answers =
    pipeline.new(limit: 2)
    |> pipeline.fold(
      over: items,
      from: [],
      request: aggregate.append_request(alice, account(), _),
      with: fn(answers, item, answer) { [#(item, answer), ..answers] },
    )
  assert list.reverse(answers)
    == [
      #(Credited(10), Ok(1)),
      #(Debited(4), Ok(2)),
      #(Debited(7), Error(error.Refused(Overdraft(1)))),
      #(Debited(6), Ok(3)),
      #(Debited(1), Error(error.Refused(Overdraft(1)))),
    ]
}

pub fn a_request_that_cannot_be_made_is_answered_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let unencodable =
    account()
    |> aggregate.codec(encode: fn(_) { panic }, decode: warp_testing.decode)
  let assert [#(1, Error(error.EncodeFailed(_))), #(2, Ok(1))] =
    pipeline.new(limit: 0)
    |> pipeline.fold(
      over: [1, 2],
      from: [],
      request: fn(n) {
        case n {
          1 -> aggregate.append_request(alice, unencodable, Credited(1))
          _ -> aggregate.append_request(alice, account(), Credited(1))
        }
      },
      with: fn(answers, n, answer) { list.append(answers, [#(n, answer)]) },
    )
  warp.stop(ctx)
  let assert Error(error.ContextStopped) =
    warp.append_request(alice, credited(1)) |> pipeline.receive(within: 0)
}

pub fn a_request_that_is_given_up_never_answers_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  use go_on <- while_held(alice)
  let request = aggregate.append_request(alice, account(), Credited(1))
  assert pipeline.receive(request, within: 10) == Error(error.Timeout)
  let assert #(under_way, []) =
    pipeline.new(limit: 10)
    |> pipeline.timeout(10)
    |> pipeline.add("second", fn() {
      aggregate.append_request(alice, account(), Credited(1))
    })
  assert pipeline.finish(under_way) == [#("second", Error(error.Timeout))]
  // A time that cannot be waited for gives up too, and says why.
  let assert #(under_way, []) =
    pipeline.new(limit: 10)
    |> pipeline.timeout(-1)
    |> pipeline.add("third", fn() {
      aggregate.append_request(alice, account(), Credited(1))
    })
  let assert [#("third", Error(error.BadOption("timeout", _)))] =
    pipeline.finish(under_way)
  go_on()
  // They were carried out all the same, and no message is left.
  assert aggregate.append(alice, account(), Credited(1)) == Ok(4)
  assert messages() == 0
}

pub fn the_end_of_an_entity_is_an_answer_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  use _go_on <- while_held(alice)
  let requests =
    list.map(numbers(1, 20), fn(n) {
      aggregate.append_request(alice, account(), Credited(n))
    })
  kill_entity(alice)
  assert list.map(requests, pipeline.receive(_, within: 1000))
    == list.map(requests, fn(_) { Error(error.Interrupted) })
}

/// Runs the function while a decision holds the entity's process up.
///
fn while_held(entity: warp.Entity, run: fn(fn() -> Nil) -> a) -> a {
  let begun = process.new_subject()
  process.spawn(fn() {
    warp.decide(entity, "Account", fn(_) {
      let go_on = process.new_subject()
      process.send(begun, go_on)
      let _ = process.receive(go_on, 10_000)
      Ok([])
    })
  })
  let assert Ok(go_on) = process.receive(begun, 60_000)
  use <- testkit.afterwards(fn() { process.send(go_on, Nil) })
  run(fn() { process.send(go_on, Nil) })
}

fn numbers(from: Int, to: Int) -> List(Int) {
  list.repeat(Nil, to - from + 1) |> list.index_map(fn(_, n) { from + n })
}
