%% @private Starts a context's projectors once the target is known, and leads a rebuild: a second
%% set of projectors fills fresh tables, from the first event on, while the first set serves. When
%% they have caught up, the first set is halted for a moment, and the tables are exchanged in one
%% transaction.
-module(warp_proj_manager).
-behaviour(gen_server).

-export([start_link/1, rebuild/1, cancel/1, await/2, progress/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-include("../warp.hrl").
-include_lib("kernel/include/logger.hrl").

-define(TICK_MS, 100).
%% How close, in positions, the second set has to be for the first to be halted.
-define(CLOSE, 5000).
%% How long the first set is halted at most.
-define(HALT_MS, 10000).
-define(LOG_MS, 10000).

-record(state, {
    context :: #context{},
    writer :: pid(),
    generation = none :: none | pos_integer(),
    due = false :: boolean(),
    rebuild = none :: none | running | cancelled | swapping,
    %% Of the rebuild that runs: when it began or went on, with how many events done.
    began = none :: none | {Millis :: integer(), Events :: non_neg_integer()},
    logged = 0 :: integer(),
    waiters = [] :: [{gen_server:from(), Until :: integer() | infinity}]
}).

-type progress() :: #{
    state := none | running | cancelled | swapping,
    due := boolean(),
    done := non_neg_integer(),
    total := non_neg_integer(),
    rate := float(),
    seconds_left := float() | unknown
}.
-export_type([progress/0]).

-spec start_link(reference()) -> gen_server:start_ret().
start_link(Ref) ->
    gen_server:start_link(?MODULE, Ref, []).

-spec rebuild(pid()) -> ok | {error, already_running | term()}.
rebuild(Pid) -> call(Pid, rebuild, infinity).

-spec cancel(pid()) -> ok | {error, not_running | term()}.
cancel(Pid) -> call(Pid, cancel, infinity).

-spec await(pid(), timeout()) -> ok | {error, timeout | cancelled | not_running | interrupted}.
await(Pid, Timeout) ->
    Until = case Timeout of infinity -> infinity; _ -> now_ms() + Timeout end,
    call(Pid, {await, Until}, Timeout).

-spec progress(pid()) -> {ok, progress()} | {error, term()}.
progress(Pid) -> call(Pid, progress, infinity).

call(Pid, Request, Timeout) ->
    try
        gen_server:call(Pid, Request, Timeout)
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:_ -> {error, interrupted}
    end.

-spec init(reference()) -> {ok, #state{}}.
init(Ref) ->
    {ok, Context} = warp_context:find(Ref),
    {ok, Writer} = warp_proj:get(Context, writer),
    ok = warp_proj:put(Context, manager, self()),
    ok = warp_proj_writer:subscribe(Writer),
    {ok, #state{context = Context, writer = Writer}}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(progress, _From, State) ->
    {reply, {ok, progress_of(State)}, State};
handle_call(_Request, _From, #state{generation = none} = State) ->
    {reply, {error, {target_away, not_reached_yet}}, State};
handle_call(rebuild, _From, #state{rebuild = running} = State) ->
    {reply, {error, already_running}, State};
handle_call(rebuild, _From, #state{writer = Writer} = State) ->
    case warp_proj_writer:rebuild(Writer, 'begin') of
        {ok, _} -> {reply, ok, run(State)};
        {error, _} = Error -> {reply, Error, State}
    end;
handle_call(cancel, _From, #state{rebuild = running, writer = Writer, context = Context} = State) ->
    case warp_proj_writer:rebuild(Writer, cancel) of
        {ok, _} ->
            ok = warp_projector_sup:stop_all(Context, State#state.generation + 1),
            {reply, ok, tell({error, cancelled}, State#state{rebuild = cancelled})};
        {error, _} = Error ->
            {reply, Error, State}
    end;
handle_call(cancel, _From, State) ->
    {reply, {error, not_running}, State};
handle_call({await, Until}, From, #state{rebuild = running, waiters = Waiters} = State) ->
    %% Those who gave up are not kept. An atom is more than any number.
    Now = now_ms(),
    {noreply, State#state{waiters = [{From, Until} | [W || {_, End} = W <- Waiters, End > Now]]}};
handle_call({await, _}, _From, #state{rebuild = cancelled} = State) ->
    {reply, {error, cancelled}, State};
handle_call({await, _}, _From, State) ->
    {reply, {error, not_running}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({warp_projection_ready, _}, #state{generation = G} = State) when G =/= none ->
    {noreply, State};
handle_info({warp_projection_ready, #{generation := G, due := Due, rebuild := Rebuild}}, State) ->
    #state{context = #context{name = Name} = Context} = State,
    ok = warp_proj:put(Context, generation, G),
    ok = warp_projector_sup:start_all(Context, G),
    _ = [?LOG_NOTICE("Warp: the projection of context ~ts was made by another version of its "
                     "aggregates: warp_projection:rebuild/1 is due", [Name])
         || Due andalso Rebuild =/= <<"running">>],
    Known = State#state{generation = G, due = Due},
    case Rebuild of
        <<"running">> -> {noreply, run(Known)};
        <<"cancelled">> -> {noreply, Known#state{rebuild = cancelled}};
        <<"none">> -> {noreply, Known}
    end;
handle_info(tick, #state{rebuild = running} = State) ->
    {noreply, tick(State)};
handle_info(_Stray, State) ->
    {noreply, State}.

run(#state{context = Context, generation = Generation} = State) ->
    ok = warp_projector_sup:start_all(Context, Generation + 1),
    _ = erlang:send_after(?TICK_MS, self(), tick),
    State#state{rebuild = running, began = none, logged = now_ms()}.

tell(Result, #state{waiters = Waiters} = State) ->
    lists:foreach(fun({From, _}) -> gen_server:reply(From, Result) end, Waiters),
    State#state{waiters = []}.

tick(#state{context = Context, generation = Generation, writer = Writer} = State) ->
    case warp_proj:all(Context, {stalled, '_', Generation + 1}) of
        [] ->
            go_on(State);
        [_ | _] ->
            %% What the tables of the rebuild have is of another log: it begins anew.
            ok = warp_projector_sup:stop_all(Context, Generation + 1),
            _ = warp_proj_writer:rebuild(Writer, anew),
            run(State)
    end.

go_on(#state{context = Context, generation = Generation} = State) ->
    _ = erlang:send_after(?TICK_MS, self(), tick),
    Live = at(Context, Generation),
    Building = at(Context, Generation + 1),
    Began = begun(State, Building),
    Close = lists:all(
        fun(N) ->
            case Building of
                #{N := {There, _, _, _}} -> There + ?CLOSE >= goal(N, Live, Context);
                #{} -> false
            end
        end,
        lists:seq(0, Context#context.shards - 1)),
    case Close of
        true -> swap(say(State#state{began = Began}));
        false -> say(State#state{began = Began})
    end.

%% Where the first set is; one that could not begin says nothing.
goal(N, Live, Context) ->
    case Live of
        #{N := {Position, _, _, _}} -> Position;
        #{} -> warp_proj_stats:log_position(Context, N)
    end.

begun(#state{began = none}, Building) -> {now_ms(), done(Building)};
begun(#state{began = Began}, _Building) -> Began.

say(#state{logged = Logged, context = #context{name = Name}} = State) ->
    case now_ms() - Logged > ?LOG_MS of
        true ->
            #{done := Done, total := Total, rate := Rate, seconds_left := Left} = progress_of(State),
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

at(Context, Generation) ->
    maps:from_list([{N, At} || {{at, N, _}, At} <- warp_proj:all(Context, {at, '_', Generation})]).

done(At) ->
    lists:sum([Events || {_, Events, _, _} <- maps:values(At)]).

%% The first set is halted; the second goes on to where that stopped, and takes its place.
swap(#state{context = Context, generation = Generation, writer = Writer} = State) ->
    Halted = [{N, warp_projector:pause(Pid), Pid}
              || {{projector, N, _}, Pid} <- warp_proj:all(Context, {projector, '_', Generation})],
    %% One that does not follow its shard says nothing of how far the second has to go.
    Live = at(Context, Generation),
    Ends = [{N, case Live of #{N := _} -> Position; #{} -> warp_proj_stats:log_position(Context, N) end}
            || {N, {ok, Position}, _} <- Halted],
    Swapped =
        length(Ends) =:= Context#context.shards
            andalso reach(Context, Generation + 1, Ends, now_ms() + ?HALT_MS)
            andalso warp_proj_writer:rebuild(Writer, swap),
    case Swapped of
        {ok, _} ->
            ok = warp_proj:put(Context, generation, Generation + 1),
            ok = warp_projector_sup:stop_all(Context, Generation),
            tell(ok, State#state{generation = Generation + 1, rebuild = none, due = false});
        _ ->
            lists:foreach(fun({_, _, Pid}) -> warp_projector:resume(Pid) end, Halted),
            State
    end.

reach(Context, Generation, Ends, Deadline) ->
    At = at(Context, Generation),
    Reached = lists:all(
        fun({N, End}) ->
            case At of
                #{N := {Position, _, _, _}} -> Position >= End;
                #{} -> false
            end
        end,
        Ends),
    case Reached of
        true -> true;
        false ->
            case now_ms() > Deadline of
                true -> false;
                false -> timer:sleep(5), reach(Context, Generation, Ends, Deadline)
            end
    end.

progress_of(#state{generation = none, due = Due}) ->
    #{state => none, due => Due, done => 0, total => 0, rate => 0.0, seconds_left => unknown};
progress_of(#state{rebuild = Rebuild} = State) when Rebuild =/= running ->
    #{state => Rebuild, due => is_due(State), done => 0, total => total(State), rate => 0.0,
      seconds_left => unknown};
progress_of(#state{context = Context, generation = Generation, began = Began} = State) ->
    Done = done(at(Context, Generation + 1)),
    Total = max(Done, total(State)),
    Rate =
        case Began of
            {Since, Before} -> max(0, Done - Before) * 1000 / max(1, now_ms() - Since);
            none -> 0.0
        end,
    Left = case Rate > 0 of true -> (Total - Done) / Rate; false -> unknown end,
    #{state => running, due => is_due(State), done => Done, total => Total, rate => Rate, seconds_left => Left}.

%% By another version of the aggregates, or from another log.
is_due(#state{due = Due, context = Context, generation = Generation}) ->
    Due orelse warp_proj:all(Context, {stalled, '_', Generation}) =/= [].

%% How many events the log has, about: those that were projected, and as many per position beyond.
total(#state{context = Context, generation = Generation}) ->
    lists:sum(
        [case warp_proj_stats:log_position(Context, N) of
             Log when Position > 0 -> round(Events * max(Log, Position) / Position);
             Log -> Log
         end
         || {N, {Position, Events, _, _}} <- maps:to_list(at(Context, Generation))]).

now_ms() -> erlang:monotonic_time(millisecond).
