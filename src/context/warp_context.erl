%% @private A context: starting and stopping it, its keeper process, which holds its tables, and
%% what all other modules read of it.
-module(warp_context).
-behaviour(gen_server).

-export([start/1, stop/1, forget_all/0, find/1, membership/1, within/1, mine/1, shard/2, processes/1, shard_of/1]).
-export([start_link/2, init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-include("../base/warp.hrl").

-export_type([ctx/0, context/0, membership/0, start/0]).

-type ctx() :: {warp_context, reference(), pos_integer()}.
-type context() :: #context{}.
-type membership() :: {reference(), Running :: ets:table(), Above :: [pid()]}.

%% How long a context waits for the lock, should another one just be stopping.
-define(LOCK_PATIENCE_MS, 1000).

%% @doc Starts a context and waits until all its shards are open.
-spec start(warp_context_options:settings()) -> {ok, ctx()} | {error, term()}.
start(Settings) ->
    case warp_context_files:enough(Settings, warp_nif:open_files()) of
        ok -> start_in_dir(Settings);
        {error, _} = Error -> Error
    end.

start_in_dir(#{context := Name, data_dir := DataDir, shards := Shards, file_access := Access} = Settings) ->
    Dir = filename:join(DataDir, Name),
    case warp_nif:lock(Dir, ?LOCK_PATIENCE_MS, Access) of
        {ok, Lock} ->
            Ref = make_ref(),
            {ok, _Pid} = warp_core_sup:start_context(Ref, {Settings, Dir, Lock}),
            case opened(Ref, Shards) of
                ok ->
                    {ok, {warp_context, Ref, Shards}};
                {error, Reason} ->
                    ok = stop_ref(Ref),
                    {error, Reason}
            end;
        {error, Reason} ->
            {error, Reason}
    end.

%% @doc Stops a context: everything acknowledged is on disk, nothing of it is left running.
-spec stop(ctx()) -> ok.
stop({warp_context, Ref, _}) ->
    stop_ref(Ref).

stop_ref(Ref) ->
    ok = warp_core_sup:stop_context(Ref),
    forget(Ref).

%% @doc Forgets what the processes of all contexts left when they were stopped with the
%% application.
-spec forget_all() -> ok.
forget_all() ->
    _ = [forget(Ref) || {{?MODULE, Ref}, #context{}} <- persistent_term:get()],
    ok.

forget(Ref) ->
    case find(Ref) of
        {ok, #context{lock = Lock}} ->
            %% Another one may be stopping it just now: one of them gives the lock up.
            case persistent_term:erase({?MODULE, Ref}) of
                true -> warp_nif:unlock(Lock);
                false -> ok
            end;
        not_found ->
            ok
    end.

opened(Ref, Shards) ->
    {ok, #context{running = Running, lock = Lock}} = find(Ref),
    Owners = [ets:lookup_element(Running, {owner, N}, 2) || N <- lists:seq(0, Shards - 1)],
    %% All are opening by now, side by side; this only collects the results.
    case [Error || {error, _} = Error <- [warp_shard:status(Owner) || Owner <- Owners]] of
        [] ->
            case projecting(Ref) of
                ok -> warp_nif:establish(Lock);
                {error, _} = Error -> Error
            end;
        [Error | _] ->
            Error
    end.

%% A target that is away is no reason not to start; one that is not ours is.
projecting(Ref) ->
    {ok, Context} = find(Ref),
    case warp_projection_table:is_on(Context) of
        true -> projecting_to(Context);
        false -> warp_projection_notes:was_projected(Context#context.dir)
    end.

projecting_to(Context) ->
    Parts = [{warp_projection_writer, writer}, {warp_projection_eraser, eraser}],
    Each = [Module:status(Pid) || {Module, Part} <- Parts, {ok, Pid} <- [warp_projection_table:get(Context, Part)]],
    case [Error || {error, _} = Error <- Each] of
        [] -> ok;
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

%% @doc What the supervisor that calls this gives to all processes below it: the context, whose tables
%% they use, and itself.
-spec membership(context()) -> membership().
membership(#context{ref = Ref, running = Running}) ->
    {Ref, Running, [self()]}.

%% @doc The same, of a supervisor that is itself below the one that it has this from.
-spec within(membership()) -> membership().
within({Ref, Running, Above}) ->
    {Ref, Running, [self() | Above]}.

%% @doc The context, for a process of it that starts. It exits when those above it are gone.
%%
%% NOTE: a supervisor that loses its own supervisor may start children until it has read of that. By
%% then their successors may be there already, and the children would take their places in the tables.
-spec mine(membership()) -> context().
mine({Ref, Running, Above}) ->
    case find(Ref) of
        {ok, #context{running = Running} = Context} ->
            _ = lists:all(fun is_process_alive/1, Above) orelse exit({shutdown, no_longer_supervised}),
            Context;
        _ ->
            exit({shutdown, no_longer_supervised})
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

%% @doc Every process of a context but its entities, with its part.
-spec processes(ctx()) -> [{atom(), pid()}].
processes({warp_context, Ref, _}) ->
    case lists:keyfind(Ref, 1, children(warp_core_sup)) of
        {_, Pid, _, _} when is_pid(Pid) -> [{context_sup, Pid} | below(Pid)];
        _ -> []
    end.

below(Supervisor) ->
    lists:append([part(Id, Pid) || {Id, Pid, _, _} <- children(Supervisor), is_pid(Pid)]).

%% None for a supervisor that goes while it is asked.
children(Supervisor) ->
    try
        supervisor:which_children(Supervisor)
    catch
        exit:_ -> []
    end.

part(projection, Pid) -> [{projection_sup, Pid} | below(Pid)];
part(projectors, Pid) -> [{projectors_sup, Pid} | below(Pid)];
part({_N, _Generation}, Pid) -> [{projector, Pid}];
part(Part, Pid) when Part =:= writer; Part =:= eraser; Part =:= manager; Part =:= queries -> [{Part, Pid}];
part(keeper, Pid) -> [{keeper, Pid}];
part(shards, Pid) -> [{shards_sup, Pid} | below(Pid)];
part(shard, Pid) -> [{shard, Pid}];
part(entities, Pid) -> [{entity_sup, Pid}];
part(sagas, Pid) -> [{saga_keeper, Pid}];
part(N, Pid) when is_integer(N) -> [{shard_sup, Pid} | below(Pid)].

%% @doc The shard that an entity lives in.
-spec shard_of(#warp_entity{}) -> non_neg_integer().
shard_of(#warp_entity{shard = N}) when is_integer(N) ->
    N.

%% The keeper process. The lock is not its own: it belongs to the context until it is stopped.

-type start() :: {warp_context_options:settings(), Dir :: binary(), warp_nif:lock()}.

-spec start_link(reference(), start()) -> gen_server:start_ret().
start_link(Ref, Start) ->
    gen_server:start_link(?MODULE, {Ref, Start}, []).

-spec init({reference(), start()}) -> {ok, #context{}}.
init({Ref, {#{aggregates := Aggregates} = Settings, Dir, Lock}}) ->
    Tuning = [public, set, {read_concurrency, true}, {write_concurrency, true}],
    Rules = [
        {Name, warp_aggregate:version(Aggregate), warp_aggregate:judges(Aggregate)}
     || {Name, Aggregate} <- maps:to_list(Aggregates)
    ],
    Context = #context{
        ref = Ref,
        name = maps:get(context, Settings),
        dir = Dir,
        lock = Lock,
        shards = maps:get(shards, Settings),
        mode = maps:get(mode, Settings),
        durability = maps:get(durability, Settings),
        file_access = maps:get(file_access, Settings),
        snapshot_every = maps:get(snapshot_every, Settings),
        idle_timeout = maps:get(idle_timeout, Settings),
        max_pending = maps:get(max_pending, Settings),
        clock = warp_clock:new(),
        aggregates = Aggregates,
        rules = warp_nif:rules(Rules),
        registry = ets:new(warp_entity_registry, Tuning),
        states = ets:new(warp_states, Tuning),
        running = ets:new(warp_running, [public, set, {read_concurrency, true}]),
        steps = maps:get(steps, Settings),
        saga_rules = warp_saga_plan:rules(),
        sagas = ets:new(warp_sagas, Tuning),
        saga_counts = warp_saga_stats:new(),
        projections = projections(Settings)
    },
    ok = persistent_term:put({?MODULE, Ref}, Context),
    {ok, Context}.

projections(#{projections := none}) -> none;
projections(#{projections := Given, shards := N}) -> Given#{wake => atomics:new(2 * N, [])}.

-spec handle_call(term(), gen_server:from(), #context{}) -> {reply, {error, term()}, #context{}}.
handle_call(Stray, _From, Context) ->
    ok = warp_stray:note(keeper, call, Stray),
    {reply, {error, {unknown_request, Stray}}, Context}.

-spec handle_cast(term(), #context{}) -> {noreply, #context{}}.
handle_cast(Stray, Context) ->
    ok = warp_stray:note(keeper, cast, Stray),
    {noreply, Context}.

-spec handle_info(term(), #context{}) -> {noreply, #context{}}.
handle_info(Stray, Context) ->
    ok = warp_stray:note(keeper, message, Stray),
    {noreply, Context}.

%% The settings hold initial states, and how to reach a projection's target.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #context{name = Name, shards = Shards, mode = Mode}} = Status) ->
    warp_redact:status(Status, #{context => Name, shards => Shards, mode => Mode});
format_status(Status) ->
    warp_redact:status(Status, #{}).
