defmodule NewProject.Application do
  @moduledoc "Starts the database under a supervisor of this application. Its files are in the folder data."
  use Application

  @impl true
  def start(_type, _arguments) do
    children = [{Warp, context: "new_project", data_dir: "data", aggregates: [NewProject.Account]}]
    Supervisor.start_link(children, strategy: :one_for_one)
  end
end
