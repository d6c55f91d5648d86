//// gleam_erlang and gleam_otp.

import gleam/dynamic/decode
import gleam/erlang/application
import gleam/erlang/atom
import gleam/erlang/charlist
import gleam/erlang/node
import gleam/erlang/process.{type Subject}
import gleam/otp/actor
import gleam/otp/static_supervisor
import gleam/otp/supervision

pub fn atoms_test() {
  let atom = atom.create("ok")
  assert atom.get("ok") == Ok(atom)
  assert atom.get("an atom that nobody made") == Error(Nil)
  assert atom.to_string(atom) == "ok"
  assert decode.run(atom.to_dynamic(atom), atom.decoder()) == Ok(atom)
  assert charlist.to_string(charlist.from_string("grün")) == "grün"
  assert atom.to_string(node.name(node.self())) == "nonode@nohost"
  assert application.priv_directory("no such application") == Error(Nil)
}

pub fn selectors_test() {
  let texts = process.new_subject()
  let numbers = process.new_subject()
  let of_texts = process.new_selector() |> process.select_map(texts, Ok)
  let of_numbers = process.new_selector() |> process.select_map(numbers, Error)
  let both = process.merge_selector(of_texts, of_numbers)
  process.send(numbers, 1)
  assert process.selector_receive(of_texts, 0) == Error(Nil)
  assert process.selector_receive(both, 100) == Ok(Error(1))
  process.send(texts, "a")
  assert process.selector_receive(process.deselect(both, texts), 0)
    == Error(Nil)
  let mapped = process.map_selector(both, fn(message) { #(message) })
  assert process.selector_receive(mapped, 100) == Ok(#(Ok("a")))
}

pub fn timers_test() {
  let subject = process.new_subject()
  process.send_after(subject, 1, "soon")
  assert process.receive(subject, 1000) == Ok("soon")
  let timer = process.send_after(subject, 10_000, "late")
  let assert process.Cancelled(_) = process.cancel_timer(timer)
  assert process.cancel_timer(timer) == process.TimerNotFound
}

pub fn exits_test() {
  process.trap_exits(True)
  let exits =
    process.new_selector()
    |> process.select_trapped_exits(fn(exit) { exit.reason })
  let pid = process.spawn(process.sleep_forever)
  process.kill(pid)
  assert process.selector_receive(exits, 1000) == Ok(process.Killed)
  let monitor = process.monitor(pid)
  let ended =
    process.new_selector()
    |> process.select_specific_monitor(monitor, fn(down) { down.monitor })
  assert process.selector_receive(ended, 1000) == Ok(monitor)
}

type Message {
  Add(Int)
  Get(reply_to: Subject(Int))
  End
}

fn on_message(sum: Int, message: Message) -> actor.Next(Int, Message) {
  case message {
    Add(number) -> actor.continue(sum + number)
    Get(reply_to:) -> {
      process.send(reply_to, sum)
      actor.continue(sum)
    }
    End -> actor.stop()
  }
}

pub fn an_actor_answers_test() {
  let assert Ok(actor.Started(pid:, data: sum)) =
    actor.new(1) |> actor.on_message(on_message) |> actor.start
  actor.send(sum, Add(2))
  assert actor.call(sum, 1000, Get) == 3
  assert process.call_forever(sum, Get) == 3
  let monitor = process.monitor(pid)
  actor.send(sum, End)
  let ended =
    process.new_selector()
    |> process.select_specific_monitor(monitor, fn(down) { down.reason })
  assert process.selector_receive(ended, 1000) == Ok(process.Normal)
}

pub fn an_actor_that_cannot_start_says_why_test() {
  assert actor.new_with_initialiser(100, fn(_) { Error("no disk") })
    |> actor.start
    == Error(actor.InitFailed("no disk"))
  assert actor.new_with_initialiser(1, fn(_) {
      process.sleep_forever()
      Error("it slept")
    })
    |> actor.start
    == Error(actor.InitTimeout)
}

pub fn a_supervisor_restarts_a_named_actor_test() {
  let name = process.new_name("sum")
  let start = fn() {
    actor.new(0)
    |> actor.on_message(on_message)
    |> actor.named(name)
    |> actor.start
  }
  let inner =
    static_supervisor.new(static_supervisor.OneForOne)
    |> static_supervisor.add(supervision.worker(start))
  let assert Ok(_) =
    static_supervisor.new(static_supervisor.OneForAll)
    |> static_supervisor.restart_tolerance(intensity: 3, period: 1)
    |> static_supervisor.add(static_supervisor.supervised(inner))
    |> static_supervisor.start
  let sum = process.named_subject(name)
  actor.send(sum, Add(2))
  assert actor.call(sum, 1000, Get) == 2
  let assert Ok(pid) = process.named(name)
  process.kill(pid)
  wait_until_other(name, pid)
  assert actor.call(sum, 1000, Get) == 0
}

fn wait_until_other(name: process.Name(a), pid: process.Pid) -> Nil {
  case process.named(name) {
    Ok(other) if other != pid -> Nil
    _ -> {
      process.sleep(1)
      wait_until_other(name, pid)
    }
  }
}
