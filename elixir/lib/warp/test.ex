defmodule Warp.Test do
  @moduledoc """
  For tests of what is built on Warp.

  ## Aggregates, without a database

  Given these events, when others are appended or a function decides, then this is stored or refused, and this is the
  state:

      iex> given = Warp.Test.given(Account, [%Account.Deposited{amount: 5}])
      iex> Warp.Test.append(given, %Account.Withdrawn{amount: 9})
      {:error, {:rejected, {:missing, 4}}}
      iex> {:ok, then} = Warp.Test.append(given, %Account.Withdrawn{amount: 2})
      iex> Warp.Test.state(then)
      %Account{balance: 3}

  Events go through their codecs, as in an entity, so that these tests find what cannot be stored.

  ## A context of its own

      defmodule BankTest do
        use ExUnit.Case, async: true

        setup do
          {:ok, bank} = Warp.Test.start(aggregates: [Account])
          on_exit(fn -> Warp.Test.stop(bank) end)
          [bank: bank]
        end

        test "money arrives", %{bank: bank} do
          alice = Warp.entity(bank, "alice")
          assert {:ok, 1} = Warp.append(alice, %Account.Deposited{amount: 5})
          assert {:ok, %Account{balance: 5}} = Warp.get(alice, Account)
        end
      end
  """

  alias Warp.{Aggregate, Event}

  @typedoc "An entity that has some events and is stored nowhere."
  @type entity :: :warp_test_aggregate.entity()

  @doc """
  An entity of one aggregate that has these events, which are not validated. Raises `Warp.Error` for a module that is no
  aggregate, and for events that cannot be.
  """
  @spec given(module, [Event.new()]) :: entity
  def given(aggregate, events \\ []) do
    with {:ok, definition} <- Aggregate.definition(aggregate), {:ok, events} <- encode(events) do
      :warp_test_aggregate.given(definition, events)
    else
      {:error, {:bad_event, _, _, _} = reason} -> raise Warp.Error, reason: reason
      {:error, why} -> raise Warp.Error, reason: {:bad_option, :aggregates, why}
    end
  end

  @doc "The entity after an event, or a list of events as a batch. Errors are those of `Warp.append/3`."
  @spec append(entity, Event.new() | [Event.new()]) :: {:ok, entity} | {:error, Warp.reason()}
  def append(entity, events) do
    with {:ok, events} <- encode(List.wrap(events)), do: :warp_test_aggregate.append(entity, events)
  end

  @doc """
  What a function decides on the state, as in `Warp.decide/4`: its events and its messages, which are not sent, and the
  entity after these events.

      iex> given = Warp.Test.given(Account, [%Account.Deposited{amount: 5}])
      iex> empty = fn account -> {:ok, [%Account.Withdrawn{amount: account.balance}]} end
      iex> {:ok, {events, _messages}, then} = Warp.Test.decide(given, empty)
      iex> {events, Warp.Test.state(then)}
      {[%Account.Withdrawn{amount: 5}], %Account{balance: 0}}
  """
  @spec decide(entity, (state :: term -> Warp.decision())) ::
          {:ok, {[Event.new()], [{pid, term}]}, entity} | {:error, Warp.reason()}
  def decide(entity, fun) do
    made = make_ref()

    noting = fn state ->
      decision = fun.(state)
      Process.put(made, decision)
      decision
    end

    case {:warp_test_aggregate.decide(entity, Warp.deciding(noting, &none/1)), Process.delete(made)} do
      {{:ok, _, next}, {:ok, events}} -> {:ok, {events, []}, next}
      {{:ok, _, next}, {:ok, events, messages}} -> {:ok, {events, messages}, next}
      {{:error, _} = error, _} -> error
    end
  end

  @doc "The state of the entity."
  @spec state(entity) :: term
  defdelegate state(entity), to: :warp_test_aggregate

  defp encode(events), do: Event.encode_all(events, &none/1)

  # There is one aggregate, to which all events belong.
  defp none(_module), do: nil

  @doc """
  Starts a context in an empty folder of its own, with one shard and durability `:normal`, so that it waits for no disk.
  Options and errors are those of `Warp.start_link/1`. Only `:aggregates` is required, and `:data_dir` is no option.
  """
  @spec start(keyword) :: {:ok, Warp.context()} | {:error, Warp.reason()}
  def start(options) do
    with {:ok, options} <- Warp.start_options(options), do: :warp_test_context.start(options)
  end

  @doc "Stops a context that `start/1` started, and removes its folder."
  @spec stop(Warp.context()) :: :ok
  defdelegate stop(context), to: :warp_test_context

  @doc """
  Waits until all subscriptions with names have handled everything that is stored, and what they appended themselves, so
  that a test can look at what they did. The timeout is milliseconds or `:infinity`.

      test "the receipt is sent", %{bank: bank} do
        Warp.append!(Warp.entity(bank, "alice"), %Account.Deposited{amount: 5})
        assert :ok = Warp.Test.await_subscribers(bank, 5000)
        assert_received {:sent, "alice", "We got 5."}
      end

  Errors: `{:behind, names}` at the timeout, for subscriptions that are not done, or that failed with an event, which
  waits; `:context_stopped`.
  """
  @spec await_subscribers(Warp.context(), timeout) :: :ok | {:error, Warp.reason()}
  defdelegate await_subscribers(context, timeout), to: :warp_test_context

  @doc "Calls a function with a context that ends with it. Gives the function's result, or an error of `start/1`."
  @spec run(keyword, (Warp.context() -> result)) :: result | {:error, Warp.reason()} when result: term
  def run(options, fun) do
    with {:ok, context} <- start(options) do
      try do
        fun.(context)
      after
        stop(context)
      end
    end
  end
end
