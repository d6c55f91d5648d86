%% @private The contexts of this VM, one supervisor each.
-module(warp_core_sup).
-behaviour(supervisor).

-export([start_link/0, start_context/2, stop_context/1]).
-export([init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec start_context(reference(), warp_context_keeper:start()) -> {ok, pid()} | {error, term()}.
start_context(Ref, Start) ->
    Child = #{
        id => Ref,
        start => {warp_context_sup, start_link, [Ref, Start]},
        type => supervisor,
        shutdown => infinity
    },
    supervisor:start_child(?MODULE, Child).

-spec stop_context(reference()) -> ok.
stop_context(Ref) ->
    %% Both answer not_found for a context that was stopped before.
    _ = supervisor:terminate_child(?MODULE, Ref),
    _ = supervisor:delete_child(?MODULE, Ref),
    ok.

%% The processes below retry by themselves, with pauses, what the disk refuses. So restarts are
%% counted only to stop a loop that would be a bug, not to give a context up.
-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    {ok, {#{strategy => one_for_one, intensity => 1000, period => 1}, []}}.
