defmodule Warp.SubscriberTest do
  use ExUnit.Case, async: true
  alias Account.{Deposited, Withdrawn}
  alias Warp.{Saga, Subscriber, Subscription}

  # What it is called with goes to the test, which says what to answer.
  defmodule Reporting do
    use Warp.Subscriber, name: "reporting", from: :beginning, tries: 2

    @impl true
    def init(context, answers), do: answers.({:init, context}, answers)

    @impl true
    def handle_event(event, answers), do: answers.({:event, event}, answers)

    @impl true
    def handle_caught_up(answers), do: answers.(:caught_up, answers)

    @impl true
    def handle_erased(id, answers), do: answers.({:erased, id}, answers)
  end

  # Only what it has to have.
  defmodule Deposits do
    use Warp.Subscriber,
      name: "deposits",
      from: {:time, ~U[2020-01-01 00:00:00Z]},
      aggregates: [Account],
      types: [Deposited],
      prefix: "a",
      consumers: 2

    def handle_event(%{payload: %Deposited{amount: amount}}, owner) do
      if owner, do: send(owner, {:deposited, amount})
      {:ok, owner}
    end
  end

  setup_all do
    inside = Module.concat(__MODULE__, Documented)
    Documented.modules(Subscriber, inside)
    [receipts: Module.concat(inside, Receipts)]
  end

  # A folder and a name for a context, whose subscribers may be others after a restart.
  setup do
    dir = Path.join(System.tmp_dir!(), "warp-subscriber-#{System.unique_integer([:positive])}")
    on_exit(fn -> File.rm_rf!(dir) end)
    [dir: dir, name: "subscriber-#{System.unique_integer([:positive])}"]
  end

  defp options(%{dir: dir, name: name}, subscribers) do
    # The last one is of warp_core: no function has seen its events.
    aggregates = [Account, Order, %{name: "Plain", initial_state: 0}]
    options = [context: name, data_dir: dir, shards: 2, durability: :normal, aggregates: aggregates]
    options ++ [subscribers: subscribers]
  end

  defp start(context, subscribers) do
    start_supervised!({Warp, options(context, subscribers)}, id: Warp)
    {:ok, bank} = Warp.context(context.name)
    bank
  end

  defp restart(context, subscribers) do
    :ok = stop_supervised(Warp)
    start(context, subscribers)
  end

  # Reports to the test, and fails where `fails?` says so.
  defp reporting(fails? \\ fn _ -> false end) do
    owner = self()

    answer = fn called, answers ->
      if fails?.(called) do
        {:error, :refused}
      else
        send(owner, {:called, called})
        {:ok, answers}
      end
    end

    {Reporting, answer}
  end

  # A switch that a test turns off.
  defp broken do
    broken = :atomics.new(1, [])
    :atomics.put(broken, 1, 1)
    broken
  end

  defp broken?(broken), do: :atomics.get(broken, 1) == 1
  defp mend(broken), do: :atomics.put(broken, 1, 0)

  defp deposit(bank, id, amount), do: bank |> Warp.entity(id) |> Warp.append!(%Deposited{amount: amount})

  defp noted, do: %{type: "Noted", aggregate: "Plain", payload: %{a: nil}, metadata: %{b: nil}}

  defp event do
    assert_receive {:called, {:event, event}}, 5000
    event
  end

  defp no_event, do: refute_receive({:called, {:event, _}}, 50)
  defp caught_up(bank), do: assert(Warp.Test.await_subscribers(bank, 10_000) == :ok)

  # What is parked, in the order of the ids, when it is so many.
  defp await_parked(bank, count, name \\ "reporting", tries \\ 500) do
    with {:ok, waiting} <- Subscription.parked(bank, name),
         ^count <- Enum.count(waiting, &(&1.state == :parked)) do
      Enum.sort_by(waiting, & &1.entity)
    else
      _ when tries == 0 -> flunk("#{count} are not parked")
      _ -> Process.sleep(10) && await_parked(bank, count, name, tries - 1)
    end
  end

  ## What it is called with

  test "events have structs and nil, and it goes on after a restart", context do
    bank = start(context, [reporting()])
    assert_receive {:called, {:init, ^bank}}
    metadata = %{"by" => nil}
    Warp.append!(Warp.entity(bank, "alice"), %{payload: %Deposited{amount: 5}, metadata: metadata})
    assert %{entity: "alice", seq: 1, payload: %Deposited{amount: 5}, metadata: ^metadata} = event()
    Warp.append!(Warp.entity(bank, "plain"), noted())
    assert %{payload: %{"a" => nil}, metadata: %{"b" => nil}} = event()
    assert_receive {:called, :caught_up}
    caught_up(bank)
    bank = restart(context, [reporting()])
    deposit(bank, "alice", 6)
    assert %{seq: 2, payload: %Deposited{amount: 6}} = event()
    no_event()
  end

  test "it is told of an erasure until it has handled it", context do
    broken = broken()
    bank = start(context, [reporting(&(match?({:erased, _}, &1) and broken?(broken)))])
    deposit(bank, "alice", 5)
    event()
    :ok = Warp.delete(Warp.entity(bank, "alice"))
    refute_receive {:called, {:erased, _}}, 100
    mend(broken)
    assert_receive {:called, {:erased, "alice"}}, 5000
    caught_up(bank)
    restart(context, [reporting()])
    refute_receive {:called, {:erased, _}}, 100
  end

  test "modules and times are options, and everything else has a default", context do
    bank = start(context, [{Deposits, self()}])
    deposit(bank, "alice", 5)
    deposit(bank, "bob", 6)
    Warp.append!(Warp.entity(bank, "alice"), %Withdrawn{amount: 1})
    Warp.append!(Warp.entity(bank, "alice"), %Order.Paid{by: "ann"})
    :ok = Warp.delete(Warp.entity(bank, "alice"))
    deposit(bank, "anna", 7)
    caught_up(bank)
    assert_received {:deposited, 7}
    refute_received {:deposited, 6}
    assert %{subscriptions: [%{name: "deposits"}, %{name: "deposits"}]} = Warp.stats(bank)
    # Its state is nil.
    bank = restart(context, [Deposits])
    deposit(bank, "alice", 8)
    caught_up(bank)
    assert Subscription.parked(bank, "deposits") == {:ok, []}
  end

  test "the subscriber of the documentation", %{receipts: receipts} = context do
    owner = self()

    send_mail = fn
      "bob", _ -> {:error, :no_such_address}
      id, text -> send(owner, {:sent, id, text}) && :ok
    end

    bank = start(context, [{receipts, send_mail}])
    deposit(bank, "alice", 5)
    caught_up(bank)
    assert_received {:sent, "alice", "We got 5."}
    deposit(bank, "bob", 6)
    assert [%{entity: "bob", tries: 5, why: "no_such_address"}] = await_parked(bank, 1, "receipts")
  end

  ## What fails

  test "what fails is tried again, and others do not wait for it", context do
    # It fails once.
    left = :counters.new(1, [])
    :counters.put(left, 1, 1)

    fails? = fn
      {:event, %{entity: "alice", seq: 1}} -> :counters.get(left, 1) > 0 and :counters.sub(left, 1, 1) == :ok
      _ -> false
    end

    bank = start(context, [reporting(fails?)])
    for id <- ["alice", "alice", "bob"], do: deposit(bank, id, 5)
    assert %{entity: "bob"} = event()
    assert %{entity: "alice", seq: 1, payload: %Deposited{}} = event()
    assert %{entity: "alice", seq: 2} = event()
    caught_up(bank)
    assert Subscription.parked(bank, "reporting") == {:ok, []}
  end

  test "what fails too often is parked, until it is retried or skipped", context do
    broken = broken()
    bank = start(context, [reporting(&(match?({:event, %{seq: 1}}, &1) and broken?(broken)))])
    before = DateTime.to_unix(DateTime.utc_now(), :microsecond)
    for _ <- 1..2, id <- ["alice", "bob"], do: deposit(bank, id, 5)
    assert [alice, %{entity: "bob"}] = await_parked(bank, 2)
    assert %{entity: "alice", seq: 1, tries: 2, state: :parked, why: "refused", shard: _, since: since} = alice
    assert since >= before
    assert Warp.Test.await_subscribers(bank, 0) == {:error, {:behind, ["reporting"]}}
    no_event()
    :ok = Subscription.skip(bank, "reporting", "bob")
    assert %{entity: "bob", seq: 2} = event()
    mend(broken)
    :ok = Subscription.retry(bank, "reporting", "alice")
    assert %{entity: "alice", seq: 1, payload: %Deposited{amount: 5}} = event()
    assert %{entity: "alice", seq: 2} = event()
    caught_up(bank)
    assert Subscription.retry(bank, "reporting", "alice") == {:error, :not_waiting}
    assert {:error, {:in_use, pid}} = Subscription.forget(bank, "reporting")
    assert is_pid(pid)
  end

  test "what waits outlives a restart, and a crash and a wrong answer are failures", context do
    crashing = fn
      {:event, %{entity: "alice"}}, _ -> raise "no mail"
      {:event, %{entity: "bob"}}, _ -> :wrong
      _, answers -> {:ok, answers}
    end

    bank = start(context, [{Reporting, crashing}])
    for id <- ["alice", "bob"], do: deposit(bank, id, 5)
    await_parked(bank, 2)
    bank = restart(context, [reporting()])
    assert [alice, bob] = await_parked(bank, 2)
    assert alice.why =~ "no mail"
    assert bob.why == "{bad_return,wrong}"
    :ok = Subscription.retry(bank, "reporting", "alice")
    assert %{entity: "alice", payload: %Deposited{amount: 5}} = event()
    # A name that nobody consumes any more is forgotten, and begins anew.
    bank = restart(context, [])
    :ok = Subscription.forget(bank, "reporting")
    assert Subscription.parked(bank, "reporting") == {:error, :unknown_subscription}
    restart(context, [reporting()])
    assert [event(), event()] |> Enum.map(& &1.entity) |> Enum.sort() == ["alice", "bob"]
  end

  ## Processes

  test "callbacks may wait for tasks", context do
    owner = self()

    task = fn called, answers ->
      Task.await(Task.async(fn -> send(owner, {:called, called}) end))
      {:ok, answers}
    end

    bank = start(context, [{Reporting, task}])

    for amount <- 1..3 do
      deposit(bank, "alice", amount)
      assert %{payload: %Deposited{amount: ^amount}} = event()
    end

    caught_up(bank)
    assert_received {:called, {:init, _}}
    # It was not restarted.
    refute_received {:called, {:init, _}}
  end

  test "it runs under a supervisor of one's own, behind its context", context do
    children = [{Warp, options(context, [])}, {Subscriber, {context.name, reporting()}}]
    {:ok, sup} = Supervisor.start_link(children, strategy: :rest_for_one)
    {:ok, bank} = Warp.context(context.name)
    deposit(bank, "alice", 5)
    assert %{entity: "alice", seq: 1} = event()
    caught_up(bank)
    assert [{{Subscriber, "reporting"}, _, :worker, _}, {_, warp, _, _}] = Supervisor.which_children(sup)
    Process.exit(warp, :kill)
    assert_receive {:called, {:init, again}} when again != bank, 5000
    deposit(again, "alice", 6)
    assert %{seq: 2} = event()
    :ok = Supervisor.stop(sup)
    assert Subscriber.start_link(context.name, Deposits) == {:error, :context_stopped}
    assert Subscriber.start_link(bank, Deposits) == {:error, :context_stopped}
  end

  test "policies run there too", context do
    bank = start(context, [])
    policy = Subscription.policy("audit", [types: [Deposited], prefix: "a"], &audit/1)
    child = Subscriber.child_spec({bank, policy})
    assert child.id == {Subscriber, "audit"}
    server = start_supervised!(child)
    await_subscribed(bank, server)
    deposit(bank, "alice", 5)
    assert {:ok, 2} = bank |> Warp.entity("audit/alice") |> Warp.wait(2, 5000)
  end

  # One that begins `:now` gets what is appended from then on.
  defp await_subscribed(bank, server, tries \\ 500) do
    subscribed? = Enum.any?(Warp.stats(bank).subscriptions, &(&1.subscriber == server))
    assert subscribed? or tries > 0
    subscribed? || (Process.sleep(10) && await_subscribed(bank, server, tries - 1))
  end

  test "what is no subscriber is an error that names it", context do
    assert_wrong = fn subscribers, why ->
      assert {:error, {:bad_option, :subscribers, ^why} = reason} = Warp.start(options(context, subscribers))
      assert Warp.format_error(reason) =~ "subscribers"
    end

    assert_wrong.([Date], {:not_a_subscriber, Date})
    assert_wrong.([Deposits, {Date, 1}], {:not_a_subscriber, {Date, 1}})
    assert_wrong.(Deposits, :not_a_list)
    assert_wrong.([Deposits | Date], :not_a_list)
    assert_wrong.([Deposits, Deposits], {:duplicate_name, "deposits"})
    assert_wrong.([Subscription.policy("p", [credit: 1], &audit/1)], {"p", :credit, :unknown_key})
    assert_wrong.([Subscription.policy("p", [:credit], &audit/1)], {"p", :options, :not_a_map})
    bank = start(context, [])
    assert Subscriber.start_link(bank, Date) == {:error, {:bad_option, :subscriber, {:not_a_subscriber, Date}}}

    for {options, message} <- [{[tries: 5], ~r/give the name/}, {[name: "a", credit: 5], ~r/no option :credit/}] do
      assert_raise CompileError, message, fn ->
        Code.compile_quoted(
          quote do
            defmodule Wrong do
              use Warp.Subscriber, unquote(options)
            end
          end
        )
      end
    end
  end

  ## Policies

  # Exported, so that it goes on when this module is reloaded. In a context of several aggregates the struct's is found.
  def audit(%{entity: id, payload: %Deposited{amount: amount}}),
    do: [{:append, "audit/" <> id, [%Order.Paid{by: id, amount: amount}, %Order.Paid{by: "twice"}]}]

  test "a policy acts once, with structs", context do
    policy = &Subscription.policy("audit", [types: [Deposited], from: &1], fn event -> audit(event) end)
    bank = start(context, [policy.(:beginning)])
    for amount <- 1..5, do: deposit(bank, "alice", amount)
    caught_up(bank)
    {:ok, audited} = Warp.history(Warp.entity(bank, "audit/alice"))
    assert for(%{payload: %Order.Paid{by: "alice", amount: amount}} <- audited, do: amount) == Enum.to_list(1..5)
    # From the beginning again.
    bank = restart(context, [])
    :ok = Subscription.forget(bank, "audit")
    bank = restart(context, [policy.(:beginning)])
    deposit(bank, "alice", 6)
    caught_up(bank)
    assert {:ok, again} = Warp.history(Warp.entity(bank, "audit/alice"))
    assert Enum.take(again, 10) == audited
    assert length(again) == 12
  end

  test "a policy starts sagas", context do
    react = fn %{entity: id, seq: seq} ->
      step = [entity: "bonus", aggregate: Account, forward: %Deposited{amount: 7}, compensate: %Withdrawn{amount: 7}]
      [{:saga, "bonus/#{id}/#{seq}" |> Saga.new() |> Saga.step(step)}]
    end

    bank = start(context, [Subscription.policy("bonus", [prefix: "user/"], react)])
    for amount <- 1..3, do: deposit(bank, "user/1", amount)
    caught_up(bank)
    assert Warp.get!(Warp.entity(bank, "bonus"), Account).balance == 21
    assert {:ok, %{state: :committed}} = Saga.status(bank, "bonus/user/1/3")
  end

  test "a policy gets nil for null", context do
    react = fn %{payload: %{"a" => nil}, metadata: %{"b" => nil}} -> [{:append, "seen", %Deposited{amount: 1}}] end
    bank = start(context, [Subscription.policy("seen", [types: ["Noted"]], react)])
    Warp.append!(Warp.entity(bank, "plain"), noted())
    assert {:ok, 1} = Warp.wait(Warp.entity(bank, "seen"), 1, 5000)
  end

  test "a policy acts on events from a time on", context do
    bank = start(context, [])
    for amount <- 1..2, do: deposit(bank, "alice", amount)
    time = ~U[2020-01-01 00:00:00Z]
    :ok = Warp.correct_time(Warp.entity(bank, "alice"), 1, DateTime.add(time, -1))
    filter = [from: :beginning, types: [Deposited]]
    policy = &Subscription.policy(&1, filter ++ [effects_from: &2], fn event -> audit(event) end)
    bank = restart(context, [policy.("audit", {:time, time})])
    caught_up(bank)
    assert {:ok, [paid, _twice]} = Warp.history(Warp.entity(bank, "audit/alice"))
    assert paid.payload.amount == 2
    # A time in microseconds, which is later than both, and one that is none.
    later = DateTime.to_unix(DateTime.utc_now(), :microsecond) + 60_000_000
    bank = restart(context, [policy.("later", {:time, later})])
    caught_up(bank)
    assert {:ok, [^paid, _twice]} = Warp.history(Warp.entity(bank, "audit/alice"))
    # A cursor behind the second event.
    {:ok, sub} = Subscription.subscribe(bank, from: :now)
    {:ok, cursor} = Subscription.cursor(sub)
    bank = restart(context, [policy.("behind", {:cursor, cursor})])
    deposit(bank, "alice", 3)
    assert {:ok, 4} = Warp.wait(Warp.entity(bank, "audit/alice"), 4, 5000)
    assert {:ok, [^paid, _, %{payload: %{amount: 3}}, _]} = Warp.history(Warp.entity(bank, "audit/alice"))
    # One that is none.
    :ok = Warp.stop(bank)

    options = [
      context: "wrong",
      data_dir: System.tmp_dir!(),
      aggregates: [Account],
      subscribers: [policy.("wrong", :now)]
    ]

    assert {:error, {:bad_option, :subscribers, {"wrong", :effects_from, _}}} = Warp.start(options)
  end

  test "a policy that fails says why", context do
    not_a_text = [{:append, "audit", %Order.Paid{by: "ann"}}, {:append, "audit", %Order.Paid{by: 1}}]
    bank = start(context, [Subscription.policy("audit", [types: [Deposited], tries: 1], fn _ -> not_a_text end)])
    deposit(bank, "alice", 5)
    assert [%{why: why}] = await_parked(bank, 1, "audit")
    assert why =~ ~r/^{command_failed,2,\s*{bad_event,1,payload,.*Order.Paid.by/s
  end

  ## Transactions

  test "what is wrong with a command is named", context do
    bank = start(context, [])
    deposit(bank, "alice", 5)
    {:ok, %{events: [event]}} = Warp.events(bank)
    transaction = &Subscription.transaction(bank, "t", event, &1)
    paid = %Order.Paid{by: "ann"}

    for {commands, wrong} <- [
          {:nothing, :nothing},
          {[:what], :what},
          {[{:append, "x", []}], {:append, "x", []}},
          {[{:append, "x", [:what]}], :what},
          {[{:append, :x, []}], {:append, :x, []}}
        ],
        do: assert({commands, transaction.(commands)} == {commands, {:error, {:bad_command, wrong}}})

    bad = %Order.Paid{by: 1}

    assert {:error, {:command_failed, 2, {:bad_event, 2, :payload, {:not_json, why}}}} =
             transaction.([{:append, "x", paid}, {:append, "x", [paid, bad]}])

    assert why =~ "Order.Paid.by"
    # A struct that cannot be stored is found first.
    assert Warp.history(Warp.entity(bank, "x")) == {:ok, []}

    assert {:error, {:command_failed, 2, {:rejected, {:missing, 1}}}} =
             transaction.([{:append, "x", paid}, {:append, "x", %Withdrawn{amount: 1}}])

    assert {:ok, [%{payload: ^paid}]} = Warp.history(Warp.entity(bank, "x"))

    assert {:error, {:command_failed, 1, {:bad_saga_id, :not_a_saga}}} = transaction.([{:saga, :what}])
    step = [entity: "x", aggregate: Account, forward: %Deposited{amount: "1"}, compensate: %Withdrawn{amount: 1}]

    assert {:error, {:command_failed, 1, {:bad_step, 0, {:forward, _}}}} =
             transaction.([{:saga, "s" |> Saga.new() |> Saga.step(step)}])

    # With what else is to be said of an event.
    assert transaction.([{:append, "plain", noted()}]) == :ok
    assert {:ok, [%{metadata: %{"b" => nil}}]} = Warp.history(Warp.entity(bank, "plain"))
  end
end
