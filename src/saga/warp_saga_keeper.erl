%% @private The keeper of the sagas of one shard that are under way. It starts their processes, the
%% runners, and lets whoever asks for the same saga join. When the shard is opened it goes on with all
%% sagas that the file has open.
%%
%% The keeper is linked to its runners: they end with it, and the next keeper waits until they have before
%% it reads the file. So a saga never has two runners.
-module(warp_saga_keeper).
-behaviour(gen_server).

-export([start_link/2, ask/4, shard_opened/2, end_runners/2]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-include_lib("kernel/include/logger.hrl").

-export_type([request/0, answer/0]).

-type request() ::
    {commit, binary(), warp_saga_plan:hash(), warp_saga_runner:planned()}
    | {join | cancel, binary()}
    %% Of a saga that is stuck, and whose log ends at this seq.
    | {retry, binary(), warp_core:seq()}
    | {resolve, binary(), warp_core:seq(), Note :: binary()}.
-type answer() ::
    %% `known': the saga is not under way, so its log says all that there is.
    warp_saga_runner:finish()
    | {error, overloaded | interrupted | {saga_conflict, binary()} | {shard_unavailable, non_neg_integer()}
            | {saga_waits, warp_saga_table:waiting()} | {unknown_request, term()}}.

%% A saga that is under way or stuck.
-record(saga, {
    %% The last runner; it may have ended, and the next one not be started yet.
    runner :: pid() | stuck,
    hash :: warp_saga_plan:hash(),
    callers = warp_saga_callers:new() :: warp_saga_callers:callers()
}).
-record(state, {
    context :: warp_context:context(),
    n :: non_neg_integer(),
    %% None until the shard is open and its open sagas are listed.
    handle = none :: none | warp_nif:shard(),
    %% Why the open sagas could not be read, and the timer that has them read again.
    failure = none :: none | {warp_nif:reason(), Timer :: reference()},
    sagas = #{} :: #{Id :: binary() => #saga{}},
    %% The runners that have not ended.
    runners = #{} :: #{pid() => Id :: binary()},
    %% Of the shard, for as long as this keeper runs.
    epoch :: non_neg_integer()
}).

%% How many sagas of one shard may be under way.
-define(MAX_RUNNING, 20000).
%% After how long something that failed is tried again.
-define(RETRY_MS, 500).
%% Room for all that a small saga needs, so that nothing has to be collected.
-define(HEAP_WORDS, 2500).

-spec start_link(warp_context:membership(), non_neg_integer()) -> gen_server:start_ret().
start_link(Membership, N) ->
    gen_server:start_link(?MODULE, {Membership, N}, []).

%% @doc Asks the keeper of that shard. Errors of its own: `timeout', and `interrupted' when the keeper ended
%% before it answered.
-spec ask(warp_context:context(), non_neg_integer(), request(), warp_deadline:deadline()) ->
    answer() | {error, timeout | interrupted}.
ask(Context, N, Request, Deadline) ->
    case warp_context:registered(Context, {saga_keeper, N}) of
        {ok, Keeper} -> warp_call:call(Keeper, {?MODULE, Request, Deadline}, Deadline);
        none -> {error, interrupted}
    end.

%% @doc Tells the keeper of a shard, if there is one yet, that the shard was opened.
-spec shard_opened(warp_context:context(), non_neg_integer()) -> ok.
shard_opened(Context, N) ->
    _ = [Keeper ! shard_opened || {ok, Keeper} <- [warp_context:registered(Context, {saga_keeper, N})]],
    ok.

-spec init({warp_context:membership(), non_neg_integer()}) -> {ok, #state{}, {continue, load}}.
init({Membership, N}) ->
    Context = warp_context:mine(Membership),
    ok = warp_saga_table:unset_loaded(Context, N),
    %% NOTE: the keeper registers itself before it looks for the shard's handle, and the owner of the shard
    %% registers the handle before it looks for the keeper. So at least one of them finds the other.
    ok = warp_context:register(Context, {saga_keeper, N}, self()),
    {ok, #state{context = Context, n = N, epoch = warp_context_owners:epoch(Context, N)}, {continue, load}}.

-spec handle_continue(load, #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_continue(load, State) ->
    guarded(fun() -> {noreply, load(State)} end, State).

%% OTP would report a crash in here with the arguments of the functions, which hold plans.
guarded(Fun, State) ->
    try
        Fun()
    catch
        Class:Reason:Stack -> {stop, warp_saga_crash:reason(Class, Reason, Stack), State}
    end.

%% Lists the open sagas of the shard and goes on with them, once the shard is open.
load(#state{handle = none, failure = none} = State) -> try_to_load(State);
load(State) -> State.

try_to_load(#state{context = Context, n = N} = State) ->
    case warp_context:shard(Context, N) of
        {ok, Handle} ->
            ok = end_runners(Context, N),
            ok = warp_shard:await_queue(Context, N),
            loaded(warp_saga_open:read(Context, N, Handle), Handle, State);
        {error, _} ->
            State#state{failure = none}
    end.

%% @doc Ends the runners of the keeper before this one, or of the last one. What they sent last is either in the log or
%% will never be once the writer has passed it.
-spec end_runners(warp_context:context(), non_neg_integer()) -> ok.
end_runners(Context, N) ->
    Pids = warp_saga_table:runners(Context, N),
    Monitors = [erlang:monitor(process, Pid) || Pid <- Pids],
    _ = [exit(Pid, kill) || Pid <- Pids],
    _ = [receive {'DOWN', Monitor, process, _, _} -> ok end || Monitor <- Monitors],
    ok.

loaded({ok, Read, Ids}, Handle, #state{context = Context, n = N} = State) ->
    Closed = warp_saga_table:ids(Context, N) -- Ids,
    ok = lists:foreach(fun({Id, Saga}) -> list(Id, Saga, State) end, Read),
    ok = lists:foreach(fun(Id) -> warp_saga_table:remove(Context, Id) end, Closed),
    %% What an earlier run of the context cleared may still stand in the WAL.
    ok = warp_saga_table:set_cleared(Context, N),
    ok = warp_saga_table:set_loaded(Context, N),
    %% Before, this process ends with its supervisor, whatever it waits for.
    _ = process_flag(trap_exit, true),
    lists:foldl(fun go_on/2, State#state{handle = Handle, failure = none}, Read);
loaded({error, Reason}, _Handle, #state{context = #{name := Name}, n = N, failure = Failure} = State) ->
    IsSaid = is_tuple(Failure) andalso element(1, Failure) =:= Reason,
    _ = [?LOG_ERROR("Warp: the open sagas of shard ~b of context ~ts cannot be read, and wait. Warp tries "
                    "again: ~tp", [N, Name, Reason]) || not IsSaid],
    State#state{failure = {Reason, erlang:start_timer(?RETRY_MS, self(), load)}}.

list(Id, #{core := Core, started_at := Started}, #state{context = Context, n = N}) ->
    #{steps := Steps} = warp_saga_core:plan(Core),
    warp_saga_table:add_found(Context, Id, N, #{entities => [Entity || #{entity := Entity} <- Steps],
                                                phase => warp_saga_core:phase(Core),
                                                started_at => Started}).

%% Goes on with a saga that the file has open.
go_on({Id, #{core := Core} = Saga}, #state{context = Context} = State) ->
    case warp_saga_core:phase(Core) of
        stuck ->
            set_stuck(Id, hash(Saga), State);
        _ ->
            ok = warp_saga_table:count(recovered, Context),
            start(Id, #saga{runner = stuck, hash = hash(Saga)}, resume, [Id, Saga], State)
    end.

set_stuck(Id, Hash, #state{sagas = Sagas} = State) ->
    State#state{sagas = Sagas#{Id => #saga{runner = stuck, hash = Hash}}}.

hash(#{core := Core}) ->
    #{hash := Hash} = warp_saga_core:plan(Core),
    Hash.

%% Starts a runner, in that function of `warp_saga_runner'.
start(Id, #saga{callers = Callers} = Saga, Function, Args, State) ->
    #state{context = Context, n = N, epoch = Epoch, handle = Handle, sagas = Sagas, runners = Runners} = State,
    Home = #{context => Context, shard => N, epoch => Epoch, handle => Handle, keeper => self()},
    Runner = spawn_opt(warp_saga_runner, Function, [Home | Args], [link, {min_heap_size, ?HEAP_WORDS}]),
    %% The runner before this one may have ended without having read it.
    _ = [warp_saga_runner:cancel(Runner) || warp_saga_callers:is_any_cancelling(Callers)],
    State#state{sagas = Sagas#{Id => Saga#saga{runner = Runner}}, runners = Runners#{Runner => Id}}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {noreply, #state{}} | {reply, answer(), #state{}} | {stop, term(), #state{}}.
handle_call({?MODULE, Request, Deadline}, From, State) ->
    guarded(fun() -> request(Request, {asked(Request), From, Deadline}, load(State)) end, State);
handle_call(Unknown, _From, State) ->
    unknown(Unknown, State).

asked({cancel, _}) -> cancel;
asked(_Request) -> result.

unknown(Unknown, State) ->
    ok = warp_stray:note(?MODULE, call, Unknown),
    {reply, {error, {unknown_request, Unknown}}, State}.

request(_Request, _Caller, #state{handle = none, n = N} = State) ->
    {reply, {error, {shard_unavailable, N}}, State};
request({commit, Id, Hash, Planned}, Caller, State) when is_function(Planned, 0) ->
    #state{sagas = Sagas, runners = Runners} = State,
    case Sagas of
        #{Id := #saga{hash = Stored, runner = Runner}} ->
            case warp_saga_hash:is_same(Stored, Hash, fun() -> element(1, Planned()) end) of
                true when Runner =:= stuck -> {reply, known, State};
                true -> join(Id, Caller, State);
                false -> {reply, {error, {saga_conflict, Id}}, State}
            end;
        #{} when map_size(Runners) >= ?MAX_RUNNING ->
            {reply, {error, overloaded}, State};
        #{} ->
            Saga = #saga{runner = stuck, hash = Hash, callers = only(Caller)},
            {noreply, start(Id, Saga, start_new, [Planned], State)}
    end;
request({Kind, Id}, Caller, #state{sagas = Sagas} = State) when Kind =:= join; Kind =:= cancel ->
    case Sagas of
        #{Id := #saga{runner = Runner}} when is_pid(Runner) ->
            _ = [warp_saga_runner:cancel(Runner) || Kind =:= cancel],
            join(Id, Caller, State);
        #{} ->
            {reply, known, State}
    end;
request({retry, Id, Seq}, Caller, State) ->
    decide_stuck({Id, Seq}, Caller, retry, [], State);
request({resolve, Id, Seq, Note}, Caller, State) when is_binary(Note) ->
    decide_stuck({Id, Seq}, Caller, resolve, [Note], State);
request(Unknown, _Caller, State) ->
    unknown(Unknown, State).

only(Caller) ->
    warp_saga_callers:add(Caller, warp_saga_callers:new()).

join(Id, Caller, #state{sagas = Sagas, context = Context} = State) ->
    Told = [Waiting || {ok, Waiting} <- [warp_saga_table:waiting(Context, Id)],
                       warp_saga_callers:is_told(Caller, Waiting)],
    case Told of
        [Waiting] ->
            {reply, {error, {saga_waits, Waiting}}, State};
        [] ->
            #{Id := #saga{callers = Callers} = Saga} = Sagas,
            Joined = Saga#saga{callers = warp_saga_callers:add(Caller, Callers)},
            {noreply, State#state{sagas = Sagas#{Id := Joined}}}
    end.

%% An operator has decided about a saga that is stuck as its log says up to that seq. A log that goes on says that it
%% was decided: by this request, when it was made before, or by another one.
decide_stuck({Id, Seq}, Caller, Function, Args, #state{sagas = Sagas, handle = Handle} = State) ->
    case Sagas of
        #{Id := #saga{runner = Runner} = Saga} ->
            case warp_saga_log:read_shard(Handle, Id) of
                {ok, #{seq := Seq} = Read} when Runner =:= stuck ->
                    Joined = Saga#saga{callers = only(Caller)},
                    {noreply, start(Id, Joined, Function, [Id, Read | Args], State)};
                %% Its runner is about to end.
                {ok, #{seq := Seq}} ->
                    {reply, {error, interrupted}, State};
                {ok, _} when is_pid(Runner) ->
                    join(Id, Caller, State);
                {ok, _} ->
                    {reply, known, State};
                {error, _} = Error ->
                    {reply, Error, State}
            end;
        #{} ->
            {reply, known, State}
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info(shard_opened, State) ->
    guarded(fun() -> {noreply, load(State)} end, State);
handle_info({timeout, Timer, load}, #state{failure = {_, Timer}} = State) ->
    guarded(fun() -> {noreply, try_to_load(State)} end, State);
handle_info({'EXIT', Pid, Reason} = Message, #state{runners = Runners} = State) ->
    case maps:take(Pid, Runners) of
        {Id, Left} -> guarded(fun() -> {noreply, ended(Id, Reason, State#state{runners = Left})} end, State);
        error when Reason =:= normal -> {noreply, State};
        error -> stray(Message, State)
    end;
handle_info({waits, Id, #{direction := _} = Waiting}, #state{sagas = Sagas} = State) ->
    case Sagas of
        #{Id := #saga{callers = Callers} = Saga} ->
            Left = warp_saga_callers:tell_waiting(Waiting, Callers),
            {noreply, State#state{sagas = Sagas#{Id := Saga#saga{callers = Left}}}};
        #{} ->
            {noreply, State}
    end;
handle_info({restart, Id} = Message, #state{sagas = Sagas, runners = Runners} = State) ->
    case Sagas of
        #{Id := #saga{runner = Runner} = Saga} when is_pid(Runner), not is_map_key(Runner, Runners) ->
            guarded(fun() -> {noreply, read_again(Id, Saga, State)} end, State);
        #{} ->
            stray(Message, State)
    end;
handle_info({warp_reply, _}, State) ->
    %% A late answer, from the queue of a shard that has closed meanwhile.
    {noreply, State};
handle_info(Stray, State) ->
    stray(Stray, State).

stray(Message, State) ->
    ok = warp_stray:note(?MODULE, message, Message),
    {noreply, State}.

%% A runner has ended.
ended(Id, {finished, {ok, {stuck, Map}} = Finish}, State) when not is_map_key(note, Map) ->
    #state{sagas = #{Id := #saga{callers = Callers, hash = Hash}}, context = Context} = State,
    ok = warp_saga_table:count(became_stuck, Context),
    ok = warp_saga_callers:answer(Finish, Callers),
    set_stuck(Id, Hash, State);
ended(Id, {finished, Finish}, #state{context = Context} = State) ->
    case Finish of
        {ok, {stuck, _}} -> warp_saga_table:count(resolved, Context);
        {ok, {How, _}} -> warp_saga_table:count(How, Context);
        _ -> ok
    end,
    done(Id, Finish, State);
ended(Id, {read_again, _}, State) ->
    restart_later(Id, State);
ended(Id, Reason, #state{context = #{name := Name}} = State) ->
    ?LOG_ERROR("Warp: the process of saga ~ts of context ~ts crashed and is started again: ~ts",
               [Id, Name, warp_saga_crash:text(Reason)]),
    restart_later(Id, State).

restart_later(Id, State) ->
    _ = erlang:send_after(?RETRY_MS, self(), {restart, Id}),
    State.

%% What the saga's last runner did is in the log, whatever it ended with.
read_again(Id, Saga, #state{handle = Handle} = State) ->
    case warp_saga_log:read_shard(Handle, Id) of
        {ok, #{core := Core} = Read} -> restart(warp_saga_core:phase(Core), Id, Saga, Read, State);
        {error, not_found} -> done(Id, {error, interrupted}, State);
        {error, _} -> restart_later(Id, State)
    end.

restart(Phase, Id, Saga, Read, State) when Phase =:= forward; Phase =:= compensating ->
    start(Id, Saga, resume, [Id, Read], State);
restart(stuck, Id, #saga{hash = Hash, callers = Callers}, #{core := Core} = Read, State) ->
    ok = warp_saga_callers:answer({ok, warp_saga_core:result(Core)}, Callers),
    ok = list(Id, Read, State),
    set_stuck(Id, Hash, State);
restart(_Closed, Id, _Saga, #{core := Core}, State) ->
    done(Id, {ok, warp_saga_core:result(Core)}, State).

done(Id, Finish, #state{sagas = Sagas, context = Context} = State) ->
    {#saga{callers = Callers}, Left} = maps:take(Id, Sagas),
    %% A runner that crashed left its row.
    ok = warp_saga_table:remove(Context, Id),
    ok = warp_saga_callers:answer(Finish, Callers),
    State#state{sagas = Left}.

%% @doc What is shown of the process: no saga, and nothing that callers sent.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{context = #{name := Name}, n = N, sagas = Sagas}} = Status) ->
    warp_redact:status(Status, #{context => Name, shard => N, sagas => map_size(Sagas)});
format_status(Status) ->
    warp_redact:status(Status, #{}).
