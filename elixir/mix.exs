defmodule Warp.MixProject do
  use Mix.Project

  # Mix builds warp_core with rebar3, and looks for it in a folder of its own only, unless it is told of another.
  rebar3 = System.find_executable("rebar3")
  if rebar3 && System.get_env("MIX_REBAR3") == nil, do: System.put_env("MIX_REBAR3", rebar3)

  def project do
    [
      app: :warp,
      version: "0.1.0",
      elixir: "~> 1.14",
      description: "Warp, an event-sourced database inside a BEAM application, for Elixir",
      elixirc_paths: if(Mix.env() == :test, do: ["lib", "test/support"], else: ["lib"]),
      deps: [{:warp_core, path: "..", manager: :rebar3}]
    ]
  end

  def application, do: []
end
