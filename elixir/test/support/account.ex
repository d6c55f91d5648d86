defmodule Account.Deposited do
  @moduledoc false
  use Warp.Event, type: "Deposited", fields: [amount: :integer]
  defstruct [:amount]
end

defmodule Account.Withdrawn do
  @moduledoc false
  use Warp.Event, type: "Withdrawn", fields: [amount: :integer]
  defstruct [:amount]
end

defmodule Account do
  @moduledoc false
  # The account of the examples in Warp's documentation.
  use Warp.Aggregate, name: "Account", events: [Account.Deposited, Account.Withdrawn]

  defstruct balance: 0

  @impl true
  def validate(%Account{balance: balance}, %Account.Withdrawn{amount: amount}) when amount > balance,
    do: {:error, {:missing, amount - balance}}

  def validate(_account, _event), do: :ok

  @impl true
  def apply(account, %Account.Deposited{amount: amount}), do: %{account | balance: account.balance + amount}
  def apply(account, %Account.Withdrawn{amount: amount}), do: %{account | balance: account.balance - amount}
end
