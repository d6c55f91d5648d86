defmodule Warp.Saga do
  @moduledoc """
  One operation over several entities: steps, each with an event that does something and an event that reverses it. When
  a step is refused, Warp appends the reversing events of those before it, the last one first. So a saga ends whole or
  reversed, whatever crashes in between; or it is stuck, and says so. `docs/sagas.md` says more.

      iex> {:ok, bank} = Warp.context("bank")
      iex> Warp.append!(Warp.entity(bank, "alice"), %Account.Deposited{amount: 500})
      iex> transfer = fn id, amount ->
      ...>   withdraw = %Account.Withdrawn{amount: amount}
      ...>   deposit = %Account.Deposited{amount: amount}
      ...>
      ...>   Warp.Saga.new(id)
      ...>   |> Warp.Saga.step(entity: "alice", aggregate: Account, forward: withdraw, compensate: deposit)
      ...>   |> Warp.Saga.step(entity: "bob", aggregate: Account, forward: deposit, compensate: withdraw)
      ...>   |> Warp.Saga.commit(bank)
      ...> end
      iex> {:ok, {:committed, _}} = transfer.("transfer-1", 300)
      iex> {:ok, {:compensated, %{failed: failed}}} = transfer.("transfer-2", 900)
      iex> failed
      %{entity: "alice", reason: {:rejected, {:missing, 700}}, step: 0}
      iex> Warp.get(Warp.entity(bank, "bob"), Account)
      {:ok, %Account{balance: 300}}

  The id of a saga stands for it for good: committing it again runs nothing, and gives the same result.

  ## Steps

  A step is a keyword list or a map with `entity` (an id), `aggregate`, `forward` and `compensate`. These two are each
  an event, or `%{run: name, args: %{}}`, which calls a function that the context was started with:

      steps: %{"settle" => &Account.settle/2}

  It gets the state of the aggregate and the arguments, with strings as keys, and gives `{:ok, event}` or
  `{:error, reason}`. A function for `compensate` may take a third argument, the event that it has to reverse.
  """

  alias Warp.{Aggregate, Event, Null, Options}

  @enforce_keys [:id]
  defstruct [:id, groups: []]

  @type t :: %__MODULE__{}
  @type step :: keyword | map
  @type result :: {:committed | :compensated | :stuck, map}

  @doc "A saga without steps. Its id is a string of 1 to 500 bytes."
  @spec new(String.t()) :: t
  def new(id), do: %__MODULE__{id: id}

  @doc "The saga with one more step, which runs when all steps before it are applied."
  @spec step(t, step) :: t
  def step(%__MODULE__{} = saga, step), do: parallel(saga, [step])

  @doc "The saga with more steps, which run side by side when all steps before them are applied."
  @spec parallel(t, [step]) :: t
  def parallel(%__MODULE__{groups: groups} = saga, steps), do: %{saga | groups: [steps | groups]}

  @doc """
  Runs a saga to its end, or gives the result of one that was run before. `{:ok, {:committed, map}}`: all steps are
  applied. `:compensated`: a step was refused, and all that was applied is reversed. `:stuck`: a compensation was
  refused, see `stuck/1`.

  Options:

    * `:timeout` (`:infinity`) - milliseconds until the saga goes no further forward.
    * `:retries` (10) - how often a step is tried again after a transient failure.
    * `:wait` (`:infinity`) - milliseconds that the caller waits. The saga goes on after that.
  """
  @spec commit(t, Warp.context(), keyword) :: {:ok, result} | {:error, Warp.reason()}
  def commit(%__MODULE__{} = saga, context, options \\ []) do
    with {:ok, saga} <- encode(saga), do: :warp_saga.commit(saga, context, Options.to_map(options))
  end

  @doc false
  # The saga as warp_saga takes it.
  def encode(%__MODULE__{id: id, groups: groups}) do
    with {:ok, groups} <- encode_groups(Enum.reverse(groups), 0, []),
         do: {:ok, Enum.reduce(groups, :warp_saga.new(id), &:warp_saga.parallel(&2, &1))}
  end

  defp encode_groups([], _n, done), do: {:ok, Enum.reverse(done)}

  defp encode_groups([steps | rest], n, done) when length(steps) > 0 do
    with {:ok, steps} <- encode_steps(steps, n, []), do: encode_groups(rest, n + length(steps), [steps | done])
  end

  # warp_saga says what is wrong with it.
  defp encode_groups([other | rest], n, done), do: encode_groups(rest, n, [other | done])

  defp encode_steps([], _n, done), do: {:ok, Enum.reverse(done)}

  defp encode_steps([step | rest], n, done) do
    with {:ok, step} <- encode_step(Options.to_map(step), n), do: encode_steps(rest, n + 1, [step | done])
  end

  defp encode_step(%{} = step, n) do
    step = if is_map_key(step, :aggregate), do: Map.update!(step, :aggregate, &Aggregate.name/1), else: step

    Enum.reduce_while([:forward, :compensate], {:ok, step}, fn side, {:ok, step} ->
      case Event.encode(Map.get(step, side), fn _module -> nil end) do
        {:ok, nil} -> {:cont, {:ok, step}}
        {:ok, action} -> {:cont, {:ok, Map.put(step, side, action)}}
        {:error, why} -> {:halt, {:error, {:bad_step, n, {side, {:payload, {:not_json, why}}}}}}
      end
    end)
  end

  defp encode_step(other, _n), do: {:ok, other}

  @doc "What a saga does at present, with `:state`. Error: `:not_found`."
  @spec status(Warp.context(), String.t()) :: {:ok, map} | {:error, Warp.reason()}
  defdelegate status(context, id), to: :warp_saga

  @doc "The sagas under way."
  @spec pending(Warp.context()) :: {:ok, [map]} | {:error, Warp.reason()}
  defdelegate pending(context), to: :warp_saga

  @doc "The sagas that wait for an operator, since a compensation was refused: `retry/3` or `resolve/4` ends each."
  @spec stuck(Warp.context()) :: {:ok, [map]} | {:error, Warp.reason()}
  defdelegate stuck(context), to: :warp_saga

  @doc "Turns a saga back unless all its steps are applied, and waits for its result. Option: `:wait`, milliseconds."
  @spec cancel(Warp.context(), String.t(), keyword) :: {:ok, result} | {:error, Warp.reason()}
  def cancel(context, id, options \\ []), do: :warp_saga.cancel(context, id, Options.to_map(options))

  @doc "Tries the compensations of a stuck saga again, and waits for the result. Option: `:wait`, milliseconds."
  @spec retry(Warp.context(), String.t(), keyword) :: {:ok, result} | {:error, Warp.reason()}
  def retry(context, id, options \\ []), do: :warp_saga.retry(context, id, Options.to_map(options))

  @doc "Closes a stuck saga as it is. The note, up to 4096 bytes, says why. Option: `:wait`, milliseconds."
  @spec resolve(Warp.context(), String.t(), String.t(), keyword) :: {:ok, result} | {:error, Warp.reason()}
  def resolve(context, id, note, options \\ []), do: :warp_saga.resolve(context, id, note, Options.to_map(options))

  @doc "Waits until all sagas that were under way have ended or wait, and counts them. Option: `:wait`, milliseconds."
  @spec recover_pending(Warp.context(), keyword) :: {:ok, map} | {:error, Warp.reason()}
  def recover_pending(context, options \\ []), do: :warp_saga.recover_pending(context, Options.to_map(options))

  @doc false
  # Step functions as warp_core calls them.
  def functions(steps), do: Map.new(steps, fn {name, fun} -> {name, function(fun)} end)

  defp function(fun) when is_function(fun, 2),
    do: fn state, args -> encoded(fun.(state, Null.to_nil(args))) end

  defp function(fun) when is_function(fun, 3),
    do: fn state, args, event -> encoded(fun.(state, Null.to_nil(args), Aggregate.seen(event))) end

  defp function(other), do: other

  defp encoded({:ok, event}) do
    with {:error, why} <- Event.encode(event, fn _module -> nil end),
         do: {:error, {:bad_event, 1, :payload, {:not_json, why}}}
  end

  defp encoded(other), do: other
end
