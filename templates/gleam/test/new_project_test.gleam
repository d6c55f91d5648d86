import gleeunit
import new_project/account.{Credited, Debited, InsufficientFunds, account}
import warp/error.{Refused}
import warp/testing

pub fn main() -> Nil {
  gleeunit.main()
}

pub fn an_account_may_not_be_overdrawn_test() {
  let alice = testing.given(account(), [Credited(5)])
  assert testing.append(alice, Debited(9))
    == Error(Refused(InsufficientFunds(missing: 4)))
  let assert Ok(alice) = testing.append(alice, Debited(2))
  assert testing.state(alice) == 3
}
