# Calls the Gleam package's own module `warp` from Elixir: it is an ordinary module. Contexts,
# entities and events are the terms of warp_core, so a context can be started there, with a map.
#
#     ERL_LIBS=gleam/consumer/build/dev/erlang elixir gleam/consumer/beam/caller.exs DATA_DIR

[dir] = System.argv()

counter = %{
  name: "Counter",
  initial_state: 0,
  apply: fn n, %{type: "Added", payload: %{"n" => more}} -> n + more end
}

{:ok, ctx} = :warp_core.start(%{context: "counters", data_dir: dir, aggregates: [counter]})
alice = :warp.entity(ctx, "alice")
events = for n <- 1..3, do: %{type: "Added", payload: %{n: n}}
{:ok, {1, 3}} = :warp.append_batch(alice, events)
{:ok, 6} = :warp.get(alice, "Counter")
{:ok, [4]} = :warp.decide(alice, "Counter", fn 6 -> {:ok, [%{type: "Added", payload: %{n: 4}}]} end)
{:error, :empty_batch} = :warp.append_batch(alice, [])
{:error, {:unknown_aggregate, "Cart"}} = :warp.get(alice, "Cart")
{:ok, [%{seq: 1, payload: %{"n" => 1}} | _]} = :warp.export(alice)
{:ok, nil} = :warp.delete(alice)
nil = :warp.stop(ctx)
IO.puts("ok the module warp called from Elixir")
