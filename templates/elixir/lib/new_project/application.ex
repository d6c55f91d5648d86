defmodule NewProject.Application do
  @moduledoc "Starts the database under a supervisor of this application. Its files are in the folder data."
  use Application

  @impl true
  def start(_type, _arguments) do
    options = %{context: "new_project", data_dir: "data", aggregates: [NewProject.Account.aggregate()]}
    Supervisor.start_link([{:warp_core, options}], strategy: :one_for_one)
  end
end
