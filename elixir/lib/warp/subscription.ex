defmodule Warp.Subscription do
  @moduledoc """
  Sends a process the events of an entity or of a whole context: those that are stored already, and then each new one as
  soon as it is on disk. Each comes once, and those of an entity come in order. `docs/subscriptions.md` says more.

      iex> {:ok, bank} = Warp.context("bank")
      iex> Warp.append!(Warp.entity(bank, "alice"), %Account.Deposited{amount: 5})
      iex> {:ok, sub} = Warp.Subscription.subscribe(bank, from: :beginning, aggregates: [Account])
      iex> receive do
      ...>   {:warp_subscription, ^sub, {:events, [event]}} ->
      ...>     :ok = Warp.Subscription.ack(sub, event)
      ...>     {event.entity, event.seq, event.payload}
      ...> after
      ...>   5000 -> :nothing
      ...> end
      {"alice", 1, %Account.Deposited{amount: 5}}

  The process that subscribes gets these messages, each as `{:warp_subscription, sub, message}`:

    * `{:events, events}` - at most 1000 events as `Warp.events/2` gives them: with structs as payloads, and with the
      `entity`, `shard` and `position` of each.
    * `{:caught_up, cursor}` - all that was stored has been sent; what follows is sent as it is stored. It comes again
      when the subscription was behind in between.
    * `{:checkpoint, cursor}` - everything up to there was acknowledged, or is not for this subscription. It comes at
      most once a second.
    * `{:erased, entity_id}` - the entity was deleted. Nothing of it is sent any more, whatever was on its way.
    * `{:active, shards}` - of a subscription with a name, first: the process is a consumer, and gets the events of
      these shards.

  A subscription ends with its process, and when the context stops: then the process gets
  `{:DOWN, monitor, :process, _, _}`, where the monitor is that of `monitor_of/1`.

  ## A GenServer

  It subscribes in `init`, and acknowledges each message when it is done with it. What it does not acknowledge uses up
  its credit, so that no more comes than it can take.

      defmodule Sums do
        use GenServer
        alias Warp.Subscription

        def start_link(context), do: GenServer.start_link(__MODULE__, context)

        def sum(server, entity_id), do: GenServer.call(server, {:sum, entity_id})

        @impl true
        def init(context) do
          {:ok, bank} = Warp.context(context)
          {:ok, sub} = Subscription.subscribe(bank, from: :beginning, types: [Account.Deposited])
          {:ok, %{monitor: Subscription.monitor_of(sub), sums: %{}}}
        end

        @impl true
        def handle_call({:sum, id}, _from, state), do: {:reply, Map.get(state.sums, id, 0), state}

        @impl true
        def handle_info({:warp_subscription, sub, {:events, events}}, state) do
          sums = Enum.reduce(events, state.sums, &add/2)
          :ok = Subscription.ack(sub, events)
          {:noreply, %{state | sums: sums}}
        end

        def handle_info({:warp_subscription, _sub, {:erased, id}}, state),
          do: {:noreply, %{state | sums: Map.delete(state.sums, id)}}

        def handle_info({:warp_subscription, _sub, _caught_up_or_checkpoint}, state), do: {:noreply, state}

        def handle_info({:DOWN, monitor, :process, _, _}, %{monitor: monitor} = state),
          do: {:stop, :subscription_ended, state}

        defp add(%{entity: id, payload: %Account.Deposited{amount: amount}}, sums),
          do: Map.update(sums, id, amount, &(&1 + amount))
      end

  Its supervisor starts it again when the context was restarted: in the list of children it stands behind the context,
  with the strategy `:rest_for_one`.

  This one keeps its sums in memory, and so begins with the first event each time. One that stores what it makes of
  events gives a name, or stores the cursor of a `:checkpoint` after that, and begins with `from: {:cursor, cursor}` the
  next time. Then it gets each event at least once, and those behind the cursor again.

  ## Names

  With a `:name` Warp stores what was acknowledged, and whoever subscribes with that name later goes on there:

      iex> {:ok, bank} = Warp.context("bank")
      iex> alice = Warp.entity(bank, "alice")
      iex> Warp.append_batch(alice, [%Account.Deposited{amount: 5}, %Account.Deposited{amount: 6}])
      iex> seqs = fn ack? ->
      ...>   {:ok, sub} = Warp.Subscription.subscribe(bank, name: "receipts", from: :beginning)
      ...>   receive do
      ...>     {:warp_subscription, ^sub, {:events, events}} ->
      ...>       if ack?, do: :ok = Warp.Subscription.ack(sub, hd(events))
      ...>       :ok = Warp.Subscription.unsubscribe(sub)
      ...>       Enum.map(events, & &1.seq)
      ...>   after
      ...>     5000 -> :nothing
      ...>   end
      ...> end
      iex> {seqs.(true), seqs.(false)}
      {[1, 2], [2]}

  A name has one consumer at a time, or as many as `:consumers` says, who split the shards; the others wait, and one
  takes over when a consumer ends. `Warp.Subscriber` is a module with callbacks that Warp runs as such a consumer, and
  that has what fails tried again. `parked/2`, `retry/3` and `skip/3` are for what it failed with.

  ## A producer of GenStage

  With `credit: :demand` nothing is sent that was not asked for, and the demand of consumers is what `more/2` asks for:

      defmodule Producer do
        use GenStage
        alias Warp.Subscription

        def start_link(context), do: GenStage.start_link(__MODULE__, context)

        @impl true
        def init(context) do
          {:ok, bank} = Warp.context(context)
          {:ok, sub} = Subscription.subscribe(bank, from: :beginning, credit: :demand)
          {:producer, sub}
        end

        @impl true
        def handle_demand(demand, sub) do
          :ok = Subscription.more(sub, demand)
          {:noreply, [], sub}
        end

        @impl true
        def handle_info({:warp_subscription, sub, {:events, events}}, sub),
          do: {:noreply, Enum.map(events, &{sub, &1}), sub}

        def handle_info({:warp_subscription, sub, _no_events}, sub), do: {:noreply, [], sub}
        def handle_info({:DOWN, _monitor, :process, _, _}, sub), do: {:stop, :subscription_ended, sub}
      end

  A consumer that is done with `{sub, event}` calls `ack(sub, event)`, which any process may, if somebody goes on from
  the cursor later. That acknowledges all events of the shard before it: of several consumers side by side none can.
  """

  alias Warp.{Aggregate, Event, Null, Options, Saga}

  @typedoc "A subscription, which belongs to the process that made it. It stands in each of its messages."
  @type t :: :warp_subscription.subscription()
  @typedoc "Where a subscription stands: a short text of letters, digits, `-` and `_`, which stays valid."
  @type cursor :: String.t()
  @typedoc "An event: `t:Warp.Event.t/0` with its `entity` (an id), `shard` and `position`."
  @type event :: Event.t()
  @typedoc "What the process gets."
  @type message ::
          {:warp_subscription, t,
           {:events, [event]}
           | {:caught_up | :checkpoint, cursor}
           | {:erased, entity_id :: String.t()}
           | {:active, shards :: [non_neg_integer]}}
  @typedoc """
  An entity that waits, since a subscriber failed with its event `seq`, so many times. While it is `:retrying` it is
  tried again by itself, and not any more when it is `:parked`. `why` is the last error as text, and `since` when it
  failed first, in microseconds since 1970.
  """
  @type waiting :: %{
          entity: String.t(),
          seq: Warp.seq(),
          shard: non_neg_integer,
          state: :retrying | :parked,
          tries: non_neg_integer,
          why: String.t(),
          since: integer
        }
  @typedoc """
  What follows from an event: events that are appended to an entity as a batch, as `Warp.append/3` takes them, or a saga
  that is committed. The id of the saga has to follow from the event too, so that the saga runs once.
  """
  @type command :: {:append, entity_id :: String.t(), Event.new() | [Event.new()]} | {:saga, Warp.Saga.t()}

  @doc """
  Subscribes the calling process to an entity or to a whole context.

  Options:

    * `:from` (`:now`) - where to begin: `:beginning` is the first event, `:now` the next one that is stored,
      `{:cursor, cursor}` the one behind a cursor, and `{:time, time}` the first one that was recorded then or later.
      The time is a `DateTime` or microseconds since 1970.
    * `:name` - what is acknowledged is stored under it, at most a second later, and whoever subscribes with it goes on
      there: 1 to 200 bytes of text. `:from` counts only when the name is new. Not for a single entity.
    * `:consumers` (1) - how many subscribers of the name split the shards, up to the number of shards.
    * `:aggregates` (`:all`) - only events of these aggregates, a list of modules or names.
    * `:types` (`:all`) - only these events, a list of modules that `use Warp.Event`, or of types.
    * `:prefix` - only entities whose ids begin with it. Not for a single entity.
    * `:shard` (`:all`) - only this shard of a context. Not with a name.
    * `:credit` (1000) - how many events may be sent and not acknowledged, 1 to 100,000: `ack/2` makes room for others.
      Or `:demand`: nothing is sent until the process asks for it with `more/2`.

  The subscriber of a name is told of an erasure again until it acknowledges that, also when it happened while nobody
  had subscribed.

  Errors: `{:bad_cursor, why}` for a cursor that is none, that belongs to something else, or that is ahead of a log, of
  which an older copy was put in place, also for a name that is ahead; `{:others_say, n}` when other subscribers of the
  name gave that number as `:consumers`; `:timeout` after 5 seconds; those of options and of reading, and for a name
  those of writing its file.

      iex> {:ok, bank} = Warp.context("bank")
      iex> Warp.Subscription.subscribe(bank, from: {:cursor, "behind it"})
      {:error, {:bad_cursor, :not_a_cursor}}
  """
  @spec subscribe(Warp.context() | Warp.entity(), keyword) :: {:ok, t} | {:error, Warp.reason()}
  def subscribe(context_or_entity, options \\ []) do
    case Options.to_map(options) do
      %{} = map ->
        converted = map |> converted() |> Map.put_new(:convert, &Null.to_nil/1)
        :warp_subscription.subscribe(context_or_entity, converted)

      other ->
        :warp_subscription.subscribe(context_or_entity, other)
    end
  end

  @doc false
  # Options as warp_subscription and warp_subscriber take them.
  def converted(%{} = options), do: Map.new(options, &option/1)
  def converted(other), do: other

  defp option({key, {:time, time}}) when key in [:from, :effects_from], do: {key, {:time, micros(time)}}
  defp option({:aggregates, aggregates}), do: {:aggregates, Options.map_list(aggregates, &Aggregate.name/1)}
  defp option({:types, types}), do: {:types, Options.map_list(types, &Event.type/1)}
  defp option(option), do: option

  defp micros(%DateTime{} = time), do: DateTime.to_unix(time, :microsecond)
  defp micros(other), do: other

  @doc """
  Acknowledges events: all of a message, or one, and with it all events of its shard that were sent before it. An event
  that was not sent, or was acknowledged before, changes nothing, and neither does one of a subscription that has ended.

  `{:erased, entity_id}` acknowledges that the subscriber of a name has erased what it made of the entity's events.

  Error: `{:bad_option, :event, :not_a_placed_event}` for anything else; then nothing is acknowledged.
  """
  @spec ack(t, event | [event] | {:erased, entity_id :: String.t()}) :: :ok | {:error, Warp.reason()}
  defdelegate ack(sub, events), to: :warp_subscription

  @doc """
  Asks for so many more events, beside those that were asked for and not sent yet. If the subscription has a number as
  credit, beside those that acknowledging makes room for. Error: `{:bad_option, :count, why}`.
  """
  @spec more(t, pos_integer) :: :ok | {:error, Warp.reason()}
  defdelegate more(sub, count), to: :warp_subscription

  @doc """
  The cursor: up to where everything was acknowledged. A subscription `from: {:cursor, cursor}` gets everything else. Of
  a subscription with a name it is on disk when this returns, and stands for all consumers of the name. Errors:
  `:subscription_ended`; `:timeout` after 5 seconds; for a name those of writing its file.

      iex> {:ok, bank} = Warp.context("bank")
      iex> alice = Warp.entity(bank, "alice")
      iex> {:ok, sub} = Warp.Subscription.subscribe(alice)
      iex> {:ok, cursor} = Warp.Subscription.cursor(sub)
      iex> :ok = Warp.Subscription.unsubscribe(sub)
      iex> Warp.append!(alice, %Account.Deposited{amount: 5})
      iex> {:ok, later} = Warp.Subscription.subscribe(alice, from: {:cursor, cursor})
      iex> receive do
      ...>   {:warp_subscription, ^later, {:events, [event]}} -> event.seq
      ...> after
      ...>   5000 -> :nothing
      ...> end
      1
  """
  @spec cursor(t) :: {:ok, cursor} | {:error, Warp.reason()}
  defdelegate cursor(sub), to: :warp_subscription

  @doc """
  What a cursor of an entity or a context says, for programs that keep it in a form of their own. Of an entity: its
  life, which is the position of its first event or 0 without events, and the seq of the last event. Of a context: for
  each shard the position up to which everything was taken, 0 for those that are not there; or `{position, seq}`: up to
  that event of the append at that position.

      iex> {:ok, bank} = Warp.context("bank")
      iex> {:ok, cursor} = Warp.Subscription.cursor_at(bank, %{0 => 7})
      iex> Warp.Subscription.place(bank, cursor)
      {:ok, %{0 => 7}}

  Errors: `{:bad_cursor, why}`, `:context_stopped`.
  """
  @spec place(Warp.context() | Warp.entity(), cursor) :: {:ok, :warp_subscription.place()} | {:error, Warp.reason()}
  defdelegate place(source, cursor), to: :warp_subscription

  @doc """
  The cursor of an entity or a context that says this: `place/2` the other way round. Whether there is such a place is
  seen when somebody subscribes from it. Error: `:context_stopped`.
  """
  @spec cursor_at(Warp.context() | Warp.entity(), :warp_subscription.place()) ::
          {:ok, cursor} | {:error, Warp.reason()}
  defdelegate cursor_at(source, place), to: :warp_subscription

  @doc """
  Ends a subscription. Its process, which calls this, gets nothing of it any more, and has none of its messages in the
  mailbox. Of one that has ended already this takes the messages out of the mailbox. Waits 5 seconds at most.
  """
  @spec unsubscribe(t) :: :ok
  defdelegate unsubscribe(sub), to: :warp_subscription

  @doc "The monitor of a subscription: when that ends, its process gets `{:DOWN, monitor, :process, _, _}`."
  @spec monitor_of(t) :: reference
  defdelegate monitor_of(sub), to: :warp_subscription

  ## Names

  @doc """
  The entities that wait because a `Warp.Subscriber` failed with an event of them, those that failed first before the
  others. Errors: `:unknown_subscription` when nobody has subscribed with that name; `:interrupted` and `:timeout`;
  those of its file.

      iex> {:ok, bank} = Warp.context("bank")
      iex> Warp.Subscription.parked(bank, "nobody")
      {:error, :unknown_subscription}
  """
  @spec parked(Warp.context(), name :: String.t()) :: {:ok, [waiting]} | {:error, Warp.reason()}
  defdelegate parked(context, name), to: :warp_subscription

  @doc """
  Hands the event of an entity that waits to its subscriber again, now or as soon as there is one, and then those behind
  it. Errors: `:not_waiting`, and those of `parked/2`.
  """
  @spec retry(Warp.context(), name :: String.t(), entity_id :: String.t()) :: :ok | {:error, Warp.reason()}
  defdelegate retry(context, name, entity_id), to: :warp_subscription

  @doc "Gives up the event of an entity that waits, and goes on behind it. Errors are those of `retry/3`."
  @spec skip(Warp.context(), name :: String.t(), entity_id :: String.t()) :: :ok | {:error, Warp.reason()}
  defdelegate skip(context, name, entity_id), to: :warp_subscription

  @doc """
  Forgets a name: how far it is, and what waits. The next one who subscribes with it begins anew. Errors:
  `{:in_use, pid}` while somebody has subscribed, and those of `parked/2`.
  """
  @spec forget(Warp.context(), name :: String.t()) :: :ok | {:error, Warp.reason()}
  defdelegate forget(context, name), to: :warp_subscription

  ## What follows from an event

  @doc """
  Carries out what follows from an event, once, however often this is called for the same event under the same name:
  each event that it appends has an id made of the name and of the event's place in the log. So what a subscriber does
  in Warp happens exactly once, if the commands follow from the event alone.

      iex> {:ok, bank} = Warp.context("bank")
      iex> Warp.append!(Warp.entity(bank, "alice"), %Account.Deposited{amount: 500})
      iex> {:ok, %{events: [event | _]}} = Warp.events(bank)
      iex> bonus = [{:append, "bob", %Account.Deposited{amount: 5}}]
      iex> :ok = Warp.Subscription.transaction(bank, "bonus", event, bonus)
      iex> :ok = Warp.Subscription.transaction(bank, "bonus", event, bonus)
      iex> Warp.get(Warp.entity(bank, "bob"), Account)
      {:ok, %Account{balance: 5}}

  Events are given as to `Warp.append/3`, without ids of their own. The commands are carried out in order, and an error
  ends that; those before it were carried out. A struct that cannot be stored is found before the first one. A saga that
  was compensated or is stuck counts as carried out.

  Errors: `{:bad_command, term}`; `{:command_failed, n, why}` for the nth one, with an error of `Warp.append_batch/3` or
  of `Warp.Saga.commit/3`.
  """
  @spec transaction(Warp.context(), name :: String.t(), event, [command]) :: :ok | {:error, Warp.reason()}
  def transaction(context, name, event, commands) do
    with {:ok, commands} <- encode(commands, context, 1, []),
         do: :warp_subscription.transaction(context, name, event, commands)
  end

  defp encode([command | rest], context, n, done) do
    case encode(command, context) do
      {:ok, command} -> encode(rest, context, n + 1, [command | done])
      {:error, why} -> {:error, {:command_failed, n, why}}
    end
  end

  # What is no proper list stays so, and warp_subscription says it.
  defp encode(rest, _context, _n, done), do: {:ok, :lists.reverse(done, rest)}

  defp encode({:append, id, events}, context) do
    with {:ok, events} <- Warp.encode(context, List.wrap(events)), do: {:ok, {:append, id, events}}
  end

  defp encode({:saga, %Saga{} = saga}, _context) do
    with {:ok, saga} <- Saga.encode(saga), do: {:ok, {:saga, saga}}
  end

  defp encode(other, _context), do: {:ok, other}

  @doc """
  A policy: whenever there is an event that the filter lets through, what the function makes of it is done, exactly
  once. The function gets the event, and gives commands for `transaction/4`, `[]` for none. It has no effects of its
  own.

      bonus =
        Warp.Subscription.policy("bonus", [types: [Account.Deposited], prefix: "user/"], fn
          %{entity: id, payload: %{amount: amount}} when amount >= 500 ->
            [{:append, "bonus/" <> id, %Account.Deposited{amount: 5}}]

          _small ->
            []
        end)

      children = [{Warp, context: "bank", data_dir: "data", aggregates: [Account], subscribers: [bonus]}]

  It has a name, retries and parking as a `Warp.Subscriber`, whose options the filter may have: `:from`, `:aggregates`,
  `:types`, `:prefix`, `:consumers`, `:tries` and `:effects_from`.
  """
  @spec policy(name :: String.t(), filter :: keyword, (event -> [command])) :: Warp.Subscriber.policy()
  def policy(name, filter, fun),
    do: :warp_subscription.policy(name, filter |> Options.to_map() |> converted(), reaction(fun))

  # What is no function stays so, and warp_subscription says it.
  defp reaction(fun) when is_function(fun, 1) do
    lasting = :warp_function.lasting(fun)

    fn event, context ->
      with {:ok, commands} <- encode(lasting.(Null.to_nil(event)), context, 1, []), do: commands
    end
  end

  defp reaction(other), do: other
end
