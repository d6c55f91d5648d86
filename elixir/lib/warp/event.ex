defmodule Warp.Event do
  @moduledoc """
  Events as structs.

      defmodule Account.Deposited do
        use Warp.Event, type: "Deposited", fields: [amount: :integer, on: Date]
        defstruct [:amount, :on]
      end

  Options:

    * `:type` - required: the name under which events are stored. It stays when the module gets another name.
    * `:fields` - required: the fields of the struct that are stored, with their types, which `Warp.Type` lists. A field
      without a type is `:any`: `[:note, amount: :integer]`. A field that is not named is not stored.
    * `:ignore` - names of fields that older events have and that nobody needs any more.

  A struct that is wrong is not stored: `{:error, {:bad_event, n, :payload, {:not_json, why}}}`.

  ## When an event changes

    * **A new field.** Older events do not have it: it gets the default that `defstruct` gives. For a field of
      `@enforce_keys` that is an error, unless `migrate` puts the field in.
    * **A field less.** A stored field that the struct does not have is an error, so that a field that was renamed is
      not lost in silence. Name it in `:ignore`.
    * **Another name or type.** Raise the `version` of the aggregate, and let `c:Warp.Aggregate.migrate/2` make the new
      payload of the old one.
  """

  alias Warp.Null

  @typedoc """
  What can be appended: an event's struct; or a map with a struct as `payload`; or a map with a `type` and a `payload`.

  A map may also have an `id`, which makes the append repeatable, `metadata`, the `aggregate` (a module or a name) and
  the `schema_vsn`.
  """
  @type new :: struct | %{required(:payload) => struct | map | String.t(), optional(atom) => term}

  @typedoc """
  An event that was read: a map with `type`, `payload`, `aggregate`, `id`, `schema_vsn`, `metadata`, `seq`, and
  `recorded_at` in microseconds since 1970, UTC (`DateTime.from_unix!(at, :microsecond)`).

  The payload is a struct if the aggregate lists the event, and else a map with strings as keys.
  """
  @type t :: %{required(atom) => term}

  defmacro __using__(options) do
    quote do
      @warp_type Warp.Event.type!(unquote(options), __ENV__)
      use Warp.Type, Keyword.delete(unquote(options), :type)

      @doc false
      def __warp_type__, do: @warp_type
    end
  end

  @doc false
  def type!(options, env) do
    Warp.Options.check!(options, [:type, :fields, :ignore], env)

    case Keyword.get(options, :type) do
      type when is_binary(type) and type != "" -> type
      _ -> Warp.Options.fail!(env, "give the type under which it is stored: `type: \"Deposited\"`")
    end
  end

  @doc false
  # The events as warp_core takes them. `find` gives the name of the aggregate of an event's module, or nil.
  def encode_all(events, find) when is_list(events), do: encode_all(events, find, 1, [])
  def encode_all(other, _find), do: {:ok, other}

  defp encode_all([event | events], find, n, done) do
    case encode(event, find) do
      {:ok, encoded} -> encode_all(events, find, n + 1, [encoded | done])
      {:error, why} -> {:error, {:bad_event, n, :payload, {:not_json, why}}}
    end
  end

  # What is no proper list stays so, and warp_core says it.
  defp encode_all(rest, _find, _n, done), do: {:ok, :lists.reverse(done, rest)}

  @doc false
  def encode(%module{} = event, find), do: encode(module, event, %{}, find)
  def encode(%{payload: %module{} = event} = map, find), do: encode(module, event, named(map), find)
  def encode(%{} = map, _find), do: {:ok, named(map)}
  def encode(other, _find), do: {:ok, other}

  defp encode(module, event, map, find) do
    if function_exported?(module, :__warp_type__, 0) do
      with {:ok, payload} <- module.encode(event) |> whose(module) do
        encoded = Map.merge(map, %{type: module.__warp_type__(), payload: payload})
        aggregate = Map.get_lazy(map, :aggregate, fn -> find.(module) end)
        {:ok, if(aggregate, do: Map.put(encoded, :aggregate, aggregate), else: encoded)}
      end
    else
      {:error, "#{inspect(module)} is no event: `use Warp.Event` in it says which of its fields are stored"}
    end
  end

  defp whose({:error, "." <> _ = path}, module), do: {:error, inspect(module) <> path}
  defp whose(result, _module), do: result

  defp named(%{aggregate: aggregate} = map), do: %{map | aggregate: Warp.Aggregate.name(aggregate)}
  defp named(map), do: map

  @doc false
  def event?(module), do: Code.ensure_loaded?(module) and function_exported?(module, :__warp_type__, 0)

  @doc false
  # The type of an event that is given by its module or its type.
  def type(module) when is_atom(module), do: if(event?(module), do: module.__warp_type__(), else: module)
  def type(type), do: type

  @doc false
  # An event of warp_core with the struct as payload, if the module of its type is there.
  def decode(%{payload: %_{}} = event, _module), do: event

  def decode(%{type: type, seq: seq, payload: payload} = event, module) do
    case module.decode(payload) do
      {:ok, struct} -> %{event | payload: struct}
      {:error, why} -> raise Warp.DecodeError, seq: seq, type: type, why: why
    end
  end

  @doc false
  def nulls_to_nil(%{payload: payload, metadata: metadata} = event),
    do: %{event | payload: Null.to_nil(payload), metadata: Null.to_nil(metadata)}
end
