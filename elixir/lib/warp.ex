defmodule Warp do
  @moduledoc """
  An event-sourced database inside your application.

  One entity (a user, an order, a sensor) is one process, one writer and one append-only log of events. You append
  events to an entity, and an aggregate folds them into its state.

      defmodule Account.Deposited do
        use Warp.Event, type: "Deposited", fields: [amount: :integer]
        defstruct [:amount]
      end

      defmodule Account do
        use Warp.Aggregate, name: "Account", events: [Account.Deposited], initial_state: 0

        @impl true
        def apply(balance, %Account.Deposited{amount: amount}), do: balance + amount
      end

  A context is a database: a folder, and the processes that work on it. It runs under a supervisor of your application,

      children = [{Warp, context: "bank", data_dir: "data", aggregates: [Account]}]

  and everybody finds it by its name:

      {:ok, bank} = Warp.context("bank")
      alice = Warp.entity(bank, "alice")
      {:ok, seq} = Warp.append(alice, %Account.Deposited{amount: 5000})
      {:ok, balance} = Warp.get(alice, Account)

  Any process may call any function. Options are keyword lists, and one that does not exist is an error. Errors are
  `{:error, reason}`; `format_error/1` says what a reason means and what to do. JSON null is `nil` in everything that
  comes back.

  See also `Warp.Aggregate`, `Warp.Event`, `Warp.Type`, `Warp.Saga` for operations over several entities,
  `Warp.Projection` for tables that can be queried, `Warp.Subscription` for processes that are sent events,
  `Warp.Subscriber` for handlers of events that Warp runs, `Warp.Cluster` for contexts that several nodes share,
  `Warp.Backup` for backups, `Warp.Server` for contexts of Warp's server, and `Warp.Test`.

  The examples of this page have the account of `Warp.Aggregate` in a context `"bank"`.
  """

  alias Warp.{Aggregate, Event, Null, Options}

  @typedoc "The handle of a context that runs."
  @type context :: :warp_core.ctx()
  @typedoc "The handle of an entity: cheap to make, to copy and to send."
  @type entity :: :warp_core.entity()
  @typedoc "The number of an event in the log of its entity, from 1."
  @type seq :: non_neg_integer
  @typedoc "The module of an aggregate, or its name."
  @type aggregate :: module | String.t()
  @typedoc "Why something failed: the reasons are in `docs/errors.md`."
  @type reason :: term
  @typedoc "What a function that decides gives: events to append, and messages to send when they are durable."
  @type decision :: {:ok, [Event.new()]} | {:ok, [Event.new()], [{pid, message :: term}]} | {:error, term}

  ## Contexts

  @doc """
  Starts a context as a child of a supervisor, usually by `{Warp, options}` in a list of children. The context runs as
  long as the process that this gives. The third element is the handle, which `context/1` gives too.

  Required options:

    * `:context` - the name: up to 200 letters, digits, `_`, `.` and `-`.
    * `:data_dir` - a folder. The files are in a folder of the context's name there.
    * `:aggregates` - modules that `use Warp.Aggregate`. A map is an aggregate of `:warp_core`, whose functions get
      events as Erlang does, with `:null`.

  Further options, with their defaults:

    * `:shards` (16) - over how many files the entities are spread, 1 to 4096. A context keeps its number for good.
    * `:mode` (`:actor`) - or `:read_through`, which keeps nothing in memory.
    * `:durability` (`:full`) - with `:normal` a power failure may lose the last appends.
    * `:file_access` (`:owner`) - who may read the files: the VM's user, or with `:umask` whoever the umask lets.
    * `:snapshot_every` (1000) - events between two snapshots of an entity.
    * `:idle_timeout` (60000) - milliseconds until an idle entity leaves memory, or `:infinity`.
    * `:max_pending` (10000) - requests that may wait for one entity; more are `:overloaded`.
    * `:steps` (`%{}`) - functions that steps of sagas name, see `Warp.Saga`.
    * `:keep_sagas` (30 days) - milliseconds that the log of a saga is kept after its end, or `:infinity`.
    * `:projections` (`:none`) - `:embedded`, `{:embedded, config}` or `{:rqlite, config}`, see `Warp.Projection`.
      `:untouched`: nothing is projected, and nothing can be deleted.
    * `:subscribers` (`[]`) - modules that `use Warp.Subscriber`, such a module with its argument as `{module, arg}`,
      and policies of `Warp.Subscription.policy/3`.
    * `:cluster` (`:single_node`) - or `{:clustered, options}`, which shares the context with other nodes, see
      `Warp.Cluster`. The options are `:seed_nodes`, a list of names of nodes; and `:bootstrap` (`false`), with which
      this node creates the cluster when none of the seed nodes is a member of one.

  Waits until all files are open. After an error nothing is left running.
  """
  @spec start_link(keyword) :: {:ok, pid, context} | {:error, reason}
  def start_link(options) do
    with {:ok, options} <- start_options(options), do: :warp_core.start_link(options)
  end

  @doc "The specification of a context as a child of a supervisor, with the options of `start_link/1`."
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    name = if is_list(options) or is_map(options), do: options[:context]
    # A context that stops writes the rest of its files, which can take long on a slow disk.
    %{id: {Warp, name}, start: {Warp, :start_link, [options]}, type: :worker, shutdown: :infinity}
  end

  @doc """
  Starts a context that runs until `stop/1`, such as in a script or a shell, with the options of `start_link/1`. In an
  application a supervisor starts it.
  """
  @spec start(keyword) :: {:ok, context} | {:error, reason}
  def start(options) do
    with {:ok, options} <- start_options(options), do: :warp_core.start(options)
  end

  @doc false
  def start_options(options) do
    options = Options.to_map(options)

    with %{aggregates: [_ | _] = aggregates} <- options,
         {:ok, definitions} <- definitions(aggregates, []) do
      {:ok, %{options | aggregates: definitions} |> with_steps() |> with_subscribers() |> with_cluster()}
    else
      {:error, why} -> {:error, {:bad_option, :aggregates, why}}
      # warp_core says what is wrong with it.
      other -> {:ok, other}
    end
  end

  defp definitions([aggregate | rest], done) do
    with {:ok, definition} <- Aggregate.definition(aggregate), do: definitions(rest, [definition | done])
  end

  defp definitions(rest, done), do: {:ok, :lists.reverse(done, rest)}

  defp with_steps(%{steps: %{} = steps} = options), do: %{options | steps: Warp.Saga.functions(steps)}
  defp with_steps(options), do: options

  # What is no list stays as it is, and warp_core says it.
  defp with_subscribers(%{subscribers: [_ | _] = subscribers} = options),
    do: %{options | subscribers: Options.map_list(subscribers, &Warp.Subscriber.definition/1)}

  defp with_subscribers(options), do: options

  defp with_cluster(%{cluster: {:clustered, cluster}} = options),
    do: %{options | cluster: {:clustered, Options.to_map(cluster)}}

  defp with_cluster(options), do: options

  @doc """
  Stops a context that `start/1` started. Everything that was acknowledged is on disk. Does nothing for one that is
  stopped. Waits until all files are closed.
  """
  @spec stop(context) :: :ok
  defdelegate stop(context), to: :warp_core

  @doc """
  The handle of a context that runs under a supervisor. After a restart it is another one, so ask each time.

      iex> {:ok, _bank} = Warp.context("bank")
      iex> Warp.context("another")
      {:error, :context_stopped}
  """
  @spec context(String.t()) :: {:ok, context} | {:error, :context_stopped}
  defdelegate context(name), to: :warp_core

  @doc """
  The handle of the entity with an id: a string of 1 to 512 bytes. An entity begins with its first event. Operations on
  a handle with an id that cannot be give `{:error, {:bad_entity_id, why}}`.
  """
  @spec entity(context, String.t()) :: entity
  defdelegate entity(context, id), to: :warp_core

  @doc """
  What the reason of an error means and what to do, as text for people.

      iex> Warp.format_error({:wrong_expected_seq, 7})
      "The log ends at seq 7, not where it was expected to. Read again, and decide again."
  """
  @spec format_error(reason) :: String.t()
  def format_error({tag, {_class, %{__exception__: true} = exception, _where}})
      when tag in [:apply_failed, :validate_failed, :migrate_failed, :decide_failed, :until_failed] do
    [function, "failed"] = tag |> Atom.to_string() |> String.split("_")
    "#{function} crashed: #{Exception.message(exception)}"
  end

  defdelegate format_error(reason), to: :warp_error

  ## Writing

  @doc """
  Appends an event. Answers with its seq when the event is on disk.

  The event is a struct of a module that uses `Warp.Event`; or a map with such a struct as `payload` and what else is to
  be said: `id`, `metadata`, `aggregate`; or a map with a `type` and a `payload` of its own.

      iex> {:ok, bank} = Warp.context("bank")
      iex> alice = Warp.entity(bank, "alice")
      iex> Warp.append(alice, %Account.Deposited{amount: 5000})
      {:ok, 1}
      iex> Warp.append(alice, %Account.Withdrawn{amount: 9000})
      {:error, {:rejected, {:missing, 4000}}}

  An event with an id is stored once, however often it is appended:

      iex> {:ok, bank} = Warp.context("bank")
      iex> alice = Warp.entity(bank, "alice")
      iex> order = %{payload: %Account.Deposited{amount: 20}, id: "order-17", metadata: %{by: "ann"}}
      iex> {Warp.append(alice, order), Warp.append(alice, order)}
      {{:ok, 1}, {:ok, 1}}

  In a context with several aggregates an event belongs to the one that lists its module in `events`. If none does, or
  more than one, the event has to name its `aggregate`.

  Options:

    * `:expected` (`:any`) - the seq that the log has to end at, or `:no_stream` for none; else the error
      `{:wrong_expected_seq, actual}`.
    * `:timeout` (5000) - milliseconds, or `:infinity`. After `{:error, :timeout}` the event may be stored or not.
  """
  @spec append(entity, Event.new(), keyword) :: {:ok, seq} | {:error, reason}
  def append(entity, event, options \\ []) do
    with {:ok, [event]} <- encode(entity, [event]), do: :warp_core.append(entity, event, Options.to_map(options))
  end

  @doc """
  Appends as `append/3` does, and gives the seq or raises `Warp.Error`.

      iex> {:ok, bank} = Warp.context("bank")
      iex> Warp.append!(Warp.entity(bank, "alice"), %Account.Deposited{amount: 5}, expected: 7)
      ** (Warp.Error) The log ends at seq 0, not where it was expected to. Read again, and decide again.
  """
  @spec append!(entity, Event.new(), keyword) :: seq
  def append!(entity, event, options \\ []), do: entity |> append(event, options) |> ok!()

  @doc """
  Appends 1 to 10,000 events as one: all of them are stored, or none. Answers with the seqs of the first and the last.
  Options are those of `append/3`.

      iex> {:ok, bank} = Warp.context("bank")
      iex> alice = Warp.entity(bank, "alice")
      iex> Warp.append_batch(alice, [%Account.Deposited{amount: 50}, %Account.Withdrawn{amount: 20}])
      {:ok, {1, 2}}
  """
  @spec append_batch(entity, [Event.new()], keyword) :: {:ok, {seq, seq}} | {:error, reason}
  def append_batch(entity, events, options \\ []) do
    with {:ok, events} <- encode(entity, events), do: :warp_core.append_batch(entity, events, Options.to_map(options))
  end

  @doc """
  Looks at the state of an aggregate and acts on it, with nobody in between: the function runs in the entity's process,
  and the events that it gives are appended as a batch. Answers with their seqs when they are on disk.

  The function gives `{:ok, events}`, `{:ok, events, [{pid, message}]}` with messages that Warp sends when the events
  are durable, or `{:error, reason}`, which the caller gets. It may run again when a commit before it failed. It must
  have no effects of its own, and must not call its own entity.

      iex> {:ok, bank} = Warp.context("bank")
      iex> alice = Warp.entity(bank, "alice")
      iex> Warp.append!(alice, %Account.Deposited{amount: 50})
      iex> Warp.decide(alice, Account, fn account -> {:ok, [%Account.Withdrawn{amount: account.balance}]} end)
      {:ok, [2]}
      iex> Warp.decide(alice, Account, fn account -> if account.balance == 0, do: {:error, :nothing_left} end)
      {:error, :nothing_left}

  Option: `:timeout` (5000), milliseconds.
  """
  @spec decide(entity, aggregate, (state :: term -> decision), keyword) :: {:ok, [seq]} | {:error, reason}
  def decide(entity, aggregate, fun, options \\ []) do
    :warp_core.decide(
      entity,
      Aggregate.name(aggregate),
      deciding(fun, &aggregate_of(entity, &1)),
      Options.to_map(options)
    )
  end

  @doc """
  Decides as `decide/4` does, and does not wait for the result: `:ok` means that the entity's process has the decision.
  Let the function give a message to learn that its events are durable.
  """
  @spec cast(entity, aggregate, (state :: term -> decision)) :: :ok | {:error, reason}
  def cast(entity, aggregate, fun),
    do: :warp_core.cast(entity, Aggregate.name(aggregate), deciding(fun, &aggregate_of(entity, &1)))

  @doc false
  # The function with its events as warp_core takes them: those of no other aggregate belong to the one of the decision.
  def deciding(fun, find) when is_function(fun, 1) do
    fn state ->
      case fun.(state) do
        {:ok, events} -> Event.encode_all(events, find)
        {:ok, events, messages} -> with {:ok, events} <- Event.encode_all(events, find), do: {:ok, events, messages}
        other -> other
      end
    end
  end

  def deciding(other, _find), do: other

  @doc false
  # Events as warp_core takes them, for an entity or any entity of a context.
  def encode(handle, events), do: Event.encode_all(events, &aggregate_of(handle, &1))

  # The second element of a handle, of an entity or a context, is the reference of the context.
  defp aggregate_of(handle, module) when is_tuple(handle) and tuple_size(handle) > 1 do
    case :warp_context.find(elem(handle, 1)) do
      {:ok, context} -> Aggregate.name_of_event(context, module)
      :not_found -> nil
    end
  end

  defp aggregate_of(_no_handle, _module), do: nil

  ## Pipelined appends

  @doc """
  Appends as `append/3` does, and does not wait for the answer, so that one process can keep thousands of appends under
  way. Whatever goes wrong is the response to the request.

      iex> {:ok, bank} = Warp.context("bank")
      iex> alice = Warp.entity(bank, "alice")
      iex> requests = for amount <- 1..3, do: Warp.append_request(alice, %Account.Deposited{amount: amount})
      iex> Enum.map(requests, &Warp.receive_response(&1, 5000))
      [ok: 1, ok: 2, ok: 3]

  Requests of one process to one entity are carried out in their order. Only the process that made a request can take
  its response, and once.
  """
  @spec append_request(entity, Event.new(), keyword) :: :warp_core.request_id()
  def append_request(entity, event, options \\ []) do
    case encode(entity, [event]) do
      {:ok, [event]} -> :warp_core.append_request(entity, event, Options.to_map(options))
      {:error, _} = error -> :warp_entity_request.send(:one, entity, error)
    end
  end

  @doc "Appends as `append_batch/3` does, and does not wait for the answer: see `append_request/3`."
  @spec append_batch_request(entity, [Event.new()], keyword) :: :warp_core.request_id()
  def append_batch_request(entity, events, options \\ []) do
    case encode(entity, events) do
      {:ok, events} -> :warp_core.append_batch_request(entity, events, Options.to_map(options))
      {:error, _} = error -> :warp_entity_request.send(:batch, entity, error)
    end
  end

  @doc """
  Waits for the response to a request: what the append would have given. After `:timeout`, in milliseconds, the request
  is given up, while the append is carried out all the same.
  """
  @spec receive_response(:warp_core.request_id(), timeout) :: {:ok, term} | {:error, reason} | :timeout
  defdelegate receive_response(request, timeout), to: :warp_core

  @doc """
  Waits for the next response to any request of a collection, and gives `{response, label, requests}`, with the
  collection without that request if `delete?` is true; `:no_request` for an empty collection, or `:timeout`.

      iex> {:ok, bank} = Warp.context("bank")
      iex> alice = Warp.entity(bank, "alice")
      iex> request = Warp.append_request(alice, %Account.Deposited{amount: 5})
      iex> requests = Warp.reqids_add(request, :first, Warp.reqids_new())
      iex> {{:ok, 1}, :first, requests} = Warp.receive_response(requests, 5000, true)
      iex> Warp.receive_response(requests, 5000, true)
      :no_request
  """
  @spec receive_response(:warp_core.request_id_collection(), timeout, boolean) ::
          {term, label :: term, :warp_core.request_id_collection()} | :no_request | :timeout | {:error, reason}
  defdelegate receive_response(requests, timeout, delete?), to: :warp_core

  @doc "Waits as `receive_response/2` does. After `:timeout` the response can still be received."
  @spec wait_response(:warp_core.request_id(), timeout) :: {:ok, term} | {:error, reason} | :timeout
  defdelegate wait_response(request, timeout), to: :warp_core

  @doc "Waits as `receive_response/3` does, and gives no request up."
  @spec wait_response(:warp_core.request_id_collection(), timeout, boolean) ::
          {term, label :: term, :warp_core.request_id_collection()} | :no_request | :timeout | {:error, reason}
  defdelegate wait_response(requests, timeout, delete?), to: :warp_core

  @doc "The response to a request if a message, such as in `handle_info`, is that, and else `:no_reply`."
  @spec check_response(message :: term, :warp_core.request_id()) :: {:ok, term} | {:error, reason} | :no_reply
  defdelegate check_response(message, request), to: :warp_core

  @doc "The same for any request of a collection: `{response, label, requests}`, `:no_request` or `:no_reply`."
  @spec check_response(message :: term, :warp_core.request_id_collection(), boolean) ::
          {term, label :: term, :warp_core.request_id_collection()} | :no_request | :no_reply | {:error, reason}
  defdelegate check_response(message, requests, delete?), to: :warp_core

  @doc "A collection without requests."
  @spec reqids_new() :: :warp_core.request_id_collection()
  defdelegate reqids_new(), to: :warp_core

  @doc "The collection with a request more, under a label. Raises for what is no request or no collection."
  @spec reqids_add(:warp_core.request_id(), label :: term, :warp_core.request_id_collection()) ::
          :warp_core.request_id_collection()
  defdelegate reqids_add(request, label, requests), to: :warp_core

  @doc "How many requests a collection has."
  @spec reqids_size(:warp_core.request_id_collection()) :: non_neg_integer
  defdelegate reqids_size(requests), to: :warp_core

  @doc "The requests of a collection, with their labels."
  @spec reqids_to_list(:warp_core.request_id_collection()) :: [{:warp_core.request_id(), label :: term}]
  defdelegate reqids_to_list(requests), to: :warp_core

  ## Reading

  @doc """
  The state of an aggregate after all events that were acknowledged. Option: `:timeout` (5000), milliseconds.

      iex> {:ok, bank} = Warp.context("bank")
      iex> alice = Warp.entity(bank, "alice")
      iex> Warp.append!(alice, %Account.Deposited{amount: 5000})
      iex> Warp.get(alice, Account)
      {:ok, %Account{balance: 5000}}
      iex> Warp.get(Warp.entity(bank, "nobody"), Account)
      {:ok, %Account{balance: 0}}
  """
  @spec get(entity, aggregate, keyword) :: {:ok, state :: term} | {:error, reason}
  def get(entity, aggregate, options \\ []),
    do: :warp_core.get(entity, Aggregate.name(aggregate), Options.to_map(options))

  @doc """
  The state of an aggregate, or raises `Warp.Error`. Option as of `get/3`.

      iex> {:ok, bank} = Warp.context("bank")
      iex> Warp.get!(Warp.entity(bank, "alice"), Account)
      %Account{balance: 0}
  """
  @spec get!(entity, aggregate, keyword) :: state :: term
  def get!(entity, aggregate, options \\ []), do: entity |> get(aggregate, options) |> ok!()

  @doc """
  The state as it was: after event `{:seq, n}`, or `{:time, time}`, with the events that were recorded by then. The time
  is a `DateTime` or microseconds since 1970. Option: `:timeout` (5000), milliseconds.

      iex> {:ok, bank} = Warp.context("bank")
      iex> alice = Warp.entity(bank, "alice")
      iex> Warp.append_batch(alice, [%Account.Deposited{amount: 50}, %Account.Withdrawn{amount: 20}])
      iex> Warp.state_at(alice, Account, {:seq, 1})
      {:ok, %Account{balance: 50}}
      iex> Warp.state_at(alice, Account, {:time, DateTime.utc_now()})
      {:ok, %Account{balance: 30}}
  """
  @spec state_at(entity, aggregate, {:seq, seq} | {:time, DateTime.t() | integer}, keyword) ::
          {:ok, state :: term} | {:error, reason}
  def state_at(entity, aggregate, point, options \\ [])

  def state_at(entity, aggregate, {:time, %DateTime{} = time}, options),
    do: state_at(entity, aggregate, {:time, micros(time)}, options)

  def state_at(entity, aggregate, point, options),
    do: :warp_core.state_at(entity, Aggregate.name(aggregate), point, Options.to_map(options))

  @doc """
  Events of an entity, in the current schema: `t:Warp.Event.t/0`, with structs as payloads.

      iex> {:ok, bank} = Warp.context("bank")
      iex> alice = Warp.entity(bank, "alice")
      iex> Warp.append_batch(alice, [%Account.Deposited{amount: 50}, %Account.Withdrawn{amount: 20}])
      iex> {:ok, [event]} = Warp.history(alice, direction: :backward, limit: 1)
      iex> {event.seq, event.payload}
      {2, %Account.Withdrawn{amount: 20}}

  Options:

    * `:from` - the seq of the first event; default the first event, or backward the last one.
    * `:limit` (1000) - how many events at most.
    * `:direction` (`:forward`) - or `:backward`.
    * `:migrate` (`true`) - with `false` events as they were stored, as `export/2` gives them.
    * `:timeout` (5000) - milliseconds.
  """
  @spec history(entity, keyword) :: {:ok, [Event.t()]} | {:error, reason}
  def history(entity, options \\ []), do: entity |> :warp_core.history(Options.to_map(options)) |> with_nil()

  @doc """
  All events of an entity as they were stored, with maps as payloads. `import_events/3` puts them back, there or
  elsewhere. Option: `:timeout` (`:infinity`), milliseconds.
  """
  @spec export(entity, keyword) :: {:ok, [Event.t()]} | {:error, reason}
  def export(entity, options \\ []), do: entity |> :warp_core.export(Options.to_map(options)) |> with_nil()

  @doc """
  Puts the events of an entity that has none back as they were, such as those that `export/2` gave of a context that was
  restored from a backup: with their seqs, ids, types, versions, payloads, metadata and times. Answers with the seq of
  the last one when all of them are durable.

      iex> {:ok, bank} = Warp.context("bank")
      iex> alice = Warp.entity(bank, "alice")
      iex> Warp.append_batch(alice, [%Account.Deposited{amount: 50}, %Account.Withdrawn{amount: 20}])
      iex> {:ok, events} = Warp.export(alice)
      iex> Warp.delete(alice)
      :ok
      iex> Warp.import_events(alice, events)
      {:ok, 2}
      iex> Warp.get!(alice, Account).balance
      30

  The list has all events from the first one on, up to 100,000, and 32 MiB as JSON. All are stored or none. Aggregates
  fold them, and projections and subscribers get them as new events; `validate` is not called. An import that is made
  again answers as it did the first time. Where the entity has other events the error is
  `{:entity_not_empty, %{last_seq: seq, differs: seq}}`. Option: `:timeout` (`:infinity`), milliseconds.
  """
  @spec import_events(entity, [Event.t()], keyword) :: {:ok, seq} | {:error, reason}
  def import_events(entity, events, options \\ []),
    do: :warp_core.import(entity, events, Options.to_map(options))

  @doc """
  A page of the entities that have events, in no order that means anything: each with its `id`, and the `seq` of its
  last event.

      iex> {:ok, bank} = Warp.context("bank")
      iex> Warp.append(Warp.entity(bank, "list/ann"), %Account.Deposited{amount: 50})
      iex> {:ok, page} = Warp.entities(bank, prefix: "list/", aggregate: Account)
      iex> {page.entities, page.next}
      {[%{id: "list/ann", seq: 1}], :done}

  `next` of a page is `:after` of the next one, and `:done` after the last one. A page may have fewer entities than
  `:limit`, or none, before the last.

  Options:

    * `:prefix` - only entities whose ids begin with it.
    * `:aggregate` - only entities that have events of this aggregate.
    * `:after` - `next` of the page before.
    * `:limit` (1000) - how many entities at most.
    * `:timeout` (5000) - milliseconds, after which the page ends with what was found.
  """
  @spec entities(context, keyword) ::
          {:ok, %{entities: [%{id: String.t(), seq: non_neg_integer}], next: term}} | {:error, reason}
  def entities(context, options \\ []) do
    case Options.to_map(options) do
      %{aggregate: aggregate} = map -> :warp_core.entities(context, %{map | aggregate: Aggregate.name(aggregate)})
      other -> :warp_core.entities(context, other)
    end
  end

  @doc """
  A page of the events of all entities, in the current schema, shard by shard in the order in which each shard stored
  them. Each has its `entity`, `shard` and `position` too, and a struct as payload.

      {:ok, page} = Warp.events(bank, limit: 500)
      Enum.each(page.events, &IO.inspect({&1.entity, &1.payload}))
      {:ok, later} = Warp.events(bank, after: page.next)

  `next` of a page goes on behind it, later too, when more is stored. `more` says whether there is more by now. A page
  ends where an append ends, so it may have as many more events than `:limit` as that append.

  Options:

    * `:shard` (`:all`) - the number of a shard.
    * `:after` - `next` of the page before.
    * `:limit` (1000) - how many events.
    * `:timeout` (5000) - milliseconds, after which the page ends with what was read.
  """
  @spec events(context, keyword) :: {:ok, %{events: [Event.t()], next: term, more: boolean}} | {:error, reason}
  def events(context, options \\ []) do
    with {:ok, %{events: events} = page} <- :warp_core.events(context, Options.to_map(options)),
         do: {:ok, %{page | events: Enum.map(events, &Event.nulls_to_nil/1)}}
  end

  defp with_nil({:ok, events}), do: {:ok, Enum.map(events, &Event.nulls_to_nil/1)}
  defp with_nil({:error, _} = error), do: error

  @doc """
  Deletes an entity: from memory, the log, snapshots, tables, and from the bytes of the files.

    * `:timeout` (10000) - milliseconds; after `{:error, :timeout}` Warp goes on by itself.
    * `:receipt` (false) - whether the answer is `{:ok, receipt}`, a map that says how many `:events` were erased, when
      (`:erased_at`, in microseconds), from which parts of Warp (`:erased_from`) and on which `:nodes`, and in which
      `:backups` the entity is dead data up to which cut, as `%{to: folder, cut: number}`: see `Warp.Backup`. Warp does
      not keep it, since it names the entity.

      iex> {:ok, bank} = Warp.context("bank")
      iex> alice = Warp.entity(bank, "alice")
      iex> Warp.append!(alice, %Account.Deposited{amount: 5000})
      iex> Warp.delete(alice)
      :ok
      iex> Warp.history(alice)
      {:ok, []}
      iex> {:ok, %{events: 0, erased_from: [:sagas, :log | _], backups: []}} = Warp.delete(alice, receipt: true)
  """
  @spec delete(entity, keyword) :: :ok | {:ok, map} | {:error, reason}
  def delete(entity, options \\ []), do: :warp_core.delete(entity, Options.to_map(options))

  ## Queries

  @doc """
  Runs one SQL statement that only reads, on the tables of the context's projections, see `Warp.Projection`. The
  statement has `?1`, `?2`, ... or `?` in place of parameters. Text and JSON come as strings, null as `nil`.

  Options: `:max_rows` (10000), `:timeout` (5000), and for rqlite `:level`.
  """
  @spec query(context, iodata, [term], keyword) ::
          {:ok, %{columns: [String.t()], rows: [[term]]}} | {:error, reason}
  def query(context, sql, params \\ [], options \\ []) do
    with {:ok, %{rows: rows} = result} <- :warp_core.query(context, sql, params, Options.to_map(options)),
         do: {:ok, %{result | rows: Null.to_nil(rows)}}
  end

  @doc """
  Waits until the tables show all events that the entity has by now, for milliseconds or `:infinity`. Errors:
  `:timeout`, `{:set_aside, seq}`, `:rebuild_due` and `:no_projections`.
  """
  @spec await_projection(entity, timeout) :: :ok | {:error, reason}
  defdelegate await_projection(entity, timeout), to: :warp_core

  ## Waiting

  @doc """
  Waits until an entity has an event: the one with a seq, or the first one for which a function gives `true`. Gives its
  seq. The function is called with all events of the entity in order, as `history/2` gives them, those that are stored
  already first. The timeout is milliseconds or `:infinity`.

      iex> {:ok, bank} = Warp.context("bank")
      iex> alice = Warp.entity(bank, "alice")
      iex> request = Warp.append_request(alice, %Account.Deposited{amount: 5000})
      iex> Warp.wait(alice, &match?(%{payload: %Account.Deposited{}}, &1), 5000)
      {:ok, 1}
      iex> Warp.receive_response(request, 5000)
      {:ok, 1}
      iex> Warp.wait(alice, 2, 10)
      {:error, :timeout}

  Errors: `:timeout`; `{:until_failed, crash}` and `{:bad_return, :until, shape}` for a function that crashed, or gave
  neither `true` nor `false`; `{:bad_option, key, why}` with the key `:until` or `:timeout`; those of reading.
  """
  @spec wait(entity, seq | (Event.t() -> boolean), timeout) :: {:ok, seq} | {:error, reason}
  def wait(entity, until, timeout) when is_function(until, 1),
    do: :warp_core.wait(entity, &until.(Null.to_nil(&1)), timeout)

  def wait(entity, until, timeout), do: :warp_core.wait(entity, until, timeout)

  ## Operating

  @doc "The number of the shard of an entity: its events are in the file `shard-NNNN.db` of that number."
  @spec shard_of(entity) :: {:ok, non_neg_integer} | {:error, reason}
  defdelegate shard_of(entity), to: :warp_core

  @doc "The process of an entity, for `Process.monitor/1` and `:sys`. One that left memory and came back has another."
  @spec pid(entity) :: {:ok, pid} | {:error, reason}
  defdelegate pid(entity), to: :warp_core

  @doc """
  Corrects the time of an event, and of all that were appended with it, that was recorded while the clock was wrong: a
  `DateTime` from 1974 on, or microseconds since 1970.
  """
  @spec correct_time(entity, seq, DateTime.t() | integer) :: :ok | {:error, reason}
  def correct_time(entity, seq, %DateTime{} = time), do: correct_time(entity, seq, micros(time))
  def correct_time(entity, seq, micros), do: :warp_core.correct_time(entity, seq, micros)

  @doc "Counters of a context since it was started: see `docs/operations.md`."
  @spec stats(context) :: map | {:error, :context_stopped}
  defdelegate stats(context), to: :warp_core

  @doc """
  Checks all files of a context that runs, or of a folder that no VM has open, and changes none: `{:ok, report}` if
  nothing is damaged, else `{:error, {:corrupt, message}}`. Takes as long as reading the files twice.

  Option: `:progress`, a function that is called with a map after each piece.
  """
  @spec verify(context | Path.t(), keyword) :: {:ok, map} | {:error, reason}
  def verify(context_or_folder, options \\ []), do: :warp_core.verify(context_or_folder, Options.to_map(options))

  defp micros(time), do: DateTime.to_unix(time, :microsecond)

  defp ok!({:ok, value}), do: value
  defp ok!({:error, reason}), do: raise(Warp.Error, reason: reason)
end
