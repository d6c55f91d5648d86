defmodule Warp.Aggregate do
  @moduledoc """
  An aggregate says how events change a state, and which events it refuses.

      defmodule Account.Deposited do
        use Warp.Event, type: "Deposited", fields: [amount: :integer]
        defstruct [:amount]
      end

      defmodule Account.Withdrawn do
        use Warp.Event, type: "Withdrawn", fields: [amount: :integer]
        defstruct [:amount]
      end

      defmodule Account do
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

  `Warp.start_link/1` takes the module: `aggregates: [Account]`. So do all functions that take an aggregate.

  Options:

    * `:name` - required: the name under which its events are stored. It stays when the module gets another name.
    * `:aliases` - names that it had earlier: events that are stored under them are read as its own.
    * `:events` - the modules of its events, see `Warp.Event`. Events of other types cannot be appended then. Without
      this option callbacks get events as maps with `type`, `payload` and so on, see `t:Warp.Event.t/0`.
    * `:initial_state` - the state before the first event. Default: the struct of the module.
    * `:version` - the `schema_vsn` of new events, 1 if not given. Raise it when `apply` folds differently, and when
      the state's struct or an event changes: Warp then throws older snapshots away, and calls `migrate` with older
      events.

  All callbacks are optional. Without `apply` the aggregate is a pure log: its state is always the initial one. `apply`,
  `validate` and `project` may take one more argument: the whole event, `t:Warp.Event.t/0`, which has its `seq`,
  `recorded_at`, `id` and `metadata`.

      def project(id, account, %Account.Deposited{}, %{recorded_at: time}),
        do: [Warp.Projection.upsert(:accounts, id, balance: account.balance, at: time)]

  `use` leaves `Kernel.apply/2` and `Kernel.apply/3` out of the module, so that `apply` means the callback.

  Warp calls the callbacks of the newest code, also after the module was reloaded.
  """

  alias Warp.{Event, Options}

  @typedoc "An event as callbacks get it: its struct, or a map if the aggregate lists no events."
  @type event :: struct | Event.t()

  @doc "The state after an event. Gets each event once, in order. It has to give the same for the same arguments."
  @callback apply(state :: term, event) :: state :: term

  @doc "Whether an event may be stored, in the state that all events before it lead to."
  @callback validate(state :: term, event) :: :ok | {:error, reason :: term}

  @doc """
  An older event as the current version has it. Gets each event whose `schema_vsn` is below the `version` of the
  aggregate, as a map with a payload that has strings as keys, and gives such a map, also with another type.
  """
  @callback migrate(Event.t(), schema_vsn :: pos_integer) :: Event.t()

  @doc """
  The commands of an event for tables, made by `Warp.Projection`, from the state behind the event. It must do nothing
  but that: a rebuild calls it again for every event of the log. What has an effect belongs into a `Warp.Subscriber`.
  """
  @callback project(entity_id :: String.t(), state :: term, event) :: [Warp.Projection.command()]

  @doc "`c:apply/2` with the whole event."
  @callback apply(state :: term, event, Event.t()) :: state :: term
  @doc "`c:validate/2` with the whole event."
  @callback validate(state :: term, event, Event.t()) :: :ok | {:error, reason :: term}
  @doc "`c:project/3` with the whole event."
  @callback project(entity_id :: String.t(), state :: term, event, Event.t()) :: [Warp.Projection.command()]

  @optional_callbacks apply: 2, apply: 3, validate: 2, validate: 3, migrate: 2, project: 3, project: 4

  defmacro __using__(options) do
    Options.check!(options, [:name, :aliases, :events, :initial_state, :version], __CALLER__)
    options[:name] || Options.fail!(__CALLER__, "give the name under which it is stored: `name: \"Account\"`")

    quote do
      import Kernel, except: [apply: 2, apply: 3]
      @behaviour Warp.Aggregate
      @before_compile Warp.Aggregate
      # Evaluated at the end of the module, where its struct is known.
      @warp_options unquote(Macro.escape(options))
    end
  end

  defmacro __before_compile__(env) do
    options = Module.get_attribute(env.module, :warp_options)

    unless Keyword.has_key?(options, :initial_state) or Module.defines?(env.module, {:__struct__, 0}),
      do: Options.fail!(env, "give its `initial_state`, or define a struct")

    fields = [
      name: options[:name],
      version: Keyword.get(options, :version, 1),
      aliases: Keyword.get(options, :aliases, []),
      initial_state: Keyword.get(options, :initial_state, quote(do: %__MODULE__{}))
    ]

    callbacks =
      for {name, arity} <- [apply: 2, validate: 2, project: 3],
          whole <- whole_event(env, name, arity),
          do: {name, arity, whole}

    # Functions of the module, exported, go on when the module is reloaded.
    functions =
      for {name, arity, _} <- callbacks, do: {name, quote(do: &(__MODULE__.unquote(wrapper(name)) / unquote(arity)))}

    # Warp decodes a new event only if a function looks at it before it is stored.
    functions =
      if options[:events] && !functions[:apply] && !functions[:validate],
        do: [validate: quote(do: &Warp.Aggregate.accept/2)] ++ functions,
        else: functions

    quote do
      @doc false
      def __warp__(:definition) do
        %{unquote_splicing(fields ++ functions ++ [migrate: quote(do: &__MODULE__.__warp_migrate__/2)])}
      end

      def __warp__(:name), do: unquote(options[:name])
      def __warp__(:events), do: unquote(Keyword.get(options, :events, []))

      @doc false
      def __warp_migrate__(event, vsn), do: Warp.Aggregate.current(__MODULE__, event, vsn, unquote(fields[:version]))

      unquote_splicing(for {name, arity, whole} <- callbacks, do: wrapped(name, arity, whole))
    end
  end

  # Whether a callback takes the whole event too: in a list, which is empty if there is no such callback.
  defp whole_event(env, name, arity) do
    case Enum.filter([arity, arity + 1], &Module.defines?(env.module, {name, &1}, :def)) do
      [] -> []
      [^arity] -> [false]
      [_] -> [true]
      _ -> Options.fail!(env, "define #{name}/#{arity} or #{name}/#{arity + 1}, and not both")
    end
  end

  defp wrapper(name), do: :"__warp_#{name}__"

  # It ends in a call of the callback, which so is the first in the stack of a crash.
  defp wrapped(name, arity, whole) do
    before = Macro.generate_arguments(arity - 1, __MODULE__)
    event = Macro.var(:event, __MODULE__)
    rest = [quote(do: Warp.Aggregate.seen(unquote(event)))] ++ if(whole, do: [event], else: [])

    quote do
      @doc false
      def unquote(wrapper(name))(unquote_splicing(before ++ [event])),
        do: unquote(name)(unquote_splicing(before ++ rest))
    end
  end

  @doc false
  # A validate that refuses nothing.
  def accept(_state, _event), do: :ok

  @doc false
  # The event as callbacks get it.
  def seen(%{payload: %_{} = event}), do: event
  def seen(event), do: event

  @doc false
  # An event of the log, or a new one, as the current version has it: with nil, migrated, and with its struct.
  def current(module, event, vsn, version) do
    event = Event.nulls_to_nil(event)

    event = if vsn < version and function_exported?(module, :migrate, 2), do: module.migrate(event, vsn), else: event

    case module.__warp__(:events) do
      [] -> event
      events -> Event.decode(event, event_module(module, events, event))
    end
  end

  defp event_module(module, events, %{type: type, seq: seq}) do
    Enum.find(events, &(&1.__warp_type__() == type)) ||
      raise Warp.DecodeError,
        seq: seq,
        type: type,
        why: "#{inspect(module)} has no such event: list it in `events`, or let `migrate` make one of it"
  end

  defp event_module(_module, _events, other) do
    raise ArgumentError, "migrate has to give the event as a map, and gave: #{inspect(other)}"
  end

  @doc false
  # The aggregate as warp_core takes it.
  def definition(module) when is_atom(module) and module not in [nil, true, false] do
    if aggregate?(module), do: checked(module, module.__warp__(:events)), else: {:error, {module, :not_an_aggregate}}
  end

  def definition(other), do: {:ok, other}

  defp checked(module, events) do
    types = for event <- events, Event.event?(event), do: event.__warp_type__()

    case {Enum.reject(events, &Event.event?/1), types -- Enum.uniq(types)} do
      {[], []} -> {:ok, module.__warp__(:definition)}
      {[other | _], _} -> {:error, {module, :events, {other, :not_an_event}}}
      {[], [type | _]} -> {:error, {module, :events, {:duplicate_name, type}}}
    end
  end

  defp aggregate?(module), do: Code.ensure_loaded?(module) and function_exported?(module, :__warp__, 1)

  @doc false
  # The name of an aggregate that is given by its module or its name.
  def name(module) when is_atom(module) do
    if aggregate?(module), do: module.__warp__(:name), else: module
  end

  def name(name), do: name

  @doc false
  # The name of the only aggregate of a context that lists an event, if there is one. A context of one needs no search.
  def name_of_event(%{aggregates: aggregates}, event) when map_size(aggregates) > 1 do
    case for {name, %{migrate: migrate}} <- aggregates, event in events_of(migrate), do: name do
      [name] -> name
      _ -> nil
    end
  end

  def name_of_event(_context, _event), do: nil

  defp events_of(migrate) do
    case {Function.info(migrate, :module), Function.info(migrate, :name)} do
      {{:module, module}, {:name, :__warp_migrate__}} -> module.__warp__(:events)
      _ -> []
    end
  end
end
