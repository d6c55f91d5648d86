%% @private A context: its keeper process, which holds the lock on the directory and the tables,
%% and what all its other modules read of it.
-module(warp_context).
-behaviour(gen_server).

-export([start/1, stop/1, find/1, shard/2, lock/1, processes/1, shard_of/1]).
-export([start_link/2, init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-include("warp.hrl").

-export_type([ctx/0, context/0]).

-opaque ctx() :: {warp_context, reference(), pos_integer()}.
-type context() :: #context{}.

%% How long a context waits for the lock: at its start, should another one just be stopping,
%% and after a crash, for its own writers to finish.
-define(LOCK_PATIENCE_MS, 1000).
-define(LOCK_PATIENCE_AGAIN_MS, 60000).

%% @doc Starts a context and waits until all its shards are open.
-spec start(warp_options:settings()) -> {ok, ctx()} | {error, term()}.
start(#{shards := Shards} = Settings) ->
    Ref = make_ref(),
    case warp_core_sup:start_context(Ref, Settings) of
        {ok, _Pid} ->
            case opened(Ref, Shards) of
                ok ->
                    {ok, {warp_context, Ref, Shards}};
                {error, Reason} ->
                    ok = stop_ref(Ref),
                    {error, Reason}
            end;
        {error, {shutdown, {failed_to_start_child, keeper, {shutdown, Reason}}}} ->
            _ = persistent_term:erase({?MODULE, Ref}),
            {error, Reason};
        {error, Reason} ->
            {error, Reason}
    end.

%% @doc Stops a context: everything acknowledged is on disk, nothing of it is left running.
-spec stop(ctx()) -> ok.
stop({warp_context, Ref, _}) ->
    stop_ref(Ref).

stop_ref(Ref) ->
    ok = warp_core_sup:stop_context(Ref),
    _ = persistent_term:erase({?MODULE, Ref}),
    ok.

opened(Ref, Shards) ->
    {ok, #context{running = Running}} = find(Ref),
    Owners = [ets:lookup_element(Running, {owner, N}, 2) || N <- lists:seq(0, Shards - 1)],
    %% All are opening by now, side by side; this only collects the results.
    case [Error || {error, _} = Error <- [warp_shard:status(Owner) || Owner <- Owners]] of
        [] -> warp_nif:establish(lock(Running));
        [Error | _] -> Error
    end.

%% @doc What is known of a context; not_found once it was stopped.
-spec find(reference() | ctx()) -> {ok, context()} | not_found.
find({warp_context, Ref, _}) ->
    find(Ref);
find(Ref) ->
    case persistent_term:get({?MODULE, Ref}, not_found) of
        #context{} = Context -> {ok, Context};
        not_found -> not_found
    end.

%% @doc The handle of a shard, for as long as it is open.
-spec shard(context(), non_neg_integer()) ->
    {ok, warp_nif:shard()} | {error, {shard_unavailable, non_neg_integer()}}.
shard(#context{running = Running}, N) ->
    try ets:lookup(Running, {shard, N}) of
        [{_, Handle}] -> {ok, Handle};
        [] -> {error, {shard_unavailable, N}}
    catch
        %% The keeper is being restarted.
        error:badarg -> {error, {shard_unavailable, N}}
    end.

-spec lock(ets:table()) -> warp_nif:lock().
lock(Running) ->
    ets:lookup_element(Running, lock, 2).

%% @doc Every process of a context but its entities, with its part.
-spec processes(ctx()) -> [{atom(), pid()}].
processes({warp_context, Ref, _}) ->
    case lists:keyfind(Ref, 1, supervisor:which_children(warp_core_sup)) of
        {_, Pid, _, _} when is_pid(Pid) -> [{context_sup, Pid} | below(Pid)];
        _ -> []
    end.

below(Supervisor) ->
    Children = supervisor:which_children(Supervisor),
    lists:append([part(Id, Pid) || {Id, Pid, _, _} <- Children, is_pid(Pid)]).

part(keeper, Pid) -> [{keeper, Pid}];
part(shards, Pid) -> [{shards_sup, Pid} | below(Pid)];
part(shard, Pid) -> [{shard, Pid}];
part(entities, Pid) -> [{entity_sup, Pid}];
part(_N, Pid) -> [{shard_sup, Pid} | below(Pid)].

%% @doc The shard that an entity lives in.
-spec shard_of(warp_core:entity()) -> non_neg_integer().
shard_of(#warp_entity{shard = N}) when is_integer(N) ->
    N.

%% The keeper process.

-spec start_link(reference(), warp_options:settings()) -> gen_server:start_ret().
start_link(Ref, Settings) ->
    gen_server:start_link(?MODULE, {Ref, Settings}, []).

-spec init({reference(), warp_options:settings()}) ->
    {ok, ets:table()} | {stop, {shutdown, term()}}.
init({Ref, #{context := Name, data_dir := DataDir} = Settings}) ->
    _ = process_flag(trap_exit, true),
    Again = find(Ref) =/= not_found,
    Dir = filename:join(DataDir, Name),
    Patience = case Again of true -> ?LOCK_PATIENCE_AGAIN_MS; false -> ?LOCK_PATIENCE_MS end,
    case warp_nif:lock(Dir, Patience) of
        {ok, Lock} ->
            {ok, keep(Ref, Dir, Lock, Settings)};
        {error, Reason} ->
            %% A restart that fails at once would be tried again at once.
            _ = [timer:sleep(1000) || Again],
            {stop, {shutdown, Reason}}
    end.

keep(Ref, Dir, Lock, #{aggregates := Aggregates} = Settings) ->
    Tuning = [public, set, {read_concurrency, true}, {write_concurrency, true}],
    Running = ets:new(warp_running, [public, set, {read_concurrency, true}]),
    true = ets:insert(Running, {lock, Lock}),
    Rules = [
        {AggregateName, warp_aggregate:version(Aggregate), warp_aggregate:folds(Aggregate)}
     || {AggregateName, Aggregate} <- maps:to_list(Aggregates)
    ],
    Context = #context{
        ref = Ref,
        name = maps:get(context, Settings),
        dir = Dir,
        shards = maps:get(shards, Settings),
        mode = maps:get(mode, Settings),
        durability = maps:get(durability, Settings),
        snapshot_every = maps:get(snapshot_every, Settings),
        idle_timeout = maps:get(idle_timeout, Settings),
        max_pending = maps:get(max_pending, Settings),
        aggregates = Aggregates,
        rules = warp_nif:rules(Rules),
        registry = ets:new(warp_registry, Tuning),
        states = ets:new(warp_states, Tuning),
        running = Running
    },
    ok = persistent_term:put({?MODULE, Ref}, Context),
    Running.

-spec handle_call(term(), gen_server:from(), ets:table()) -> {noreply, ets:table()}.
handle_call(_Request, _From, Running) ->
    {noreply, Running}.

-spec handle_cast(term(), ets:table()) -> {noreply, ets:table()}.
handle_cast(_Message, Running) ->
    {noreply, Running}.

-spec handle_info(term(), ets:table()) -> {noreply, ets:table()} | {stop, term(), ets:table()}.
handle_info({'EXIT', _Pid, Reason}, Running) ->
    {stop, Reason, Running};
handle_info(_Message, Running) ->
    {noreply, Running}.

-spec terminate(term(), ets:table()) -> ok.
terminate(_Reason, Running) ->
    warp_nif:unlock(lock(Running)).
