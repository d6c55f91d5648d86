defmodule Warp.Projection do
  @moduledoc """
  Tables that follow from events, to be queried with `Warp.query/4`. `docs/projections.md` says more.

      defmodule Order.Sold do
        use Warp.Event, type: "Sold", fields: [customer: :string, price: :integer]
        defstruct [:customer, :price]
      end

      defmodule Order do
        use Warp.Aggregate, name: "Order", events: [Order.Sold], initial_state: 0

        @impl true
        def apply(total, %Order.Sold{price: price}), do: total + price

        @impl true
        def project(id, total, %Order.Sold{customer: customer, price: price}) do
          [
            Warp.Projection.upsert(:orders, id, customer: customer, total: total),
            Warp.Projection.increment(:customers, customer, items: 1, spent: price)
          ]
        end
      end

  The context is started with `projections: :embedded`, which keeps the tables in a file beside its own, or with
  `{:embedded, tables: ...}` or `{:rqlite, nodes: ...}`.

  Tables and columns come into being as commands use them. A value is text, an integer of 64 bits, a float, a boolean,
  `nil` or `{:json, term}`, or of the types `Date`, `Time`, `NaiveDateTime`, `DateTime` and `Decimal`, which become text
  as in events.
  """

  alias Warp.{Null, Type}

  @type command :: :warp_projection.command()
  @type table :: atom | String.t()
  @type row_id :: String.t() | integer
  @type columns :: keyword | %{optional(atom | String.t()) => term}

  @doc "Sets columns of a row, which is made if there is none. The row belongs to the entity that upserted it first."
  @spec upsert(table, row_id, columns) :: command
  def upsert(table, id, columns), do: :warp_projection.upsert(table, id, Map.new(columns, &column/1))

  defp column({name, %module{} = value}) when module in [Date, Time, NaiveDateTime, DateTime, Decimal] do
    case Type.encode(module, value) do
      {:ok, text} -> {name, text}
      {:error, why} -> raise ArgumentError, "the column #{name} #{why}"
    end
  end

  defp column(column), do: column

  @doc "Adds numbers to columns of a row, which is made if there is none. Any entity may add to any row."
  @spec increment(table, row_id, columns) :: command
  def increment(table, id, columns), do: :warp_projection.increment(table, id, Map.new(columns))

  @doc "Takes out of a row what the entity set and added, and deletes the row when nothing of others is left."
  @spec delete(table, row_id) :: command
  defdelegate delete(table, id), to: :warp_projection

  @doc "The state of the target of the projections, and how far each shard is behind."
  @spec status(Warp.context()) :: {:ok, map} | {:error, Warp.reason()}
  defdelegate status(context), to: :warp_projection

  @doc "Events that could not be projected, oldest first, up to `limit`: of each entity the one that others wait for."
  @spec set_aside(Warp.context(), pos_integer) :: {:ok, [map]} | {:error, Warp.reason()}
  def set_aside(context, limit \\ 100) do
    with {:ok, entries} <- :warp_projection.set_aside(context, limit), do: {:ok, Enum.map(entries, &entry/1)}
  end

  defp entry(%{event: %{} = event} = entry), do: %{entry | event: Warp.Event.nulls_to_nil(event)}
  defp entry(%{event: :undefined} = entry), do: %{entry | event: nil}

  @doc "Projects events again that were set aside, of an entity by its id, or of all."
  @spec retry(Warp.context(), String.t() | :all) :: :ok | {:error, Warp.reason()}
  defdelegate retry(context, entity_id), to: :warp_projection

  @doc "Leaves out the event of an entity that was set aside, for good, and projects those behind it."
  @spec skip(Warp.context(), String.t()) :: :ok | {:error, Warp.reason()}
  defdelegate skip(context, entity_id), to: :warp_projection

  @doc "Begins to make all tables again, while queries read the old ones. Use it after a change of `project`."
  @spec rebuild(Warp.context()) :: :ok | {:error, Warp.reason()}
  defdelegate rebuild(context), to: :warp_projection

  @doc "Waits until a rebuild has ended, for milliseconds or `:infinity`."
  @spec await_rebuild(Warp.context(), timeout) :: :ok | {:error, Warp.reason()}
  defdelegate await_rebuild(context, timeout), to: :warp_projection

  @doc "How far a rebuild is."
  @spec rebuild_progress(Warp.context()) :: {:ok, map} | {:error, Warp.reason()}
  def rebuild_progress(context) do
    with {:ok, progress} <- :warp_projection.rebuild_progress(context), do: {:ok, Null.to_nil(progress)}
  end

  @doc "Stops a rebuild. `rebuild/1` goes on from there."
  @spec cancel_rebuild(Warp.context()) :: :ok | {:error, Warp.reason()}
  defdelegate cancel_rebuild(context), to: :warp_projection
end
