%% @private Supervises the contexts of this VM, each of which has a supervisor of its own, the process that answers the
%% requests of processes that were killed, and the one that takes what other nodes send.
-module(warp_core_sup).
-behaviour(supervisor).

-export([start_link/0, start_context/2, stop_context/1]).
-export([init/1]).

%% @doc Starts the top supervisor of the application.
-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% @doc Starts the processes of a context.
-spec start_context(warp_context:ref(), warp_context_keeper:start()) -> {ok, pid()} | {error, term()}.
start_context(Ref, Start) ->
    Child = #{
        id => Ref,
        start => {warp_context_sup, start_link, [Ref, Start]},
        type => supervisor,
        shutdown => infinity
    },
    supervisor:start_child(?MODULE, Child).

%% @doc Ends the processes of a context, and waits until they have ended.
-spec stop_context(warp_context:ref()) -> ok.
stop_context(Ref) ->
    %% Both give `not_found' for a context that was stopped before.
    _ = supervisor:terminate_child(?MODULE, Ref),
    _ = supervisor:delete_child(?MODULE, Ref),
    ok.

%% The processes below this one retry by themselves, with pauses, when the disk fails. The limit of restarts is
%% therefore high: only a bug that crashes a process again and again reaches it.
-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    %% The table outlives the process that looks after it.
    ok = warp_requests:new_table(),
    Requests = #{id => requests, start => {warp_requests, start_link, []}},
    Node = #{id => node, start => {warp_node, start_link, []}},
    {ok, {#{strategy => one_for_one, intensity => 1000, period => 1}, [Requests, Node]}}.
