%% Starts the database under a supervisor of this application. Its files are in the folder data.
-module(new_project_app).
-behaviour(application).
-behaviour(supervisor).

-export([start/2, stop/1, init/1]).

start(_Type, _Arguments) ->
    supervisor:start_link({local, new_project_sup}, ?MODULE, []).

stop(_State) ->
    ok.

init([]) ->
    Options = #{context => <<"new_project">>, data_dir => "data", aggregates => [new_project_account:aggregate()]},
    {ok, {#{}, [warp_core:child_spec(Options)]}}.
