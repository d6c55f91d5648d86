%% @private The supervisors of a server: the contexts that it starts, its settings, and the link to its gateway.
-module(warp_server_sup).
-behaviour(supervisor).

-export([start_link/1, link/1, child/2]).
-export([init/1]).

%% A gateway that fails again and again is tried about once a second, see {@link warp_server_link}.
-define(RESTARTS, 200).
-define(SECONDS, 10).

%% @doc Starts all processes of a server.
-spec start_link(warp_server_options:settings()) -> supervisor:startlink_ret().
start_link(Settings) ->
    supervisor:start_link(?MODULE, {server, Settings}).

%% @doc The process that has the gateway, if it is running.
-spec link(warp_server_settings:id()) -> pid() | none.
link(Server) -> child(Server, link).

%% @doc A process of a server, if it is running.
-spec child(warp_server_settings:id(), settings | holds | link) -> pid() | none.
child(Server, Id) ->
    case lists:keyfind(Id, 1, supervisor:which_children(Server)) of
        {_, Pid, _, _} when is_pid(Pid) -> Pid;
        _ -> none
    end.

%% NOTE: settings hold keys, and supervisors log the arguments of their children.
-spec init({server, warp_server_options:settings()} | {contexts, warp_server_settings:id()}) ->
    {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({server, Settings}) ->
    Server = self(),
    ok = warp_server_settings:put(Server, Settings#{openapi => warp_server_openapi:json()}),
    {ok, {#{strategy => rest_for_one, intensity => ?RESTARTS, period => ?SECONDS},
          [#{id => contexts, type => supervisor, shutdown => infinity,
             start => {supervisor, start_link, [?MODULE, {contexts, Server}]}},
           #{id => settings, start => {warp_server_settings, start_link, [Server]}},
           #{id => holds, start => {warp_server_holds, start_link, []}},
           #{id => link, start => {warp_server_link, start_link, [Server]}, shutdown => 10000}]}};
init({contexts, Server}) ->
    #{contexts := Contexts} = warp_server_settings:read(Server),
    {ok, {#{strategy => one_for_one},
          [warp_core:child_spec(Start) || #{start := Start} <- maps:values(Contexts), Start =/= none]}}.
