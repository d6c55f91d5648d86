defmodule Warp.Subscriber do
  @moduledoc """
  A module that handles events: Warp runs it, hands it each event at least once, and has it go on where it was after a
  restart.

      defmodule Receipts do
        use Warp.Subscriber, name: "receipts", aggregates: [Account], types: [Account.Deposited], tries: 5

        @impl true
        def handle_event(%{entity: id, payload: %Account.Deposited{amount: amount}}, send_mail) do
          case send_mail.(id, "We got \#{amount}.") do
            :ok -> {:ok, send_mail}
            {:error, why} -> {:error, why}
          end
        end
      end

  It is one of the `:subscribers` of a context, with the argument of `c:init/2`, which is the first state if there is no
  `init`. A module without one gets `nil`:

      children = [
        {Warp,
         context: "bank",
         data_dir: "data",
         aggregates: [Account],
         subscribers: [{Receipts, &Mail.send/2}]}
      ]

  Options of `use`:

    * `:name` - required: how far it is, is stored under it, 1 to 200 bytes of text. It stays when the module gets
      another name.
    * `:from` (`:now`) - where to begin when the name is new: `:beginning`, `:now`, `{:cursor, cursor}` or
      `{:time, time}`, as for `Warp.Subscription.subscribe/2`.
    * `:aggregates` (`:all`) - only events of these aggregates, a list of modules or names.
    * `:types` (`:all`) - only these events, a list of modules that `use Warp.Event`, or of types.
    * `:prefix` - only entities whose ids begin with it.
    * `:consumers` (1) - how many processes split the shards, up to the number of shards.
    * `:tries` (10) - how often `handle_event` may fail with an event before that is parked. 10 take 51 seconds.
    * `:effects_from` - for a past that is not to have effects, or not again: `handle_event` is not called for events
      that were recorded before `{:time, time}`, a `DateTime` or microseconds since 1970, or that are not behind
      `{:cursor, cursor}`. They are acknowledged as if they had been handled, also those that waited. Default: it is
      called for all events.

  **When `handle_event` fails**, with `{:error, why}` or by crashing, it is called again with that event after 100 ms,
  and after pauses that double, up to a minute. Meanwhile later events of that entity wait, and all others go on. After
  `:tries` failures the event is parked: `Warp.Subscription.parked/2` lists it, `Warp.Subscription.retry/3` tries it
  again, and `Warp.Subscription.skip/3` goes on behind it. While 1000 entities wait the subscriber takes no other
  events, and `Warp.stats/1` says so.

  An event that was handled can come once more after a crash. `Warp.Subscription.transaction/4` makes an append that
  follows from an event happen once, and `Warp.Subscription.policy/3` is for subscribers that do nothing else.

  ## Under a supervisor of one's own

  The processes of `:subscribers` end with their context. One that has to start after other processes stands in a list
  of children, behind the context, with the strategy `:rest_for_one`:

      children = [
        {Warp, context: "bank", data_dir: "data", aggregates: [Account]},
        Mail,
        {Warp.Subscriber, {"bank", {Receipts, &Mail.send/2}}}
      ]
  """
  @behaviour :warp_subscriber

  alias Warp.{Null, Options, Subscription}

  @typedoc "What `Warp.Subscription.policy/3` gives."
  @opaque policy :: :warp_subscriber.subscriber()
  @typedoc "A module that uses `Warp.Subscriber`, alone or with the argument of its `init`; or a policy."
  @type subscriber :: module | {module, arg :: term} | policy
  @typedoc "The state of a subscriber: any term."
  @type state :: term

  @doc """
  The state before the first event. It is called again after an error, with pauses. Default: the state is the argument.
  """
  @callback init(Warp.context(), arg :: term) :: {:ok, state} | {:error, why :: term}

  @doc "Handles one event, which is as those of `Warp.Subscription`: with a struct as payload."
  @callback handle_event(Subscription.event(), state) :: {:ok, state} | {:error, why :: term}

  @doc """
  Everything that was stored has been handled, but for what waits. It is called again after being behind. Default:
  nothing is done.
  """
  @callback handle_caught_up(state) :: {:ok, state}

  @doc """
  The entity was deleted: whatever was made of its events is to be erased. It is called again until it works, and
  nothing else is handled before. Default: nothing is done.
  """
  @callback handle_erased(entity_id :: String.t(), state) :: {:ok, state} | {:error, why :: term}

  defmacro __using__(options) do
    Options.check!(options, [:name, :from, :aggregates, :types, :prefix, :consumers, :tries, :effects_from], __CALLER__)
    options[:name] || Options.fail!(__CALLER__, "give the name under which how far it is, is stored: `name: \"mail\"`")

    quote do
      @behaviour Warp.Subscriber

      @doc false
      def __warp_subscriber__, do: unquote(options)

      @impl true
      def init(_context, arg), do: {:ok, arg}

      @impl true
      def handle_caught_up(state), do: {:ok, state}

      @impl true
      def handle_erased(_entity_id, state), do: {:ok, state}

      defoverridable init: 2, handle_caught_up: 1, handle_erased: 2
    end
  end

  @doc """
  Starts a subscriber of a context that runs, which is given by its name or its handle. The process is linked to the
  caller. With several `:consumers` this is one of them. Errors: those of options, and `:context_stopped`.
  """
  @spec start_link(String.t() | Warp.context(), subscriber) :: {:ok, pid} | {:error, Warp.reason()}
  def start_link(name, subscriber) when is_binary(name) do
    with {:ok, context} <- Warp.context(name), do: start_link(context, subscriber)
  end

  def start_link(context, subscriber), do: :warp_subscriber.start_link(context, definition(subscriber))

  @doc """
  The specification of a subscriber as a child of a supervisor, which starts it by `start_link/2`. The context is given
  by its name, which stays when it is restarted.
  """
  @spec child_spec({String.t() | Warp.context(), subscriber}) :: Supervisor.child_spec()
  def child_spec({context, subscriber}),
    do: %{id: {Warp.Subscriber, name(subscriber)}, start: {Warp.Subscriber, :start_link, [context, subscriber]}}

  defp name(subscriber) do
    case definition(subscriber) do
      %{name: name} -> name
      other -> other
    end
  end

  @doc false
  # The subscriber as warp_core takes it. What is none stays as it is, and warp_core says it.
  def definition(module) when is_atom(module), do: definition(module, nil, module)
  def definition({module, arg} = given) when is_atom(module), do: definition(module, arg, given)
  def definition(other), do: other

  defp definition(module, arg, given) do
    if Code.ensure_loaded?(module) and function_exported?(module, :__warp_subscriber__, 0) do
      {name, options} = Keyword.pop!(module.__warp_subscriber__(), :name)
      :warp_subscriber.new(name, __MODULE__, {module, arg}, options |> Map.new() |> Subscription.converted())
    else
      given
    end
  end

  # The callbacks of warp_subscriber, which call those of the module.

  @doc false
  @impl :warp_subscriber
  def init(context, {module, arg}), do: next(module, module.init(context, arg))

  @doc false
  @impl :warp_subscriber
  def handle_event(event, {module, state}), do: next(module, module.handle_event(Null.to_nil(event), state))

  @doc false
  @impl :warp_subscriber
  def handle_caught_up({module, state}), do: next(module, module.handle_caught_up(state))

  @doc false
  @impl :warp_subscriber
  def handle_erased(entity_id, {module, state}), do: next(module, module.handle_erased(entity_id, state))

  defp next(module, {:ok, state}), do: {:ok, {module, state}}
  defp next(_module, other), do: other
end
