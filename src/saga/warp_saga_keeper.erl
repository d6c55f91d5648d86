%% @private The sagas of one shard that are under way: starts their processes, lets whoever asks
%% for the same saga join, and, when it starts, goes on with all that the shard's file has open.
%%
%% It is linked to the processes: without it there are none, and those of its predecessor are
%% gone before it reads the file. So a saga never has two.
-module(warp_saga_keeper).
-behaviour(gen_server).

-export([start_link/2, ask/4]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-include_lib("kernel/include/logger.hrl").

-export_type([request/0, answer/0]).

-type request() ::
    {commit, binary(), warp_saga_plan:hash(), warp_saga_runner:begun()}
    | {join | cancel | retry, binary()}
    | {resolve, binary(), binary()}.
-type answer() ::
    %% `known': it is not under way, so the log tells all.
    warp_saga_runner:finish()
    | {error, overloaded | {saga_conflict, binary()} | {not_stuck, running}
            | {saga_waits, warp_saga_table:waiting()} | {unknown_request, term()}}.
%% Who waits for the result of a saga, what for, and until when: a monotonic time in milliseconds.
-type caller() :: {cancel | any, gen_server:from(), Until :: integer() | infinity}.

-define(ROOM, 64).

-record(run, {
    pid :: pid() | stuck,
    hash :: warp_saga_plan:hash(),
    waiting = [] :: [caller()],
    %% How many may come before those who have given up are dropped.
    room = ?ROOM :: non_neg_integer()
}).
-record(state, {
    context :: warp_context:context(),
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

-spec start_link(warp_context:membership(), non_neg_integer()) -> gen_server:start_ret().
start_link(Membership, N) ->
    gen_server:start_link(?MODULE, {Membership, N}, []).

%% @doc Asks the keeper of that shard. Errors: timeout, interrupted when it went meanwhile.
-spec ask(warp_context:context(), non_neg_integer(), request(), timeout()) ->
    answer() | {error, timeout | interrupted}.
ask(Context, N, Request, Timeout) ->
    case warp_context:registered(Context, {saga_keeper, N}) of
        {ok, Keeper} -> call(Keeper, Request, Timeout);
        none -> {error, interrupted}
    end.

call(Keeper, Request, Timeout) ->
    Until = case Timeout of infinity -> infinity; _ -> now_ms() + Timeout end,
    try
        gen_server:call(Keeper, {?MODULE, Request, Until}, Timeout)
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:_ -> {error, interrupted}
    end.

now_ms() ->
    erlang:monotonic_time(millisecond).

-spec init({warp_context:membership(), non_neg_integer()}) -> {ok, #state{}, {continue, load}}.
init({Membership, N}) ->
    Context = warp_context:mine(Membership),
    ok = warp_saga_table:unset_loaded(Context, N),
    ok = warp_context:register(Context, {saga_keeper, N}, self()),
    {ok, #state{context = Context, n = N}, {continue, load}}.

-spec handle_continue(load, #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_continue(load, State) ->
    guarded(fun() -> load_all(State) end, State).

%% A crash in here would be reported with what it was called with.
guarded(Fun, State) ->
    try
        Fun()
    catch
        Class:Reason:Stack -> {stop, {crashed, warp_saga_crash:text(Class, Reason, Stack)}, State}
    end.

load_all(#state{context = Context, n = N} = State) ->
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
await_runners(Context, N) ->
    Pids = warp_saga_table:runners(Context, N),
    Monitors = [erlang:monitor(process, Pid) || Pid <- Pids],
    _ = [exit(Pid, kill) || Pid <- Pids],
    _ = [receive {'DOWN', Monitor, process, _, _} -> ok end || Monitor <- Monitors],
    warp_shard:await_queue(Context, N).

load(#state{context = Context, n = N, handle = Handle} = State) ->
    {Prefix, _Closing} = warp_saga_plan:kind(),
    case warp_nif:open_entities(Handle, Prefix) of
        {ok, {Entities, Broken}} ->
            _ = [?LOG_ERROR("Warp: a saga of shard ~b of context ~ts is open, but cannot be read: ~ts",
                            [N, maps:get(name, Context), What]) || What <- Broken],
            Ids = [Id || <<"$warp/saga/", Id/binary>> <- Entities],
            Read = [{Id, Saga} || Id <- Ids, {ok, Saga} <- [read(Id, State)]],
            Gone = warp_saga_table:ids(Context, N) -- Ids,
            ok = lists:foreach(fun({Id, Saga}) -> list(Id, Saga, State) end, Read),
            ok = lists:foreach(fun(Id) -> warp_saga_table:remove(Context, Id) end, Gone),
            %% What an earlier run of the context cleared may still stand in the WAL.
            ok = warp_saga_table:set_cleared(Context, N),
            ok = warp_saga_table:set_loaded(Context, N),
            %% Only now: until here this process goes with its supervisor, whatever it waits for.
            _ = process_flag(trap_exit, true),
            lists:foldl(fun reopen/2, State, Read);
        {error, Reason} ->
            ?LOG_ERROR("Warp: open sagas of shard ~b of context ~ts cannot be read, and wait: ~tp",
                       [N, maps:get(name, Context), Reason]),
            ok = timer:sleep(?RERUN_MS),
            load(State#state{handle = handle(Context, N)})
    end.

read(Id, #state{context = #{name := Name}, handle = Handle}) ->
    case warp_saga_log:read_shard(Handle, Id) of
        {ok, Saga} ->
            {ok, Saga};
        {error, Reason} = Error ->
            ?LOG_ERROR("Warp: saga ~ts of context ~ts is open, but cannot be read: ~tp",
                       [Id, Name, Reason]),
            Error
    end.

%% Goes on with a saga that the file has open.
reopen({Id, #{core := Core} = Saga}, #state{context = Context} = State) ->
    case warp_saga_core:phase(Core) of
        stuck ->
            stuck(Id, Saga, State);
        _ ->
            ok = warp_saga_table:count(recovered, Context),
            start(Id, hash(Saga), [], [home(State), Id, Saga], go_on, State)
    end.

stuck(Id, Saga, #state{runs = Runs} = State) ->
    State#state{runs = Runs#{Id => #run{pid = stuck, hash = hash(Saga)}}}.

list(Id, #{core := Core, started_at := Started}, #state{context = Context, n = N}) ->
    #{steps := Steps} = warp_saga_core:plan(Core),
    Entities = [Entity || #{entity := Entity} <- Steps],
    warp_saga_table:add_found(Context, Id, N, #{entities => Entities, phase => warp_saga_core:phase(Core),
                                                started_at => Started}).

hash(#{core := Core}) ->
    #{hash := Hash} = warp_saga_core:plan(Core),
    Hash.

home(#state{context = Context, n = N, handle = Handle}) ->
    #{context => Context, shard => N, handle => Handle, keeper => self()}.

start(Id, Hash, Waiting, Args, Function, #state{runs = Runs, ids = Ids} = State) ->
    %% With room for all that a small saga needs, so that nothing has to be collected.
    Pid = spawn_opt(warp_saga_runner, Function, Args, [link, {min_heap_size, ?HEAP_WORDS}]),
    State#state{runs = Runs#{Id => #run{pid = Pid, hash = Hash, waiting = Waiting}},
                ids = Ids#{Pid => Id}}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {noreply, #state{}} | {reply, answer(), #state{}} | {stop, term(), #state{}}.
handle_call({?MODULE, Request, Until}, From, State) ->
    guarded(fun() -> request(Request, {kind(Request), From, Until}, State) end, State);
handle_call(Unknown, _From, State) ->
    unknown(Unknown, State).

unknown(Unknown, State) ->
    ok = warp_stray:note(?MODULE, call, Unknown),
    {reply, {error, {unknown_request, Unknown}}, State}.

kind({cancel, _}) -> cancel;
kind(_Request) -> any.

request({commit, Id, Hash, Begun}, Caller, State) when is_function(Begun, 0) ->
    #state{runs = Runs, ids = Ids} = State,
    case Runs of
        #{Id := #run{hash = Stored, pid = Pid}} ->
            case warp_saga_hash:is_same(Stored, Hash, fun() -> element(1, Begun()) end) of
                true when Pid =:= stuck -> {reply, known, State};
                true -> join(Id, Caller, State);
                false -> {reply, {error, {saga_conflict, Id}}, State}
            end;
        #{} when map_size(Ids) >= ?MAX_RUNNING ->
            {reply, {error, overloaded}, State};
        #{} ->
            {noreply, start(Id, Hash, [Caller], [home(State), Begun], begin_new, State)}
    end;
request({Kind, Id}, Caller, #state{runs = Runs} = State) when Kind =:= join; Kind =:= cancel ->
    case Runs of
        #{Id := #run{pid = Pid}} when is_pid(Pid) ->
            _ = [warp_saga_runner:cancel(Pid) || Kind =:= cancel],
            join(Id, Caller, State);
        #{} ->
            {reply, known, State}
    end;
request({retry, Id}, Caller, State) ->
    again(Id, Caller, retry, [], State);
request({resolve, Id, Note}, Caller, State) when is_binary(Note) ->
    again(Id, Caller, resolve, [Note], State);
request(Unknown, _Caller, State) ->
    unknown(Unknown, State).

join(Id, Caller, #state{runs = Runs, context = Context} = State) ->
    case warp_saga_table:waiting(Context, Id) of
        {ok, Waiting} ->
            case is_answered(Caller, Waiting) of
                true -> {reply, {error, {saga_waits, Waiting}}, State};
                false -> {noreply, State#state{runs = maps:update_with(Id, joins(Caller), Runs)}}
            end;
        none ->
            {noreply, State#state{runs = maps:update_with(Id, joins(Caller), Runs)}}
    end.

%% A saga that waits to go on forward can still turn back.
is_answered({cancel, _, _}, #{direction := forward}) -> false;
is_answered(_Caller, _Waiting) -> true.

joins(Caller) ->
    fun
        (#run{waiting = Waiting, room = 0} = Run) ->
            Now = now_ms(),
            Left = [Each || Each <- Waiting, is_left(Each, Now)],
            Run#run{waiting = [Caller | Left], room = max(?ROOM, length(Left))};
        (#run{waiting = Waiting, room = Room} = Run) ->
            Run#run{waiting = [Caller | Waiting], room = Room - 1}
    end.

is_left({_Kind, {Pid, _}, Until}, Now) ->
    Until > Now andalso (node(Pid) =/= node() orelse is_process_alive(Pid)).

again(Id, Caller, Function, Args, #state{runs = Runs} = State) ->
    #state{handle = Handle} = State,
    case Runs of
        #{Id := #run{pid = stuck}} ->
            case warp_saga_log:read_shard(Handle, Id) of
                {ok, Saga} ->
                    All = [home(State), Id, Saga | Args],
                    {noreply, start(Id, hash(Saga), [Caller], All, Function, State)};
                {error, _} = Error ->
                    {reply, Error, State}
            end;
        #{Id := #run{}} ->
            {reply, {error, {not_stuck, running}}, State};
        #{} ->
            {reply, known, State}
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({'EXIT', Pid, Reason} = Message, #state{ids = Ids} = State) ->
    case maps:take(Pid, Ids) of
        {Id, Left} -> guarded(fun() -> {noreply, ended(Id, Reason, State#state{ids = Left})} end, State);
        error when Reason =:= normal -> {noreply, State};
        error -> stray(Message, State)
    end;
handle_info({waits, Id, #{direction := _} = Why}, #state{runs = Runs} = State) ->
    case Runs of
        #{Id := #run{waiting = Waiting} = Run} ->
            {Answered, Left} = lists:partition(fun(Caller) -> is_answered(Caller, Why) end, Waiting),
            answer(Answered, {error, {saga_waits, Why}}),
            {noreply, State#state{runs = Runs#{Id := Run#run{waiting = Left}}}};
        #{} ->
            {noreply, State}
    end;
handle_info({rerun, Id} = Message, #state{runs = Runs, ids = Ids} = State) ->
    case Runs of
        #{Id := #run{pid = Pid} = Run} when is_pid(Pid), not is_map_key(Pid, Ids) ->
            guarded(fun() -> {noreply, read_again(Id, Run, State)} end, State);
        #{} ->
            stray(Message, State)
    end;
handle_info({warp_reply, _}, State) ->
    %% Came late: from the queue of a shard that has closed meanwhile.
    {noreply, State};
handle_info(Stray, State) ->
    stray(Stray, State).

stray(Message, State) ->
    ok = warp_stray:note(?MODULE, message, Message),
    {noreply, State}.

read_again(Id, #run{hash = Hash, waiting = Waiting}, #state{handle = Handle} = State) ->
    case warp_saga_log:read_shard(Handle, Id) of
        {ok, #{core := Core} = Saga} ->
            rerun(warp_saga_core:phase(Core), Id, Hash, Waiting, Saga, State);
        {error, not_found} ->
            done(Id, {error, interrupted}, State);
        {error, _} ->
            later(Id, State)
    end.

%% @doc What is shown of the process: no saga, and nothing that callers sent.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    maps:map(
        fun
            (state, #state{context = #{name := Name}, n = N, runs = Runs}) ->
                #{context => Name, shard => N, sagas => map_size(Runs)};
            (message, Message) ->
                unicode:characters_to_binary(warp_stray:shape(Message));
            (log, _Log) ->
                [];
            (_Key, Value) ->
                Value
        end,
        Status).

rerun(Phase, Id, Hash, Waiting, Saga, State) when Phase =:= forward; Phase =:= compensating ->
    start(Id, Hash, Waiting, [home(State), Id, Saga], go_on, State);
rerun(stuck, Id, _Hash, Waiting, #{core := Core} = Saga, State) ->
    answer(Waiting, {ok, warp_saga_core:result(Core)}),
    ok = list(Id, Saga, State),
    stuck(Id, Saga, State);
rerun(_Closed, Id, _Hash, _Waiting, #{core := Core}, State) ->
    done(Id, {ok, warp_saga_core:result(Core)}, State).

ended(Id, {finished, {ok, {stuck, Map}} = Finish}, State) when not is_map_key(note, Map) ->
    #state{runs = #{Id := #run{waiting = Waiting} = Run} = Runs, context = Context} = State,
    ok = warp_saga_table:count(became_stuck, Context),
    answer(Waiting, Finish),
    State#state{runs = Runs#{Id := Run#run{pid = stuck, waiting = []}}};
ended(Id, {finished, Finish}, #state{context = Context} = State) ->
    case Finish of
        {ok, {stuck, _}} -> warp_saga_table:count(resolved, Context);
        {ok, {How, _}} -> warp_saga_table:count(How, Context);
        _ -> ok
    end,
    done(Id, Finish, State);
ended(Id, {read_again, _}, State) ->
    later(Id, State);
ended(Id, Reason, #state{context = #{name := Name}} = State) ->
    ?LOG_ERROR("Warp: the process of saga ~ts of context ~ts crashed and is started again: ~ts",
               [Id, Name, warp_saga_crash:text(Reason)]),
    later(Id, State).

later(Id, State) ->
    _ = erlang:send_after(?RERUN_MS, self(), {rerun, Id}),
    State.

done(Id, Finish, #state{runs = Runs, context = Context} = State) ->
    {#run{waiting = Waiting}, Left} = maps:take(Id, Runs),
    %% A runner that did not come to its end left its row.
    ok = warp_saga_table:remove(Context, Id),
    answer(Waiting, Finish),
    State#state{runs = Left}.

answer(Waiting, Finish) ->
    lists:foreach(fun({_Kind, From, _Until}) -> gen_server:reply(From, Finish) end, Waiting).
