defmodule NewProject do
  @moduledoc "mix run -e NewProject.main"

  alias NewProject.Account

  def main do
    {:ok, _} = Account.deposit("alice", 5000)
    {:ok, seq} = Account.withdraw("alice", 1000)
    {:error, {:rejected, {:missing, _}}} = Account.withdraw("alice", 1_000_000)
    {:ok, balance} = Account.balance("alice")
    IO.puts("alice has #{balance} after #{seq} events")
  end
end
