defmodule GenStage do
  @moduledoc false
  # What a producer needs of GenStage, which is no dependency: it gets demand, and its events go to whoever started it.
  use GenServer

  @callback init(term) :: {:producer, state :: term}
  @callback handle_demand(pos_integer, state :: term) :: {:noreply, [term], state :: term}
  @callback handle_info(term, state :: term) :: {:noreply, [term], state :: term} | {:stop, term, state :: term}

  defmacro __using__(_options), do: quote(do: @behaviour(GenStage))

  def start_link(module, argument), do: GenServer.start_link(__MODULE__, {module, argument, self()})

  def ask(stage, demand), do: GenServer.cast(stage, {:ask, demand})

  @impl true
  def init({module, argument, consumer}) do
    {:producer, state} = module.init(argument)
    {:ok, {module, consumer, state}}
  end

  @impl true
  def handle_cast({:ask, demand}, {module, _, state} = stage), do: done(module.handle_demand(demand, state), stage)

  @impl true
  def handle_info(message, {module, _, state} = stage), do: done(module.handle_info(message, state), stage)

  defp done({:noreply, events, state}, {module, consumer, _}) do
    for event <- events, do: send(consumer, {:consume, event})
    {:noreply, {module, consumer, state}}
  end

  defp done({:stop, reason, state}, {module, consumer, _}), do: {:stop, reason, {module, consumer, state}}
end
