//// The example of Kuma's page, with a path of its own, with the function that
//// folds events, which the page leaves out, and with the results that the page
//// promises.

import kuma
import kuma/entity.{Entity}
import kuma/event.{Event}

// Define your entity type
pub type Account {
  Account(id: String, balance: Int, name: String)
}

// Define your events
pub type AccountEvent {
  Deposited(amount: Int)
  Withdrawn(amount: Int)
  Renamed(name: String)
}

fn apply(account: Account, event: AccountEvent) -> Account {
  case event {
    Deposited(amount:) -> Account(..account, balance: account.balance + amount)
    Withdrawn(amount:) -> Account(..account, balance: account.balance - amount)
    Renamed(name:) -> Account(..account, name:)
  }
}

pub fn main(dir: String) {
  // Start Kuma with 16 shards
  let assert Ok(ctx) = kuma.start(kuma.Config(path: dir, shards: 16))
  let ctx = kuma.fold(ctx, apply)

  // Create an entity: spawns a dedicated actor
  let assert Ok(account) =
    kuma.spawn(
      ctx,
      "acc_001",
      Account(id: "acc_001", balance: 0, name: "Savings"),
    )

  // Append events: durable before ack
  kuma.append(account, Deposited(amount: 1000))
  kuma.append(account, Deposited(amount: 500))
  kuma.append(account, Withdrawn(amount: 200))

  // Read state: from actor memory
  let assert Ok(state) = kuma.read(account)
  assert state.balance == 1300

  // GDPR: export all data for a user
  let assert Ok(data) = kuma.export(account)
  let assert [Event(event: Deposited(1000), ..), _, _] = data.events

  // GDPR: right to be forgotten
  kuma.delete(account)

  let Entity(id:, ..) = account
  assert id == "acc_001"
  kuma.stop(ctx)
}
