import gleam/json
import gleeunit
import gleeunit/should
import packages.{Line}

pub fn main() -> Nil {
  gleeunit.main()
}

pub fn a_line_is_read_and_written_test() {
  let line = packages.parse("tea x 2") |> should.be_ok
  should.equal(line, Line("tea", 2))
  packages.parse("tea") |> should.be_error |> should.equal(Nil)
  packages.to_json(line)
  |> json.to_string
  |> json.parse(packages.decoder())
  |> should.equal(Ok(line))
}
