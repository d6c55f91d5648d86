%% @private The control socket of a context, as a component: the file `ctl' in the context's folder, through which the
%% program `warp' works with a context that runs.
%%
%% This room is above all others: it calls what users call, and nobody calls it but the context, as a component, and
%% `warp'. The modules (their names have the prefix `warp_control_'): `server' has the socket, which `socket' makes;
%% `connection' serves one client at a time; `operations' is what a client can ask for, and `json' its answer as text.
-module(warp_control_component).
-behaviour(warp_component).

-export([files/1, children/2]).

%% The socket, and those of the clients.
-define(FILES, 12).

%% @doc How many files the component has open at most.
-spec files(warp_component:settings()) -> non_neg_integer().
files(_Settings) ->
    ?FILES.

%% @doc What has the socket. A disk that does not answer holds up neither the start nor, for long, the end.
-spec children(warp_context:ref(), warp_component:settings()) -> [supervisor:child_spec()].
children(Ref, #{shards := Shards}) ->
    [#{id => control, start => {warp_control_server, start_link, [{warp_context, Ref, Shards}]}, shutdown => 1000}].
