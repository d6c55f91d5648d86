defmodule Warp.Error do
  @moduledoc """
  What functions that end in `!` raise. `reason` is what `{:error, reason}` would have had, and the message says what it
  means and what to do.
  """
  defexception [:reason]

  @type t :: %__MODULE__{reason: term}

  @impl true
  def message(%{reason: reason}), do: Warp.format_error(reason)
end

defmodule Warp.DecodeError do
  @moduledoc """
  An event that the aggregate's events do not describe, in `{:error, {:migrate_failed, {:error, exception, where}}}`.
  `Warp.Event` says how events change.
  """
  defexception [:seq, :type, :why]

  @type t :: %__MODULE__{seq: pos_integer, type: String.t(), why: String.t()}

  @impl true
  def message(%{seq: seq, type: type, why: why}), do: "event #{seq}, #{type}: #{String.trim_leading(why)}"
end
