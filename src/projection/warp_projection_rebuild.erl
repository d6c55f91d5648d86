%% @private Starts a context's projectors once the target was reached, and leads a rebuild: a second set of
%% projectors fills new tables, from the first event on, while the first set goes on with those that are
%% queried. When the second set has caught up, the tables are exchanged ({@link warp_projection_swap}).
%%
%% What has to wait for the writer, the target or a projector is done by a task, which is a linked process,
%% one at a time. So this process can always answer.
%%
%% To a target that nodes share, each node brings the shards that it has, for a rebuild too: its projectors begin and
%% end with the shards. The node that has shard 0 exchanges the tables; the others find out.
-module(warp_projection_rebuild).
-behaviour(gen_server).

-export([start_link/1, rebuild/2, cancel/2, await/2, shard_opened/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-include_lib("kernel/include/logger.hrl").

-define(TICK_MS, 100).
%% How long after an exchange that did not succeed the next one is tried.
-define(AGAIN_MS, 10000).
-define(SOON_MS, 500).
-define(LOG_MS, 10000).

-record(state, {
    context :: warp_context:context(),
    membership :: warp_context:membership(),
    writer :: pid(),
    generation = none :: none | pos_integer(),
    due = false :: boolean(),
    rebuild = none :: none | running | cancelled,
    %% Of the rebuild that runs: when it was begun or resumed, with how many events done.
    began = none :: none | {Millis :: integer(), Events :: non_neg_integer()},
    logged = 0 :: integer(),
    %% The tables are not exchanged before then.
    swap_at = 0 :: integer(),
    %% The target has changed while a task was under way.
    missed = false :: boolean(),
    %% The rebuild is one for the version of this node's aggregates.
    fits = true :: boolean(),
    %% The owners of the files of shards that are here, where nodes share the target.
    owners = #{} :: #{reference() => non_neg_integer()},
    ticking = false :: boolean(),
    waiters = [] :: [{warp_deadline:deadline(), gen_server:from()}],
    task = none :: none | {pid(), rebuild | cancel | swap | restart, gen_server:from() | nobody},
    %% Requests that wait for the task to end, with their deadlines, in the order in which they came.
    queue = [] :: [{rebuild | cancel, integer(), gen_server:from()}]
}).

-spec start_link(warp_context:membership()) -> gen_server:start_ret().
start_link(Membership) ->
    gen_server:start_link(?MODULE, Membership, []).

%% @doc At the timeout, in milliseconds, it may be under way; a request that was not begun by then is
%% not carried out.
-spec rebuild(pid(), pos_integer()) -> ok | {error, already_running | timeout | term()}.
rebuild(Pid, Timeout) -> call(Pid, rebuild, Timeout).

-spec cancel(pid(), pos_integer()) -> ok | {error, not_running | timeout | term()}.
cancel(Pid, Timeout) -> call(Pid, cancel, Timeout).

-spec await(pid(), timeout()) -> ok | {error, timeout | cancelled | not_running | interrupted}.
await(Pid, Timeout) -> call(Pid, await, Timeout).

%% @doc The owner of a shard's file has opened it, and calls this.
-spec shard_opened(pid(), non_neg_integer()) -> ok.
shard_opened(Pid, N) ->
    Pid ! {shard_opened, N, self()},
    ok.

call(Pid, Request, Timeout) ->
    Deadline = warp_deadline:from(Timeout),
    warp_call:call(Pid, {Request, Deadline}, Deadline).

-spec init(warp_context:membership()) -> {ok, #state{}}.
init(Membership) ->
    _ = process_flag(trap_exit, true),
    Context = warp_context:mine(Membership),
    {ok, Writer} = warp_projection_table:process(Context, writer),
    ok = warp_projection_table:put_process(Context, manager, self()),
    ok = warp_projection_writer:subscribe(Writer),
    {ok, shown(#state{context = Context, membership = Membership, writer = Writer})}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({Known, _}, _From, #state{generation = none} = State)
  when Known =:= rebuild; Known =:= cancel; Known =:= await ->
    {reply, {error, {target_away, not_reached_yet}}, State};
handle_call({rebuild, _}, _From, #state{task = Task, rebuild = running, fits = true} = State)
  when Task =:= none; element(2, Task) =:= swap ->
    {reply, {error, already_running}, State};
handle_call({cancel, _}, _From, #state{task = none, rebuild = Rebuild} = State) when Rebuild =/= running ->
    {reply, {error, not_running}, State};
handle_call({Request, Until}, From, #state{queue = Queue} = State)
  when Request =:= rebuild orelse Request =:= cancel, is_integer(Until) ->
    %% An exchange that still waits for projectors is given up for it.
    _ = case State#state.task of {Pid, swap, nobody} -> Pid ! give_up; _ -> ok end,
    {noreply, next(State#state{queue = waiting(Queue) ++ [{Request, Until, From}]})};
handle_call({await, Until}, From, #state{rebuild = running, waiters = Waiters} = State) ->
    %% Those who gave up are not kept.
    Left = [Waiter || {Deadline, _} = Waiter <- Waiters, not warp_deadline:is_over(Deadline)],
    {noreply, State#state{waiters = [{Until, From} | Left]}};
handle_call({await, _}, _From, #state{rebuild = cancelled} = State) ->
    {reply, {error, cancelled}, State};
handle_call({await, _}, _From, State) ->
    {reply, {error, not_running}, State};
handle_call(Request, _From, State) ->
    ok = warp_stray:note(?MODULE, call, Request),
    {reply, {error, {unknown_request, Request}}, State}.

waiting(Queue) ->
    [Waiting || {_, Deadline, _} = Waiting <- Queue, not warp_deadline:is_over(Deadline)].

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({warp_projection_ready, Ready}, #state{generation = none} = State) ->
    {noreply, ready(Ready, State)};
handle_info({warp_projection_ready, Ready}, State) ->
    {noreply, changed(Ready, State)};
handle_info({shard_opened, N, Owner}, State) ->
    {noreply, start(N, owned(N, Owner, State))};
handle_info({'DOWN', Monitor, process, _, _}, #state{owners = Owners} = State) when is_map_key(Monitor, Owners) ->
    {N, Left} = maps:take(Monitor, Owners),
    {noreply, closed(N, State#state{owners = Left})};
handle_info(tick, State) ->
    {noreply, tick(State#state{ticking = false})};
handle_info({done, Pid, Result}, #state{task = {Pid, What, From}} = State) ->
    {noreply, next(done(What, Result, From, State#state{task = none}))};
handle_info({'EXIT', Pid, _Reason}, #state{task = {Pid, What, From}} = State) ->
    %% The task was killed before it sent a result.
    {noreply, next(done(What, {error, interrupted}, From, State#state{task = none}))};
handle_info({'EXIT', _Pid, normal}, State) ->
    {noreply, State};
handle_info(Stray, State) ->
    ok = warp_stray:note(?MODULE, message, Stray),
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{task = Task}) ->
    _ = case Task of {Pid, _, _} -> exit(Pid, kill); none -> ok end,
    warp_redact:empty_mailbox().

%% @private
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{} = S} = Status) ->
    warp_redact:status(Status, #{rebuild => S#state.rebuild, generation => S#state.generation, due => S#state.due,
                                 waiters => length(S#state.waiters), queue => length(S#state.queue)});
format_status(Status) ->
    warp_redact:status(Status, #{}).

%% ------------------------------------------------------------------ What the target says

ready(#{generation := G, due := Due, rebuild := Rebuild, fits := Fits}, State) ->
    #state{context = #{name := Name} = Context, membership = Membership} = State,
    Stopped = case Rebuild of cancelled -> cancelled; _ -> none end,
    %% NOTE: before the projectors show how they are, since a status reads both.
    Known = shown(State#state{generation = G, due = Due, rebuild = Stopped, fits = is_own(Fits, Context)}),
    ok = warp_projection_table:put_generation(Context, G),
    ok = warp_projection_projectors_sup:start_all(Membership, Context, G),
    _ = [?LOG_NOTICE("Warp: the projection of context ~ts was made by another version of its "
                     "aggregates: warp_projection:rebuild/1 is due", [Name])
         || Due andalso Rebuild =/= running],
    %% Projectors that the previous process of this kind has left: of a rebuild that ended after that was
    %% killed, of tables that were dropped since, or of shards that have left.
    Others = [G - 1 | [G + 1 || Rebuild =/= running]],
    lists:foreach(fun(Other) -> warp_projection_projectors_sup:stop_all(Context, Other) end, Others),
    Watching = lists:foldl(fun watch/2, Known, warp_projection_table:followed(Context)),
    Followed = case warp_projection_table:is_shared(Context) of
                   true -> lists:foldl(fun closed/2, Watching, others(Context));
                   false -> Watching
               end,
    case Rebuild of running -> run(Followed); _ -> Followed end.

%% After it was unreachable, or another node has changed it. What is said may be older than what a task does.
changed(#{generation := Now}, #state{task = Task} = State) when Task =/= none ->
    exchanged(Now, State#state{missed = true});
changed(#{generation := Now, due := Due, rebuild := Rebuild, fits := Fits}, #state{context = Context} = State0) ->
    State = exchanged(Now, State0#state{due = Due, fits = is_own(Fits, Context)}),
    case {Rebuild, State#state.rebuild} of
        {running, running} -> shown(build(State));
        {running, _} -> run(State);
        {cancelled, running} -> cancelled(State);
        _ -> shown(State)
    end.

%% Nodes may have different versions while they are upgraded, one after the other.
is_own(Fits, Context) -> Fits orelse not warp_projection_table:is_shared(Context).

%% The tables of a rebuild are those that are queried by now.
exchanged(Now, #state{generation = Now} = State) ->
    State;
exchanged(Now, #state{context = Context, membership = Membership, generation = Before} = State) ->
    ok = warp_projection_table:put_generation(Context, Now),
    ok = warp_projection_projectors_sup:start_all(Membership, Context, Now),
    lists:foreach(fun(Old) -> warp_projection_projectors_sup:stop_all(Context, Old) end, lists:seq(Before, Now - 1)),
    tell(ok, shown(State#state{generation = Now, rebuild = none, due = false})).

cancelled(#state{context = Context, generation = Generation} = State) ->
    ok = warp_projection_projectors_sup:stop_all(Context, Generation + 1),
    tell({error, cancelled}, shown(State#state{rebuild = cancelled})).

%% ------------------------------------------------------------------ Shards that come and go

others(#{shards := Shards} = Context) -> lists:seq(0, Shards - 1) -- warp_projection_table:followed(Context).

watch(N, #state{context = Context} = State) ->
    case warp_context:registered(Context, {owner, N}) of
        {ok, Owner} -> owned(N, Owner, State);
        none -> State
    end.

%% The projectors of a shard end with the owner of its file, where nodes share the target.
owned(N, Owner, #state{context = Context, owners = Owners} = State) ->
    case warp_projection_table:is_shared(Context) of
        true -> State#state{owners = Owners#{erlang:monitor(process, Owner) => N}};
        false -> State
    end.

%% Before the target was reached there are none, and those of a rebuild only while one runs.
start(_N, #state{generation = none} = State) ->
    State;
start(N, #state{context = Context, membership = Membership} = State) ->
    _ = [ok = warp_projection_projectors_sup:start(Membership, Context, N, Generation)
         || lists:member(N, warp_projection_table:followed(Context)), Generation <- generations(State)],
    State.

%% The file may be opened again.
closed(N, #state{context = Context} = State) ->
    _ = [ok = warp_projection_projectors_sup:stop(Context, {N, Generation})
         || not warp_context_owners:is_here(Context, N), Generation <- generations(State)],
    State.

generations(#state{generation = none}) -> [];
generations(#state{generation = G, rebuild = running, fits = true}) -> [G, G + 1];
generations(#state{generation = G}) -> [G].

%% ------------------------------------------------------------------ Requests

%% The next request, when no task is under way.
next(#state{task = none, missed = true, writer = Writer} = State) ->
    ok = warp_projection_writer:announce(Writer),
    next(State#state{missed = false});
next(#state{task = none, queue = Queue} = State) ->
    case waiting(Queue) of
        [{Request, _, From} | Rest] -> begin_request(Request, From, State#state{queue = Rest});
        [] -> State#state{queue = []}
    end;
next(State) ->
    State.

begin_request(rebuild, From, #state{rebuild = running, fits = true} = State) ->
    gen_server:reply(From, {error, already_running}),
    next(State);
begin_request(rebuild, From, #state{writer = Writer} = State) ->
    task(rebuild, From, fun() -> warp_projection_writer:rebuild(Writer, start) end, State#state{fits = true});
begin_request(cancel, From, #state{rebuild = running, writer = Writer} = State) ->
    task(cancel, From, fun() -> warp_projection_writer:rebuild(Writer, cancel) end, State);
begin_request(cancel, From, State) ->
    gen_server:reply(From, {error, not_running}),
    next(State).

task(What, From, Fun, State) ->
    Parent = self(),
    Pid = spawn_link(fun() -> Parent ! {done, self(), Fun()} end),
    State#state{task = {Pid, What, From}}.

done(rebuild, {ok, _}, From, State) ->
    gen_server:reply(From, ok),
    run(State);
done(cancel, {ok, _}, From, State) ->
    gen_server:reply(From, ok),
    cancelled(State);
done(swap, {ok, #{generation := Now}}, nobody, State) ->
    exchanged(Now, State);
done(restart, _Result, nobody, State) ->
    %% After a failure the projectors stand still as before, and the restart is tried again.
    run(State);
%% Nobody was halted, or not for long.
done(swap, Early, nobody, State) when Early =:= not_close; Early =:= {error, interrupted} ->
    State#state{swap_at = now_ms() + ?SOON_MS};
done(swap, _NotReached, nobody, State) ->
    State#state{swap_at = now_ms() + ?AGAIN_MS};
done(_What, Failed, From, State) ->
    gen_server:reply(From, Failed),
    State.

run(State) ->
    ticking(shown((build(State))#state{rebuild = running, began = none, logged = now_ms(), swap_at = now_ms()})).

%% The projectors of a rebuild that another version of the aggregates makes are not those of this node.
build(#state{fits = false, context = Context, generation = Generation} = State) ->
    ok = warp_projection_projectors_sup:stop_all(Context, Generation + 1),
    State;
build(#state{context = Context, membership = Membership, generation = Generation} = State) ->
    ok = warp_projection_projectors_sup:start_all(Membership, Context, Generation + 1),
    State.

ticking(#state{ticking = true} = State) ->
    State;
ticking(State) ->
    _ = erlang:send_after(?TICK_MS, self(), tick),
    State#state{ticking = true}.

%% Puts it where others see it without asking.
shown(#state{context = Context, rebuild = Rebuild, due = Due, began = Began, generation = Generation} = State) ->
    ok = warp_projection_table:put_rebuild(Context, #{state => Rebuild, due => Due, began => Began,
                                                     generation => Generation}),
    State.

tell(Result, #state{waiters = Waiters} = State) ->
    lists:foreach(fun({_, From}) -> gen_server:reply(From, Result) end, Waiters),
    State#state{waiters = []}.

tick(#state{rebuild = running, context = Context, generation = Generation, task = Task} = State) ->
    case Task =:= none andalso warp_projection_progress:has_forked(Context, Generation + 1) of
        true -> restart(State);
        false -> go_on(State)
    end;
tick(State) ->
    State.

%% The new tables have events of another log.
restart(#state{context = Context, generation = Generation, writer = Writer} = State) ->
    ok = warp_projection_projectors_sup:stop_all(Context, Generation + 1),
    task(restart, nobody, fun() -> warp_projection_writer:rebuild(Writer, restart) end, ticking(State)).

go_on(#state{context = Context, generation = Generation, writer = Writer, task = Task} = State) ->
    Going = say(shown(begun(ticking(State)))),
    case Task =:= none andalso now_ms() >= State#state.swap_at andalso leads(Context)
        andalso warp_projection_swap:is_close(Context, Generation) of
        true -> task(swap, nobody, fun() -> warp_projection_swap:run(Context, Generation, Writer) end, Going);
        false -> Going
    end.

%% Of nodes that share a target one exchanges the tables.
leads(Context) -> not warp_projection_table:is_shared(Context) orelse warp_context_owners:is_here(Context, 0).

begun(#state{began = none, context = Context, generation = Generation} = State) ->
    Building = warp_projection_table:positions(Context, Generation + 1),
    State#state{began = {now_ms(), warp_projection_progress:events(Building)}};
begun(State) ->
    State.

say(#state{logged = Logged, context = #{name := Name} = Context} = State) ->
    case now_ms() - Logged > ?LOG_MS of
        true ->
            #{done := Done, total := Total, rate := Rate, seconds_left := Left} =
                warp_projection_progress:rebuild(Context),
            ?LOG_NOTICE("Warp: rebuild of the projection of context ~ts: ~b of about ~b events, ~b/s, ~ts",
                        [Name, Done, Total, round(Rate),
                         case Left of
                             unknown -> "no estimate yet";
                             _ -> io_lib:format("about ~b s left", [ceil(Left)])
                         end]),
            State#state{logged = now_ms()};
        false ->
            State
    end.

now_ms() -> erlang:monotonic_time(millisecond).
