# A small bank on Warp, in Elixir. An account is an entity: its money moves by events, and the
# overdraft is checked before one is stored. Run it in the folder of Warp, after `make build`:
#
#     ERL_LIBS=_build/default/lib elixir examples/bank_elixir/bank.exs DATA_DIR
#
# DATA_DIR is a folder that does not exist yet, or holds no bank.

defmodule Account do
  @moduledoc "What may happen to an account, and what an event that has happened makes of it."

  defstruct [:owner, :overdraft, balance: 0]

  def aggregate do
    %{name: "Account", initial_state: nil, validate: &validate/2, apply: &apply_event/2}
  end

  defp validate(nil, %{type: "Opened"}), do: :ok
  defp validate(nil, _event), do: {:error, :no_account}
  defp validate(_account, %{type: "Opened"}), do: {:error, :already_open}

  defp validate(_account, %{payload: %{"amount" => amount}}) when amount <= 0,
    do: {:error, :not_an_amount}

  defp validate(account, %{type: "Withdrawn", payload: %{"amount" => amount}}) do
    available = account.balance + account.overdraft
    if amount <= available, do: :ok, else: {:error, {:overdrawn, available}}
  end

  defp validate(_account, %{type: "Deposited"}), do: :ok

  defp apply_event(nil, %{type: "Opened", payload: payload}) do
    %Account{owner: payload["owner"], overdraft: payload["overdraft"]}
  end

  defp apply_event(account, %{type: "Deposited", payload: %{"amount" => amount}}),
    do: %{account | balance: account.balance + amount}

  defp apply_event(account, %{type: "Withdrawn", payload: %{"amount" => amount}}),
    do: %{account | balance: account.balance - amount}
end

defmodule Bank do
  @moduledoc "What the bank can be told."

  def start(dir) do
    {:ok, bank} =
      :warp_core.start(%{
        context: "bank",
        data_dir: dir,
        shards: 4,
        aggregates: [Account.aggregate()]
      })

    bank
  end

  def open(account, owner, overdraft) do
    :warp_core.append(account, %{type: "Opened", payload: %{owner: owner, overdraft: overdraft}})
  end

  def deposit(account, amount), do: :warp_core.append(account, deposited(amount))
  def withdraw(account, amount), do: :warp_core.append(account, withdrawn(amount))

  def deposited(amount), do: %{type: "Deposited", payload: %{amount: amount}}
  def withdrawn(amount), do: %{type: "Withdrawn", payload: %{amount: amount}}

  # Two accounts are two entities, and no lock spans both: it takes a saga. Its id makes it happen
  # once, however often it is asked for, and what was done is undone if the rest is refused.
  def transfer(bank, id, from, to, amount) do
    :warp_saga.new(id)
    |> :warp_saga.step(step(from, withdrawn(amount), deposited(amount)))
    |> :warp_saga.step(step(to, deposited(amount), withdrawn(amount)))
    |> :warp_saga.commit(bank)
  end

  defp step(account, forward, compensate),
    do: %{entity: account, aggregate: "Account", forward: forward, compensate: compensate}

  def statement(account, time) do
    {:ok, state} = :warp_core.state_at(account, "Account", {:time, time})
    {:ok, events} = :warp_core.history(account)
    {state, Enum.filter(events, &(&1.recorded_at <= time))}
  end

  def time_of_last_event(account) do
    {:ok, [event]} = :warp_core.history(account, %{direction: :backward, limit: 1})
    event.recorded_at
  end
end

defmodule Say do
  @moduledoc "What is printed."

  def line(what, result), do: IO.puts("#{what}: #{result}")

  def written({:ok, {first, last}}), do: "events #{first} to #{last}"
  def written({:ok, seq}), do: "event #{seq}"
  def written({:error, {:rejected, why}}), do: "refused: #{reason(why)}"

  def transferred({:ok, {:committed, _}}), do: "committed"

  def transferred({:ok, {:compensated, %{failed: %{step: n, reason: {:rejected, why}}}}}),
    do: "compensated, since step #{n} was refused: #{reason(why)}"

  def balance(account) do
    case :warp_core.get(account, "Account") do
      {:ok, nil} -> reason(:no_account)
      {:ok, state} -> state.balance
    end
  end

  def movement(%{seq: seq, type: type, payload: payload}),
    do: IO.puts("  #{seq} #{type} #{payload["amount"] || payload["owner"]}")

  def reason(:no_account), do: "no account"
  def reason(:already_open), do: "already open"
  def reason(:not_an_amount), do: "not an amount"
  def reason({:overdrawn, available}), do: "only #{available} available"
end

defmodule Main do
  @moduledoc "One day at the bank."
  import Bank
  import Say

  def run([dir]) do
    bank = start(dir)
    alice = :warp_core.entity(bank, "alice")
    bob = :warp_core.entity(bank, "bob")
    carol = :warp_core.entity(bank, "carol")

    line("open alice, overdraft 200", written(open(alice, "Alice Liddell", 200)))
    line("open bob, overdraft 0", written(open(bob, "Bob Cratchit", 0)))
    line("open alice again", written(open(alice, "Alice Liddell", 200)))
    line("deposit 1000 to alice", written(deposit(alice, 1000)))
    line("deposit -5 to alice", written(deposit(alice, -5)))
    events = [deposited(500), deposited(250)]

    line(
      "deposit 500 and 250 to alice as a batch",
      written(:warp_core.append_batch(alice, events))
    )

    line("withdraw 900 from alice", written(withdraw(alice, 900)))
    line("withdraw 1051 from alice", written(withdraw(alice, 1051)))
    line("withdraw 1050 from alice", written(withdraw(alice, 1050)))
    line("balance of alice", balance(alice))
    line("deposit 500 to alice", written(deposit(alice, 500)))
    line("deposit 10 to carol", written(deposit(carol, 10)))
    end_of_month = time_of_last_event(alice)

    line(
      "transfer t-1, 300 from alice to bob",
      transferred(transfer(bank, "t-1", "alice", "bob", 300))
    )

    line("transfer t-1 once more", transferred(transfer(bank, "t-1", "alice", "bob", 300)))

    line(
      "transfer t-2, 900 from alice to bob",
      transferred(transfer(bank, "t-2", "alice", "bob", 900))
    )

    line(
      "transfer t-3, 100 from alice to carol",
      transferred(transfer(bank, "t-3", "alice", "carol", 100))
    )

    line("balance of alice", balance(alice))
    line("balance of bob", balance(bob))

    IO.puts("statement of alice at the end of the month")
    {then, movements} = statement(alice, end_of_month)
    Enum.each(movements, &movement/1)
    IO.puts("  #{then.owner} has #{then.balance}")

    {:ok, exported} = :warp_core.export(bob)
    IO.puts("export of bob")
    Enum.each(exported, &movement/1)
    line("delete bob", :warp_core.delete(bob))
    {:ok, left} = :warp_core.export(bob)
    line("events of bob", length(left))
    line("balance of bob", balance(bob))

    :ok = :warp_core.stop(bank)
    bank = start(dir)
    alice = :warp_core.entity(bank, "alice")
    {:ok, history} = :warp_core.history(alice)
    line("after a restart, events of alice", length(history))
    line("after a restart, balance of alice", balance(alice))
    :ok = :warp_core.stop(bank)
  end

  def run(_arguments) do
    IO.puts(:stderr, "usage: bank.exs DATA_DIR")
    System.halt(2)
  end
end

Main.run(System.argv())
