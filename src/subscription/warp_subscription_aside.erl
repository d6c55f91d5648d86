%% @private Runs what may take long, since another node is asked, in a process of its own.
-module(warp_subscription_aside).

-export([start/1, run/1]).

%% @doc Starts such a process. When it ends, the caller gets `{'DOWN', Monitor, process, _, {done, Result}}', or another
%% reason where the fun crashed.
-spec start(fun(() -> term())) -> Monitor :: reference().
start(Fun) ->
    {_, Monitor} = spawn_monitor(?MODULE, run, [Fun]),
    Monitor.

%% @doc The process.
-spec run(fun(() -> term())) -> no_return().
run(Fun) -> exit({done, Fun()}).
