%% @private The sagas of one shard that are under way: starts their processes, lets whoever asks
%% for the same saga join, and, when it starts, goes on with all that the shard's file has open.
%%
%% It is linked to the processes: without it there are none, and those of its predecessor are
%% gone before it reads the file. So a saga never has two.
-module(warp_saga_keeper).
-behaviour(gen_server).

-export([start_link/2, ask/4, is_loaded/2]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

-include("../warp.hrl").
-include_lib("kernel/include/logger.hrl").

-export_type([request/0, answer/0]).

-type request() ::
    {commit, warp_saga_plan:plan(), warp_nif:packed()}
    | {join | cancel | retry, binary()}
    | {resolve, binary(), binary()}.
-type answer() ::
    %% `known': it is not under way, so the log tells all.
    warp_saga_runner:finish()
    | {error, overloaded | {saga_conflict, binary()} | {not_stuck, running}}.

-record(run, {
    pid :: pid() | stuck,
    hash :: non_neg_integer(),
    waiting = [] :: [gen_server:from()]
}).
-record(state, {
    context :: #context{},
    n :: non_neg_integer(),
    handle :: warp_nif:shard() | undefined,
    runs = #{} :: #{binary() => #run{}},
    ids = #{} :: #{pid() => binary()}
}).

%% How many sagas of one shard may be under way.
-define(MAX_RUNNING, 20000).
-define(LOOK_AGAIN_MS, 20).
-define(RERUN_MS, 500).
-define(HEAP_WORDS, 2500).

-spec start_link(reference(), non_neg_integer()) -> gen_server:start_ret().
start_link(Ref, N) ->
    gen_server:start_link(?MODULE, {Ref, N}, []).

%% @doc Asks the keeper of that shard. Errors: timeout, interrupted when it went meanwhile.
-spec ask(warp_context:context(), non_neg_integer(), request(), timeout()) ->
    answer() | {error, timeout | interrupted}.
ask(#context{running = Running}, N, Request, Timeout) ->
    try
        gen_server:call(ets:lookup_element(Running, {sagas, N}, 2), Request, Timeout)
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:_ -> {error, interrupted};
        error:badarg -> {error, interrupted}
    end.

%% @doc Whether it has read which sagas of the shard are open.
-spec is_loaded(warp_context:context(), non_neg_integer()) -> boolean().
is_loaded(#context{running = Running}, N) ->
    try
        Pid = ets:lookup_element(Running, {sagas, N}, 2),
        ets:member(Running, {sagas_loaded, N, Pid}) andalso is_process_alive(Pid)
    catch
        error:badarg -> false
    end.

-spec init({reference(), non_neg_integer()}) -> {ok, #state{}, {continue, load}}.
init({Ref, N}) ->
    {ok, #context{running = Running} = Context} = warp_context:find(Ref),
    true = ets:match_delete(Running, {{sagas_loaded, N, '_'}}),
    true = ets:insert(Running, {{sagas, N}, self()}),
    {ok, #state{context = Context, n = N}, {continue, load}}.

-spec handle_continue(load, #state{}) -> {noreply, #state{}}.
handle_continue(load, #state{context = Context, n = N} = State) ->
    Handle = handle(Context, N),
    %% Whoever had the shard before can store nothing by now.
    ok = await_runners(Context, N),
    {noreply, load(State#state{handle = Handle})}.

%% The context starts without waiting for this.
handle(Context, N) ->
    case warp_context:shard(Context, N) of
        {ok, Handle} ->
            Handle;
        {error, _} ->
            ok = timer:sleep(?LOOK_AGAIN_MS),
            handle(Context, N)
    end.

%% Processes that the keeper before this one had: they go with it, and what they sent last is
%% either in the log or will never be, once the writer has passed it.
await_runners(#context{sagas = Sagas} = Context, N) ->
    Pids = ets:select(Sagas, [{{'_', N, '$1', '_', '_', '_'}, [{is_pid, '$1'}], ['$1']}]),
    Monitors = [erlang:monitor(process, Pid) || Pid <- Pids],
    _ = [exit(Pid, kill) || Pid <- Pids],
    _ = [receive {'DOWN', Monitor, process, _, _} -> ok end || Monitor <- Monitors],
    warp_shard:await_queue(Context, N).

load(#state{context = Context, n = N, handle = Handle} = State) ->
    #context{running = Running, sagas = Sagas} = Context,
    case warp_nif:open_sagas(Handle) of
        {ok, Entities} ->
            Ids = [Id || <<"$warp/saga/", Id/binary>> <- Entities],
            Before = ets:select(Sagas, [{{{saga, '$1'}, N, '_', '_', '_', '_'}, [], ['$1']}]),
            Read = [{Id, Saga} || Id <- Ids, {ok, Saga} <- [read(Id, State)]],
            _ = [list(Id, Saga, State) || {Id, Saga} <- Read],
            _ = [true = ets:delete(Sagas, {saga, Id}) || Id <- Before -- Ids],
            %% What an earlier run of the context cleared may still stand in the WAL.
            true = ets:insert(Running, [{{cleared, N}, true}, {{sagas_loaded, N, self()}}]),
            %% Only now: until here this process goes with its supervisor, whatever it waits for.
            _ = process_flag(trap_exit, true),
            lists:foldl(fun reopen/2, State, Read);
        {error, Reason} ->
            ?LOG_ERROR("Warp: open sagas of shard ~b of context ~ts cannot be read, and wait: ~tp",
                       [N, Context#context.name, Reason]),
            ok = timer:sleep(?RERUN_MS),
            load(State#state{handle = handle(Context, N)})
    end.

read(Id, #state{context = #context{name = Name}, n = N, handle = Handle}) ->
    case warp_saga_log:read(Handle, N, Id) of
        {ok, Saga} ->
            {ok, Saga};
        {error, Reason} = Error ->
            ?LOG_ERROR("Warp: saga ~ts of context ~ts is open, but cannot be read: ~tp",
                       [Id, Name, Reason]),
            Error
    end.

%% Goes on with a saga that the file has open.
reopen({Id, #{core := Core} = Saga}, #state{context = Context, n = N, handle = Handle} = State) ->
    case warp_saga_core:phase(Core) of
        stuck ->
            stuck(Id, Saga, State);
        _ ->
            count(recovered, Context),
            start(Id, hash(Saga), [], [Context, {N, Handle}, Id, Saga], go_on, State)
    end.

stuck(Id, Saga, #state{runs = Runs} = State) ->
    State#state{runs = Runs#{Id => #run{pid = stuck, hash = hash(Saga)}}}.

list(Id, #{core := Core, started_at := Started}, #state{context = Context, n = N}) ->
    #{steps := Steps} = warp_saga_core:plan(Core),
    Entities = [Entity || #{entity := Entity} <- Steps],
    Phase = warp_saga_core:phase(Core),
    Pid = case Phase of stuck -> stuck; _ -> starting end,
    true = ets:insert(Context#context.sagas, {{saga, Id}, N, Pid, Entities, Phase, Started}).

hash(#{core := Core}) ->
    #{hash := Hash} = warp_saga_core:plan(Core),
    Hash.

start(Id, Hash, Waiting, Args, Function, #state{runs = Runs, ids = Ids} = State) ->
    %% With room for all that a small saga needs, so that nothing has to be collected.
    Pid = spawn_opt(warp_saga_runner, Function, Args, [link, {min_heap_size, ?HEAP_WORDS}]),
    State#state{runs = Runs#{Id => #run{pid = Pid, hash = Hash, waiting = Waiting}},
                ids = Ids#{Pid => Id}}.

-spec handle_call(request(), gen_server:from(), #state{}) ->
    {noreply, #state{}} | {reply, answer(), #state{}}.
handle_call({commit, #{id := Id, hash := Hash} = Plan, Packed}, From, State) ->
    #state{runs = Runs, ids = Ids, context = Context, n = N, handle = Handle} = State,
    case Runs of
        #{Id := #run{hash = Hash, pid = stuck}} ->
            {reply, known, State};
        #{Id := #run{hash = Hash}} ->
            {noreply, join(Id, From, State)};
        #{Id := #run{}} ->
            {reply, {error, {saga_conflict, Id}}, State};
        #{} when map_size(Ids) >= ?MAX_RUNNING ->
            {reply, {error, overloaded}, State};
        #{} ->
            {noreply, start(Id, Hash, [From], [Context, {N, Handle}, Plan, Packed], begin_new, State)}
    end;
handle_call({Kind, Id}, From, #state{runs = Runs} = State) when Kind =:= join; Kind =:= cancel ->
    case Runs of
        #{Id := #run{pid = Pid}} when is_pid(Pid) ->
            _ = [Pid ! cancel || Kind =:= cancel],
            {noreply, join(Id, From, State)};
        #{} ->
            {reply, known, State}
    end;
handle_call({retry, Id}, From, State) ->
    again(Id, From, retry, [], State);
handle_call({resolve, Id, Note}, From, State) ->
    again(Id, From, resolve, [Note], State).

join(Id, From, #state{runs = Runs} = State) ->
    #{Id := #run{waiting = Waiting} = Run} = Runs,
    State#state{runs = Runs#{Id := Run#run{waiting = [From | Waiting]}}}.

again(Id, From, Function, Args, #state{runs = Runs} = State) ->
    #state{context = Context, n = N, handle = Handle} = State,
    case Runs of
        #{Id := #run{pid = stuck}} ->
            case warp_saga_log:read(Handle, N, Id) of
                {ok, Saga} ->
                    All = [Context, {N, Handle}, Id, Saga | Args],
                    {noreply, start(Id, hash(Saga), [From], All, Function, State)};
                {error, _} = Error ->
                    {reply, Error, State}
            end;
        #{Id := #run{}} ->
            {reply, {error, {not_stuck, running}}, State};
        #{} ->
            {reply, known, State}
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({'EXIT', Pid, Reason}, #state{ids = Ids} = State) ->
    case maps:take(Pid, Ids) of
        {Id, Left} -> {noreply, ended(Id, Reason, State#state{ids = Left})};
        error when Reason =:= normal -> {noreply, State};
        error -> {stop, Reason, State}
    end;
handle_info({rerun, Id}, #state{runs = Runs, n = N, handle = Handle} = State) ->
    #{Id := #run{hash = Hash, waiting = Waiting}} = Runs,
    case warp_saga_log:read(Handle, N, Id) of
        {ok, #{core := Core} = Saga} ->
            Next = rerun(warp_saga_core:phase(Core), Id, Hash, Waiting, Saga, State),
            {noreply, Next};
        {error, not_found} ->
            {noreply, done(Id, {error, interrupted}, State)};
        {error, _} ->
            {noreply, later(Id, State)}
    end;
handle_info(_Stray, State) ->
    {noreply, State}.

rerun(Phase, Id, Hash, Waiting, Saga, State) when Phase =:= forward; Phase =:= compensating ->
    #state{context = Context, n = N, handle = Handle} = State,
    start(Id, Hash, Waiting, [Context, {N, Handle}, Id, Saga], go_on, State);
rerun(stuck, Id, _Hash, Waiting, #{core := Core} = Saga, State) ->
    answer(Waiting, {ok, warp_saga_core:result(Core)}),
    true = list(Id, Saga, State),
    stuck(Id, Saga, State);
rerun(_Closed, Id, _Hash, _Waiting, #{core := Core}, State) ->
    done(Id, {ok, warp_saga_core:result(Core)}, State).

ended(Id, {finished, {ok, {stuck, Map}} = Finish}, State) when not is_map_key(note, Map) ->
    #state{runs = #{Id := #run{waiting = Waiting} = Run} = Runs, context = Context} = State,
    count(became_stuck, Context),
    answer(Waiting, Finish),
    State#state{runs = Runs#{Id := Run#run{pid = stuck, waiting = []}}};
ended(Id, {finished, Finish}, #state{context = Context} = State) ->
    case Finish of
        {ok, {stuck, _}} -> count(resolved, Context);
        {ok, {How, _}} -> count(How, Context);
        _ -> ok
    end,
    done(Id, Finish, State);
ended(Id, {read_again, _}, State) ->
    later(Id, State);
ended(Id, Reason, #state{context = #context{name = Name}} = State) ->
    ?LOG_ERROR("Warp: the process of saga ~ts of context ~ts crashed and is started again: ~tp",
               [Id, Name, Reason]),
    later(Id, State).

later(Id, State) ->
    _ = erlang:send_after(?RERUN_MS, self(), {rerun, Id}),
    State.

done(Id, Finish, #state{runs = Runs, context = #context{sagas = Sagas}} = State) ->
    {#run{waiting = Waiting}, Left} = maps:take(Id, Runs),
    %% A runner that did not come to its end left its row.
    true = ets:delete(Sagas, {saga, Id}),
    answer(Waiting, Finish),
    State#state{runs = Left}.

answer(Waiting, Finish) ->
    lists:foreach(fun(From) -> gen_server:reply(From, Finish) end, Waiting).

count(What, #context{saga_counts = Counts}) ->
    warp_saga_stats:add(What, Counts).
