defmodule Warp.Type do
  @moduledoc """
  How values of events stand in JSON, and come back.

  A field of an event has one of these types. What comes back equals what was stored, whatever the type; anything else
  is refused. `nil` is a value of every type, and is null in JSON.

  | type | value | in JSON |
  |---|---|---|
  | `:any` | what JSON has | the same |
  | `:string`, `:integer`, `:float`, `:boolean` | | the same |
  | `:number` | an integer or a float | a number |
  | `{:one_of, [:open, :closed]}` | one of these atoms | a string |
  | `{:list, type}` | a list | an array |
  | `{:map, type}` | a map with strings as keys | an object |
  | `Date`, `Time`, `NaiveDateTime` | of the ISO calendar | a string, ISO 8601 |
  | `DateTime` | of the ISO calendar, in UTC | a string, ISO 8601 with Z |
  | `Decimal` | a number of the library Decimal | a string |
  | a module | what its `c:encode/1` takes | what that gives |

  - `:any` is for strings, numbers, booleans, `nil`, and lists and maps of these. Other atoms, and keys that are atoms,
    come back as strings.
  - Times keep their microseconds and the precision of these.
  - A `DateTime` in another time zone than `Etc/UTC` is refused, since its zone would be lost. Store
    `DateTime.shift_zone!(time, "Etc/UTC")`, and the zone in a field of its own if it matters.
  - A `Decimal` keeps all its digits. `NaN` and the infinities are refused. Warp does not depend on the library.

  ## Own types

  A struct with fields is a type by `use Warp.Type`, with options as in `Warp.Event`:

      defmodule Money do
        use Warp.Type, fields: [amount: :integer, currency: :string]
        defstruct [:amount, :currency]
      end

  Everything else is a module with two functions:

      defmodule Colour do
        @behaviour Warp.Type
        @impl true
        def encode({red, green, blue}), do: {:ok, [red, green, blue]}
        def encode(other), do: {:error, "is no colour: \#{inspect(other)}"}
        @impl true
        def decode([red, green, blue]), do: {:ok, {red, green, blue}}
        def decode(_other), do: {:error, "has no three parts"}
      end
  """

  alias Warp.Fields

  # Warp does not depend on the library: whoever has such a value has the module.
  @compile {:no_warn_undefined, Decimal}

  @typedoc "What JSON has. Objects are maps with strings as keys."
  @type json :: nil | boolean | number | String.t() | [json] | %{optional(String.t()) => json}
  @type t ::
          :any
          | :string
          | :integer
          | :float
          | :number
          | :boolean
          | {:one_of, [atom]}
          | {:list, t}
          | {:map, t}
          | module

  @doc "The value in JSON, or what is wrong with it, as the end of a sentence that begins with the value. Never `nil`."
  @callback encode(value :: term) :: {:ok, json} | {:error, String.t()}
  @doc "The value that `c:encode/1` made this of. Never gets `nil`."
  @callback decode(json) :: {:ok, value :: term} | {:error, String.t()}

  defmacro __using__(options) do
    quote do
      @behaviour Warp.Type
      use Warp.Fields, unquote(options)

      @impl Warp.Type
      def encode(value), do: Warp.Fields.encode(__MODULE__, value)
      @impl Warp.Type
      def decode(json), do: Warp.Fields.decode(__MODULE__, json)
    end
  end

  @calendar [Date, Time, NaiveDateTime]

  @doc false
  def known?(type) when type in [:any, :string, :integer, :float, :number, :boolean], do: true
  def known?({:one_of, atoms}), do: is_list(atoms) and Enum.all?(atoms, &is_atom/1)
  def known?({kind, type}) when kind in [:list, :map], do: known?(type)
  def known?(type) when type in [DateTime, Decimal | @calendar], do: true
  # Modules of users may be compiled later. Their names are the only atoms that begin like this.
  def known?(type), do: is_atom(type) and match?("Elixir." <> _, Atom.to_string(type))

  @doc false
  def encode(_type, nil), do: {:ok, nil}
  def encode(:any, value), do: any(value)
  def encode(:string, value) when is_binary(value), do: {:ok, value}
  def encode(:integer, value) when is_integer(value), do: {:ok, value}
  def encode(:float, value) when is_float(value), do: {:ok, value}
  def encode(:number, value) when is_number(value), do: {:ok, value}
  def encode(:boolean, value) when is_boolean(value), do: {:ok, value}

  def encode({:one_of, atoms}, value) do
    if value in atoms, do: {:ok, Atom.to_string(value)}, else: not_a({:one_of, atoms}, value)
  end

  def encode({:list, type}, value) when is_list(value), do: each(value, &encode(type, &1))

  def encode({:map, type}, value) when is_map(value) and not is_struct(value) do
    if Enum.all?(Map.keys(value), &is_binary/1),
      do: pairs(value, &encode(type, &1)),
      else: {:error, "has keys that are no strings: #{inspect(value)}"}
  end

  def encode(DateTime, %DateTime{time_zone: "Etc/UTC", calendar: Calendar.ISO} = value),
    do: {:ok, DateTime.to_iso8601(value)}

  def encode(DateTime, %DateTime{time_zone: zone, calendar: Calendar.ISO}) when zone != "Etc/UTC",
    do: {:error, "is a DateTime in the time zone #{zone}, which would be lost: give it in Etc/UTC"}

  def encode(type, %type{calendar: Calendar.ISO} = value) when type in @calendar, do: {:ok, type.to_iso8601(value)}

  def encode(Decimal, %{__struct__: Decimal, coef: digits} = value) when is_integer(digits),
    do: {:ok, Decimal.to_string(value, :scientific)}

  def encode(type, value) when type in [:string, :integer, :float, :number, :boolean, DateTime, Decimal | @calendar],
    do: not_a(type, value)

  def encode({kind, _} = type, value) when kind in [:list, :map], do: not_a(type, value)
  def encode(module, value), do: module.encode(value)

  defp not_a({:one_of, atoms}, value), do: {:error, "is none of #{inspect(atoms)}: #{inspect(value)}"}
  defp not_a(type, value), do: {:error, "is not of the type #{inspect(type)}: #{inspect(value)}"}

  # Warp refuses what has no form in JSON and says where; of a struct this knows better what to do.
  defp any(value) do
    case struct_in(value) do
      nil ->
        {:ok, value}

      %module{} ->
        {:error, "has the struct #{inspect(module)} in it: give the field a type in place of :any, see Warp.Type"}
    end
  end

  defp struct_in(%_{} = struct), do: struct
  defp struct_in(map) when is_map(map), do: Enum.find_value(Map.values(map), &struct_in/1)
  defp struct_in([first | rest]), do: struct_in(first) || struct_in(rest)
  defp struct_in(_other), do: nil

  @doc false
  def decode(_type, nil), do: {:ok, nil}
  def decode(:any, json), do: {:ok, json}
  def decode(:string, json) when is_binary(json), do: {:ok, json}
  def decode(:integer, json) when is_integer(json), do: {:ok, json}
  def decode(:float, json) when is_number(json), do: {:ok, json * 1.0}
  def decode(:number, json) when is_number(json), do: {:ok, json}
  def decode(:boolean, json) when is_boolean(json), do: {:ok, json}

  def decode({:one_of, atoms}, json) do
    case Enum.find(atoms, :none, &(Atom.to_string(&1) == json)) do
      :none -> not_a({:one_of, atoms}, json)
      atom -> {:ok, atom}
    end
  end

  def decode({:list, type}, json) when is_list(json), do: each(json, &decode(type, &1))
  def decode({:map, type}, json) when is_map(json), do: pairs(json, &decode(type, &1))

  def decode(DateTime, json) when is_binary(json) do
    case DateTime.from_iso8601(json) do
      {:ok, time, _offset} -> {:ok, time}
      {:error, _} -> not_a(DateTime, json)
    end
  end

  def decode(type, json) when type in @calendar and is_binary(json) do
    with {:error, _} <- type.from_iso8601(json), do: not_a(type, json)
  end

  def decode(Decimal, json) when is_binary(json) do
    case Decimal.new(json) do
      %{coef: digits} = value when is_integer(digits) -> {:ok, value}
      _not_a_number -> not_a(Decimal, json)
    end
  rescue
    _ -> not_a(Decimal, json)
  end

  def decode(type, json) when type in [:string, :integer, :float, :number, :boolean, DateTime, Decimal | @calendar],
    do: not_a(type, json)

  def decode({kind, _} = type, json) when kind in [:list, :map], do: not_a(type, json)
  def decode(module, json), do: module.decode(json)

  defp each(values, fun), do: each(values, fun, 0, [])

  defp each([], _fun, _at, done), do: {:ok, Enum.reverse(done)}

  defp each([value | rest], fun, at, done) do
    case fun.(value) do
      {:ok, result} -> each(rest, fun, at + 1, [result | done])
      {:error, why} -> {:error, Fields.at(at, why)}
    end
  end

  defp each(rest, _fun, _at, _done), do: {:error, "is a list that ends in #{inspect(rest)}"}

  defp pairs(map, fun) do
    Enum.reduce_while(map, {:ok, %{}}, fn {key, value}, {:ok, done} ->
      case fun.(value) do
        {:ok, result} -> {:cont, {:ok, Map.put(done, key, result)}}
        {:error, why} -> {:halt, {:error, Fields.at(key, why)}}
      end
    end)
  end
end
