//// Commands and values, which are the engine's terms.

import warp/json
import warp/projection as p

pub fn commands_are_the_terms_of_the_engine_test() {
  let upsert =
    p.upsert("orders")
    |> p.id("o1")
    |> p.set("customer", p.text("alice"))
    |> p.set("total", p.int(12))
    |> p.set("total", p.int(13))
    |> p.set("share", p.float(0.5))
    |> p.set("paid", p.bool(True))
    |> p.set("note", p.null())
    |> p.set("items", p.json(json.array(["tea"], of: json.string)))
    |> p.build
  assert coerce(upsert)
    == term(
      "{upsert, <<\"orders\">>, <<\"o1\">>, #{<<\"customer\">> => <<\"alice\">>,
        <<\"total\">> => 13, <<\"share\">> => 0.5, <<\"paid\">> => true,
        <<\"note\">> => null, <<\"items\">> => {json, [<<\"tea\">>]}}}",
    )

  let increment =
    p.increment("sales") |> p.int_id(7) |> p.by("sold", p.int(-2)) |> p.build
  assert coerce(increment)
    == term("{increment, <<\"sales\">>, 7, #{<<\"sold\">> => -2}}")

  let delete = p.delete("orders") |> p.id("o1") |> p.build
  assert coerce(delete) == term("{delete, <<\"orders\">>, <<\"o1\">>}")
}

pub fn targets_are_the_maps_of_the_engine_test() {
  let orders =
    p.table("orders")
    |> p.column("total", p.Integer)
    |> p.column("customer", p.Text)
    |> p.index(on: ["customer"])
    |> p.key(on: ["customer", "total"])
  let tables =
    "tables => #{<<\"orders\">> => #{columns => #{<<\"total\">> => integer,
      <<\"customer\">> => text}, indexes => [[<<\"customer\">>]],
      keys => [[<<\"customer\">>, <<\"total\">>]]}}"
  assert coerce(p.embedded_config([orders])) == term("#{" <> tables <> "}")
  let rqlite =
    p.rqlite(["http://10.0.0.1:4001"])
    |> p.credentials(username: "warp", password: "secret")
    |> p.request_timeout(500)
    |> p.level(p.Strong)
    |> p.ca_certificates("ca.pem")
    |> p.tables([orders])
  assert coerce(p.rqlite_config(rqlite))
    == term(
      "#{nodes => [<<\"http://10.0.0.1:4001\">>], username => <<\"warp\">>,
        password => <<\"secret\">>, timeout => 500, level => strong,
        tls => #{cacertfile => <<\"ca.pem\">>}, " <> tables <> "}",
    )
  assert coerce(p.rqlite_config(p.rqlite([])))
    == term("#{nodes => [], tables => #{}}")
}

@external(erlang, "warp_ffi", "identity")
fn coerce(value: a) -> b

@external(erlang, "warp_testing_ffi", "term")
fn term(text: String) -> a
