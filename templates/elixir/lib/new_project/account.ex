defmodule NewProject.Account.Deposited do
  @moduledoc "Money was paid in."
  use Warp.Event, type: "Deposited", fields: [amount: :integer]
  defstruct [:amount]
end

defmodule NewProject.Account.Withdrawn do
  @moduledoc "Money was paid out."
  use Warp.Event, type: "Withdrawn", fields: [amount: :integer]
  defstruct [:amount]
end

defmodule NewProject.Account do
  @moduledoc """
  An account is an entity: its events say what was paid in and out, and its state is the balance that follows.
  """
  alias NewProject.Account.{Deposited, Withdrawn}
  use Warp.Aggregate, name: "Account", events: [Deposited, Withdrawn]

  defstruct balance: 0

  @doc "The account after an event."
  @impl true
  def apply(account, %Deposited{amount: amount}), do: %{account | balance: account.balance + amount}
  def apply(account, %Withdrawn{amount: amount}), do: %{account | balance: account.balance - amount}

  @doc "Whether an event may be stored."
  @impl true
  def validate(account, %Withdrawn{amount: amount}) when amount > account.balance,
    do: {:error, {:missing, amount - account.balance}}

  def validate(_account, _event), do: :ok

  @doc "`{:ok, seq}` once the event is on disk; `seq` is its number in the account."
  def deposit(name, amount), do: Warp.append(entity(name), %Deposited{amount: amount})

  def withdraw(name, amount), do: Warp.append(entity(name), %Withdrawn{amount: amount})

  def balance(name) do
    with {:ok, account} <- Warp.get(entity(name), __MODULE__), do: {:ok, account.balance}
  end

  def events(name), do: Warp.history(entity(name))

  defp entity(name) do
    {:ok, bank} = Warp.context("new_project")
    Warp.entity(bank, name)
  end
end
