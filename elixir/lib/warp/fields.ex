defmodule Warp.Fields do
  @moduledoc false
  # The codec that `use Warp.Type` and `use Warp.Event` make of `fields`: a struct as an object of JSON.

  import Warp.Options, only: [fail!: 2]
  alias Warp.Type

  defmacro __using__(options) do
    quote do
      @warp_fields Warp.Fields.check!(unquote(options), __ENV__)
      @before_compile Warp.Fields

      @doc false
      def __warp_fields__, do: @warp_fields
    end
  end

  defmacro __before_compile__(%{module: module} = env) do
    {fields, _ignore} = Module.get_attribute(module, :warp_fields)
    Module.defines?(module, {:__struct__, 0}) || fail!(env, "define its struct: `defstruct [:amount]`")
    known = struct_fields(module, env)

    for {name, _key, _type} <- fields,
        name not in known,
        do: fail!(env, "the struct has no field #{name}, which `fields` names")

    nil
  end

  # Since Elixir 1.18 it is another function. A call by name is none that is deprecated.
  defp struct_fields(module, env) do
    if function_exported?(Macro, :struct_info!, 2),
      do: Enum.map(apply(Macro, :struct_info!, [module, env]), & &1.field),
      else: Map.keys(apply(Macro, :struct!, [module, env]))
  end

  @doc false
  def check!(options, env) do
    Warp.Options.check!(options, [:fields, :ignore], env)

    given =
      Keyword.get(options, :fields) || fail!(env, "give its fields: `fields: [amount: :integer]`, or `fields: []`")

    fields = Enum.map(given, &field!(&1, env))
    names = Enum.map(fields, &elem(&1, 0))
    for name <- names -- Enum.uniq(names), do: fail!(env, "the field #{name} stands twice in `fields`")

    ignore = Enum.map(Keyword.get(options, :ignore, []), &to_string/1)
    {Enum.map(fields, fn {name, type} -> {name, Atom.to_string(name), type} end), ignore}
  end

  defp field!(name, _env) when is_atom(name), do: {name, :any}

  defp field!({name, type}, env) when is_atom(name) do
    Type.known?(type) || fail!(env, "the field #{name} has the type #{inspect(type)}: Warp.Type lists the types")
    {name, type}
  end

  defp field!(other, env), do: fail!(env, "#{inspect(other)} in `fields` is neither a name nor `name: type`")

  @doc "The struct as an object, or what is wrong with it."
  def encode(module, %module{} = struct) do
    {fields, _ignore} = module.__warp_fields__()
    encode_fields(fields, struct, [])
  end

  def encode(module, other), do: {:error, "is no #{inspect(module)}: #{inspect(other)}"}

  defp encode_fields([], _struct, done), do: {:ok, :maps.from_list(done)}

  defp encode_fields([{name, key, type} | fields], struct, done) do
    case Type.encode(type, Map.fetch!(struct, name)) do
      {:ok, json} -> encode_fields(fields, struct, [{key, json} | done])
      {:error, why} -> {:error, at(name, why)}
    end
  end

  @doc "The struct that an object was made of, or why there is none."
  def decode(module, json) when is_map(json) do
    {fields, ignore} = module.__warp_fields__()

    with {:ok, values, missing} <- decode_fields(fields, json, [], []),
         :ok <- none_unknown(json, length(values), fields, ignore),
         do: build(module, :maps.from_list(values), missing)
  end

  def decode(module, other), do: {:error, "is no object of #{inspect(module)}: #{inspect(other)}"}

  defp decode_fields([], _json, values, missing), do: {:ok, values, missing}

  defp decode_fields([{name, key, type} | fields], json, values, missing) do
    case json do
      %{^key => value} ->
        case Type.decode(type, value) do
          {:ok, decoded} -> decode_fields(fields, json, [{name, decoded} | values], missing)
          {:error, why} -> {:error, at(name, why)}
        end

      %{} ->
        decode_fields(fields, json, values, [key | missing])
    end
  end

  defp none_unknown(json, known, _fields, _ignore) when map_size(json) == known, do: :ok

  defp none_unknown(json, _known, fields, ignore) do
    case Map.keys(json) -- (Enum.map(fields, &elem(&1, 1)) ++ ignore) do
      [] -> :ok
      [key | _] -> {:error, ".#{key} is stored, and no field: name it in `fields` or `ignore`, or migrate the event"}
    end
  end

  defp build(module, values, []), do: {:ok, Map.merge(module.__struct__(), values)}

  # The struct knows which fields it cannot be without.
  defp build(module, values, missing) do
    {:ok, struct!(module, values)}
  rescue
    ArgumentError ->
      names = missing |> Enum.reverse() |> Enum.join(", ")
      {:error, "lacks #{names}, and the struct has @enforce_keys: give a default, or migrate the event"}
  end

  @doc "What is wrong with a part of a value, with where the part is: the name of a field, or an index or a key."
  def at(name, why) when is_atom(name), do: joined(".#{name}", why)
  def at(index, why), do: joined("[#{inspect(index)}]", why)

  # A path goes on, and a sentence begins.
  defp joined(where, "." <> _ = path), do: where <> path
  defp joined(where, "[" <> _ = path), do: where <> path
  defp joined(where, sentence), do: where <> " " <> sentence
end
