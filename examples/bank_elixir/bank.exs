# A small bank on Warp, in Elixir. An account is an entity: its money moves by events, and the
# overdraft is checked before one is stored. Run it in the folder of Warp:
#
#     (cd elixir && mix compile)
#     ERL_LIBS=elixir/_build/dev/lib elixir examples/bank_elixir/bank.exs DATA_DIR
#
# DATA_DIR is a folder that does not exist yet, or holds no bank.

defmodule Opened do
  use Warp.Event, type: "Opened", fields: [owner: :string, overdraft: :integer]
  defstruct [:owner, :overdraft]
end

defmodule Deposited do
  use Warp.Event, type: "Deposited", fields: [amount: :integer]
  defstruct [:amount]
end

defmodule Withdrawn do
  use Warp.Event, type: "Withdrawn", fields: [amount: :integer]
  defstruct [:amount]
end

defmodule Account do
  @moduledoc "What may happen to an account, and what an event that has happened makes of it."
  use Warp.Aggregate, name: "Account", events: [Opened, Deposited, Withdrawn], initial_state: nil

  defstruct [:owner, :overdraft, balance: 0]

  @impl true
  def validate(nil, %Opened{}), do: :ok
  def validate(nil, _event), do: {:error, :no_account}
  def validate(_account, %Opened{}), do: {:error, :already_open}
  def validate(_account, %{amount: amount}) when amount <= 0, do: {:error, :not_an_amount}
  def validate(_account, %Deposited{}), do: :ok

  def validate(account, %Withdrawn{amount: amount}) do
    available = account.balance + account.overdraft
    if amount <= available, do: :ok, else: {:error, {:overdrawn, available}}
  end

  @impl true
  def apply(nil, %Opened{owner: owner, overdraft: overdraft}), do: %Account{owner: owner, overdraft: overdraft}
  def apply(account, %Deposited{amount: amount}), do: %{account | balance: account.balance + amount}
  def apply(account, %Withdrawn{amount: amount}), do: %{account | balance: account.balance - amount}
end

defmodule Bank do
  @moduledoc "What the bank can be told."

  def start(dir) do
    {:ok, bank} = Warp.start(context: "bank", data_dir: dir, shards: 4, aggregates: [Account])
    bank
  end

  def open(account, owner, overdraft), do: Warp.append(account, %Opened{owner: owner, overdraft: overdraft})
  def deposit(account, amount), do: Warp.append(account, %Deposited{amount: amount})
  def withdraw(account, amount), do: Warp.append(account, %Withdrawn{amount: amount})

  # Two accounts are two entities, and no lock spans both: it takes a saga. Its id makes it happen
  # once, however often it is asked for, and what was done is undone if the rest is refused.
  def transfer(bank, id, from, to, amount) do
    {withdrawn, deposited} = {%Withdrawn{amount: amount}, %Deposited{amount: amount}}

    Warp.Saga.new(id)
    |> Warp.Saga.step(entity: from, aggregate: Account, forward: withdrawn, compensate: deposited)
    |> Warp.Saga.step(entity: to, aggregate: Account, forward: deposited, compensate: withdrawn)
    |> Warp.Saga.commit(bank)
  end

  def statement(account, time) do
    {:ok, state} = Warp.state_at(account, Account, {:time, time})
    {:ok, events} = Warp.history(account)
    {state, Enum.filter(events, &(&1.recorded_at <= time))}
  end

  def time_of_last_event(account) do
    {:ok, [event]} = Warp.history(account, direction: :backward, limit: 1)
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
    case Warp.get(account, Account) do
      {:ok, nil} -> reason(:no_account)
      {:ok, state} -> state.balance
    end
  end

  def movement(%{seq: seq, payload: %Opened{owner: owner}}), do: IO.puts("  #{seq} Opened #{owner}")
  def movement(%{seq: seq, type: type, payload: %{amount: amount}}), do: IO.puts("  #{seq} #{type} #{amount}")

  # As it is stored.
  def exported(%{seq: seq, type: type, payload: payload}),
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
    alice = Warp.entity(bank, "alice")
    bob = Warp.entity(bank, "bob")
    carol = Warp.entity(bank, "carol")

    line("open alice, overdraft 200", written(open(alice, "Alice Liddell", 200)))
    line("open bob, overdraft 0", written(open(bob, "Bob Cratchit", 0)))
    line("open alice again", written(open(alice, "Alice Liddell", 200)))
    line("deposit 1000 to alice", written(deposit(alice, 1000)))
    line("deposit -5 to alice", written(deposit(alice, -5)))
    events = [%Deposited{amount: 500}, %Deposited{amount: 250}]
    line("deposit 500 and 250 to alice as a batch", written(Warp.append_batch(alice, events)))
    line("withdraw 900 from alice", written(withdraw(alice, 900)))
    line("withdraw 1051 from alice", written(withdraw(alice, 1051)))
    line("withdraw 1050 from alice", written(withdraw(alice, 1050)))
    line("balance of alice", balance(alice))
    line("deposit 500 to alice", written(deposit(alice, 500)))
    line("deposit 10 to carol", written(deposit(carol, 10)))
    end_of_month = time_of_last_event(alice)
    line("transfer t-1, 300 from alice to bob", transferred(transfer(bank, "t-1", "alice", "bob", 300)))
    line("transfer t-1 once more", transferred(transfer(bank, "t-1", "alice", "bob", 300)))
    line("transfer t-2, 900 from alice to bob", transferred(transfer(bank, "t-2", "alice", "bob", 900)))
    line("transfer t-3, 100 from alice to carol", transferred(transfer(bank, "t-3", "alice", "carol", 100)))
    line("balance of alice", balance(alice))
    line("balance of bob", balance(bob))

    IO.puts("statement of alice at the end of the month")
    {then, movements} = statement(alice, end_of_month)
    Enum.each(movements, &movement/1)
    IO.puts("  #{then.owner} has #{then.balance}")

    {:ok, events} = Warp.export(bob)
    IO.puts("export of bob")
    Enum.each(events, &exported/1)
    line("delete bob", Warp.delete(bob))
    {:ok, left} = Warp.export(bob)
    line("events of bob", length(left))
    line("balance of bob", balance(bob))

    :ok = Warp.stop(bank)
    bank = start(dir)
    alice = Warp.entity(bank, "alice")
    {:ok, history} = Warp.history(alice)
    line("after a restart, events of alice", length(history))
    line("after a restart, balance of alice", balance(alice))
    :ok = Warp.stop(bank)
  end

  def run(_arguments) do
    IO.puts(:stderr, "usage: bank.exs DATA_DIR")
    System.halt(2)
  end
end

Main.run(System.argv())
