%% @private The one process that writes to a projection's target. It brings the batches of all shards'
%% projectors together in one transaction, each guarded by the turn of its shard's checkpoint, and makes the
%% tables and columns that they need. While the target is unreachable it keeps what it has, which is
%% little: a projector has one batch under way and waits.
-module(warp_projection_writer).
-behaviour(gen_server).

-export([start_link/1, status/1, join/3, batch/3, erase/3, rebuild/2, subscribe/1, announce/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-include_lib("kernel/include/logger.hrl").

%% How long the start of a context waits for the target.
-define(STATUS_MS, 10000).
-define(RETRY_MIN_MS, 100).
-define(RETRY_MAX_MS, 5000).
%% How often a writer looks whether another node has changed the tables.
-define(LOOK_MS, 1000).
%% The casts that bring something to be written.
-define(ITEMS, #{batch => [], erase => []}).

-record(state, {
    settings :: warp_projection_setup:settings(),
    module :: module(),
    config :: warp_projection_target:config(),
    target = none :: none | warp_projection_target:open(),
    %% `new' until Warp's own tables were found or made for the first time.
    reached = new :: new | warp_projection_table:target_state(),
    retry_ms = ?RETRY_MIN_MS :: pos_integer(),
    subscribers = [] :: [pid()],
    catalog = none :: none | warp_projection_catalog:catalog(),
    %% What is not written yet, the last one first.
    queue = [] :: [item()]
}).

-type item() ::
    {batch, pid(), Tag :: term(), warp_projection_batch:batch()}
    | {erase, pid(), Tag :: term(), warp_projection_erase_rows:erased()}.

-spec start_link(warp_context:membership()) -> gen_server:start_ret().
start_link(Membership) ->
    gen_server:start_link(?MODULE, Membership, []).

%% @doc Whether the target can be used: `{error, Reason}' for one that belongs to another context, or cannot
%% be opened. `ok' for one that is unreachable, also when that is not known within ten seconds.
-spec status(pid()) -> ok | {error, term()}.
status(Pid) ->
    case warp_call:call(Pid, status, warp_deadline:from(?STATUS_MS)) of
        {error, timeout} -> ok;
        Status -> Status
    end.

%% @doc Asks where a shard's projector has to go on. The answer, which comes when the writer has time:
%% `{ok, #{turn, position, run, events, aside, skipped}}' or `{error, stale | term()}'.
-spec join(pid(), non_neg_integer(), pos_integer()) -> gen_server:request_id().
join(Pid, Shard, Generation) ->
    gen_server:send_request(Pid, {join, Shard, Generation}).

%% @doc Has a batch written. The caller gets `{warp_written, Tag}', `{warp_refused, Tag, Index,
%% Reason}' with the index of the event (or `unknown'), or `{warp_rejoin, Tag}' when the checkpoint
%% stands elsewhere.
-spec batch(pid(), Tag :: term(), map()) -> ok.
batch(Pid, Tag, Batch) ->
    gen_server:cast(Pid, {batch, self(), Tag, Batch#{mark => rand:uniform(1 bsl 62)}}).

%% @doc Has an entity erased from all tables. The caller gets `{warp_erased, Tag}', and, for as long
%% as it does not work, `{warp_not_erased, Tag, Reason}' each time it was tried. It is not tried again where Reason is
%% `old_epoch': another node has had the shard since.
-spec erase(pid(), reference(), warp_projection_erase_rows:erased()) -> ok.
erase(Pid, Tag, Entity) ->
    gen_server:cast(Pid, {erase, self(), Tag, Entity}).

%% @doc Carries a step of a rebuild out, when the writer has time.
-spec rebuild(pid(), warp_projection_sql_rebuild:step()) -> {ok, #{generation := pos_integer()}} | {error, term()}.
rebuild(Pid, Step) ->
    warp_call:call(Pid, {rebuild, Step}, infinity).

%% @doc The caller gets `{warp_projection_ready, #{generation, due, rebuild, fits}}' each time the target was reached,
%% or another node has changed it. `fits': the rebuild is one for the version of this node's aggregates.
-spec subscribe(pid()) -> ok.
subscribe(Pid) ->
    gen_server:cast(Pid, {subscribe, self()}).

%% @doc The caller gets it once more, if the target can be reached.
-spec announce(pid()) -> ok.
announce(Pid) ->
    gen_server:cast(Pid, {announce, self()}).

-spec init(warp_context:membership()) -> {ok, #state{}, {continue, open}}.
init(Membership) ->
    _ = process_flag(trap_exit, true),
    #{projections := #{target := Name, config := Config, tables := Declared}, aggregates := Aggregates} = Context =
        warp_context:mine(Membership),
    ok = warp_projection_table:put_process(Context, writer, self()),
    %% The table may still show how the target was for the previous writer.
    ok = warp_projection_table:put_target_state(Context, {away, starting}),
    Settings = #{context => Context, declared => Declared,
                 version => warp_projection_options:version(Aggregates, Declared)},
    {ok, #state{settings = Settings, module = warp_projection_target:module(Name), config = Config},
     {continue, open}}.

-spec handle_continue(open, #state{}) -> {noreply, #state{}}.
handle_continue(open, #state{module = Module, config = Config} = State) ->
    #{name := Name, dir := Dir, durability := Durability, file_access := Access} = Context = context(State),
    About = #{context => Name, dir => Dir, durability => Durability, file_access => Access},
    case warp_projection_target:open(Module, Config, About) of
        {ok, Target} ->
            ok = warp_projection_table:put_target(Context, Target),
            _ = [self() ! look || warp_projection_table:is_shared(Context)],
            {noreply, connect(State#state{target = Target})};
        {error, disk_full} ->
            {noreply, reached({away, disk_full}, later(open, State))};
        {error, Reason} ->
            {noreply, reached({error, Reason}, later(open, State))}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call(status, _From, #state{reached = {error, Reason}} = State) ->
    {reply, {error, Reason}, State};
handle_call(status, _From, State) ->
    {reply, ok, State};
handle_call({join, Shard, Generation}, _From, #state{reached = up} = State0) ->
    %% What the previous projector of the shard handed over comes first.
    #state{catalog = Catalog} = State = write(State0),
    Reply =
        case warp_projection_catalog:set(Generation, Catalog) of
            {ok, Set} -> joined(Set, Shard, State);
            stale -> {error, stale}
        end,
    {reply, Reply, State};
handle_call({join, _, _}, _From, #state{reached = Reached} = State) ->
    {reply, {error, Reached}, State};
handle_call({rebuild, Step}, _From, #state{reached = up} = State0) ->
    {Reply, State} = rebuild_step(Step, write(State0)),
    {reply, Reply, State};
handle_call({rebuild, _}, _From, #state{reached = Reached} = State) ->
    {reply, {error, {target_away, Reached}}, State};
handle_call(Request, _From, State) ->
    ok = warp_stray:note(?MODULE, call, Request),
    {reply, {error, {unknown_request, Request}}, State}.

joined(Set, Shard, #state{catalog = Catalog, target = Target}) ->
    Aside = warp_projection_target:read(Target, warp_projection_sql_own:read_aside(Set), [Shard]),
    Skipped = warp_projection_target:read(Target, warp_projection_sql_own:read_skipped(), [Shard]),
    case {warp_projection_catalog:checkpoint(Set, Shard, Catalog), Aside, Skipped} of
        {{ok, Checkpoint}, {ok, AsideRows}, {ok, SkippedRows}} ->
            {ok, (maps:with([turn, position, events, run], Checkpoint))#{
                aside => maps:from_list([{Entity, Seq} || [Entity, Seq] <- AsideRows]),
                skipped => maps:from_list([{{Entity, Seq}, []} || [Entity, Seq] <- SkippedRows])}};
        {none, _, _} ->
            {error, stale};
        {_, {error, _} = Error, _} ->
            Error;
        {_, _, {error, _} = Error} ->
            Error
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({subscribe, Pid}, #state{subscribers = Others, reached = Reached} = State) ->
    _ = [announce(Pid, State) || Reached =:= up],
    {noreply, State#state{subscribers = [Pid | Others]}};
handle_cast({announce, Pid}, #state{reached = Reached} = State) ->
    _ = [announce(Pid, State) || Reached =:= up],
    {noreply, State};
handle_cast({Kind, _, _, _} = Item, #state{queue = Queue} = State) when Kind =:= batch; Kind =:= erase ->
    Items = gather([Item]),
    Queued = State#state{queue = Items ++ Queue},
    case State#state.reached of
        up ->
            {noreply, write(Queued)};
        Reached ->
            ok = not_erased(Items, Reached),
            {noreply, Queued}
    end;
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

%% What came meanwhile goes into the same transaction. The last one is the first of the list.
gather(Items) ->
    case warp_call:next_cast(?ITEMS) of
        {cast, {_, _, _, _} = Item} -> gather([Item | Items]);
        {cast, Stray} -> ok = warp_stray:note(?MODULE, cast, Stray), gather(Items);
        none -> Items
    end.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info(open, State) ->
    handle_continue(open, State);
handle_info(connect, State) ->
    {noreply, connect(State)};
handle_info(look, State) ->
    _ = erlang:send_after(?LOOK_MS, self(), look),
    {noreply, look(State)};
handle_info({again, {erase, _, _, _} = Item}, State) ->
    handle_cast(Item, State);
handle_info({warp_projection_lost, Message}, State) ->
    %% Another file may stand in its place, with other checkpoints: all that know them restart.
    ?LOG_WARNING("Warp: the projection of context ~ts is opened again: ~ts", [name(State), Message]),
    {stop, {shutdown, files_lost}, State};
handle_info(Stray, State) ->
    ok = warp_stray:note(?MODULE, message, Stray),
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{target = Target}) ->
    _ = [warp_projection_target:close(Target) || Target =/= none],
    warp_redact:empty_mailbox().

%% @private
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{} = S} = Status) ->
    warp_redact:status(Status, #{target => kind(S#state.reached), queue => length(S#state.queue)});
format_status(Status) ->
    warp_redact:status(Status, #{}).

context(#state{settings = #{context := Context}}) -> Context.

name(State) -> maps:get(name, context(State)).

%% ------------------------------------------------------------------ Reaching the target

later(What, #state{retry_ms = Retry} = State) ->
    _ = erlang:send_after(Retry, self(), What),
    State#state{retry_ms = min(2 * Retry, ?RETRY_MAX_MS)}.

reached(Now, #state{reached = Before} = State) ->
    _ = [log(Before, Now, name(State)) || kind(Before) =/= kind(Now)],
    ok = warp_projection_table:put_target_state(context(State), Now),
    State#state{reached = Now}.

kind({Kind, _}) -> Kind;
kind(Kind) -> Kind.

log(new, up, _Name) ->
    ok;
log(_Before, up, Name) ->
    ?LOG_NOTICE("Warp: the projection target of context ~ts can be reached again", [Name]);
log(_Before, {away, Why}, Name) ->
    ?LOG_WARNING("Warp: the projection target of context ~ts is unreachable. Warp tries again, and entities "
                 "are written to as before: ~tp", [Name, Why]);
log(_Before, {error, Why}, Name) ->
    ?LOG_ERROR("Warp: the projection target of context ~ts cannot be used: ~tp", [Name, Why]).

%% Reads where everything stands, and goes on with what waits.
connect(#state{target = Target, settings = Settings} = State) ->
    case warp_projection_setup:connect(Target, Settings) of
        {ok, Catalog} ->
            write(loaded(Catalog, reached(up, State#state{retry_ms = ?RETRY_MIN_MS})));
        {error, Why} ->
            down(Why, State)
    end.

down({refused, _, Message}, State) -> reached({error, {target_refused, Message}}, later(connect, State));
down({wrong_identity, _, _} = Why, State) -> reached({error, Why}, later(connect, State));
down({newer_format, _, _} = Why, State) -> reached({error, Why}, later(connect, State));
down({away, _} = Away, State) -> reached(Away, later(connect, State)).

announce(Pid, #state{catalog = Catalog, settings = #{version := Version}}) ->
    #{live := Made, building := Making} = warp_projection_catalog:version(Catalog),
    Pid ! {warp_projection_ready, #{generation => warp_projection_catalog:generation(Catalog),
                                    due => Made =/= Version,
                                    rebuild => warp_projection_catalog:rebuild(Catalog),
                                    fits => Making =:= Version}},
    ok.

%% Another node may have changed tables, begun a rebuild or ended one.
look(#state{reached = up, target = Target, settings = Settings, catalog = Catalog} = State) ->
    Known = warp_projection_catalog:layout(Catalog),
    case warp_projection_target:peek(Target, warp_projection_sql_own:read_layout()) of
        {ok, [[Layout]]} when Layout =/= Known ->
            case warp_projection_setup:load(Target, Settings) of
                {ok, Loaded} -> loaded(Loaded, State);
                {error, Why} -> down(Why, State)
            end;
        %% What cannot be reached is noticed by the next write.
        _ ->
            State
    end;
look(State) ->
    State.

%% Which tables there are, also for those who ask while the target is unreachable.
show_tables(#state{catalog = Catalog} = State) ->
    warp_projection_table:put_tables(context(State), warp_projection_catalog:tables(Catalog)).

%% ------------------------------------------------------------------ Writing

write(#state{queue = [_ | _] = Queue, reached = up} = State) ->
    write(lists:reverse(Queue), State#state{queue = []});
write(State) ->
    State.

write([], State) ->
    State;
write(Items, #state{reached = Reached, queue = Queue} = State) when Reached =/= up ->
    State#state{queue = lists:reverse(Items) ++ Queue};
write([{erase, _, _, _} | _] = Items, State) ->
    {Erasures, Rest} = lists:splitwith(fun(Item) -> element(1, Item) =:= erase end, Items),
    erase_all(Erasures, Rest, State);
write(Items, State) ->
    {Batches, Rest} = lists:splitwith(fun(Item) -> element(1, Item) =:= batch end, Items),
    %% Only now is it known which of them have their turn.
    case [Item || Item <- Batches, is_next(Item, State)] of
        [] -> write(Rest, State);
        [Only] -> alone(Only, Rest, State);
        Several -> together(Several, Rest, State)
    end.

%% After the target was unreachable: a batch that waits may have been written after all.
is_next({batch, Pid, Tag, Batch}, #state{catalog = Catalog}) ->
    case warp_projection_catalog:turn(Batch, Catalog) of
        next -> true;
        written -> Pid ! {warp_written, Tag}, false;
        stale -> Pid ! {warp_rejoin, Tag}, false
    end.

together(Items, Rest, #state{catalog = Catalog, target = Target} = State) ->
    case statements(Items, [], Catalog) of
        {ok, Statements, Next} ->
            case warp_projection_target:execute(Target, Statements) of
                ok -> write(Rest, written(Items, Next, State));
                {error, {refused, _, _}} -> each(Items, Rest, State);
                {error, {away, _} = Away} -> away(Away, Items ++ Rest, State)
            end;
        {impossible, _, _} ->
            each(Items, Rest, State)
    end.

statements([], Statements, Catalog) ->
    {ok, lists:append(lists:reverse(Statements)), Catalog};
statements([{batch, _, _, Batch} | Items], Statements, Catalog) ->
    case warp_projection_batch:statements(Batch, Catalog) of
        {ok, Own, Next} -> statements(Items, [[S || {_, S} <- Own] | Statements], Next);
        {impossible, _, _} = Impossible -> Impossible
    end.

%% One of several was refused: each goes by itself.
each([], Rest, State) ->
    write(Rest, State);
each([Item | Items], Rest, #state{reached = up} = State) ->
    each(Items, Rest, alone(Item, [], State));
each(Items, Rest, State) ->
    write(Items ++ Rest, State).

alone({batch, Pid, Tag, Batch} = Item, Rest, #state{catalog = Catalog, target = Target} = State) ->
    case warp_projection_batch:statements(Batch, Catalog) of
        {ok, Statements, Next} ->
            case warp_projection_target:execute(Target, [S || {_, S} <- Statements]) of
                ok ->
                    write(Rest, written([Item], Next, State));
                {error, {refused, N, Message}} ->
                    case warp_projection_batch:origin(N, Statements) of
                        guard ->
                            look_again([Item | Rest], State);
                        Index ->
                            Pid ! {warp_refused, Tag, Index, warp_projection_sql_rows:explain(Message)},
                            write(Rest, State)
                    end;
                {error, {away, _} = Away} ->
                    away(Away, [Item | Rest], State)
            end;
        {impossible, Index, Why} ->
            Pid ! {warp_refused, Tag, Index, warp_text:format("~0tp", [Why])},
            write(Rest, State)
    end.

written(Items, Catalog, #state{catalog = Before} = State) ->
    lists:foreach(fun({batch, Pid, Tag, _}) -> Pid ! {warp_written, Tag} end, Items),
    Now = State#state{catalog = Catalog},
    Schema = fun(Known) -> warp_projection_catalog:schema(live, Known) end,
    _ = [show_tables(Now) || Schema(Catalog) =/= Schema(Before)],
    Now.

%% Something of ours was carried out and we did not hear of it, or another node has written: the next owner of a shard,
%% or one that has changed tables.
look_again(Items, #state{target = Target, settings = Settings, catalog = Before} = State) ->
    case warp_projection_setup:load(Target, Settings) of
        %% What was carried out does not show yet.
        {ok, Before} -> away({away, out_of_turn}, Items, State);
        {ok, Catalog} -> write(Items, loaded(Catalog, State));
        {error, Why} -> away(Why, Items, State)
    end.

%% Tells of it who has to know.
loaded(Catalog, State) ->
    Known = State#state{catalog = Catalog},
    ok = show_tables(Known),
    lists:foreach(fun(Pid) -> announce(Pid, Known) end, Known#state.subscribers),
    Known.

%% The items are kept until the target can be reached.
away(Away, Items, #state{queue = Queue} = State) ->
    ok = not_erased(Items, Away),
    down(Away, State#state{queue = lists:reverse(Items) ++ Queue}).

not_erased(Items, Why) ->
    _ = [Pid ! {warp_not_erased, Tag, Why} || {erase, Pid, Tag, _} <- Items],
    ok.

%% ------------------------------------------------------------------ Erasing

erase_all(Items, Rest, #state{catalog = Catalog, target = Target} = State) ->
    case [Item || Item <- Items, not is_old(Item, Catalog)] of
        [] ->
            write(Rest, State);
        Current ->
            Entities = lists:usort([Entity || {erase, _, _, Entity} <- Current]),
            {Then, Erased, Refused, Next} = warp_projection_erase_rows:erase(Entities, context(State), Target, Catalog),
            Left = [Item || Item <- Current, is_left(Item, Erased, Refused)],
            Known = State#state{catalog = Next},
            case Then of
                ok -> write(Rest, Known);
                out_of_turn -> look_again(Left ++ Rest, Known);
                {away, _} = Away -> away(Away, Left ++ Rest, Known)
            end
    end.

is_old({erase, Pid, Tag, {_, N, Epoch}}, Catalog) ->
    IsOld = Epoch < warp_projection_catalog:epoch(N, Catalog),
    _ = [Pid ! {warp_not_erased, Tag, old_epoch} || IsOld],
    IsOld.

%% Tells who asked. Others need not wait for one that was refused, since what would bring its rows back is
%% held: so it is tried again later.
is_left({erase, Pid, Tag, Entity} = Item, Erased, Refused) ->
    case {lists:member(Entity, Erased), lists:keyfind(Entity, 1, Refused)} of
        {true, _} ->
            Pid ! {warp_erased, Tag},
            false;
        {false, {_, Message}} ->
            Pid ! {warp_not_erased, Tag, {refused, Message}},
            _ = erlang:send_after(?RETRY_MAX_MS, self(), {again, Item}),
            false;
        {false, false} ->
            true
    end.

%% ------------------------------------------------------------------ Rebuilding

rebuild_step(Step, #state{reached = up, catalog = Catalog, settings = #{version := Version}} = State) ->
    #{building := Making} = warp_projection_catalog:version(Catalog),
    case {Step, warp_projection_catalog:rebuild(Catalog)} of
        {start, running} when Making =:= Version -> {{error, already_running}, State};
        {cancel, Is} when Is =/= running -> {{error, not_running}, State};
        %% Another node has ended it.
        {_, Is} when Step =/= start, Is =/= running -> {{error, interrupted}, State};
        _ -> rebuild_now(Step, State)
    end;
rebuild_step(_Step, #state{reached = Reached} = State) ->
    {{error, {target_away, Reached}}, State}.

rebuild_now(Step, #state{target = Target, settings = Settings, catalog = Catalog} = State) ->
    case warp_projection_target:execute(Target, warp_projection_sql_rebuild:statements(Step, Settings, Catalog)) of
        ok ->
            case warp_projection_setup:load(Target, Settings) of
                {ok, Loaded} ->
                    Now = State#state{catalog = Loaded},
                    ok = show_tables(Now),
                    {{ok, #{generation => warp_projection_catalog:generation(Loaded)}}, Now};
                {error, Why} ->
                    {{error, {target_away, Why}}, down(Why, State)}
            end;
        {error, {refused, 1, _}} ->
            changed(Step, State);
        {error, {refused, _, Message}} ->
            {{error, {target_refused, Message}}, State};
        {error, {away, Why} = Away} ->
            {{error, {target_away, Why}}, down(Away, State)}
    end.

%% Another node has changed the tables. What was asked for may be out of place by now, and is only done again where
%% somebody wants it.
changed(Step, #state{target = Target, settings = Settings, catalog = Before} = State) ->
    case warp_projection_setup:load(Target, Settings) of
        {ok, Before} -> {{error, {target_away, out_of_turn}}, down({away, out_of_turn}, State)};
        {ok, Catalog} when Step =:= start; Step =:= cancel -> rebuild_step(Step, loaded(Catalog, State));
        {ok, Catalog} -> {{error, interrupted}, loaded(Catalog, State)};
        {error, Why} -> {{error, {target_away, Why}}, down(Why, State)}
    end.
