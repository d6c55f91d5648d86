defmodule Warp.ApiTest do
  use ExUnit.Case, async: true
  alias Account.{Deposited, Withdrawn}

  setup do
    {:ok, bank} = Warp.Test.start(aggregates: [Account], projections: :embedded)
    on_exit(fn -> Warp.Test.stop(bank) end)
    [bank: bank, alice: Warp.entity(bank, "alice")]
  end

  test "Warp's modules have what Erlang's modules have" do
    pairs = [
      warp_core: Warp,
      warp_saga: Warp.Saga,
      warp_projection: Warp.Projection,
      warp_subscription: Warp.Subscription,
      warp_cluster: Warp.Cluster,
      warp_backup: Warp.Backup
    ]

    for {erlang, elixir} <- pairs do
      names = fn module -> module.module_info(:exports) |> Keyword.keys() |> Enum.uniq() end
      # Of warp_projection, what warp_core has for users.
      # And no function of Elixir can be called import: it is import_events.
      other = Keyword.get([warp_projection: [:query, :await], warp_core: [:import]], erlang, [])
      missing = (names.(erlang) -- names.(elixir)) -- other
      assert missing == []
    end
  end

  test "a page of events has structs, and goes on", %{bank: bank, alice: alice} do
    {:ok, 1} = Warp.append(alice, %{payload: %Deposited{amount: 5}, metadata: %{by: nil}})
    {:ok, page} = Warp.events(bank)
    assert [%{entity: "alice", seq: 1, payload: %Deposited{amount: 5}, metadata: %{"by" => nil}}] = page.events
    refute page.more
    {:ok, 2} = Warp.append(alice, %Deposited{amount: 6})
    assert {:ok, %{events: [%{seq: 2, payload: %Deposited{amount: 6}}]}} = Warp.events(bank, after: page.next)
    assert {:ok, %{entities: [%{id: "alice", seq: 2}], next: :done}} = Warp.entities(bank, aggregate: Account)
    assert {:ok, %{entities: [], next: :done}} = Warp.entities(bank, prefix: "bob")
    assert {:error, {:bad_option, :limit, _}} = Warp.entities(bank, limit: 0)
    assert {:error, {:bad_option, :options, :not_a_map}} = Warp.entities(bank, [:limit])
  end

  test "every function and module has documentation that h shows" do
    {:ok, modules} = :application.get_key(:warp, :modules)

    for module <- modules do
      {:docs_v1, _, :elixir, _, of_module, _, docs} = Code.fetch_docs(module)

      if of_module != :hidden do
        assert %{"en" => _} = of_module

        for {{kind, name, _}, _, _, doc, _} <- docs,
            kind in [:function, :callback],
            name != :message,
            not String.starts_with?(Atom.to_string(name), "__") and name != :exception do
          assert doc != :none, "#{inspect(module)}.#{name} has no documentation"
        end
      end
    end
  end

  # Warp.Test has a module of tests, which cannot be added to those that run. The one of elixir/README.md runs.
  test "modules in the documentation of modules compile" do
    {:ok, modules} = :application.get_key(:warp, :modules)

    compiled =
      for module <- modules -- [Warp.Test],
          Documented.modules(module, Module.concat(Warp.ApiTest, module)) != [],
          do: module

    assert Enum.sort(compiled) == [
             Warp,
             Warp.Aggregate,
             Warp.Event,
             Warp.Projection,
             Warp.Server,
             Warp.Subscriber,
             Warp.Subscription,
             Warp.Type
           ]
  end

  test "it has the version of the engine" do
    assert Application.spec(:warp, :vsn) == Application.spec(:warp_core, :vsn)
  end

  test "a supervisor restarts a context that is killed" do
    dir = Path.join(System.tmp_dir!(), "warp-api-#{System.unique_integer([:positive])}")
    on_exit(fn -> File.rm_rf!(dir) end)
    options = [context: "supervised", data_dir: dir, shards: 1, durability: :normal, aggregates: [Account]]
    {:ok, sup} = Supervisor.start_link([{Warp, options}], strategy: :one_for_one)
    {:ok, ctx} = Warp.context("supervised")
    assert {:ok, 1} = Warp.append(Warp.entity(ctx, "alice"), %Deposited{amount: 5})

    [{{Warp, "supervised"}, pid, :worker, _}] = Supervisor.which_children(sup)
    Process.exit(pid, :kill)
    assert restarted(sup, pid) != pid
    {:ok, ctx} = Warp.context("supervised")
    assert Warp.get!(Warp.entity(ctx, "alice"), Account) == %Account{balance: 5}
    assert {:error, {:data_dir_in_use, _}} = Warp.start(options)
    :ok = Supervisor.stop(sup)
    assert Warp.context("supervised") == {:error, :context_stopped}
    {:ok, report} = Warp.verify(Path.join(dir, "supervised"), progress: fn %{total: _} -> :ok end)
    assert report.events == 1
  end

  # The supervisor may hear of the kill later than this asks it.
  defp restarted(sup, killed) do
    case Supervisor.which_children(sup) do
      [{_, ^killed, _, _}] -> Process.sleep(5) && restarted(sup, killed)
      [{_, pid, _, _}] when is_pid(pid) -> pid
    end
  end

  test "options are keyword lists or maps, and unknown ones are errors that name them", %{bank: bank, alice: alice} do
    deposit = %Deposited{amount: 1}
    bad = [of: 1]

    for result <- [
          Warp.append(alice, deposit, bad),
          Warp.append_batch(alice, [deposit], bad),
          Warp.receive_response(Warp.append_request(alice, deposit, bad), 1000),
          Warp.receive_response(Warp.append_batch_request(alice, [deposit], bad), 1000),
          Warp.decide(alice, Account, fn _ -> {:ok, []} end, bad),
          Warp.get(alice, Account, bad),
          Warp.state_at(alice, Account, {:seq, 1}, bad),
          Warp.history(alice, bad),
          Warp.export(alice, bad),
          Warp.delete(alice, bad),
          Warp.query(bank, "SELECT 1", [], bad),
          Warp.verify(bank, bad),
          Warp.Saga.cancel(bank, "x", bad),
          Warp.Test.start(aggregates: [Account], of: 1)
        ],
        do: assert(result == {:error, {:unknown_option, :of}})

    assert Warp.append(alice, deposit, [:expected]) == {:error, {:bad_option, :options, :not_a_map}}
    assert Warp.append(alice, deposit, %{expected: 3}) == {:error, {:wrong_expected_seq, 0}}
    assert Warp.append(alice, deposit, expected: :no_stream) == {:ok, 1}
    assert Warp.start([:context]) == {:error, {:bad_option, :options, :not_a_map}}
    assert Warp.start(:context) == {:error, {:bad_option, :options, :not_a_map}}

    assert {:error, {:bad_option, :context, :not_a_binary}} =
             Warp.start_link(context: :bank, data_dir: "x", aggregates: [Account])
  end

  test "terms that are none of Warp's are errors", %{alice: alice, bank: bank} do
    deposit = %Deposited{amount: 1}

    for handle <- [:alice, nil, {}, {:a}, {:a, :b, :c}],
        do: assert({:error, {:bad_entity_id, :not_a_handle}} = Warp.append(handle, deposit))

    assert {:error, {:bad_event, 1, _, _}} = Warp.append(alice, :deposit)
    assert {:error, {:bad_event, 1, _, _}} = Warp.append_batch(alice, :deposit)
    assert {:error, {:bad_event, _, _, _}} = Warp.append_batch(alice, [deposit | :deposit])
    assert {:error, {:bad_event, 1, :at, :unknown_field}} = Warp.append(alice, %{payload: deposit, at: 1})
    assert {:error, {:unknown_aggregate, Date}} = Warp.get(alice, Date)
    assert {:error, {:unknown_aggregate, "Cart"}} = Warp.get(alice, "Cart")
    assert {:error, {:unknown_aggregate, "Order"}} = Warp.get(alice, Order)
    assert {:error, {:bad_option, :decide, {:not_a_function, 1}}} = Warp.decide(alice, Account, :fun)
    assert {:error, {:bad_return, :decide, :what}} = Warp.decide(alice, Account, fn _ -> :what end)
    assert {:error, {:bad_event, 1, _, _}} = Warp.decide(alice, Account, fn _ -> {:ok, [:what]} end)
    assert {:error, {:bad_entity_id, :empty}} = Warp.get(Warp.entity(bank, ""), Account)

    assert_raise Warp.Error, ~r/Event 1 .counted from 1. cannot be stored/, fn ->
      Warp.append!(alice, ~D[2026-01-01])
    end

    assert Warp.history(alice) == {:ok, []}
  end

  test "a decision gives messages when its events are durable, also one that is cast", %{alice: alice} do
    me = self()
    deposit = fn amount, message -> fn _ -> {:ok, [%Deposited{amount: amount}], [{me, message}]} end end
    assert {:ok, [1]} = Warp.decide(alice, Account, deposit.(3, :stored))
    assert_receive :stored
    assert :ok = Warp.cast(alice, Account, deposit.(4, :cast))
    assert_receive :cast
    assert Warp.get!(alice, "Account") == %Account{balance: 7}
    assert {:error, :timeout} = Warp.decide(alice, Account, fn _ -> Process.sleep(200) && {:ok, []} end, timeout: 10)
  end

  test "times are DateTimes or microseconds", %{alice: alice} do
    Warp.append!(alice, %Deposited{amount: 5})
    time = ~U[2020-01-01 00:00:00.000001Z]
    assert :ok = Warp.correct_time(alice, 1, time)
    assert {:ok, [%{recorded_at: micros}]} = Warp.history(alice)
    assert DateTime.from_unix!(micros, :microsecond) == time
    assert {:ok, %Account{balance: 5}} = Warp.state_at(alice, Account, {:time, time})
    assert {:ok, %Account{balance: 5}} = Warp.state_at(alice, Account, {:time, micros})
    assert {:ok, %Account{balance: 0}} = Warp.state_at(alice, Account, {:time, DateTime.add(time, -1)})
    assert :ok = Warp.correct_time(alice, 1, micros + 1)
    assert {:error, :no_event} = Warp.correct_time(alice, 2, time)
    assert {:error, {:bad_option, :at, :not_seq_or_time}} = Warp.state_at(alice, Account, time)
  end

  test "a process waits for an event of an entity, as structs", %{alice: alice} do
    waiting = Task.async(fn -> Warp.wait(alice, &match?(%{payload: %Deposited{amount: 7}}, &1), 5000) end)
    Warp.append!(alice, %{payload: %Deposited{amount: 5}, metadata: %{by: nil}})
    assert {:ok, 1} = Warp.wait(alice, 1, :infinity)
    assert {:ok, 1} = Warp.wait(alice, &(&1.entity == "alice" and &1.metadata["by"] == nil), 5000)
    assert {:ok, 2} = Warp.append(alice, %Deposited{amount: 7})
    assert {:ok, 2} = Task.await(waiting)
    assert {:error, :timeout} = Warp.wait(alice, fn _ -> false end, 50)
    assert {:error, {:bad_return, :until, nil}} = Warp.wait(alice, fn _ -> nil end, 5000)
    assert {:error, {:until_failed, _} = reason} = Warp.wait(alice, fn _ -> raise "no such" end, 5000)
    assert Warp.format_error(reason) == "until crashed: no such"
    assert {:error, {:bad_option, :until, _}} = Warp.wait(alice, :seq, 5000)
    assert {:error, {:bad_option, :timeout, _}} = Warp.wait(alice, 1, -1)
  end

  test "a process with a loop of its own checks messages for responses", %{alice: alice} do
    requests =
      Enum.reduce(1..3, Warp.reqids_new(), fn n, requests ->
        Warp.reqids_add(Warp.append_request(alice, %Deposited{amount: n}), n, requests)
      end)

    assert Warp.reqids_size(requests) == 3
    assert length(Warp.reqids_to_list(requests)) == 3
    assert Warp.check_response(:other, requests, true) == :no_reply
    assert {{:ok, 1}, 1, requests} = Warp.wait_response(requests, 5000, true)
    assert_receive message
    assert {{:ok, 2}, 2, requests} = Warp.check_response(message, requests, true)
    [{request, 3}] = Warp.reqids_to_list(requests)
    assert Warp.check_response(:other, request) == :no_reply
    assert {:ok, 3} = Warp.wait_response(request, 5000)
  end

  test "what operators ask", %{bank: bank, alice: alice} do
    assert Warp.append!(alice, %Deposited{amount: 5}) == 1
    assert Warp.get!(alice, Account) == %Account{balance: 5}
    assert {:ok, 0} = Warp.shard_of(alice)
    assert {:ok, pid} = Warp.pid(alice)
    assert Process.alive?(pid)
    assert %{shards: [_]} = Warp.stats(bank)
    assert {:ok, %{shards: 1}} = Warp.verify(bank)
    assert :ok = Warp.await_projection(alice, 5000)
    assert {:ok, []} = Warp.Projection.set_aside(bank)
    assert :ok = Warp.Projection.rebuild(bank)
    assert Warp.Projection.await_rebuild(bank, 5000) == :ok
    assert {:error, :not_running} = Warp.Projection.cancel_rebuild(bank)
    assert {:ok, %{}} = Warp.Projection.rebuild_progress(bank)
    assert {:error, :not_set_aside} = Warp.Projection.retry(bank, "alice")
    assert {:error, :not_set_aside} = Warp.Projection.skip(bank, "alice")
    assert :ok = Warp.stop(bank)
    assert {:error, :context_stopped} = Warp.append(alice, %Withdrawn{amount: 1})
    assert {:error, :context_stopped} = Warp.stats(bank)
  end
end
