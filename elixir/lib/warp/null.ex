defmodule Warp.Null do
  @moduledoc false
  # JSON null is `:null` in warp_core, which Elixir takes for true.

  def to_nil(:null), do: nil
  def to_nil(%_{} = struct), do: struct
  def to_nil(%{} = map), do: :maps.map(fn _key, value -> to_nil(value) end, map)
  def to_nil([first | rest]), do: [to_nil(first) | to_nil(rest)]
  def to_nil(other), do: other
end
