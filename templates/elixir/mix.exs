defmodule NewProject.MixProject do
  use Mix.Project

  # Mix builds Warp with rebar3, and looks for it in a folder of its own only.
  System.get_env("MIX_REBAR3") || System.put_env("MIX_REBAR3", System.find_executable("rebar3") || "rebar3")

  def project do
    [
      app: :new_project,
      version: "0.1.0",
      deps: [{:warp_core, path: "WARP_FOLDER", manager: :rebar3}]
    ]
  end

  def application do
    [mod: {NewProject.Application, []}]
  end
end
