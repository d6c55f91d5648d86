defmodule WarpTest do
  use ExUnit.Case, async: true

  setup do
    dir = Path.join(System.tmp_dir!(), "warp-doctest-#{System.unique_integer([:positive])}")
    on_exit(fn -> File.rm_rf!(dir) end)
    start_supervised!({Warp, context: "bank", data_dir: dir, shards: 1, durability: :normal, aggregates: [Account]})
    :ok
  end

  doctest Warp
  doctest Warp.Saga
  doctest Warp.Subscription
  doctest Warp.Cluster
  doctest Warp.Backup
  doctest Warp.Test
end
