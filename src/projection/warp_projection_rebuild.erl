%% @private Starts a context's projectors once the target is known, and leads a rebuild: a second
%% set of projectors fills fresh tables, from the first event on, while the first set serves. When
%% they have caught up, the first set is halted for a moment, and the tables are exchanged in one
%% transaction.
%%
%% What has to wait for the writer, the target or a projector is done by a task, a linked process, one
%% at a time. So the manager can always answer.
-module(warp_projection_rebuild).
-behaviour(gen_server).

-export([start_link/1, rebuild/2, cancel/2, await/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-include_lib("kernel/include/logger.hrl").

-define(TICK_MS, 100).
%% How close, in positions, the second set has to be for the first to be halted.
-define(CLOSE, 5000).
%% How long the first set is halted at most, and how long it is left alone after that.
-define(HALT_MS, 5000).
-define(AGAIN_MS, 10000).
-define(LOG_MS, 10000).

-record(state, {
    context :: warp_context:context(),
    membership :: warp_context:membership(),
    writer :: pid(),
    generation = none :: none | pos_integer(),
    due = false :: boolean(),
    rebuild = none :: none | running | cancelled,
    %% Of the rebuild that runs: when it began or went on, with how many events done.
    began = none :: none | {Millis :: integer(), Events :: non_neg_integer()},
    logged = 0 :: integer(),
    %% Not before then are the sets exchanged.
    swap_at = 0 :: integer(),
    ticking = false :: boolean(),
    waiters = [] :: [{integer() | infinity, gen_server:from()}],
    task = none :: none | {pid(), rebuild | cancel | swap | restart, gen_server:from() | nobody},
    %% Requests behind it, first come first, with their deadlines.
    queue = [] :: [{rebuild | cancel, integer(), gen_server:from()}]
}).

-spec start_link(warp_context:membership()) -> gen_server:start_ret().
start_link(Membership) ->
    gen_server:start_link(?MODULE, Membership, []).

%% @doc At the timeout, in milliseconds, it may be under way; a request that was not begun by then is
%% not carried out.
-spec rebuild(pid(), pos_integer()) -> ok | {error, already_running | timeout | term()}.
rebuild(Pid, Timeout) -> call(Pid, {rebuild, until(Timeout)}, Timeout).

-spec cancel(pid(), pos_integer()) -> ok | {error, not_running | timeout | term()}.
cancel(Pid, Timeout) -> call(Pid, {cancel, until(Timeout)}, Timeout).

-spec await(pid(), timeout()) -> ok | {error, timeout | cancelled | not_running | interrupted}.
await(Pid, Timeout) -> call(Pid, {await, until(Timeout)}, Timeout).

until(infinity) -> infinity;
until(Timeout) -> now_ms() + Timeout.

call(Pid, Request, Timeout) ->
    try
        gen_server:call(Pid, Request, Timeout)
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:_ -> {error, interrupted}
    end.

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
handle_call({rebuild, _}, _From, #state{task = Task, rebuild = running} = State)
  when Task =:= none; element(2, Task) =:= swap ->
    {reply, {error, already_running}, State};
handle_call({cancel, _}, _From, #state{task = none, rebuild = Rebuild} = State) when Rebuild =/= running ->
    {reply, {error, not_running}, State};
handle_call({Request, Until}, From, #state{queue = Queue} = State)
  when Request =:= rebuild orelse Request =:= cancel, is_integer(Until) ->
    %% An exchange of the sets that still waits for them is given up for it.
    _ = case State#state.task of {Pid, swap, nobody} -> Pid ! give_up; _ -> ok end,
    {noreply, next(State#state{queue = waiting(Queue) ++ [{Request, Until, From}]})};
handle_call({await, Until}, From, #state{rebuild = running, waiters = Waiters} = State) ->
    %% Those who gave up are not kept.
    Left = [Waiter || {Deadline, _} = Waiter <- Waiters, Deadline =:= infinity orelse Deadline > now_ms()],
    {noreply, State#state{waiters = [{Until, From} | Left]}};
handle_call({await, _}, _From, #state{rebuild = cancelled} = State) ->
    {reply, {error, cancelled}, State};
handle_call({await, _}, _From, State) ->
    {reply, {error, not_running}, State};
handle_call(Request, _From, State) ->
    ok = warp_stray:note(?MODULE, call, Request),
    {reply, {error, {unknown_request, Request}}, State}.

waiting(Queue) ->
    [Waiting || {_, Until, _} = Waiting <- Queue, Until > now_ms()].

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({warp_projection_ready, _}, #state{generation = G} = State) when G =/= none ->
    {noreply, State};
handle_info({warp_projection_ready, #{generation := G, due := Due, rebuild := Rebuild}}, State) ->
    #state{context = #{name := Name} = Context, membership = Membership} = State,
    ok = warp_projection_table:put_generation(Context, G),
    ok = warp_projection_projectors_sup:start_all(Membership, Context, G),
    _ = [?LOG_NOTICE("Warp: the projection of context ~ts was made by another version of its "
                     "aggregates: warp_projection:rebuild/1 is due", [Name])
         || Due andalso Rebuild =/= running],
    %% Of a rebuild that ended while its manager was killed, or of one that was begun anew.
    Others = [G - 1 | [G + 1 || Rebuild =/= running]],
    lists:foreach(fun(Other) -> warp_projection_projectors_sup:stop_all(Context, Other) end, Others),
    Known = State#state{generation = G, due = Due},
    case Rebuild of
        running -> {noreply, run(Known)};
        cancelled -> {noreply, shown(Known#state{rebuild = cancelled})};
        none -> {noreply, shown(Known)}
    end;
handle_info(tick, State) ->
    {noreply, tick(State#state{ticking = false})};
handle_info({done, Pid, Result}, #state{task = {Pid, What, From}} = State) ->
    {noreply, next(done(What, Result, From, State#state{task = none}))};
handle_info({'EXIT', Pid, _Reason}, #state{task = {Pid, What, From}} = State) ->
    %% Without a word: it was killed.
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

%% The next request, when no task is under way.
next(#state{task = none, queue = Queue} = State) ->
    case waiting(Queue) of
        [{Request, _, From} | Rest] -> begin_request(Request, From, State#state{queue = Rest});
        [] -> State#state{queue = []}
    end;
next(State) ->
    State.

begin_request(rebuild, From, #state{rebuild = running} = State) ->
    gen_server:reply(From, {error, already_running}),
    next(State);
begin_request(rebuild, From, #state{writer = Writer} = State) ->
    task(rebuild, From, fun() -> warp_projection_writer:rebuild(Writer, start) end, State);
begin_request(cancel, From, #state{rebuild = running, writer = Writer} = State) ->
    task(cancel, From, fun() -> warp_projection_writer:rebuild(Writer, cancel) end, State);
begin_request(cancel, From, State) ->
    gen_server:reply(From, {error, not_running}),
    next(State).

task(What, From, Fun, State) ->
    Manager = self(),
    Pid = spawn_link(fun() -> Manager ! {done, self(), Fun()} end),
    State#state{task = {Pid, What, From}}.

done(rebuild, {ok, _}, From, State) ->
    gen_server:reply(From, ok),
    run(State);
done(cancel, {ok, _}, From, #state{context = Context, generation = Generation} = State) ->
    ok = warp_projection_projectors_sup:stop_all(Context, Generation + 1),
    gen_server:reply(From, ok),
    tell({error, cancelled}, shown(State#state{rebuild = cancelled}));
done(swap, {ok, #{generation := Now}}, nobody, #state{context = Context, generation = Before} = State) ->
    ok = warp_projection_table:put_generation(Context, Now),
    ok = warp_projection_projectors_sup:stop_all(Context, Before),
    tell(ok, shown(State#state{generation = Now, rebuild = none, due = false}));
done(restart, _Result, nobody, State) ->
    %% One that failed is tried again: its projectors stand still as before.
    run(State);
done(swap, _NotReached, nobody, State) ->
    State#state{swap_at = now_ms() + ?AGAIN_MS};
done(_What, Failed, From, State) ->
    gen_server:reply(From, Failed),
    State.

run(#state{context = Context, membership = Membership, generation = Generation} = State) ->
    ok = warp_projection_projectors_sup:start_all(Membership, Context, Generation + 1),
    ticking(shown(State#state{rebuild = running, began = none, logged = now_ms(), swap_at = now_ms()})).

ticking(#state{ticking = true} = State) ->
    State;
ticking(State) ->
    _ = erlang:send_after(?TICK_MS, self(), tick),
    State#state{ticking = true}.

%% What others see of it, without asking.
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

%% What the tables of the rebuild have is of another log: it begins anew.
restart(#state{context = Context, generation = Generation, writer = Writer} = State) ->
    ok = warp_projection_projectors_sup:stop_all(Context, Generation + 1),
    task(restart, nobody, fun() -> warp_projection_writer:rebuild(Writer, restart) end, ticking(State)).

go_on(#state{context = Context, generation = Generation} = State) ->
    Live = warp_projection_table:positions(Context, Generation),
    Building = warp_projection_table:positions(Context, Generation + 1),
    Began = shown(ticking(begun(State, Building))),
    Close = lists:all(
        fun(N) ->
            case Building of
                #{N := #{position := There}} ->
                    There + ?CLOSE >= goal(N, Live, Context) andalso not is_stalled(N, Generation + 1, Context);
                #{} -> false
            end
        end,
        lists:seq(0, maps:get(shards, Context) - 1)),
    case Close andalso now_ms() >= State#state.swap_at andalso State#state.task =:= none of
        true -> swap(say(Began));
        false -> say(Began)
    end.

is_stalled(N, Generation, Context) ->
    case warp_projection_table:state(Context, {N, Generation}) of
        {ok, {stalled, _, _}} -> true;
        _ -> false
    end.

%% Where the first set is; one that could not begin says nothing.
goal(N, Live, Context) ->
    case Live of
        #{N := #{position := Position}} -> Position;
        #{} -> warp_projection_progress:log_position(Context, N)
    end.

begun(#state{began = none} = State, Building) -> State#state{began = {now_ms(), warp_projection_progress:events(Building)}};
begun(State, _Building) -> State.

say(#state{logged = Logged, context = #{name := Name} = Context} = State) ->
    case now_ms() - Logged > ?LOG_MS of
        true ->
            #{done := Done, total := Total, rate := Rate, seconds_left := Left} = warp_projection_progress:rebuild(Context),
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

%% The first set is halted; the second goes on to where that stopped, and takes its place. The
%% projectors go on when the task ends, or when they are told to.
swap(#state{context = Context, generation = Generation, writer = Writer} = State) ->
    task(swap, nobody, fun() ->
        Deadline = now_ms() + ?HALT_MS,
        Live = warp_projection_table:projectors(Context, Generation),
        Followed = warp_projection_table:positions(Context, Generation),
        %% One that does not follow its shard says nothing of how far the second has to go.
        Ends = [{N, case Followed of #{N := _} -> End; #{} -> warp_projection_progress:log_position(Context, N) end}
                || {N, End} <- halted(Live, Deadline, [])],
        length(Ends) =:= maps:get(shards, Context)
            andalso reach(Context, Generation + 1, Ends, Deadline)
            andalso warp_projection_writer:rebuild(Writer, swap)
    end, State).

halted([], _Deadline, Ends) ->
    Ends;
halted([{N, Pid} | Others], Deadline, Ends) ->
    case warp_projection_projector:pause(Pid, max(0, Deadline - now_ms())) of
        {ok, Position} -> halted(Others, Deadline, [{N, Position} | Ends]);
        {error, _} -> []
    end.

reach(Context, Generation, Ends, Deadline) ->
    At = warp_projection_table:positions(Context, Generation),
    Reached = lists:all(
        fun({N, End}) ->
            case At of
                #{N := #{position := Position}} -> Position >= End;
                #{} -> false
            end
        end,
        Ends),
    case Reached of
        true -> true;
        false ->
            case now_ms() > Deadline of
                true -> false;
                false -> receive give_up -> false after 5 -> reach(Context, Generation, Ends, Deadline) end
            end
    end.

now_ms() -> erlang:monotonic_time(millisecond).
