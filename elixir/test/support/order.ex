defmodule Money do
  @moduledoc false
  use Warp.Type, fields: [amount: :integer, currency: :string]
  defstruct [:amount, :currency]
end

defmodule Colour do
  @moduledoc false
  # A type that is no struct.
  @behaviour Warp.Type

  @impl true
  def encode({red, green, blue}), do: {:ok, [red, green, blue]}
  def encode(other), do: {:error, "is no colour: #{inspect(other)}"}

  @impl true
  def decode([red, green, blue]), do: {:ok, {red, green, blue}}
  def decode(_other), do: {:error, "has no three parts"}
end

defmodule Order.Placed do
  @moduledoc false
  # A field of each type.
  use Warp.Event,
    type: "Placed",
    ignore: [:old],
    fields: [
      :note,
      :anything,
      customer: :string,
      count: :integer,
      weight: :float,
      size: :number,
      gift: :boolean,
      state: {:one_of, [:open, :closed]},
      days: {:list, Date},
      tags: {:map, :string},
      on: Date,
      at: Time,
      local: NaiveDateTime,
      when: DateTime,
      price: Money,
      total: Decimal,
      colour: Colour
    ]

  defstruct [
    :note,
    :anything,
    :customer,
    :count,
    :weight,
    :size,
    :gift,
    :state,
    :days,
    :tags,
    :on,
    :at,
    :local,
    :when,
    :price,
    :total,
    :colour,
    secret: "not stored"
  ]
end

defmodule Order.Paid do
  @moduledoc false
  use Warp.Event, type: "Paid", fields: [by: :string, amount: :integer]
  @enforce_keys [:by]
  defstruct [:by, amount: 1]
end

defmodule Order do
  @moduledoc false
  use Warp.Aggregate, name: "Order", events: [Order.Placed, Order.Paid], initial_state: []

  @impl true
  def apply(events, event), do: [event | events]

  @impl true
  def project(id, events, %Order.Placed{} = placed) do
    [
      Warp.Projection.upsert(:orders, id, customer: placed.customer, note: placed.note, placed: placed.on),
      Warp.Projection.increment(:customers, placed.customer, orders: length(events))
    ]
  end

  def project(id, _events, %Order.Paid{}), do: [Warp.Projection.delete(:orders, id)]
end

defmodule Notes do
  @moduledoc false
  # An aggregate without structs, and one that keeps what it got.
  use Warp.Aggregate, name: "Notes", initial_state: nil

  @impl true
  def apply(_state, %{type: type, payload: payload, metadata: metadata}), do: {type, payload, metadata}
end
