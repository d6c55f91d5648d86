defmodule NewProject.Account do
  @moduledoc """
  An account is an entity: its events say what was paid in and out, and its state is the balance that follows.
  """

  def aggregate do
    %{name: "Account", initial_state: 0, apply: &__MODULE__.apply/2, validate: &__MODULE__.validate/2}
  end

  @doc "The balance after an event."
  def apply(balance, %{type: "Deposited", payload: %{"amount" => amount}}), do: balance + amount
  def apply(balance, %{type: "Withdrawn", payload: %{"amount" => amount}}), do: balance - amount

  @doc "Whether an event may be stored."
  def validate(balance, %{type: "Withdrawn", payload: %{"amount" => amount}}) when amount > balance,
    do: {:error, {:missing, amount - balance}}

  def validate(_balance, _event), do: :ok

  @doc "`{:ok, seq}` once the event is on disk; `seq` is its number in the account."
  def deposit(name, amount), do: append(name, "Deposited", amount)

  def withdraw(name, amount), do: append(name, "Withdrawn", amount)

  def balance(name), do: :warp_core.get(account(name), "Account")

  def events(name), do: :warp_core.history(account(name))

  defp append(name, type, amount),
    do: :warp_core.append(account(name), %{type: type, payload: %{amount: amount}})

  defp account(name) do
    {:ok, bank} = :warp_core.context("new_project")
    :warp_core.entity(bank, name)
  end
end
