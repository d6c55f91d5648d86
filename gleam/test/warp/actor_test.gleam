//// Entities as typed actors.

import gleam/erlang/process.{type Pid, type Subject}
import gleam/int
import gleam/list
import testkit.{kill}
import warp
import warp/actor.{type Actor, type Next}
import warp/aggregate
import warp/context.{After, ReadThrough, WarpOptions}
import warp/error
import warp/event
import warp_testing.{
  type AccountEvent, type Overdraft, Credited, Debited, Overdraft, account,
  kill_entity, passivate, with_accounts, with_context, with_options,
}

pub type Command {
  Deposit(amount: Int)
  Withdraw(amount: Int, reply_to: Subject(Result(Int, String)))
  /// Refused by the account's own validate when there is not enough.
  Take(amount: Int)
  Balance(reply_to: Subject(Int))
  /// Replies to two subjects of different types.
  Announce(amount: Int, left: Subject(String), right: Subject(Int))
  /// Says that it has begun, and waits until it may continue.
  Hold(begun: Subject(Subject(Nil)), reply_to: Subject(String))
  Forget(reply_to: Subject(Nil))
  Refuse
  Crash
}

fn on_command(balance: Int, command: Command) -> Next(AccountEvent, Overdraft) {
  case command {
    Deposit(amount:) -> actor.append([Credited(amount:)])
    Withdraw(amount:, reply_to:) if amount > balance ->
      actor.continue()
      |> actor.reply(
        to: reply_to,
        with: Error("only " <> int.to_string(balance)),
      )
    Withdraw(amount:, reply_to:) ->
      actor.append([Debited(amount:)])
      |> actor.reply(to: reply_to, with: Ok(balance - amount))
    Take(amount:) -> actor.append([Debited(amount:)])
    Balance(reply_to:) ->
      actor.continue() |> actor.reply(to: reply_to, with: balance)
    Announce(amount:, left:, right:) ->
      actor.append([Credited(amount:), Credited(amount:)])
      |> actor.reply(to: left, with: int.to_string(amount))
      |> actor.reply(to: right, with: amount)
      |> actor.reply(to: left, with: "again")
    Hold(begun:, reply_to:) -> {
      let go_on = process.new_subject()
      process.send(begun, go_on)
      process.receive_forever(go_on)
      actor.append([Credited(1)]) |> actor.reply(to: reply_to, with: "held")
    }
    Forget(..) -> actor.append([Credited(1)])
    Refuse -> actor.refuse(Overdraft(by: 42))
    Crash -> panic as "boom"
  }
}

fn banker() -> actor.Definition(Command, Overdraft) {
  actor.new(account(), on_command)
}

fn with_alice(run: fn(Actor(Command, Overdraft)) -> a) -> a {
  use ctx <- with_accounts
  run(warp.entity(ctx, "alice") |> actor.of(banker()))
}

pub fn commands_are_carried_out_and_replied_to_test() {
  use alice <- with_alice
  assert actor.send(alice, Deposit(5000)) == Ok(Nil)
  assert actor.call(alice, 60_000, Withdraw(1000, _)) == Ok(Ok(4000))
  assert actor.call(alice, 60_000, Withdraw(9000, _)) == Ok(Error("only 4000"))
  assert actor.call(alice, 60_000, Balance) == Ok(4000)
  assert actor.entity(alice) |> aggregate.get(account()) == Ok(4000)
}

pub fn a_reply_comes_after_its_events_are_durable_test() {
  use options <- with_options([aggregate.definition(account())])
  let options = WarpOptions(..options, shards: 1)
  use ctx <- with_context(options)
  let alice = warp.entity(ctx, "alice") |> actor.of(banker())
  let assert Ok(Nil) = actor.send(alice, Deposit(100))
  // After each reply the event is stored, and what is exported is.
  ints(1, 30)
  |> list.each(fn(n) {
    assert actor.call(alice, 60_000, Withdraw(1, _)) == Ok(Ok(100 - n))
    let assert Ok(events) = warp.export(warp.entity(ctx, "alice"))
    assert list.length(events) == n + 1
  })
}

pub fn replies_go_to_subjects_of_any_type_in_their_order_test() {
  use alice <- with_alice
  let left = process.new_subject()
  let right = process.new_subject()
  let assert Ok(Nil) = actor.send(alice, Announce(7, left, right))
  assert process.receive(left, 60_000) == Ok("7")
  assert process.receive(right, 60_000) == Ok(7)
  assert process.receive(left, 60_000) == Ok("again")
  assert actor.call(alice, 60_000, Balance) == Ok(14)
}

pub fn replies_go_to_named_subjects_and_other_processes_test() {
  use alice <- with_alice
  let name = process.new_name("warp_actor_test")
  let assert Ok(Nil) = process.register(process.self(), name)
  let assert Ok(Nil) = actor.send(alice, Balance(process.named_subject(name)))
  assert process.receive(process.named_subject(name), 60_000) == Ok(0)

  // No process has this name: Warp drops the reply and carries out the command.
  let assert Ok(Nil) = process.unregister(name)
  let nobody = process.named_subject(name)
  let left = process.new_subject()
  let assert Ok(Nil) = actor.send(alice, Announce(5, left, nobody))
  assert process.receive(left, 60_000) == Ok("5")
  assert actor.call(alice, 60_000, Balance) == Ok(10)

  // A subject that belongs to another process.
  let own = process.new_subject()
  let other =
    process.spawn(fn() {
      let theirs = process.new_subject()
      process.send(own, theirs)
      let assert Ok(balance) = process.receive(theirs, 60_000)
      let assert Ok(back) = process.receive(theirs, 60_000)
      process.send(own, process.new_subject())
      let assert True = balance == 10 && back == 10
    })
  let assert Ok(theirs) = process.receive(own, 60_000)
  let assert Ok(Nil) = actor.send(alice, Balance(theirs))
  let assert Ok(Nil) = actor.send(alice, Balance(theirs))
  let assert Ok(_) = process.receive(own, 60_000)
  process.unlink(other)
}

pub fn casts_are_carried_out_in_order_test() {
  use alice <- with_alice
  // Withdrawals that are possible only in this order.
  let replies = process.new_subject()
  ints(1, 500)
  |> list.each(fn(n) {
    let assert Ok(Nil) = actor.send(alice, Deposit(n))
    let assert Ok(Nil) = actor.send(alice, Withdraw(n, replies))
  })
  ints(1, 500)
  |> list.each(fn(_) {
    assert process.receive(replies, 60_000) == Ok(Ok(0))
  })
  let assert Ok(events) = warp.export(actor.entity(alice))
  assert list.map(events, event.seq) == ints(1, 1000)
}

pub fn callers_of_one_entity_take_turns_test() {
  use alice <- with_alice
  let assert Ok(Nil) = actor.send(alice, Deposit(50))
  let done = process.new_subject()
  ints(1, 100)
  |> list.each(fn(_) {
    process.spawn(fn() {
      process.send(done, actor.call(alice, 60_000, Withdraw(1, _)))
    })
  })
  let replies =
    list.map(ints(1, 100), fn(_) {
      let assert Ok(Ok(reply)) = process.receive(done, 60_000)
      reply
    })
  // Fifty commands got different balances, and fifty were refused.
  let #(served, refused) = list.partition(replies, is_ok)
  assert list.length(served) == 50
  assert list.unique(served) == served
  assert list.unique(refused) == [Error("only 0")]
}

pub fn what_is_refused_stores_and_sends_nothing_test() {
  use alice <- with_alice
  assert actor.call(alice, 60_000, fn(_: Subject(Nil)) { Refuse })
    == Error(error.Refused(Overdraft(by: 42)))
  // The validate of the aggregate refuses it.
  assert actor.call(alice, 60_000, fn(_: Subject(Nil)) { Take(7) })
    == Error(error.Refused(Overdraft(by: 7)))
  let assert Ok(Nil) = actor.send(alice, Refuse)
  let assert Ok(Nil) = actor.send(alice, Take(7))
  assert actor.call(alice, 60_000, Balance) == Ok(0)
  assert warp.export(actor.entity(alice)) == Ok([])
}

pub fn a_command_that_crashes_harms_nobody_test() {
  use alice <- with_alice
  let assert Ok(before) = actor.pid(alice)
  let assert Error(error.DecideFailed("panic: boom (" <> _)) =
    actor.call(alice, 60_000, fn(_: Subject(Nil)) { Crash })
  let assert Ok(Nil) = actor.send(alice, Crash)
  assert actor.call(alice, 60_000, Balance) == Ok(0)
  assert actor.pid(alice) == Ok(before)
}

pub fn a_command_that_nobody_replies_to_times_out_test() {
  use alice <- with_alice
  assert actor.call(alice, 300, Forget) == Error(error.Timeout)
  // The command was carried out.
  assert actor.call(alice, 60_000, Balance) == Ok(1)
}

pub fn a_command_that_takes_too_long_times_out_and_is_carried_out_test() {
  use alice <- with_alice
  let begun = process.new_subject()
  assert actor.call(alice, 100, Hold(begun, _)) == Error(error.Timeout)
  let assert Ok(go_on) = process.receive(begun, 60_000)
  process.send(go_on, Nil)
  assert actor.call(alice, 60_000, Balance) == Ok(1)
}

pub fn an_actor_survives_passivation_test() {
  use options <- with_options([aggregate.definition(account())])
  use ctx <- with_context(WarpOptions(..options, idle_timeout: After(100)))
  let alice = warp.entity(ctx, "alice") |> actor.of(banker())
  let assert Ok(Nil) = actor.send(alice, Deposit(5))
  assert actor.call(alice, 60_000, Balance) == Ok(5)
  let assert Ok(before) = actor.pid(alice)
  // The entity leaves memory when it was idle for long enough.
  testkit.wait_until(fn() { !process.is_alive(before) })
  assert actor.call(alice, 60_000, Balance) == Ok(5)
  let assert Ok(after) = actor.pid(alice)
  assert after != before

  passivate(actor.entity(alice))
  let assert Ok(Nil) = actor.send(alice, Deposit(1))
  assert actor.call(alice, 60_000, Balance) == Ok(6)
}

pub fn an_actor_survives_kills_test() {
  use alice <- with_alice
  let assert Ok(Nil) = actor.send(alice, Deposit(5))
  assert actor.call(alice, 60_000, Balance) == Ok(5)
  ints(1, 5)
  |> list.each(fn(n) {
    let _ = kill_entity(actor.entity(alice))
    let assert Ok(Nil) = actor.send(alice, Deposit(1))
    assert actor.call(alice, 60_000, Balance) == Ok(5 + n)
  })
}

pub fn a_process_killed_in_the_middle_of_a_command_loses_it_whole_test() {
  use alice <- with_alice
  let assert Ok(Nil) = actor.send(alice, Deposit(5))
  assert actor.call(alice, 60_000, Balance) == Ok(5)
  let begun = process.new_subject()
  let result = process.new_subject()
  let _ =
    process.spawn(fn() {
      process.send(result, actor.call(alice, 60_000, Hold(begun, _)))
    })
  let assert Ok(_go_on) = process.receive(begun, 60_000)
  let assert Ok(pid) = actor.pid(alice)
  kill(pid)
  assert process.receive(result, 60_000) == Ok(Error(error.Interrupted))
  assert actor.call(alice, 60_000, Balance) == Ok(5)
  let assert Ok([_deposit]) = warp.export(actor.entity(alice))
}

pub fn nothing_that_was_replied_to_is_lost_by_kills_test() {
  use alice <- with_alice
  let done = process.new_subject()
  let _ =
    process.spawn(fn() {
      ints(1, 200)
      |> list.each(fn(_) {
        case actor.call(alice, 60_000, add_one) {
          Ok(_) | Error(error.Interrupted) -> Nil
          other -> panic as error_text(other)
        }
      })
      process.send(done, Nil)
    })
  // No reply has a count above the stored one.
  let seen = kill_until(alice, done, 0)
  assert seen > 0
  let assert Ok(balance) = actor.call(alice, 60_000, Balance)
  let assert Ok(events) = warp.export(actor.entity(alice))
  assert list.length(events) == balance
  assert list.map(events, event.seq) == ints(1, balance)
}

fn add_one(reply_to: Subject(String)) -> Command {
  Announce(1, reply_to, process.new_subject())
}

fn kill_until(
  alice: Actor(Command, Overdraft),
  done: Subject(Nil),
  kills: Int,
) -> Int {
  case process.receive(done, 3) {
    Ok(Nil) -> kills
    Error(Nil) -> {
      let _ = kill_entity(actor.entity(alice))
      kill_until(alice, done, kills + 1)
    }
  }
}

pub fn a_pid_can_be_monitored_and_asked_by_sys_test() {
  use alice <- with_alice
  let assert Ok(pid) = actor.pid(alice)
  let monitor = process.monitor(pid)
  assert sys_state(pid) != Nil
  kill(pid)
  let selector =
    process.new_selector()
    |> process.select_specific_monitor(monitor, fn(down) { down })
  let assert Ok(process.ProcessDown(reason: process.Killed, ..)) =
    process.selector_receive(selector, 60_000)
}

@external(erlang, "sys", "get_state")
fn sys_state(pid: Pid) -> Nil

pub fn what_keeps_a_command_from_being_carried_out_is_said_test() {
  use options <- with_options([aggregate.definition(account())])
  let ctx =
    with_context(options, fn(ctx) {
      let nobody =
        actor.new(
          aggregate.new("Nobody", initial: 0, apply: warp_testing.apply),
          fn(_, _: Nil) { actor.continue() },
        )
      let unknown = warp.entity(ctx, "alice") |> actor.of(nobody)
      assert actor.send(unknown, Nil) == Error(error.UnknownAggregate("Nobody"))
      assert actor.call(unknown, 60_000, fn(_: Subject(Nil)) { Nil })
        == Error(error.UnknownAggregate("Nobody"))

      let nameless = warp.entity(ctx, "") |> actor.of(banker())
      assert actor.send(nameless, Deposit(1))
        == Error(error.BadEntityId(error.Empty))
      assert actor.call(nameless, 60_000, Balance)
        == Error(error.BadEntityId(error.Empty))
      assert actor.pid(nameless) == Error(error.BadEntityId(error.Empty))

      let alice = warp.entity(ctx, "alice") |> actor.of(banker())
      assert actor.call(alice, -1, Balance)
        == Error(error.BadOption(
          "timeout",
          error.NotAnIntegerBetween(0, 4_294_967_295),
        ))
      ctx
    })
  let stopped = warp.entity(ctx, "alice") |> actor.of(banker())
  assert actor.send(stopped, Deposit(1)) == Error(error.ContextStopped)
  assert actor.call(stopped, 60_000, Balance) == Error(error.ContextStopped)
  assert actor.pid(stopped) == Error(error.ContextStopped)
}

pub fn the_other_mode_does_the_same_test() {
  use options <- with_options([aggregate.definition(account())])
  use ctx <- with_context(WarpOptions(..options, mode: ReadThrough))
  let alice = warp.entity(ctx, "alice") |> actor.of(banker())
  assert actor.send(alice, Deposit(5000)) == Ok(Nil)
  assert actor.call(alice, 60_000, Withdraw(1000, _)) == Ok(Ok(4000))
  let _ = kill_entity(actor.entity(alice))
  assert actor.call(alice, 60_000, Balance) == Ok(4000)
}

fn ints(from: Int, to: Int) -> List(Int) {
  case from > to {
    True -> []
    False -> [from, ..ints(from + 1, to)]
  }
}

fn is_ok(result: Result(a, b)) -> Bool {
  case result {
    Ok(_) -> True
    Error(_) -> False
  }
}

fn error_text(result: Result(a, error.Error(reason))) -> String {
  case result {
    Ok(_) -> "ok"
    Error(error) -> error.to_string(error)
  }
}
