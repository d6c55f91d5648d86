%% @private The application. With a configuration in its environment it runs a server, which is how a release does it:
%%
%% ```
%% {warp_server, [{configuration, "/etc/warp/warp.toml"}]}
%% '''
%%
%% Without one it runs nothing, for programs that have a server below a supervisor of their own.
-module(warp_server_app).
-behaviour(application).
-behaviour(supervisor).

-export([start/2, stop/1, init/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    case supervisor:start_link(?MODULE, application:get_env(warp_server, configuration, none)) of
        {ok, Pid} -> {ok, Pid};
        {error, {shutdown, {failed_to_start_child, server, Why}}} ->
            {error, {configuration, warp_server:format_error(Why)}};
        {error, _} = Error -> Error
    end.

-spec stop(term()) -> ok.
stop(_State) -> ok.

-spec init(none | file:filename_all()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(none) ->
    {ok, {#{}, []}};
init(File) ->
    Self = self(),
    {ok, {#{strategy => rest_for_one},
          [#{id => server, type => supervisor, shutdown => infinity,
             start => {warp_server_file, start_link, [File]}},
           #{id => watch, start => {warp_server_watch, start_link, [Self, File]}}]}}.
