defmodule Warp.ClusterTest do
  use ExUnit.Case, async: true
  alias Account.{Deposited, Withdrawn}
  alias Warp.Cluster

  setup do
    dir = Path.join(System.tmp_dir!(), "warp-cluster-#{System.unique_integer([:positive])}")
    on_exit(fn -> File.rm_rf!(dir) end)
    [dir: dir]
  end

  # VMs of their own: what is called there has to be in a module with a file.
  defp start_peer(name) do
    paths = for path <- :code.get_path(), part <- [~c"-pa", Path.expand(path) |> to_charlist()], do: part

    {:ok, peer, node} =
      :peer.start_link(%{
        name: :"#{name}_#{System.pid()}_#{System.unique_integer([:positive])}",
        host: ~c"127.0.0.1",
        longnames: true,
        connection: :standard_io,
        args: paths ++ [~c"-setcookie", ~c"warp_cluster_test", ~c"-kernel", ~c"logger_level", ~c"none"]
      })

    {:ok, _} = :peer.call(peer, :application, :ensure_all_started, [:elixir])
    {peer, node}
  end

  defp on(peer, module, function, args), do: :peer.call(peer, module, function, args, :infinity)

  defp start(peer, dir, cluster) do
    options = [context: "bank", data_dir: dir, shards: 4, aggregates: [Account], cluster: cluster]
    {:ok, bank} = on(peer, Warp, :start, [options])
    bank
  end

  test "shards move to a node that joins, and back when it leaves", %{dir: dir} do
    {one, node_one} = start_peer(:one)
    {two, node_two} = start_peer(:two)

    bank = start(one, Path.join(dir, "1"), {:clustered, bootstrap: true})
    alice = Warp.entity(bank, "alice")
    # Before the other node joins, so that it is there when its shard moves.
    assert {:ok, 1} = on(one, Warp, :append, [alice, %Deposited{amount: 5}])
    assert ^bank = start(two, Path.join(dir, "2"), {:clustered, seed_nodes: [node_one]})
    assert :ok = on(two, Cluster, :migrate, [bank])
    assert {:ok, [%{node: ^node_one, shards: 2}, %{node: ^node_two, shards: 2}]} = on(one, Cluster, :members, [bank])
    assert {:ok, ring} = on(one, Cluster, :ring, [bank])
    assert {:ok, %{phase: :member, why: :none, shards: shards}} = on(two, Cluster, :status, [bank])
    assert ring == for({node, numbers} <- shards, n <- numbers, into: %{}, do: {n, node})

    assert {:ok, %{to_move: 0, moved: 2, entities: entities, text: "Every shard" <> _}} =
             on(two, Cluster, :progress, [bank])

    assert {:ok, owner} = on(one, Cluster, :owner, [alice])
    assert entities == if(owner == node_two, do: 1, else: 0)

    assert {:ok, 2} = on(one, Warp, :append, [alice, %Withdrawn{amount: 2}])
    assert {:ok, 3} = on(two, Warp, :append, [alice, %Deposited{amount: 1}])
    for node <- [one, two], do: assert({:ok, %Account{balance: 4}} = on(node, Warp, :get, [alice, Account]))

    assert {:error, {:bad_option, :timeout, _}} = on(two, Cluster, :leave, [bank, [timeout: -1]])
    assert :ok = on(two, Cluster, :leave, [bank, [timeout: 60_000]])
    assert {:ok, ^node_one} = on(two, Cluster, :owner, [alice])
    assert {:error, :last_member} = on(one, Cluster, :leave, [bank])
    assert {:error, :not_in_doubt} = on(one, Cluster, :adopt, ["bank"])
    assert {:error, {:node_up, ^node_one}} = on(one, Cluster, :forget, [bank, node_one])
    assert {:error, {:not_a_member, "x@y"}} = on(one, Cluster, :forget, [bank, ["x@y"], [timeout: 5000]])
  end

  test "options of clusters are checked", %{dir: dir} do
    start = fn cluster -> Warp.start(context: "bank", data_dir: dir, aggregates: [Account], cluster: cluster) end
    assert {:error, {:bad_option, :cluster, :not_a_cluster}} = start.(:clustered)
    assert {:error, {:bad_option, :cluster, :not_a_map}} = start.({:clustered, [:"warp@10.0.0.1"]})
    assert {:error, {:bad_option, :cluster, {:seeds, :unknown_key}}} = start.({:clustered, seeds: []})
    assert {:error, {:bad_option, :cluster, {:bootstrap, {:not_one_of, _}}}} = start.({:clustered, bootstrap: 1})

    assert {:error, {:bad_option, :cluster, {:seed_nodes, why}}} = start.({:clustered, seed_nodes: [:warp]})
    assert why == :not_a_list_of_nodes

    assert {:error, {:bad_option, :cluster, :node_without_name} = reason} =
             start.({:clustered, seed_nodes: [:"warp@10.0.0.1"]})

    assert Warp.format_error(reason) =~ "cluster needs a VM with a name"
    refute File.exists?(dir)
  end

  test "a context of a single node is no cluster" do
    {:ok, bank} = Warp.Test.start(aggregates: [Account])
    on_exit(fn -> Warp.Test.stop(bank) end)

    for function <- [:members, :status, :ring, :progress, :migrate, :pause, :resume, :leave, :adopt] do
      assert {function, {:error, :not_clustered}} == {function, apply(Cluster, function, [bank])}
    end
  end
end
