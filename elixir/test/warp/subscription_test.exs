defmodule Warp.SubscriptionTest do
  use ExUnit.Case, async: true
  alias Account.{Deposited, Withdrawn}
  alias Warp.Subscription

  # The modules of the documentation of Warp.Subscription.
  setup_all do
    inside = Module.concat(__MODULE__, Documented)
    Documented.modules(Subscription, inside)
    [sums: Module.concat(inside, Sums), producer: Module.concat(inside, Producer)]
  end

  # Two shards, so that messages have events of several.
  setup do
    dir = Path.join(System.tmp_dir!(), "warp-subscription-#{System.unique_integer([:positive])}")
    on_exit(fn -> File.rm_rf!(dir) end)
    name = "subscription-#{System.unique_integer([:positive])}"
    # An aggregate of warp_core, whose events no function has seen.
    plain = %{name: "Plain", initial_state: 0}

    options = [
      context: name,
      data_dir: dir,
      shards: 2,
      durability: :normal,
      aggregates: [Account, Order, Notes, plain]
    ]

    start_supervised!({Warp, options}, id: Warp)
    {:ok, bank} = Warp.context(name)
    [bank: bank, name: name, alice: Warp.entity(bank, "alice"), bob: Warp.entity(bank, "bob")]
  end

  defp subscribed(of, options \\ []) do
    {:ok, sub} = Subscription.subscribe(of, options)
    sub
  end

  # The next events of a subscription: exactly so many.
  defp events(_sub, 0), do: []

  defp events(sub, count) do
    assert_receive {:warp_subscription, ^sub, {:events, events}}, 5000
    assert length(events) <= count
    events ++ events(sub, count - length(events))
  end

  defp payloads(sub, count), do: sub |> events(count) |> Enum.map(& &1.payload)

  defp caught_up(sub) do
    assert_receive {:warp_subscription, ^sub, {:caught_up, cursor}}, 5000
    cursor
  end

  defp no_events(sub), do: refute_receive({:warp_subscription, ^sub, {:events, _}}, 100)

  defp deposit(entity, amount), do: Warp.append!(entity, %Deposited{amount: amount})

  test "stored events come as structs, and then live ones", %{bank: bank, alice: alice} do
    Warp.append!(alice, %{payload: %Deposited{amount: 5}, metadata: %{by: nil}})
    sub = subscribed(bank, from: :beginning)
    assert [stored] = events(sub, 1)
    assert %{entity: "alice", seq: 1, payload: %Deposited{amount: 5}, metadata: %{"by" => nil}} = stored
    assert {:ok, %{events: [^stored]}} = Warp.events(bank)
    caught_up(sub)
    Warp.append_batch(alice, [%Deposited{amount: 6}, %Withdrawn{amount: 1}])
    assert [%{seq: 2, payload: %Deposited{amount: 6}}, %{seq: 3, payload: %Withdrawn{amount: 1}}] = events(sub, 2)
  end

  test "null is nil, also in events of which no module knows", %{alice: alice, bob: bob} do
    for {aggregate, entity} <- [{Notes, alice}, {"Plain", bob}] do
      event = %{type: "Noted", aggregate: aggregate, payload: %{a: nil, b: [%{c: nil}]}, metadata: %{d: nil}}
      Warp.append!(entity, event)
      sub = subscribed(entity, from: :beginning)
      assert [%{payload: %{"a" => nil, "b" => [%{"c" => nil}]}, metadata: %{"d" => nil}}] = events(sub, 1)
      caught_up(sub)
      Warp.append!(entity, event)
      assert [%{seq: 2, payload: %{"a" => nil}, metadata: %{"d" => nil}}] = events(sub, 1)
      assert {:ok, 1} = Warp.wait(entity, &match?(%{payload: %{"a" => nil}, metadata: %{"d" => nil}}, &1), 5000)
    end
  end

  test "aggregates and types are modules or names", %{bank: bank, alice: alice, bob: bob} do
    subs =
      for options <- [
            [aggregates: [Account]],
            [aggregates: ["Account"], types: :all],
            [types: [Withdrawn, "Paid"]],
            [aggregates: [Order, Account], types: [Deposited]],
            [prefix: "b"]
          ],
          do: subscribed(bank, options)

    Warp.append!(alice, %Order.Paid{by: "ann"})
    deposit(alice, 5)
    Warp.append!(alice, %Withdrawn{amount: 3})
    deposit(bob, 7)
    [by_module, by_name, by_type, by_both, by_prefix] = subs

    for sub <- [by_module, by_name] do
      {of_alice, [of_bob]} = sub |> events(3) |> Enum.split_with(&(&1.entity == "alice"))
      assert Enum.map(of_alice, & &1.payload) == [%Deposited{amount: 5}, %Withdrawn{amount: 3}]
      assert of_bob.payload == %Deposited{amount: 7}
    end

    assert payloads(by_type, 2) == [%Order.Paid{by: "ann"}, %Withdrawn{amount: 3}]
    assert by_both |> payloads(2) |> Enum.sort() == [%Deposited{amount: 5}, %Deposited{amount: 7}]
    assert payloads(by_prefix, 1) == [%Deposited{amount: 7}]
    Enum.each(subs, &no_events/1)
  end

  test "it begins at a time, which is a DateTime or microseconds", %{alice: alice} do
    for amount <- 1..2, do: deposit(alice, amount)
    time = ~U[2020-01-01 00:00:00.000001Z]
    :ok = Warp.correct_time(alice, 1, time)
    later = DateTime.add(time, 1, :microsecond)
    assert [%Deposited{amount: 1}, _] = alice |> subscribed(from: {:time, time}) |> payloads(2)
    assert [%Deposited{amount: 2}] = alice |> subscribed(from: {:time, later}) |> payloads(1)

    assert [%Deposited{amount: 2}] =
             alice |> subscribed(from: {:time, DateTime.to_unix(later, :microsecond)}) |> payloads(1)
  end

  test "no more comes than there is credit for, until events are acknowledged", %{bank: bank, alice: alice, bob: bob} do
    for entity <- [alice, bob], amount <- 1..4, do: deposit(entity, amount)
    sub = subscribed(bank, from: :beginning, credit: 5)
    first = events(sub, 5)
    assert first |> Enum.map(& &1.shard) |> Enum.uniq() |> length() == 2
    no_events(sub)
    assert %{subscriptions: [%{state: :waiting_for_credit}]} = Warp.stats(bank)
    # All of them, of both shards; a second time it changes nothing.
    for _ <- 1..2, do: :ok = Subscription.ack(sub, first)
    assert [last | _] = sub |> events(3) |> Enum.reverse()
    :ok = Subscription.ack(sub, last)
    cursor = caught_up(sub)
    assert_receive {:warp_subscription, ^sub, {:checkpoint, checkpoint}}, 5000
    assert checkpoint != cursor
    assert Subscription.cursor(sub) == {:ok, checkpoint}
  end

  test "with demand as many come as are asked for", %{bank: bank, alice: alice} do
    for amount <- 1..5, do: deposit(alice, amount)
    sub = subscribed(bank, from: :beginning, credit: :demand)
    no_events(sub)
    :ok = Subscription.more(sub, 2)
    assert payloads(sub, 2) == [%Deposited{amount: 1}, %Deposited{amount: 2}]
    no_events(sub)
    :ok = Subscription.more(sub, 4)
    assert length(events(sub, 3)) == 3
    deposit(alice, 6)
    assert payloads(sub, 1) == [%Deposited{amount: 6}]
    deposit(alice, 7)
    no_events(sub)
  end

  test "another subscription goes on behind a cursor", %{bank: bank, alice: alice} do
    for amount <- 1..3, do: deposit(alice, amount)
    sub = subscribed(bank, from: :beginning)
    [first | _] = events(sub, 3)
    :ok = Subscription.ack(sub, first)
    {:ok, cursor} = Subscription.cursor(sub)
    :ok = Subscription.unsubscribe(sub)
    assert Subscription.cursor(sub) == {:error, :subscription_ended}
    deposit(alice, 4)
    no_events(sub)
    later = subscribed(bank, from: {:cursor, cursor})
    assert payloads(later, 3) == for(amount <- 2..4, do: %Deposited{amount: amount})
  end

  test "it tells of an erased entity, and of its new life", %{bank: bank, alice: alice} do
    deposit(alice, 1)
    sub = subscribed(bank, from: :beginning)
    events(sub, 1)
    :ok = Warp.delete(alice)
    assert_receive {:warp_subscription, ^sub, {:erased, "alice"}}
    deposit(alice, 2)
    assert [%{seq: 1, payload: %Deposited{amount: 2}}] = events(sub, 1)
  end

  test "one with a name goes on behind what was acknowledged", %{bank: bank, alice: alice} do
    for amount <- 1..3, do: deposit(alice, amount)
    sub = subscribed(bank, name: "mail", from: :beginning)
    assert_receive {:warp_subscription, ^sub, {:active, [0, 1]}}
    [first | _] = events(sub, 3)
    :ok = Subscription.ack(sub, first)
    {:ok, cursor} = Subscription.cursor(sub)
    assert {:error, {:in_use, _}} = Subscription.forget(bank, "mail")
    :ok = Subscription.unsubscribe(sub)
    again = subscribed(bank, name: "mail")
    assert payloads(again, 2) == [%Deposited{amount: 2}, %Deposited{amount: 3}]
    assert Subscription.cursor(again) == {:ok, cursor}
    assert Subscription.parked(bank, "mail") == {:ok, []}
    assert Subscription.retry(bank, "mail", "alice") == {:error, :not_waiting}
    assert Subscription.skip(bank, "mail", "alice") == {:error, :not_waiting}
    :ok = Subscription.unsubscribe(again)
    :ok = Subscription.forget(bank, "mail")
    assert Subscription.forget(bank, "mail") == {:error, :unknown_subscription}
  end

  test "consumers of a name split the shards", %{bank: bank} do
    [one, other] = for _ <- 1..2, do: subscribed(bank, name: "mail", consumers: 2)
    assert_receive {:warp_subscription, ^one, {:active, [0]}}
    assert_receive {:warp_subscription, ^other, {:active, [1]}}
    assert Subscription.subscribe(bank, name: "mail") == {:error, {:others_say, 2}}
  end

  test "one with a name is told of an erasure until it acknowledges that", %{bank: bank, alice: alice} do
    deposit(alice, 1)
    sub = subscribed(bank, name: "mail", from: :beginning)
    events(sub, 1)
    :ok = Warp.delete(alice)
    assert_receive {:warp_subscription, ^sub, {:erased, "alice"}}
    :ok = Subscription.unsubscribe(sub)
    again = subscribed(bank, name: "mail")
    assert_receive {:warp_subscription, ^again, {:erased, "alice"}}, 5000
    :ok = Subscription.ack(again, {:erased, "alice"})
    {:ok, _} = Subscription.cursor(again)
    :ok = Subscription.unsubscribe(again)
    third = subscribed(bank, name: "mail")
    caught_up(third)
    refute_received {:warp_subscription, ^third, {:erased, _}}
  end

  test "it ends with its context", %{bank: bank} do
    monitor = bank |> subscribed() |> Subscription.monitor_of()
    :ok = stop_supervised(Warp)
    assert_receive {:DOWN, ^monitor, :process, _, _}
    assert Subscription.subscribe(bank) == {:error, :context_stopped}
  end

  test "wrong options are errors that name them", %{bank: bank, alice: alice} do
    assert Subscription.subscribe(bank, since: :now) == {:error, {:unknown_option, :since}}
    assert Subscription.subscribe(bank, [:from]) == {:error, {:bad_option, :options, :not_a_map}}
    assert Subscription.subscribe(alice, prefix: "a") == {:error, {:unknown_option, :prefix}}
    assert Subscription.subscribe(alice, name: "a") == {:error, {:unknown_option, :name}}
    assert Subscription.subscribe(bank, name: :a) == {:error, {:bad_option, :name, :not_a_binary}}

    for aggregates <- [Account, [Date], [], [Account | Order]] do
      assert Subscription.subscribe(bank, aggregates: aggregates) ==
               {:error, {:bad_option, :aggregates, :not_a_list_of_names}}
    end

    assert {:error, {:bad_option, :types, _}} = Subscription.subscribe(bank, types: [Account])
    assert {:error, {:bad_option, :from, _}} = Subscription.subscribe(bank, from: ~U[2020-01-01 00:00:00Z])
    assert {:error, {:bad_option, :credit, _}} = Subscription.subscribe(bank, credit: 0)
    assert {:error, reason} = Subscription.subscribe(bank, from: {:cursor, "none"})
    assert Warp.format_error(reason) =~ "cursor"
  end

  test "the GenServer of the documentation", context do
    %{bank: bank, name: name, alice: alice, bob: bob, sums: sums} = context
    deposit(alice, 5)
    server = start_supervised!({sums, name}, restart: :temporary)
    Warp.append_batch(alice, [%Deposited{amount: 2}, %Withdrawn{amount: 1}])
    # More than its credit, which it gets back by acknowledging.
    Warp.append_batch(bob, List.duplicate(%Deposited{amount: 1}, 1500))
    eventually(fn -> {sums.sum(server, "alice"), sums.sum(server, "bob")} == {7, 1500} end)
    :ok = Warp.delete(alice)
    eventually(fn -> sums.sum(server, "alice") == 0 end)
    assert %{subscriptions: [%{subscriber: ^server, state: :live}]} = Warp.stats(bank)
    monitor = Process.monitor(server)
    :ok = stop_supervised(Warp)
    assert_receive {:DOWN, ^monitor, :process, _, :subscription_ended}
  end

  defp eventually(check, tries \\ 500) do
    cond do
      check.() -> :ok
      tries == 0 -> flunk("it does not become so")
      true -> Process.sleep(10) && eventually(check, tries - 1)
    end
  end

  test "the producer of the documentation", context do
    %{bank: bank, name: name, alice: alice, producer: producer} = context
    for amount <- 1..5, do: deposit(alice, amount)
    Process.flag(:trap_exit, true)
    {:ok, stage} = producer.start_link(name)
    refute_receive {:consume, _}, 100
    GenStage.ask(stage, 2)
    assert_receive {:consume, {sub, %{payload: %Deposited{amount: 1}}}}, 5000
    assert_receive {:consume, {^sub, %{payload: %Deposited{amount: 2}} = second}}
    refute_receive {:consume, _}, 100
    :ok = Subscription.ack(sub, second)
    {:ok, cursor} = Subscription.cursor(sub)
    GenStage.ask(stage, 10)
    for amount <- 3..5, do: assert_receive({:consume, {^sub, %{payload: %Deposited{amount: ^amount}}}}, 5000)
    later = subscribed(bank, from: {:cursor, cursor})
    assert [%{seq: 3}, %{seq: 4}, %{seq: 5}] = events(later, 3)
    :ok = stop_supervised(Warp)
    assert_receive {:EXIT, ^stage, :subscription_ended}
  end
end
