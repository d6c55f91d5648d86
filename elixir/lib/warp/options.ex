defmodule Warp.Options do
  @moduledoc false

  @doc "Keyword options as the map that `warp_core` takes, which checks them. What is no list of them stays as it is."
  def to_map(options) when is_list(options) do
    if Keyword.keyword?(options), do: Map.new(options), else: options
  end

  def to_map(options), do: options

  @doc "Each element of a list by a function. What is no list, or no proper one, stays so, and warp_core says it."
  def map_list([first | rest], fun), do: [fun.(first) | map_list(rest, fun)]
  def map_list(other, _fun), do: other

  @doc "Options of a `use`: all known."
  def check!(options, known, env) do
    Keyword.keyword?(options) || fail!(env, "the options are no keyword list: #{inspect(options)}")

    case Keyword.keys(options) -- known do
      [] -> :ok
      [key | _] -> fail!(env, "there is no option #{inspect(key)}: there are #{Enum.map_join(known, ", ", &inspect/1)}")
    end
  end

  @doc "A compile error of the module that is being compiled."
  def fail!(env, what) do
    raise CompileError, file: env.file, line: env.line, description: "#{inspect(env.module)}: #{what}"
  end
end
