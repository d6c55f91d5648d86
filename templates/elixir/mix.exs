defmodule NewProject.MixProject do
  use Mix.Project

  def project do
    [
      app: :new_project,
      version: "0.1.0",
      deps: [{:warp, path: "WARP_FOLDER/elixir"}]
    ]
  end

  def application do
    [mod: {NewProject.Application, []}]
  end
end
