import gleam/int
import gleam/io
import new_project/account.{Deposited, Missing, Withdrawn}
import warp
import warp/aggregate
import warp/context.{WarpOptions, defaults}
import warp/error.{Refused}

pub fn main() {
  let aggregates = [aggregate.definition(account.aggregate())]
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
  let append = aggregate.append(alice, account.aggregate(), _)
  let assert Ok(_) = append(Deposited(5000))
  let assert Ok(seq) = append(Withdrawn(1000))
  let assert Error(Refused(Missing(_))) = append(Withdrawn(1_000_000))
  let assert Ok(balance) = aggregate.get(alice, account.aggregate())
  io.println(
    "alice has "
    <> int.to_string(balance)
    <> " after "
    <> int.to_string(seq)
    <> " events",
  )
  warp.stop(bank)
}
