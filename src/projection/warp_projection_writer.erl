%% @private The one process that writes to a projection's target. It brings the batches of all
%% shards' projectors together in one transaction, each guarded by its turn at the checkpoint,
%% and sees to tables and columns. While the target is away it keeps what it has, and nothing
%% else: a projector has one batch under way and waits.
-module(warp_projection_writer).
-behaviour(gen_server).

-export([start_link/1, status/1, join/3, batch/3, erase/3, rebuild/2, subscribe/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-include_lib("kernel/include/logger.hrl").

-export_type([batch/0]).

%% What a projector wants written.
-type batch() :: #{
    shard := non_neg_integer(),
    generation := pos_integer(),
    %% Where its checkpoint stands, and is to be moved.
    turn := non_neg_integer(),
    position := non_neg_integer(),
    %% The run of the shard's writer that wrote the row there.
    run := non_neg_integer(),
    %% How many events that is.
    events := non_neg_integer(),
    work := none | {merged, warp_projection_merge:merged()}
          | {sequence, [warp_projection_merge:step()], warp_projection_merge:needs()},
    aside := [[warp_projection_target:value()]],
    clear := [{binary(), warp_core:seq() | done}],
    skip := [{binary(), warp_core:seq()}],
    mark => pos_integer()
}.

-define(RETRY_MIN_MS, 100).
-define(RETRY_MAX_MS, 5000).
-define(QUERY, #{max_rows => infinity, timeout => 5000, level => strong}).

-record(state, {
    context :: warp_context:context(),
    module :: module(),
    config :: map(),
    declared :: warp_projection_schema:declared(),
    version :: binary(),
    target :: term(),
    %% `new' until Warp's own tables were found or made.
    is = new :: new | up | {away, term()} | {error, term()},
    retry_ms = ?RETRY_MIN_MS :: pos_integer(),
    subscribers = [] :: [pid()],
    generation = 1 :: pos_integer(),
    meta = #{} :: #{binary() => term()},
    schemas = #{} :: #{warp_projection_schema:place() => warp_projection_schema:schema()},
    turns = #{} :: #{{warp_projection_schema:place(), non_neg_integer()} => tuple()},
    %% Which run of its shard each checkpoint belongs to, where that is known.
    runs = #{} :: #{{warp_projection_schema:place(), non_neg_integer()} => non_neg_integer()},
    %% Not yet written, last first.
    queue = [] :: [item()]
}).

%% A batch that was handed over has a mark, by which it is known again in the target.
-type item() :: {batch, pid(), reference(), batch()} | {erase, pid(), reference(), binary()}.

-spec start_link(warp_context:membership()) -> gen_server:start_ret().
start_link(Membership) ->
    gen_server:start_link(?MODULE, Membership, []).

%% @doc How the target is: `{error, Reason}' for one that is not ours, or cannot be opened.
-spec status(pid()) -> ok | {error, term()}.
status(Pid) ->
    call(Pid, status).

%% @doc Asks where a shard's projector has to go on. The answer, which comes when the writer has time:
%% `{ok, #{turn, position, run, events, aside, skipped}}' or `{error, stale | term()}'.
-spec join(pid(), non_neg_integer(), pos_integer()) -> gen_server:request_id().
join(Pid, Shard, Generation) ->
    gen_server:send_request(Pid, {join, Shard, Generation}).

%% @doc Has a batch written. The caller gets `{warp_written, Tag}', `{warp_refused, Tag, Index,
%% Reason}' with the index of the event (or `unknown'), or `{warp_rejoin, Tag}' when the checkpoint
%% stands elsewhere.
-spec batch(pid(), reference(), batch()) -> ok.
batch(Pid, Tag, Batch) ->
    gen_server:cast(Pid, {batch, self(), Tag, Batch#{mark => rand:uniform(1 bsl 62)}}).

%% @doc Has an entity erased from all tables. The caller gets `{warp_erased, Tag}', and, for as long
%% as it does not work, `{warp_not_erased, Tag, Reason}' each time it was tried.
-spec erase(pid(), reference(), binary()) -> ok.
erase(Pid, Tag, Entity) ->
    gen_server:cast(Pid, {erase, self(), Tag, Entity}).

%% @doc Steps of a rebuild.
-spec rebuild(pid(), 'begin' | anew | cancel | swap) -> {ok, map()} | {error, term()}.
rebuild(Pid, Step) ->
    call(Pid, {rebuild, Step}).

%% @doc The caller gets `{warp_projection_ready, Meta}' once the target's tables are known.
-spec subscribe(pid()) -> ok.
subscribe(Pid) ->
    gen_server:cast(Pid, {subscribe, self()}).

call(Pid, Request) ->
    try
        gen_server:call(Pid, Request, infinity)
    catch
        exit:_ -> {error, interrupted}
    end.

-spec init(warp_context:membership()) -> {ok, #state{}, {continue, open}}.
init(Membership) ->
    _ = process_flag(trap_exit, true),
    #{projections := #{target := Name, config := Config, tables := Declared}} = Context =
        warp_context:mine(Membership),
    ok = warp_projection_table:put(Context, writer, self()),
    %% What one before us noted is no longer so.
    ok = warp_projection_table:put(Context, is, {away, starting}),
    {ok,
     #state{context = Context, module = warp_projection_target:module(Name), config = Config,
            declared = Declared,
            version = warp_projection_table:version(maps:get(aggregates, Context), Declared)},
     {continue, open}}.

-spec handle_continue(open, #state{}) -> {noreply, #state{}}.
handle_continue(open, #state{module = Module, context = Context, config = Config} = State) ->
    #{name := Name, dir := Dir, durability := Durability, file_access := Access} = Context,
    About = #{context => Name, dir => Dir, durability => Durability, file_access => Access},
    case Module:open(Config, About) of
        {ok, Target} ->
            ok = warp_projection_table:put(Context, target, {Module, Target}),
            {noreply, connect(State#state{target = Target})};
        {error, disk_full} ->
            {noreply, is({away, disk_full}, later(open, State))};
        {error, Reason} ->
            {noreply, is({error, Reason}, later(open, State))}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call(status, _From, #state{is = {error, Reason}} = State) ->
    {reply, {error, Reason}, State};
handle_call(status, _From, State) ->
    {reply, ok, State};
handle_call({join, Shard, Generation}, _From, #state{is = up} = State0) ->
    %% What a projector before this one handed over comes first.
    #state{turns = Turns} = State = write(State0),
    Reply =
        case place(Generation, State) of
            {ok, Place} ->
                joined(Turns, {Place, Shard}, State);
            stale ->
                {error, stale}
        end,
    {reply, Reply, State};
handle_call({join, _, _}, _From, #state{is = Is} = State) ->
    {reply, {error, Is}, State};
handle_call({rebuild, Step}, _From, #state{is = up} = State0) ->
    {Reply, State} = rebuild_step(Step, write(State0)),
    {reply, Reply, State};
handle_call({rebuild, _}, _From, #state{is = Is} = State) ->
    {reply, {error, {target_away, Is}}, State};
handle_call(Request, _From, State) ->
    ok = warp_stray:note(?MODULE, call, Request),
    {reply, {error, {unknown_request, Request}}, State}.

joined(Turns, {Place, Shard} = Key, State) ->
    case {Turns, read(warp_projection_sql:read_aside(Place), [Shard], State),
          read(warp_projection_sql:read_skipped(), [Shard], State)} of
        {#{Key := {Position, Turn, _Mark, Events}}, {ok, Aside}, {ok, Skipped}} ->
            {ok, #{turn => Turn, position => Position, events => Events,
                   run => maps:get(Key, State#state.runs, unknown),
                   aside => maps:from_list([{Entity, Seq} || [Entity, Seq] <- Aside]),
                   skipped => maps:from_list([{{Entity, Seq}, []} || [Entity, Seq] <- Skipped])}};
        {_, {error, _} = Error, _} ->
            Error;
        {_, _, {error, _} = Error} ->
            Error;
        {_, _, _} ->
            {error, stale}
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({subscribe, Pid}, #state{subscribers = Others, is = Is} = State) ->
    _ = [announce(Pid, State) || Is =:= up],
    {noreply, State#state{subscribers = [Pid | Others]}};
handle_cast({Kind, _, _, _} = Item, #state{queue = Queue} = State) when Kind =:= batch; Kind =:= erase ->
    Queued = gather(State#state{queue = [Item | Queue]}),
    case Queued of
        #state{is = up} -> {noreply, write(Queued)};
        #state{is = Is} -> {noreply, tell_erasers(Item, Is, Queued)}
    end;
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

%% What came meanwhile goes into the same transaction.
gather(#state{queue = Queue} = State) ->
    receive
        {'$gen_cast', {Kind, _, _, _} = Item} when Kind =:= batch; Kind =:= erase ->
            gather(State#state{queue = [Item | Queue]})
    after 0 ->
        State
    end.

tell_erasers({erase, Pid, Tag, _}, Is, State) ->
    Pid ! {warp_not_erased, Tag, Is},
    State;
tell_erasers(_Item, _Is, State) ->
    State.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info(open, State) ->
    handle_continue(open, State);
handle_info(connect, State) ->
    {noreply, connect(State)};
handle_info({warp_projection_lost, Message}, #state{context = #{name := Name}} = State) ->
    %% What is found in its place may be another one, with other checkpoints: all begin anew.
    ?LOG_WARNING("Warp: the projection of context ~ts is opened again: ~ts", [Name, Message]),
    {stop, {shutdown, files_lost}, State};
handle_info(Stray, State) ->
    ok = warp_stray:note(?MODULE, message, Stray),
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{target = undefined}) ->
    warp_projection_table:emptied();
terminate(_Reason, #state{module = Module, target = Target}) ->
    _ = Module:close(Target),
    warp_projection_table:emptied().

%% @private
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    warp_projection_table:status(Status, fun(#state{} = S) ->
        #{is => case S#state.is of {Kind, _} -> Kind; Kind -> Kind end, generation => S#state.generation,
          queue => length(S#state.queue)}
    end).

%% ------------------------------------------------------------------ Being there or not

later(What, #state{retry_ms = Retry} = State) ->
    _ = erlang:send_after(Retry, self(), What),
    State#state{retry_ms = min(2 * Retry, ?RETRY_MAX_MS)}.

is(Is, #state{is = Before, context = Context} = State) ->
    _ = [log(Before, Is, State) || kind(Before) =/= kind(Is)],
    ok = warp_projection_table:put(Context, is, Is),
    State#state{is = Is}.

kind({Kind, _}) -> Kind;
kind(Kind) -> Kind.

log(new, up, _State) ->
    ok;
log(_Before, up, #state{context = #{name := Name}}) ->
    ?LOG_NOTICE("Warp: the projection target of context ~ts is back", [Name]);
log(_Before, {away, Why}, #state{context = #{name := Name}}) ->
    ?LOG_WARNING("Warp: the projection target of context ~ts is away, and is tried again; entities "
                 "are written on: ~tp", [Name, Why]);
log(_Before, {error, Why}, #state{context = #{name := Name}}) ->
    ?LOG_ERROR("Warp: the projection target of context ~ts cannot be used: ~tp", [Name, Why]).

%% Finds or makes Warp's tables, reads where everything stands, and goes on with what waits.
connect(#state{context = Context} = State) ->
    Found = <<"SELECT count(*) FROM sqlite_master WHERE name = '_warp_meta'">>,
    Made =
        case read(Found, [], State) of
            {ok, [[0]]} ->
                Setup = warp_projection_sql:setup(maps:get(name, Context), maps:get(shards, Context),
                                            State#state.version),
                execute(Setup, State);
            {ok, _} ->
                ok;
            {error, _} = Error ->
                Error
        end,
    case Made of
        ok ->
            case load(State) of
                {ok, Loaded} ->
                    ok = publish(Loaded),
                    Up = is(up, Loaded#state{retry_ms = ?RETRY_MIN_MS}),
                    lists:foreach(fun(Pid) -> announce(Pid, Up) end, Up#state.subscribers),
                    write(resume(Up));
                {error, Why} ->
                    down(Why, State)
            end;
        {error, Why} ->
            down(Why, State)
    end.

down({refused, _, Message}, State) -> is({error, Message}, later(connect, State));
down({wrong_identity, _, _} = Why, State) -> is({error, Why}, later(connect, State));
down({newer_format, _, _} = Why, State) -> is({error, Why}, later(connect, State));
down({away, Why}, State) -> is({away, Why}, later(connect, State));
down(Why, State) -> is({away, Why}, later(connect, State)).

announce(Pid, #state{generation = Generation, meta = Meta, version = Version}) ->
    #{<<"version">> := Stored, <<"rebuild">> := Rebuild} = Meta,
    Pid ! {warp_projection_ready,
           #{generation => Generation, due => Stored =/= Version, rebuild => Rebuild}},
    ok.

load(#state{context = Context} = State) ->
    try
        Meta = maps:from_list([{Name, Value}
                               || [Name, Value] <- must(warp_projection_sql:read_meta(), State)]),
        #{<<"generation">> := Generation} = Meta,
        ok = identify(Meta, Context),
        ok = add_what_is_lacking(State),
        Runs = maps:from_list([{{built(Building), Shard}, Run}
                               || [Building, Shard, Run] <- must(warp_projection_sql:read_runs(), State)]),
        Turns = maps:from_list(
            [{{built(Building), Shard}, {Position, Turn, Mark, Events}}
             || [Building, Shard, Position, Turn, Mark, Events]
                    <- must(warp_projection_sql:read_checkpoints(), State)]),
        Schemas = maps:from_list(
            [{Place, warp_projection_schema:from_rows(must(warp_projection_sql:read_columns(Place), State))}
             || Place <- [live, building]]),
        declare(State#state{meta = Meta, generation = Generation, turns = Turns, runs = Runs,
                            schemas = Schemas})
    catch
        throw:{error, Why} -> {error, Why}
    end.

built(0) -> live;
built(1) -> building.

%% Of a target that an earlier version made.
add_what_is_lacking(State) ->
    case must(warp_projection_sql:lacking(), State) of
        [] ->
            ok;
        Rows ->
            case execute(warp_projection_sql:added(lists:append(Rows)), State) of
                ok -> ok;
                {error, _} = Error -> throw(Error)
            end
    end.

identify(#{<<"format">> := Format}, _Context) when Format > 1 ->
    throw({error, {newer_format, <<"projection">>, Format}});
identify(#{<<"context">> := Name, <<"shards">> := Shards}, #{name := Name, shards := Shards}) ->
    ok;
identify(#{<<"context">> := Name, <<"shards">> := Shards}, _Context) ->
    throw({error, {wrong_identity, Name, Shards}}).

%% Tables that were declared and are not there yet.
declare(#state{declared = Declared, schemas = #{live := Live} = Schemas} = State) ->
    case maps:without(warp_projection_schema:tables(Live), Declared) of
        None when map_size(None) =:= 0 ->
            {ok, State};
        Missing ->
            {Statements, New} =
                warp_projection_schema:declared({live, State#state.generation, Missing}),
            case execute(Statements, State) of
                ok -> {ok, State#state{schemas = Schemas#{live := warp_projection_schema:merge(Live, New)}}};
                {error, Why} -> {error, Why}
            end
    end.

must(Sql, State) ->
    case read(Sql, [], State) of
        {ok, Rows} -> Rows;
        {error, Why} -> throw({error, Why})
    end.

read(Sql, Params, #state{module = Module, target = Target}) ->
    case Module:query(Target, Sql, Params, ?QUERY) of
        {ok, #{rows := Rows}} -> {ok, Rows};
        {error, {away, _}} = Away -> Away;
        {error, Why} -> {error, {away, Why}}
    end.

execute(Statements, #state{module = Module, target = Target}) ->
    Module:execute(Target, Statements).

%% After the target was away: what of all that waits was written after all?
resume(#state{queue = Queue} = State) ->
    State#state{queue = [Item || Item <- Queue, is_open(Item, State)]}.

is_open({batch, Pid, Tag, #{shard := Shard, generation := Generation, turn := Turn, mark := Mark}},
        State) ->
    case place(Generation, State) of
        {ok, Place} ->
            case State#state.turns of
                #{{Place, Shard} := {_, Turn, _, _}} ->
                    true;
                #{{Place, Shard} := {_, Next, Mark, _}} when Next =:= Turn + 1 ->
                    Pid ! {warp_written, Tag},
                    false;
                #{} ->
                    Pid ! {warp_rejoin, Tag},
                    false
            end;
        stale ->
            Pid ! {warp_rejoin, Tag},
            false
    end;
is_open({erase, _, _, _}, _State) ->
    true.

place(G, #state{generation = G}) -> {ok, live};
place(G, #state{generation = Live, turns = Turns}) when G =:= Live + 1, is_map_key({building, 0}, Turns) ->
    {ok, building};
place(_G, _State) -> stale.

%% ------------------------------------------------------------------ Writing

write(#state{queue = []} = State) ->
    State;
write(#state{queue = Queue, is = up} = State) ->
    next(lists:reverse(Queue), State#state{queue = []});
write(State) ->
    State.

next([], State) ->
    State;
next(Items, #state{is = Is, queue = Queue} = State) when Is =/= up ->
    State#state{queue = lists:reverse(Items) ++ Queue};
next([{erase, _, _, _} | _] = Items, State) ->
    {Erasures, Rest} = lists:splitwith(fun(Item) -> element(1, Item) =:= erase end, Items),
    go_on(erase_all(Erasures, State), Erasures, Rest);
next(Items, State) ->
    {Batches, Rest} = lists:splitwith(fun(Item) -> element(1, Item) =:= batch end, Items),
    %% Only now is it known which of them are still in turn.
    Open = [Item || Item <- Batches, is_open(Item, State)],
    go_on(together(Open, State), Open, Rest).

go_on({ok, State}, _Tried, Rest) ->
    next(Rest, State);
go_on({refused, Refused, State}, _Tried, Rest) ->
    %% One of several: each by itself.
    next(Rest, lists:foldl(
        fun(Item, #state{is = up} = Acc) ->
                case alone(Item, Acc) of
                    {ok, Next} -> Next;
                    {away, Why, Next} -> down({away, Why}, Next#state{queue = [Item | Next#state.queue]})
                end;
           (Item, Acc) ->
                Acc#state{queue = [Item | Acc#state.queue]}
        end,
        State,
        Refused));
go_on({away, Why, State}, Tried, Rest) ->
    Kept = lists:reverse(Tried ++ Rest) ++ State#state.queue,
    Down = down({away, Why}, State#state{queue = Kept}),
    lists:foldl(fun(Item, Acc) -> tell_erasers(Item, {away, Why}, Acc) end, Down, Tried).

together([], State) ->
    {ok, State};
together([Only], State) ->
    alone(Only, State);
together(Items, State) ->
    case prepare(Items, [], State) of
        {ok, Statements, Next} ->
            case execute(Statements, State) of
                ok -> {ok, written(Items, State, Next)};
                {error, {refused, _, _}} -> {refused, Items, State};
                {error, {away, Why}} -> {away, Why, State}
            end;
        {error, _, _} ->
            {refused, Items, State}
    end.

prepare([], Statements, State) ->
    {ok, lists:append(lists:reverse(Statements)), State};
prepare([{batch, _, _, Batch} | Items], Statements, State) ->
    case statements(Batch, State) of
        {ok, Guard, Ddl, Work, Next} ->
            prepare(Items, [[Guard | Ddl] ++ [S || {_, S} <- Work] | Statements], Next);
        {error, _, _} = Error ->
            Error
    end.

alone({batch, Pid, Tag, Batch} = Item, State) ->
    case statements(Batch, State) of
        {ok, Guard, Ddl, Work, Next} ->
            case execute([Guard | Ddl] ++ [S || {_, S} <- Work], State) of
                ok ->
                    {ok, written([Item], State, Next)};
                {error, {refused, 1, _}} ->
                    %% Not in turn: something of ours was carried out without our knowing.
                    {away, out_of_turn, State};
                {error, {refused, N, Message}} ->
                    Index = index(N - 1 - length(Ddl), Work),
                    Pid ! {warp_refused, Tag, Index, warp_projection_sql:explain(Message)},
                    {ok, State};
                {error, {away, Why}} ->
                    {away, Why, State}
            end;
        {error, Index, Why} ->
            Reason = unicode:characters_to_binary(io_lib:format("~0tp", [Why])),
            Pid ! {warp_refused, Tag, Index, Reason},
            {ok, State}
    end.

index(N, Work) when N >= 1, N =< length(Work) -> element(1, lists:nth(N, Work));
index(_N, _Work) -> unknown.

%% Each statement of the work comes with the index of its event.
statements(#{shard := Shard, generation := Generation, turn := Turn, position := Position,
             run := Run, events := Events, work := Work, aside := Aside, clear := Clear, skip := Skip,
             mark := Mark}, State) ->
    #state{schemas = Schemas} = State,
    {ok, Place} = place(Generation, State),
    #{Place := Schema} = Schemas,
    Guard = warp_projection_sql:guard(Place, Shard, {Turn, Mark, Position}, Events),
    Notes = warp_projection_sql:set_aside(Place, Aside)
        ++ lists:append([warp_projection_sql:clear_aside(Place, E, Seq) || {E, Seq} <- Clear])
        ++ warp_projection_sql:skip([[E, Seq, Shard] || {E, Seq} <- Skip]),
    Tail = [{unknown, S} || S <- Notes],
    Needs = case Work of none -> #{}; {merged, #{needs := N}} -> N; {sequence, _, N} -> N end,
    case warp_projection_schema:grow(Place, Generation, Needs, Schema) of
        {ok, Ddl, Grown} ->
            case changes(Place, Work, Grown) of
                {ok, Changes} ->
                    Key = {Place, Shard},
                    #{Key := {_, _, _, Before}} = State#state.turns,
                    Noting = case State#state.runs of
                                 #{Key := Run} -> [];
                                 #{} -> [warp_projection_sql:set_run(Place, Shard, Run)]
                             end,
                    Turns = (State#state.turns)#{Key := {Position, Turn + 1, Mark, Before + Events}},
                    {ok, Guard, Noting ++ Ddl, Changes ++ Tail,
                     State#state{schemas = Schemas#{Place := Grown}, turns = Turns,
                                 runs = (State#state.runs)#{Key => Run}}};
                {error, _, _} = Error ->
                    Error
            end;
        {error, Why} ->
            {error, unknown, Why}
    end.

changes(_Place, none, _Schema) ->
    {ok, []};
changes(Place, {merged, Merged}, Schema) ->
    case warp_projection_sql:merged(Place, Merged, Schema) of
        {ok, Statements} -> {ok, [{unknown, S} || S <- Statements]};
        {error, Why} -> {error, unknown, Why}
    end;
changes(Place, {sequence, Steps, _}, Schema) ->
    changes(Place, Steps, Schema, []).

changes(_Place, [], _Schema, Done) ->
    {ok, lists:append(lists:reverse(Done))};
changes(Place, [{Index, Entity, Seq, Op} | Steps], Schema, Done) ->
    case warp_projection_sql:step(Place, {Entity, Seq}, Op, Schema) of
        {ok, Statements} ->
            changes(Place, Steps, Schema, [[{Index, S} || S <- Statements] | Done]);
        {error, Why} ->
            {error, Index, Why}
    end.

written(Items, Before, State) ->
    lists:foreach(fun({batch, Pid, Tag, _}) -> Pid ! {warp_written, Tag} end, Items),
    _ = [publish(State) || State#state.schemas =/= Before#state.schemas],
    State.

%% Which tables there are, also for those who ask while the target is away.
publish(#state{context = Context, schemas = #{live := Live}}) ->
    warp_projection_table:put(Context, tables, warp_projection_schema:tables(Live)).

%% ------------------------------------------------------------------ Erasing

erase_all(Items, State) ->
    case erase_all(Items, exact, State) of
        {refused, _} when length(Items) > 1 ->
            each(Items, State);
        {refused, Message} ->
            ?LOG_WARNING("Warp: while an entity was erased from the projection of context ~ts, the database "
                         "refused what is left of a sum; such sums are null until they are counted on: ~ts",
                         [maps:get(name, State#state.context), Message]),
            case erase_all(Items, lenient, State) of
                {refused, Again} ->
                    ok = lists:foreach(fun(Item) -> try_later(Item, Again) end, Items),
                    {ok, State};
                Result ->
                    Result
            end;
        Result ->
            Result
    end.

%% One of several was refused.
each([], State) ->
    {ok, State};
each([Item | Items], State) ->
    case erase_all([Item], State) of
        {ok, Next} -> each(Items, Next);
        {away, _, _} = Away -> Away
    end.

%% Others need not wait for it: what would bring rows of the entity back is held.
try_later({erase, Pid, Tag, Entity}, Message) ->
    Pid ! {warp_not_erased, Tag, {refused, Message}},
    _ = erlang:send_after(?RETRY_MAX_MS, self(), {'$gen_cast', {erase, Pid, Tag, Entity}}),
    ok.

erase_all(Items, How, #state{meta = #{<<"erasures">> := Count} = Meta, schemas = Schemas} = State) ->
    Entities = [[Entity] || Entity <- lists:usort([Entity || {erase, _, _, Entity} <- Items])],
    Places = [{live, maps:get(live, Schemas)}]
        ++ [{building, B} || #{building := B} <- [Schemas], is_building(State)],
    Statements = [warp_projection_sql:tally_erasure(Count),
                  {<<"DELETE FROM _warp_set_aside WHERE entity = ?1">>, Entities},
                  {<<"DELETE FROM _warp_skipped WHERE entity = ?1">>, Entities}]
        ++ [{Sql, [Row]} || {Place, Schema} <- Places, Table <- warp_projection_schema:tables(Schema),
                            Row <- Entities, Sql <- warp_projection_sql:erase(Place, Table, How, Schema)],
    case execute(Statements, State) of
        ok ->
            tidy(Items, State#state{meta = Meta#{<<"erasures">> := Count + 1}});
        {error, {refused, 1, _}} ->
            {away, out_of_turn, State};
        {error, {refused, _, Message}} ->
            {refused, Message};
        {error, {away, Why}} ->
            {away, Why, State}
    end.

tidy(Items, #state{module = Module, target = Target} = State) ->
    case Module:tidy(Target) of
        ok ->
            lists:foreach(fun({erase, Pid, Tag, _}) -> Pid ! {warp_erased, Tag} end, Items),
            {ok, State};
        {error, {away, Why}} ->
            {away, Why, State}
    end.

is_building(#state{turns = Turns}) -> is_map_key({building, 0}, Turns).

%% ------------------------------------------------------------------ Rebuilding

rebuild_step('begin', #state{version = Version, meta = Meta} = State) ->
    case is_building(State) andalso Meta of
        #{<<"building_version">> := Version} ->
            step([warp_projection_sql:set_meta(<<"rebuild">>, <<"running">>)], State);
        _ ->
            rebuild_step(anew, State)
    end;
rebuild_step(anew, #state{version = Version, generation = Generation} = State) ->
    #state{context = #{shards := Shards}, schemas = #{building := Old}, declared = Declared} = State,
    {Declaring, _} = warp_projection_schema:declared({building, Generation + 1, Declared}),
    step(warp_projection_schema:drop(building, Old)
         ++ warp_projection_sql:drop_building()
         ++ warp_projection_sql:begin_building(Generation + 1, Shards)
         ++ Declaring
         ++ [warp_projection_sql:set_meta(<<"building_version">>, Version),
             warp_projection_sql:set_meta(<<"rebuild">>, <<"running">>)], State);
rebuild_step(cancel, State) ->
    step([warp_projection_sql:set_meta(<<"rebuild">>, <<"cancelled">>)], State);
rebuild_step(swap, #state{generation = Generation, schemas = Schemas} = State) ->
    #{live := Live, building := Building} = Schemas,
    {First, Last} = warp_projection_sql:swap(Generation),
    step(First ++ warp_projection_schema:swap(Live, Building) ++ Last, State).

step(Statements, State) ->
    case execute(Statements, State) of
        ok ->
            case load(State) of
                {ok, #state{generation = Generation} = Loaded} ->
                    ok = publish(Loaded),
                    {{ok, #{generation => Generation}}, Loaded};
                {error, Why} ->
                    {{error, {target_away, Why}}, down(Why, State)}
            end;
        {error, {refused, _, Message}} ->
            {{error, {refused, Message}}, State};
        {error, {away, Why}} ->
            {{error, {target_away, Why}}, down({away, Why}, State)}
    end.
