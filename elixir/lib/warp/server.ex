defmodule Warp.Server do
  @moduledoc """
  A context of Warp's server, the Erlang application `warp_server`, which programs in any language reach by HTTP and
  WebSocket.

  The server calls `context/1` of a module of yours with the name of the context:

      defmodule Bank do
        @behaviour Warp.Server

        @impl true
        def context("bank") do
          Warp.Server.options(
            aggregates: [Account],
            projections: :embedded,
            commands: [withdraw: {Account, &Bank.withdraw/2}]
          )
        end

        # The account's process runs it, so nobody spends the same money twice.
        def withdraw(%Account{balance: balance}, %{"amount" => amount}) when amount <= balance,
          do: {:ok, [%Account.Withdrawn{amount: amount}]}

        def withdraw(%Account{balance: balance}, %{"amount" => amount}), do: {:error, {:missing, amount - balance}}
      end

  Its file names the module, and the folders of its code and of Elixir's own:

      [[contexts]]
      name = "bank"
      module = "Bank"
      code = ["bank/_build/prod/lib/*/ebin", "/usr/lib/elixir/lib/elixir/ebin"]
  """

  alias Warp.{Aggregate, Null, Options}

  @typedoc "What clients may have decided in an entity's process: an aggregate, and a function of a state and an input."
  @type command ::
          {module | String.t(), (state :: term, input :: map -> {:ok, [Warp.Event.new()]} | {:error, reason :: term})}

  @doc "What the server takes for a context of that name: a result of `options/1`."
  @callback context(name :: String.t()) :: map

  @doc """
  The options of a context as the server takes them.

  Options are those of `Warp.start_link/1` but for `:context` and `:data_dir`, which the server gives, and:

    * `:commands` - a map or keyword list of commands by name, none if not given. The function gets the input as a map
      with strings as keys, and gives what the function of `Warp.decide/4` gives. A client gets `{:error, reason}` as
      JSON: tuples as lists.
    * `:views` - a map of functions by aggregate, a module or a name, that make of a state what clients see: a term that
      has a form in JSON. Without one they see a struct's fields.

  Raises `ArgumentError` for an aggregate that is none.
  """
  @spec options(keyword) :: map
  def options(options) do
    {own, options} = options |> Options.to_map() |> Map.split([:commands, :views])

    case Warp.start_options(options) do
      {:ok, start} ->
        aggregates = for %{name: name} = one <- List.wrap(start[:aggregates]), into: %{}, do: {name, one}
        views = Map.new(own[:views] || %{}, fn {aggregate, view} -> {Aggregate.name(aggregate), view} end)
        defaults = :maps.map(fn _name, _aggregate -> &shown/1 end, aggregates)
        find = &Aggregate.name_of_event(%{aggregates: aggregates}, &1)
        commands = Map.new(own[:commands] || %{}, fn {name, command} -> {to_string(name), command(command, find)} end)
        Map.merge(start, %{commands: commands, views: Map.merge(defaults, views)})

      {:error, reason} ->
        raise ArgumentError, Warp.format_error(reason)
    end
  end

  defp command({aggregate, decide}, find) when is_function(decide, 2) do
    {Aggregate.name(aggregate), fn state, input -> Warp.deciding(&decide.(&1, Null.to_nil(input)), find).(state) end}
  end

  # The server says what is wrong with it.
  defp command(other, _find), do: other

  defp shown(nil), do: :null
  defp shown(%_{} = struct), do: struct |> Map.from_struct() |> shown()
  defp shown(%{} = map), do: :maps.map(fn _key, value -> shown(value) end, map)
  defp shown([first | rest]), do: [shown(first) | shown(rest)]
  defp shown(other), do: other
end
