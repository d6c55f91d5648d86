%% @private Deletes entities of a context with a projection: from their log and from all tables, in
%% this order, each deletion in a process of its own.
%%
%% A deletion is noted on disk first, with the incarnation of the entity. Then the log is erased,
%% and projectors forget what they read of it. Only then are the rows erased, behind everything that
%% was handed to the writer before; so no projector that lags can bring them back. Should the entity
%% begin anew meanwhile, its new life is held: not projected before the old one is gone.
-module(warp_projection_eraser).
-behaviour(gen_server).

-export([start_link/1, status/1, delete/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-include("../base/warp_entity.hrl").
-include_lib("kernel/include/logger.hrl").

%% How long whoever asks for a deletion waits, whatever keeps it.
-define(PATIENCE_MS, 10000).
-define(RETRY_MS, 500).
%% How often, and after how long, an eraser that went away is looked for again.
-define(ATTEMPTS, 100).
-define(PAUSE_MS, 50).

%% Who waits, and the timer that ends the waiting.
-type asker() :: {gen_server:from(), reference()}.

-record(deletion, {
    pid :: pid(),
    askers = [] :: [asker()],
    %% Whether the log is erased, and why the tables are not yet.
    log_erased = false :: boolean(),
    why = no_answer :: term(),
    %% Whoever asked while this one was under way: the entity may have begun anew since.
    next = none :: none | {#warp_entity{}, [asker()]}
}).

-record(state, {
    context :: warp_context:context(),
    notes :: warp_nif:projection() | undefined,
    error :: term(),
    %% Under way, by entity, and by process.
    deletions = #{} :: #{binary() => #deletion{}},
    running = #{} :: #{pid() => binary()}
}).

-spec start_link(warp_context:membership()) -> gen_server:start_ret().
start_link(Membership) ->
    gen_server:start_link(?MODULE, Membership, []).

-spec status(pid()) -> ok | {error, term()}.
status(Pid) ->
    try
        gen_server:call(Pid, status, infinity)
    catch
        exit:_ -> {error, interrupted}
    end.

%% @doc Deletes an entity from its log and from the projection. Answers after ten seconds at the latest:
%% `{still_to_erase, What}' when the log is erased, and `timeout' when that is not known yet. Either
%% way it is gone on with.
-spec delete(warp_context:context(), #warp_entity{}) -> ok | {error, term()}.
delete(Context, Entity) ->
    delete(Context, Entity, now_ms() + ?PATIENCE_MS, ?ATTEMPTS).

%% Should it be killed, it is asked again: a deletion can be repeated.
delete(#{ref := Ref} = Context, Entity, Until, Left) ->
    Result =
        case warp_projection_table:get(Context, eraser) of
            {ok, Pid} ->
                try
                    gen_server:call(Pid, {delete, Entity, Until}, infinity)
                catch
                    exit:_ -> {error, interrupted}
                end;
            none ->
                {error, interrupted}
        end,
    case {Result, warp_context:find(Ref)} of
        {{error, interrupted}, not_found} ->
            {error, context_stopped};
        {{error, interrupted}, _} when Left > 0 ->
            _ = timer:sleep(?PAUSE_MS),
            delete(Context, Entity, Until, Left - 1);
        _ ->
            Result
    end.

-spec init(warp_context:membership()) -> {ok, #state{}}.
init(Membership) ->
    _ = process_flag(trap_exit, true),
    Context = warp_context:mine(Membership),
    ok = warp_projection_table:put(Context, eraser, self()),
    {ok, open(#state{context = Context})}.

open(#state{context = Context} = State) ->
    case noted(Context) of
        {ok, Notes, Left} ->
            %% Before any projector begins.
            lists:foreach(
                fun({Entity, _, Incarnation}) ->
                    warp_projection_table:put(Context, {hold, Entity}, Incarnation)
                end,
                Left),
            lists:foldl(
                fun({Entity, N, Incarnation}, Acc) ->
                    run(fun(Tell) -> go_on(Context, Notes, {Entity, N}, Incarnation, Tell) end, Entity, [], Acc)
                end,
                State#state{notes = Notes},
                Left);
        {error, Reason} ->
            _ = erlang:send_after(?RETRY_MS, self(), open),
            State#state{error = Reason}
    end.

noted(#{dir := Dir, file_access := Access, projections := #{target := Target}} = Context) ->
    case warp_projection_notes:open(Dir, Target, Access) of
        {ok, Notes} ->
            case warp_projection_notes:all(Notes) of
                {ok, Left} ->
                    note_again(Context, Notes, Left);
                {error, _} = Error ->
                    ok = warp_projection_notes:close(Notes),
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% Holds without a note: of a deletion that was killed right at its end, or another program has
%% removed the notes. Erasing once more takes nothing of a new life: that is held.
note_again(#{shards := Shards} = Context, Notes, Left) ->
    Again = [{Entity, element(2, {ok, _} = warp_nif:shard_of(Entity, Shards)), Incarnation}
             || {{hold, Entity}, Incarnation} <- warp_projection_table:all(Context, {hold, '_'}),
                not lists:keymember(Entity, 1, Left)],
    case [Error || {Entity, N, Incarnation} <- Again,
                   {error, _} = Error <- [warp_projection_notes:add(Notes, Entity, N, Incarnation)]] of
        [] ->
            {ok, Notes, Again ++ Left};
        [Error | _] ->
            ok = warp_projection_notes:close(Notes),
            Error
    end.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(status, _From, #state{notes = undefined, error = Reason} = State) ->
    {reply, {error, Reason}, State};
handle_call(status, _From, State) ->
    {reply, ok, State};
handle_call({delete, #warp_entity{}, Until}, _From, #state{notes = undefined, error = Reason} = State)
  when is_integer(Until) ->
    {reply, {error, Reason}, State};
handle_call({delete, #warp_entity{id = Id, shard = N} = Entity, Until}, From, #state{context = Context} = State)
  when is_integer(Until) ->
    case warp_nif:shard_of(Id, maps:get(shards, Context)) of
        {ok, N} ->
            Timer = erlang:send_after(max(0, Until - now_ms()), self(), {patience, Id, From}),
            {noreply, asked(Id, Entity, {From, Timer}, State)};
        {ok, _Another} ->
            {reply, {error, {bad_entity_id, not_of_that_shard}}, State};
        {error, Why} ->
            {reply, {error, {bad_entity_id, Why}}, State}
    end;
handle_call(Request, _From, State) ->
    ok = warp_stray:note(warp_projection_eraser, call, Request),
    {reply, {error, {unknown_request, Request}}, State}.

asked(Id, Entity, Asker, #state{deletions = Deletions} = State) ->
    case Deletions of
        #{Id := #deletion{next = none} = Deletion} ->
            State#state{deletions = Deletions#{Id := Deletion#deletion{next = {Entity, [Asker]}}}};
        #{Id := #deletion{next = {_, Askers}} = Deletion} ->
            State#state{deletions = Deletions#{Id := Deletion#deletion{next = {Entity, [Asker | Askers]}}}};
        #{} ->
            start(Id, Entity, [Asker], State)
    end.

start(Id, Entity, Askers, #state{context = Context, notes = Notes} = State) ->
    run(fun(Tell) -> begin_deletion(Context, Notes, Entity, Tell) end, Id, Askers, State).

%% In a process of its own, which says how far it is: nobody who asks waits for it alone.
run(Fun, Id, Askers, #state{running = Running, deletions = Deletions} = State) ->
    Eraser = self(),
    Pid = spawn_link(fun() -> Fun(fun(What) -> Eraser ! {deletion, self(), What}, ok end) end),
    State#state{running = Running#{Pid => Id},
                deletions = Deletions#{Id => #deletion{pid = Pid, askers = Askers}}}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Message, State) ->
    ok = warp_stray:note(warp_projection_eraser, cast, Message),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({deletion, Pid, What}, #state{running = Running, deletions = Deletions} = State) ->
    case Running of
        #{Pid := Id} ->
            #{Id := Deletion} = Deletions,
            {noreply, State#state{deletions = Deletions#{Id := told(What, Deletion)}}};
        #{} ->
            ok = warp_stray:note(warp_projection_eraser, message, {deletion, Pid, What}),
            {noreply, State}
    end;
handle_info({patience, Id, From}, #state{deletions = Deletions} = State) ->
    case Deletions of
        #{Id := Deletion} ->
            {noreply, State#state{deletions = Deletions#{Id := impatient(Id, From, Deletion, State)}}};
        #{} ->
            {noreply, State}
    end;
handle_info({'EXIT', Pid, Reason}, #state{running = Running, deletions = Deletions} = State) ->
    case maps:take(Pid, Running) of
        {Id, Left} when Reason =:= normal ->
            {#deletion{askers = Askers, next = Next}, Others} = maps:take(Id, Deletions),
            ok = reply({error, interrupted}, Askers),
            Ended = State#state{running = Left, deletions = Others},
            case Next of
                none -> {noreply, Ended};
                {Entity, Waiting} -> {noreply, start(Id, Entity, Waiting, Ended)}
            end;
        {_Id, _Left} ->
            %% Its note tells what is to be done: read it again.
            {stop, Reason, State};
        error ->
            ok = warp_stray:note(warp_projection_eraser, message, {'EXIT', Pid, Reason}),
            {noreply, State}
    end;
handle_info({warp_projection_lost, Message}, #state{context = #{name := Name}} = State) ->
    ?LOG_WARNING("Warp: the notes of deletions of context ~ts are opened again: ~ts", [Name, Message]),
    {stop, {shutdown, files_lost}, State};
handle_info(open, State) ->
    {noreply, open(State)};
handle_info(Message, State) ->
    ok = warp_stray:note(warp_projection_eraser, message, Message),
    {noreply, State}.

told(log_erased, Deletion) -> Deletion#deletion{log_erased = true};
told({why, Why}, Deletion) -> Deletion#deletion{why = Why};
told({result, Result}, #deletion{askers = Askers} = Deletion) ->
    ok = reply(Result, Askers),
    Deletion#deletion{askers = []}.

reply(Result, Askers) ->
    lists:foreach(
        fun({From, Timer}) ->
            _ = erlang:cancel_timer(Timer),
            gen_server:reply(From, Result)
        end,
        Askers).

%% Who asked is answered, and what was asked for is done all the same.
impatient(Id, From, #deletion{askers = Askers, next = Next} = Deletion, #state{context = Context}) ->
    case {lists:keytake(From, 1, Askers), Next} of
        {{value, _, Left}, _} ->
            ok = gen_server:reply(From, still(Context, Deletion)),
            Deletion#deletion{askers = Left};
        {false, {#warp_entity{shard = N} = Entity, Waiting}} ->
            %% Behind one that is under way. Has the entity begun anew since that?
            _ = [gen_server:reply(From, case incarnation(Context, Id, N) of
                                            {ok, 0} -> still(Context, Deletion);
                                            _ -> {error, timeout}
                                        end) || lists:keymember(From, 1, Waiting)],
            Deletion#deletion{next = {Entity, lists:keydelete(From, 1, Waiting)}};
        {false, none} ->
            Deletion
    end.

still(_Context, #deletion{log_erased = false}) ->
    {error, timeout};
still(#{projections := #{target := Target}} = Context, #deletion{why = Why}) ->
    Tables = case warp_projection_table:get(Context, tables) of {ok, Known} -> Known; none -> [] end,
    {error, {still_to_erase, #{target => Target, projections => Tables, reason => Why}}}.

now_ms() -> erlang:monotonic_time(millisecond).

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{notes = undefined}) -> ok;
terminate(_Reason, #state{notes = Notes}) -> warp_projection_notes:close(Notes).

%% ------------------------------------------------------------------ One deletion

begin_deletion(Context, Notes, #warp_entity{id = Id, shard = N} = Entity, Tell) ->
    case incarnation(Context, Id, N) of
        {ok, Incarnation} ->
            case warp_projection_notes:add(Notes, Id, N, Incarnation) of
                ok ->
                    ok = warp_projection_table:put(Context, {hold, Id}, Incarnation),
                    Deleted = warp_entity_call:call(Entity, delete, 0, infinity, repeatable),
                    erased_log(Deleted, Context, Notes, {Id, N}, Incarnation, Tell);
                {error, closed} ->
                    Tell({result, {error, interrupted}});
                {error, Reason} ->
                    Tell({result, {error, Reason}})
            end;
        {error, Reason} ->
            Tell({result, {error, Reason}})
    end.

incarnation(Context, Id, N) ->
    case warp_context:shard(Context, N) of
        {ok, Handle} ->
            case warp_nif:place(Handle, Id) of
                {ok, none} -> {ok, 0};
                {ok, {Incarnation, _, _}} -> {ok, Incarnation};
                {error, closed} -> {error, {shard_unavailable, N}};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

erased_log(deleted, Context, Notes, Who, _Incarnation, Tell) ->
    rows(Context, Notes, Who, Tell, ok);
erased_log({error, _} = Failed, Context, Notes, {Id, N} = Who, Incarnation, Tell) ->
    case incarnation(Context, Id, N) of
        {ok, Incarnation} when Incarnation > 0 ->
            %% It did not come to it.
            forget(Context, Notes, Who),
            Tell({result, Failed});
        {ok, _} ->
            rows(Context, Notes, Who, Tell, Failed);
        {error, _} ->
            %% Not known now: found out when it can be.
            Tell({result, Failed}),
            go_on(Context, Notes, Who, Incarnation, Tell)
    end.

%% After a start, or when it could not be told whether the log was erased.
go_on(Context, Notes, {Id, N} = Who, Incarnation, Tell) ->
    case incarnation(Context, Id, N) of
        {ok, Incarnation} when Incarnation > 0 ->
            forget(Context, Notes, Who);
        {ok, _} ->
            rows(Context, Notes, Who, Tell, ok);
        {error, _} ->
            _ = timer:sleep(?RETRY_MS),
            go_on(Context, Notes, Who, Incarnation, Tell)
    end.

rows(Context, Notes, {Id, N} = Who, Tell, Result) ->
    ok = Tell(log_erased),
    ok = Tell({why, a_projector_is_busy}),
    _ = [ok = warp_projection_projector:flush(Pid, Id)
         || {_, Pid} <- warp_projection_table:all(Context, {projector, N, '_'})],
    ok = Tell({why, no_answer}),
    ok = erase(Context, Id, Tell),
    forget(Context, Notes, Who),
    Tell({result, Result}).

erase(Context, Id, Tell) ->
    case warp_projection_table:get(Context, writer) of
        {ok, Writer} ->
            Tag = erlang:monitor(process, Writer),
            ok = warp_projection_writer:erase(Writer, Tag, Id),
            erasing(Context, Id, Tag, Tell);
        none ->
            _ = timer:sleep(?RETRY_MS),
            erase(Context, Id, Tell)
    end.

erasing(Context, Id, Tag, Tell) ->
    receive
        {warp_erased, Tag} ->
            true = erlang:demonitor(Tag, [flush]),
            ok;
        {warp_not_erased, Tag, Reason} ->
            ok = Tell({why, Reason}),
            erasing(Context, Id, Tag, Tell);
        {'DOWN', Tag, process, _, _} ->
            _ = timer:sleep(?RETRY_MS),
            erase(Context, Id, Tell)
    end.

forget(Context, Notes, {Id, N} = Who) ->
    case warp_projection_notes:remove(Notes, Id) of
        ok ->
            ok = warp_projection_table:take(Context, {hold, Id}),
            lists:foreach(fun({_, Pid}) -> warp_projection_projector:prod(Pid) end,
                          warp_projection_table:all(Context, {projector, N, '_'}));
        {error, _} ->
            _ = timer:sleep(?RETRY_MS),
            forget(Context, Notes, Who)
    end.
