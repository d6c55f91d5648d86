import gleam/int
import gleam/io
import new_project/account.{Credited, Debited, InsufficientFunds, account}
import warp
import warp/aggregate
import warp/context.{WarpOptions, defaults}
import warp/error.{Refused}

pub fn main() {
  let aggregates = [aggregate.definition(account())]
  let assert Ok(bank) =
    warp.start(
      WarpOptions(
        ..defaults(),
        context: "new_project",
        data_dir: "data",
        aggregates:,
      ),
    )
  let alice = warp.entity(bank, "alice")
  let append = aggregate.append(alice, account(), _)
  let assert Ok(_) = append(Credited(5000))
  let assert Ok(seq) = append(Debited(1000))
  let assert Error(Refused(InsufficientFunds(_))) = append(Debited(1_000_000))
  let assert Ok(balance) = aggregate.get(alice, account())
  let events = int.to_string(seq) <> " events"
  io.println("alice has " <> int.to_string(balance) <> " after " <> events)
  warp.stop(bank)
}
