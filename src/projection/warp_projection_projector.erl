%% @private A projector: follows one shard's log by position and has the writer write what comes of
%% it, batch by batch. While one batch is being written, the next one is prepared. This is the process;
%% what it does next is decided in {@link warp_projection_core}.
%%
%% It calls no code of the user, and waits for nobody, so that it can always answer: its worker
%% ({@link warp_projection_worker}) reads and projects. A call of the user's code that does not return is
%% ended with the worker, and its event set aside.
%%
%% There is one for each shard and generation of tables: a second one while a rebuild is made.
-module(warp_projection_projector).
-behaviour(gen_server).

-export([start_link/3, await/5, flush/2, retry/4, pause/3, prod/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-include_lib("kernel/include/logger.hrl").

-define(END_MS, 1000).

-record(state, {
    context :: warp_context:context(),
    n :: non_neg_integer(),
    generation :: pos_integer(),
    %% At which this node had the shard when it was found out where to go on.
    epoch = 0 :: non_neg_integer(),
    core :: warp_projection_core:core(),
    worker :: pid(),
    at :: warp_projection_user_code:at(),
    writer = none :: none | pid(),
    %% The writer was asked where to go on.
    joining = none :: none | gen_server:request_id(),
    %% The timer of the next look.
    looking = none :: none | reference()
}).

-spec start_link(warp_context:membership(), non_neg_integer(), pos_integer()) -> gen_server:start_ret().
start_link(Membership, N, Generation) ->
    gen_server:start_link(?MODULE, {Membership, N, Generation}, []).

%% @doc Waits until everything up to that position, which was seen in the log with that handle, is
%% written.
-spec await(pid(), binary(), warp_cluster_log:log() | none, non_neg_integer(), warp_deadline:deadline()) ->
    ok | {error, timeout | interrupted | rebuild_due | {set_aside, warp_core:seq()}}.
await(Pid, Entity, Handle, Position, Deadline) ->
    warp_call:call(Pid, {await, Entity, Handle, Position, Deadline}, Deadline).

%% @doc Forgets what was read of an entity that was erased from the log, and not yet handed over.
-spec flush(pid(), binary()) -> ok.
flush(Pid, Entity) ->
    case warp_call:call(Pid, {flush, Entity}, infinity) of
        ok -> ok;
        %% The next projector of the shard reads the log from the checkpoint on.
        {error, interrupted} -> ok
    end.

%% @doc Projects an entity that was set aside on, from the event itself or the one behind it. At the
%% deadline it may be under way; then it goes on.
-spec retry(pid(), retry | skip, binary(), Deadline :: integer()) -> ok | {error, term()}.
retry(Pid, How, Entity, Deadline) ->
    warp_call:call(Pid, {retry, How, Entity, Deadline}, Deadline).

%% @doc Has it hand nothing more over for as long as a process lives, perhaps on another node. Answers where it stands,
%% once what it had is written.
-spec pause(pid(), pid(), warp_deadline:deadline()) -> {ok, non_neg_integer()} | {error, interrupted | timeout}.
pause(Pid, For, Deadline) ->
    warp_call:call(Pid, {pause, For}, Deadline).

%% @doc What it waited for may have changed.
-spec prod(pid()) -> ok.
prod(Pid) -> gen_server:cast(Pid, prod).

-spec init({warp_context:membership(), non_neg_integer(), pos_integer()}) ->
    {ok, #state{}, {continue, join}}.
init({Membership, N, Generation}) ->
    _ = process_flag(trap_exit, true),
    Context = warp_context:mine(Membership),
    ok = warp_projection_table:put_projector(Context, {N, Generation}, self()),
    {Worker, At} = warp_projection_worker:start_link(Context, N, Generation),
    State = #state{context = Context, n = N, generation = Generation, worker = Worker, at = At,
                   core = warp_projection_core:new(N, Generation)},
    {ok, perform({show, {starting, none}}, State), {continue, join}}.

-spec handle_continue(join, #state{}) -> {noreply, #state{}}.
handle_continue(join, State) ->
    next(fun warp_projection_core:join/1, State).

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({await, Entity, Handle, Position, Deadline}, From, State) ->
    Waiter = {Position, Deadline, Entity, From},
    next(fun(Core) -> warp_projection_core:await(Waiter, Handle, now_ms(), Core) end, State);
handle_call({flush, Entity}, _From, State) ->
    {noreply, Next} = next(fun(Core) -> warp_projection_core:flush(Entity, Core) end, State),
    {reply, ok, Next};
handle_call({retry, How, Entity, Deadline}, From, State) ->
    Request = {How, Entity, Deadline, From},
    next(fun(Core) -> warp_projection_core:retry(Request, now_ms(), Core) end, State);
handle_call({pause, Pid}, From, State) ->
    Monitor = erlang:monitor(process, Pid),
    next(fun(Core) -> warp_projection_core:pause(From, Monitor, Core) end, State);
handle_call(Request, _From, State) ->
    ok = warp_stray:note(?MODULE, call, Request),
    {reply, {error, {unknown_request, Request}}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(prod, State) ->
    next(fun warp_projection_core:prod/1, State);
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(work, State) ->
    next(fun(Core) -> warp_projection_core:work(now_ms(), Core) end, State);
handle_info({log_grew, N}, #state{n = N} = State) ->
    next(fun warp_projection_core:log_grew/1, State);
handle_info(look, State) ->
    next(fun warp_projection_core:look/1, State#state{looking = none});
handle_info(tick, #state{at = At} = State) ->
    next(fun(Core) -> warp_projection_core:tick(warp_projection_user_code:where(At), Core) end, State);
handle_info(join, State) ->
    next(fun warp_projection_core:join/1, State);
handle_info({warp_written, Tag}, State) ->
    next(fun(Core) -> warp_projection_core:written(Tag, Core) end, State);
handle_info({warp_refused, Tag, Index, Reason}, State) ->
    next(fun(Core) -> warp_projection_core:refused(Tag, Index, Reason, Core) end, State);
handle_info({warp_rejoin, Tag}, State) ->
    next(fun(Core) -> warp_projection_core:rejoin(Tag, Core) end, State);
handle_info({unwritable, Tag, Found}, State) ->
    next(fun(Core) -> warp_projection_core:unwritable(Tag, Found, Core) end, State);
handle_info({warp_job, Number, Result}, State) ->
    next(fun(Core) -> warp_projection_core:did(Number, Result, Core) end, State);
handle_info({not_joined, Why}, State) ->
    next(fun(Core) -> warp_projection_core:joined({error, Why}, Core) end, State);
handle_info({'EXIT', Worker, Reason}, #state{worker = Worker, at = At} = State) ->
    #state{context = Context, n = N, generation = Generation} = State,
    {NewWorker, NewAt} = warp_projection_worker:start_link(Context, N, Generation),
    Call = warp_projection_user_code:where(At),
    next(fun(Core) -> warp_projection_core:worker_gone(Reason, Call, Core) end,
         State#state{worker = NewWorker, at = NewAt});
handle_info({'DOWN', Monitor, process, _, _} = Message, #state{core = Core} = State) ->
    case warp_projection_core:is_paused_by(Monitor, Core) of
        true -> next(fun warp_projection_core:resume/1, State);
        false -> answer_or_stray(Message, State)
    end;
handle_info(Message, State) ->
    answer_or_stray(Message, State).

answer_or_stray(Message, #state{joining = none} = State) ->
    stray(Message, State);
answer_or_stray(Message, #state{joining = Request} = State) ->
    case gen_server:check_response(Message, Request) of
        {reply, Answer} -> joined(Answer, State);
        {error, {_, _}} -> joined({error, no_writer}, State);
        no_reply -> stray(Message, State)
    end.

stray(Message, State) ->
    ok = warp_stray:note(?MODULE, message, Message),
    {noreply, State}.

%% What the writer says, put together with where the log is now.
joined(Answer, #state{context = Context, n = N} = State) ->
    %% NOTE: before the log. Where the shard leaves and comes back, an epoch that is too old is refused.
    Epoch = warp_projection_table:epoch(Context, N),
    Joined =
        case {Answer, log(State)} of
            {{ok, Joining}, {ok, Log}} ->
                {ok, Joining, Log};
            {_, {error, _} = Unavailable} ->
                Unavailable;
            {{error, {away, _}} = Away, _} ->
                Away;
            {{error, Why}, _} ->
                {error, {away, Why}}
        end,
    next(fun(Core) -> warp_projection_core:joined(Joined, Core) end, State#state{joining = none, epoch = Epoch}).

%% A projection in a file of its own follows all shards; to one that nodes share, each node brings its own shards.
log(#state{context = #{projections := #{target := embedded}} = Context, n = N}) -> warp_context:log(Context, N);
log(#state{context = Context, n = N}) -> warp_context:shard(Context, N).

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{worker = Worker, context = Context, n = N, generation = Generation}) ->
    true = exit(Worker, kill),
    receive {'EXIT', Worker, _} -> ok after ?END_MS -> ok end,
    ok = warp_projection_states:clean(Context, N, Generation),
    warp_redact:empty_mailbox().

%% @private
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{core = Core}} = Status) ->
    warp_redact:status(Status, warp_projection_core:summary(Core));
format_status(Status) ->
    warp_redact:status(Status, #{}).

now_ms() -> erlang:monotonic_time(millisecond).

%% ------------------------------------------------------------------ Carrying out

%% Lets the core decide on an event, and carries out what it decided.
next(Decide, #state{core = Core} = State) ->
    {Effects, Next} = Decide(Core),
    {noreply, lists:foldl(fun perform/2, State#state{core = Next}, Effects)}.

perform(join, #state{context = Context, n = N, generation = Generation} = State) ->
    %% The writer is not asked for what cannot go on.
    case {log(State), warp_projection_table:process(Context, writer)} of
        {{error, Why}, _} ->
            self() ! {not_joined, Why},
            State;
        {_, {ok, Writer}} ->
            State#state{writer = Writer, joining = warp_projection_writer:join(Writer, N, Generation)};
        {_, none} ->
            self() ! {not_joined, {away, no_writer}},
            State
    end;
perform({join_in, Millis}, State) ->
    _ = erlang:send_after(Millis, self(), join),
    State;
perform({reply, From, Result}, State) ->
    ok = gen_server:reply(From, Result),
    State;
perform(work_soon, State) ->
    self() ! work,
    State;
perform(tick_soon, State) ->
    _ = erlang:send_after(warp_projection_watch:tick_ms(), self(), tick),
    State;
perform({look_in, Millis}, State) ->
    look_in(Millis, State);
perform(sleep, #state{context = Context, n = N} = State) ->
    ok = warp_follower:sleep(Context, N),
    State;
perform({ask, Number, Job}, #state{worker = Worker} = State) ->
    ok = warp_projection_worker:ask(Worker, Number, Job),
    State;
perform(end_worker, #state{worker = Worker} = State) ->
    true = exit(Worker, kill),
    State;
perform({write, Tag, Changes, unchecked}, State) ->
    write(Tag, Changes, State);
perform({write, Tag, #{position := Position, run := Run} = Changes, {at, Handle}}, State) ->
    case found(Handle, Position, State) of
        {ok, Of} when Of =:= Run; Of =:= unknown ->
            write(Tag, Changes, State);
        Found ->
            self() ! {unwritable, Tag, Found},
            State
    end;
perform({show, {Is, Why}}, #state{context = Context, n = N, generation = Generation} = State) ->
    ok = warp_projection_table:put_state(Context, {N, Generation}, {Is, os:system_time(microsecond), Why}),
    State;
perform({publish, Position}, #state{context = Context, n = N, generation = Generation} = State) ->
    ok = warp_projection_table:put_position(Context, {N, Generation}, Position),
    State;
perform(unpublish, #state{context = Context, n = N, generation = Generation} = State) ->
    ok = warp_projection_table:take_position(Context, {N, Generation}),
    State;
perform({release, Monitor}, State) ->
    true = erlang:demonitor(Monitor, [flush]),
    State;
perform({log, What}, #state{context = #{name := Name}, n = N} = State) ->
    ok = log(What, Name, N),
    State.

%% The run of a position. Another node is not asked, since that may take long: it is enough that the log is still there.
found({remote, _, _, _, _} = Log, _Position, State) ->
    case log(State) of
        {ok, Log} -> {ok, unknown};
        {error, {node_unavailable, _}} = Error -> Error;
        _ -> {error, closed}
    end;
found(Handle, Position, _State) ->
    warp_nif:run_of(Handle, Position).

%% Looks again after so long, or before.
look_in(Millis, #state{looking = none} = State) ->
    State#state{looking = erlang:send_after(Millis, self(), look)};
look_in(Millis, #state{looking = Timer} = State) ->
    case erlang:read_timer(Timer) of
        Left when is_integer(Left), Left > Millis ->
            _ = erlang:cancel_timer(Timer),
            State#state{looking = erlang:send_after(Millis, self(), look)};
        _ ->
            State
    end.

write(Tag, #{aside := Notes, position := Position} = Changes, #state{writer = Writer, n = N, epoch = Epoch} = State) ->
    Now = os:system_time(microsecond),
    Rows = [[Entity, N, Position, Seq, Aggregate, Type, Reason, Now]
            || {Entity, {Seq, Aggregate, Type, Reason}} <- Notes],
    ok = warp_projection_writer:batch(Writer, Tag, Changes#{aside := Rows, epoch => Epoch}),
    State.

log({forked, Why}, Name, N) ->
    ?LOG_ERROR("Warp: the tables of context ~ts have events of shard ~b that are not in its log (~ts); "
               "nothing more of that shard is projected: warp_projection:rebuild/1 is due", [Name, N, Why]);
log({trouble, Why}, Name, N) ->
    ?LOG_ERROR("Warp: shard ~b of context ~ts cannot be projected further: ~0tp", [N, Name, Why]);
log({worker_failed, Reason}, Name, N) ->
    ?LOG_ERROR("Warp: the process that projects shard ~b of context ~ts has ended, and is started again: ~ts",
               [N, Name, warp_stray:shape(Reason)]);
log({tried_once_more, {Position, Seq, Kind}, Reason}, Name, N) ->
    ?LOG_WARNING("Warp: the process that called ~ts has ended (~ts), and the event is tried once more: "
                 "shard ~b of context ~ts, position ~b, seq ~b",
                 [Kind, warp_stray:shape(Reason), N, Name, Position, Seq]);
log({call_ended, {Position, Seq, Kind, _}}, Name, N) ->
    ?LOG_WARNING("Warp: a call of ~ts has not returned for ~b seconds, and is ended: shard ~b of context ~ts, "
                 "position ~b, seq ~b", [Kind, warp_projection_watch:call_seconds(), N, Name, Position, Seq]);
log(set_aside, Name, N) ->
    ?LOG_WARNING("Warp: an event of shard ~b of context ~ts could not be projected and is set "
                 "aside, with all behind it of its entity: see warp_projection:set_aside/1", [N, Name]).
