defmodule Warp.Fields do
  @moduledoc false
  # The codec that `use Warp.Type` and `use Warp.Event` make of `fields`: a struct as an object of JSON.

  import Warp.Options, only: [fail!: 2]
  alias Warp.Type

  defmacro __using__(options) do
    quote do
      @warp_fields Warp.Fields.check!(unquote(options), __ENV__)
      @after_compile Warp.Fields

      @doc false
      def __warp_fields__, do: @warp_fields
    end
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

  @doc false
  def __after_compile__(env, _bytecode) do
    module = env.module
    function_exported?(module, :__struct__, 0) || fail!(env, "define its struct: `defstruct [:amount]`")
    {fields, _ignore} = module.__warp_fields__()

    for {name, _key, _type} <- fields,
        not Map.has_key?(module.__struct__(), name),
        do: fail!(env, "the struct has no field #{name}, which `fields` names")
  end

  @doc "The struct as an object, or what is wrong with it."
  def encode(module, %module{} = struct) do
    {fields, _ignore} = module.__warp_fields__()

    encoded =
      collect(Enum.map(fields, fn {name, _, type} -> {".#{name}", {type, Map.fetch!(struct, name)}} end), &value/1)

    with {:ok, values} <- encoded, do: {:ok, Map.new(Enum.zip(Enum.map(fields, &elem(&1, 1)), values))}
  end

  def encode(module, other), do: {:error, "is no #{inspect(module)}: #{inspect(other)}"}

  defp value({type, value}), do: Type.encode(type, value)

  @doc "The struct that an object was made of, or why there is none."
  def decode(module, json) when is_map(json) do
    {fields, ignore} = module.__warp_fields__()
    {present, missing} = Enum.split_with(fields, fn {_, key, _} -> is_map_key(json, key) end)

    decoded =
      collect(Enum.map(present, fn {name, key, type} -> {".#{name}", {type, Map.fetch!(json, key)}} end), fn {type,
                                                                                                              json} ->
        Type.decode(type, json)
      end)

    with {:ok, values} <- decoded,
         :ok <- none_unknown(json, fields, ignore),
         do: build(module, Enum.zip(Enum.map(present, &elem(&1, 0)), values), missing)
  end

  def decode(module, other), do: {:error, "is no object of #{inspect(module)}: #{inspect(other)}"}

  defp none_unknown(json, fields, ignore) do
    case Map.keys(json) -- (Enum.map(fields, &elem(&1, 1)) ++ ignore) do
      [] -> :ok
      [key | _] -> {:error, ".#{key} is stored, and no field: name it in `fields` or `ignore`, or migrate the event"}
    end
  end

  defp build(module, values, []), do: {:ok, struct(module, values)}

  # The struct knows which fields it cannot be without.
  defp build(module, values, missing) do
    {:ok, struct!(module, values)}
  rescue
    ArgumentError ->
      names = Enum.map_join(missing, ", ", &elem(&1, 1))
      {:error, "lacks #{names}, and the struct has @enforce_keys: give a default, or migrate the event"}
  end

  @doc "What `fun` gives for the value of each `{where, value}`, or the first error, with where it is."
  def collect(pairs, fun) do
    Enum.reduce_while(pairs, {:ok, []}, fn {where, value}, {:ok, done} ->
      case fun.(value) do
        {:ok, result} -> {:cont, {:ok, [result | done]}}
        {:error, why} -> {:halt, {:error, where <> joined(why)}}
      end
    end)
    |> case do
      {:ok, done} -> {:ok, Enum.reverse(done)}
      {:error, _} = error -> error
    end
  end

  # A path goes on, and a sentence begins.
  defp joined("." <> _ = path), do: path
  defp joined("[" <> _ = path), do: path
  defp joined(sentence), do: " " <> sentence
end
