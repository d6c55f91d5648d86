%% @private Deletes entities of a context with a projection: from their log and from all tables, in
%% this order, each deletion in a process of its own.
%%
%% A deletion is noted on disk first, with the incarnation of the entity. Then the log is erased,
%% and projectors forget what they read of it. Only then are the rows erased, behind everything that
%% was handed to the writer before; so no projector that lags can bring them back. Should the entity
%% begin anew meanwhile, its new life is held: not projected before the old one is gone.
-module(warp_proj_eraser).
-behaviour(gen_server).

-export([start_link/1, status/1, delete/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-include("../warp.hrl").
-include_lib("kernel/include/logger.hrl").

%% How long the target may be away before the caller of a deletion is told.
-define(PATIENCE_MS, 10000).
-define(RETRY_MS, 500).
%% How often, and after how long, an eraser that went away is looked for again.
-define(ATTEMPTS, 100).
-define(PAUSE_MS, 50).

-record(state, {
    context :: #context{},
    notes :: warp_nif:projection() | undefined,
    error :: term(),
    %% Deletions under way, and who waits for one of the same entity.
    running = #{} :: #{pid() => binary()},
    waiting = #{} :: #{binary() => [{gen_server:from(), #warp_entity{}}]}
}).

-spec start_link(reference()) -> gen_server:start_ret().
start_link(Ref) ->
    gen_server:start_link(?MODULE, Ref, []).

-spec status(pid()) -> ok | {error, term()}.
status(Pid) ->
    try
        gen_server:call(Pid, status, infinity)
    catch
        exit:_ -> {error, interrupted}
    end.

%% @doc Deletes an entity from its log and from the projection.
-spec delete(warp_context:context(), #warp_entity{}) -> ok | {error, term()}.
delete(Context, Entity) ->
    delete(Context, Entity, ?ATTEMPTS).

%% Should it be killed, it is asked again: a deletion can be repeated.
delete(#context{ref = Ref} = Context, Entity, Left) ->
    Result =
        case warp_proj:get(Context, eraser) of
            {ok, Pid} ->
                try
                    gen_server:call(Pid, {delete, Entity}, infinity)
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
            delete(Context, Entity, Left - 1);
        _ ->
            Result
    end.

-spec init(reference()) -> {ok, #state{}}.
init(Ref) ->
    _ = process_flag(trap_exit, true),
    {ok, Context} = warp_context:find(Ref),
    ok = warp_proj:put(Context, eraser, self()),
    {ok, open(#state{context = Context})}.

open(#state{context = Context} = State) ->
    case noted(Context) of
        {ok, Notes, Left} ->
            %% Before any projector begins.
            lists:foreach(
                fun({Entity, _, Incarnation}) ->
                    warp_proj:put(Context, {hold, Entity}, Incarnation)
                end,
                Left),
            lists:foldl(
                fun({Entity, N, Incarnation}, Acc) ->
                    run(fun() -> go_on(Context, Notes, {Entity, N}, Incarnation) end, Entity, Acc)
                end,
                State#state{notes = Notes},
                Left);
        {error, Reason} ->
            _ = erlang:send_after(?RETRY_MS, self(), open),
            State#state{error = Reason}
    end.

noted(#context{dir = Dir, file_access = Access, projections = #{target := Target}} = Context) ->
    case warp_proj_notes:open(Dir, Target, Access) of
        {ok, Notes} ->
            case warp_proj_notes:all(Notes) of
                {ok, Left} ->
                    note_again(Context, Notes, Left);
                {error, _} = Error ->
                    ok = warp_proj_notes:close(Notes),
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% Holds without a note: of a deletion that was killed right at its end, or another program has
%% removed the notes. Erasing once more takes nothing of a new life: that is held.
note_again(#context{shards = Shards} = Context, Notes, Left) ->
    Again = [{Entity, element(2, {ok, _} = warp_nif:shard_of(Entity, Shards)), Incarnation}
             || {{hold, Entity}, Incarnation} <- warp_proj:all(Context, {hold, '_'}),
                not lists:keymember(Entity, 1, Left)],
    case [Error || {Entity, N, Incarnation} <- Again,
                   {error, _} = Error <- [warp_proj_notes:add(Notes, Entity, N, Incarnation)]] of
        [] ->
            {ok, Notes, Again ++ Left};
        [Error | _] ->
            ok = warp_proj_notes:close(Notes),
            Error
    end.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(status, _From, #state{notes = undefined, error = Reason} = State) ->
    {reply, {error, Reason}, State};
handle_call(status, _From, State) ->
    {reply, ok, State};
handle_call({delete, _Entity}, _From, #state{notes = undefined, error = Reason} = State) ->
    {reply, {error, Reason}, State};
handle_call({delete, #warp_entity{id = Id} = Entity}, From, State) ->
    {noreply, start(Id, {From, Entity}, State)}.

start(Id, {From, Entity} = Wanted, #state{running = Running, waiting = Waiting} = State) ->
    #state{context = Context, notes = Notes} = State,
    case lists:member(Id, maps:values(Running)) of
        true ->
            Others = maps:get(Id, Waiting, []),
            State#state{waiting = Waiting#{Id => Others ++ [Wanted]}};
        false ->
            run(fun() -> begin_deletion(Context, Notes, Entity, From) end, Id, State)
    end.

run(Fun, Id, #state{running = Running} = State) ->
    Pid = spawn_link(Fun),
    State#state{running = Running#{Pid => Id}}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({'EXIT', Pid, Reason}, #state{running = Running, waiting = Waiting} = State) ->
    case maps:take(Pid, Running) of
        {Id, Left} when Reason =:= normal ->
            Next = State#state{running = Left},
            case maps:get(Id, Waiting, []) of
                [] -> {noreply, Next};
                [First | Others] ->
                    Rest = case Others of [] -> maps:remove(Id, Waiting); _ -> Waiting#{Id := Others} end,
                    {noreply, start(Id, First, Next#state{waiting = Rest})}
            end;
        {_Id, _Left} ->
            %% Its note tells what is to be done: read it again.
            {stop, Reason, State};
        error ->
            {stop, Reason, State}
    end;
handle_info({warp_projection_lost, Message}, #state{context = #context{name = Name}} = State) ->
    ?LOG_WARNING("Warp: the notes of deletions of context ~ts are opened again: ~ts", [Name, Message]),
    {stop, {shutdown, files_lost}, State};
handle_info(open, State) ->
    {noreply, open(State)};
handle_info(_Stray, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{notes = undefined}) -> ok;
terminate(_Reason, #state{notes = Notes}) -> warp_proj_notes:close(Notes).

%% ------------------------------------------------------------------ One deletion

begin_deletion(Context, Notes, #warp_entity{id = Id, shard = N} = Entity, From) ->
    case incarnation(Context, Id, N) of
        {ok, Incarnation} ->
            case warp_proj_notes:add(Notes, Id, N, Incarnation) of
                ok ->
                    ok = warp_proj:put(Context, {hold, Id}, Incarnation),
                    Deleted = warp_client:call(Entity, delete, 0, infinity, repeatable),
                    erased_log(Deleted, Context, Notes, {Id, N}, Incarnation, From);
                {error, closed} ->
                    gen_server:reply(From, {error, interrupted});
                {error, Reason} ->
                    gen_server:reply(From, {error, Reason})
            end;
        {error, Reason} ->
            gen_server:reply(From, {error, Reason})
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

erased_log(deleted, Context, Notes, Who, _Incarnation, From) ->
    rows(Context, Notes, Who, From, ok);
erased_log({error, _} = Failed, Context, Notes, {Id, N} = Who, Incarnation, From) ->
    case incarnation(Context, Id, N) of
        {ok, Incarnation} when Incarnation > 0 ->
            %% It did not come to it.
            forget(Context, Notes, Who),
            gen_server:reply(From, Failed);
        {ok, _} ->
            rows(Context, Notes, Who, From, Failed);
        {error, _} ->
            %% Not known now: found out when it can be.
            gen_server:reply(From, Failed),
            go_on(Context, Notes, Who, Incarnation)
    end.

%% After a start, or when it could not be told whether the log was erased.
go_on(Context, Notes, {Id, N} = Who, Incarnation) ->
    case incarnation(Context, Id, N) of
        {ok, Incarnation} when Incarnation > 0 ->
            forget(Context, Notes, Who);
        {ok, _} ->
            rows(Context, Notes, Who, none, ok);
        {error, _} ->
            _ = timer:sleep(?RETRY_MS),
            go_on(Context, Notes, Who, Incarnation)
    end.

rows(Context, Notes, {Id, N} = Who, From, Result) ->
    _ = [ok = warp_projector:flush(Pid, Id)
         || {_, Pid} <- warp_proj:all(Context, {projector, N, '_'})],
    Timer = make_ref(),
    _ = erlang:send_after(?PATIENCE_MS, self(), {patience, Timer}),
    Left = erase(Context, Id, From, Timer),
    forget(Context, Notes, Who),
    _ = [gen_server:reply(Left, Result) || Left =/= none],
    ok.

erase(Context, Id, From, Timer) ->
    case warp_proj:get(Context, writer) of
        {ok, Writer} ->
            Tag = erlang:monitor(process, Writer),
            ok = warp_proj_writer:erase(Writer, Tag, Id),
            erasing(Context, Id, From, Timer, Tag, no_answer);
        none ->
            _ = timer:sleep(?RETRY_MS),
            erase(Context, Id, From, Timer)
    end.

%% Whoever asked is told once if it takes too long; it goes on all the same.
erasing(Context, Id, From, Timer, Tag, Why) ->
    receive
        {warp_erased, Tag} ->
            true = erlang:demonitor(Tag, [flush]),
            From;
        {warp_not_erased, Tag, Reason} ->
            erasing(Context, Id, From, Timer, Tag, Reason);
        {'DOWN', Tag, process, _, _} ->
            _ = timer:sleep(?RETRY_MS),
            erase(Context, Id, From, Timer);
        {patience, Timer} when From =/= none ->
            gen_server:reply(From, {error, {still_to_erase, still(Context, Why)}}),
            erasing(Context, Id, none, Timer, Tag, Why)
    end.

still(#context{projections = #{target := Target}} = Context, Why) ->
    Tables = case warp_proj:get(Context, tables) of {ok, Known} -> Known; none -> [] end,
    #{target => Target, projections => Tables, reason => Why}.

forget(Context, Notes, {Id, N} = Who) ->
    case warp_proj_notes:remove(Notes, Id) of
        ok ->
            ok = warp_proj:take(Context, {hold, Id}),
            lists:foreach(fun({_, Pid}) -> warp_projector:prod(Pid) end,
                          warp_proj:all(Context, {projector, N, '_'}));
        {error, _} ->
            _ = timer:sleep(?RETRY_MS),
            forget(Context, Notes, Who)
    end.
