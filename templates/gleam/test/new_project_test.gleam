import gleeunit
import new_project/account.{Deposited, Missing, Withdrawn}
import warp/error.{Refused}
import warp/testing

pub fn main() -> Nil {
  gleeunit.main()
}

pub fn an_account_may_not_be_overdrawn_test() {
  let account = testing.given(account.aggregate(), [Deposited(5)])
  assert testing.append(account, Withdrawn(9)) == Error(Refused(Missing(4)))
  let assert Ok(account) = testing.append(account, Withdrawn(2))
  assert testing.state(account) == 3
}
