%% @private A task of a hand-off: a process that carries out one effect of {@link warp_cluster_handoff} that takes long,
%% and tells the process that started it, by `{task, N, Task, Said}':
%% `{input, Input}', what came of it; `{stage, Stage}' and `no_stage', the file that it copies into, which outlives it;
%% `{entities, Count}', about how many are copied; `{copied, Bytes, OfBytes}', how far it is; `frozen', nothing begins
%% in the shard any more;
%% `round', it has gone through the shard once, and all that was copied is on disk.
-module(warp_cluster_task).

-export([start/4, stop/1, is_of/2, failed/2]).

-export_type([task/0]).

-include_lib("kernel/include/logger.hrl").

-opaque task() :: {pid(), warp_cluster_handoff:effect()}.

%% How many pages are asked for at a time, of 4096 bytes each.
-define(PAGES, 256).
-define(PAGE_BYTES, 4096).
%% How little has to be left for the shard to be frozen, and after how many rounds it is in any case.
-define(LITTLE, 256).
-define(ROUNDS, 12).
%% How long an answer of the other node may take, and the pause before it is asked again.
-define(PATIENCE_MS, 30000).
-define(PAUSE_MS, 500).
%% How long what has begun in a shard may take until the shard is closed.
-define(CLOSING_MS, 5000).
%% How long a shard is watched before it is frozen, and how long a quiet moment is waited for.
-define(LOOK_MS, 20).
-define(LOOKS, 10).
-define(QUIET_MS, 1000).

%% @doc Starts a task for an effect, with the stage that an earlier task has opened, or `none'.
-spec start(warp_cluster_handoff:effect(), non_neg_integer(), none | term(), warp_context:context()) -> task().
start(Effect, N, Stage, Context) ->
    Mover = self(),
    Tell = fun(Said) -> Mover ! {task, N, self(), Said}, ok end,
    {spawn_link(fun() -> run(Effect, N, Stage, Context, Tell) end), Effect}.

%% @doc Ends a task, and waits until it has ended.
-spec stop(task()) -> ok.
stop({Pid, _}) ->
    true = unlink(Pid),
    Monitor = erlang:monitor(process, Pid),
    true = exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end,
    receive {'EXIT', Pid, _} -> ok after 0 -> ok end.

%% @doc Whether a process is that task.
-spec is_of(pid(), task()) -> boolean().
is_of(Pid, {Of, _}) -> Pid =:= Of.

%% @doc What came of a task that ended without saying so.
-spec failed(task(), Reason :: term()) -> warp_cluster_handoff:input().
failed({_, Effect}, Reason) ->
    came(Effect, {error, {crashed, warp_redact:shape(Reason)}}).

came({freeze, Attempt}, Result) -> {closed, Attempt, Result};
came(clean, Result) -> {cleaned, Result};
came({copy, _, Attempt}, Result) -> {copied, Attempt, Result};
came({seal, _, Attempt, _, _}, Result) -> {sealed, Attempt, Result};
came({check, Attempt, _}, Result) -> {checked, Attempt, Result};
came({adopt, Attempt, _}, Result) -> {adopted, Attempt, Result};
came({create, _}, Result) -> {created, Result};
came({verify, _}, Result) -> {verified, Result};
%% Nothing is to be done about others, which go on until they work.
came(_Effect, _Result) -> {timer, {leftover, <<>>}}.

%% ------------------------------------------------------------------ Each effect

run({serve, _Epoch}, N, _Stage, Context, _Tell) ->
    case warp_context_owners:is_here(Context, N) of
        true -> ok;
        false -> open(N, Context)
    end;
run({unfreeze, _Attempt}, N, _Stage, Context, _Tell) ->
    open(N, Context);
run({moved, _Epoch, _Node}, N, _Stage, Context, _Tell) ->
    Had = warp_context_owners:has(Context, N),
    ok = warp_cluster_member:mark(Context, N, elsewhere),
    case Had of
        true -> follow(N, Context);
        false -> ok
    end;
run({freeze, _Attempt} = Effect, N, _Stage, Context, Tell) ->
    ok = await_quiet(N, Context),
    %% What is in the file by now need not be brought there while callers wait. What fails is done when it is closed.
    _ = [warp_nif:move_wal(Shard) || {ok, Shard} <- [warp_context:shard(Context, N)]],
    ok = Tell(frozen),
    Tell({input, came(Effect, close(N, Context))});
run(clean, N, _Stage, Context, Tell) ->
    Tell({input, came(clean, clean(N, Context))});
run({copy, From, _Attempt} = Effect, N, Stage, Context, Tell) ->
    {ok, Entities} = asked(From, N, entities, [], Context),
    ok = Tell({entities, Entities}),
    {ok, Opened} = opened(Stage, N, Context, Tell),
    ok = rounds(?ROUNDS, From, N, Opened, Context, Tell),
    Tell({input, came(Effect, ok)});
run({seal, From, _Attempt, Digest, Extras} = Effect, N, Stage, Context, Tell) ->
    {ok, Opened} = opened(Stage, N, Context, Tell),
    ok = until_whole(From, N, Opened, Context, Tell),
    Sealed =
        case warp_component:take(Context, N, Extras) of
            ok -> warp_nif:stage_seal(Opened, Digest);
            {error, _} = Error -> Error
        end,
    Tell({input, came(Effect, Sealed)});
run({check, _Attempt, Digest} = Effect, N, _Stage, Context, Tell) ->
    Checked =
        case warp_nif:staged_digest(file(N, Context)) of
            {ok, Digest} -> ok;
            {ok, Other} -> {error, {other_digest, Other}};
            {error, _} = Error -> Error
        end,
    Tell({input, came(Effect, Checked)});
run({adopt, _Attempt, _Digest} = Effect, N, Stage, #{name := Name, shards := Shards} = Context, Tell) ->
    _ = [ok = warp_nif:stage_close(Stage) || Stage =/= none],
    ok = Tell(no_stage),
    Adopted =
        case warp_journal:await(Context) of
            {ok, Journal} -> warp_nif:adopt(Journal, file(N, Context), {Name, N, Shards});
            {error, _} = Error -> Error
        end,
    Tell({input, came(Effect, Adopted)});
run({create, Position} = Effect, N, Stage, #{name := Name, shards := Shards} = Context, Tell) ->
    _ = [ok = warp_nif:stage_close(Stage) || Stage =/= none],
    ok = Tell(no_stage),
    Created =
        case warp_journal:await(Context) of
            {ok, Journal} ->
                first_error([fun() -> warp_nif:discard(file(N, Context)) end,
                             fun() -> warp_component:given(Context, N) end,
                             fun() -> warp_nif:create(Journal, file(N, Context), {Name, N, Shards}, Position) end]);
            {error, _} = Error ->
                Error
        end,
    Tell({input, came(Effect, Created)});
run({verify, Digest} = Effect, N, _Stage, Context, Tell) ->
    Tell({input, came(Effect, verified(Digest, N, Context))});
run(discard, N, Stage, Context, Tell) ->
    _ = [ok = warp_nif:stage_close(Stage) || Stage =/= none],
    ok = Tell(no_stage),
    %% NOTE: this takes the shard's own file too, which is never there beside a stage: it was removed when the shard was
    %% given away.
    until_it_works(fun() -> warp_nif:discard(file(N, Context)) end).

file(N, Context) -> warp_shard:file(Context, N).

until_it_works(Fun) ->
    warp_retry:while(fun(Result) -> Result =/= ok end, {?PAUSE_MS, infinity}, infinity, Fun).

%% Callers wait until the shard is open.
open(N, Context) ->
    ok = warp_cluster_member:mark(Context, N, freeze),
    ok = until_it_works(fun() -> warp_shards_sup:end_shard(Context, N) end),
    ok = until_it_works(fun() -> warp_shards_sup:restart_shard(Context, N) end),
    ok = until_it_works(fun() -> warp_shard:status(Context, N) end),
    warp_cluster_member:mark(Context, N, serve).

follow(N, Context) ->
    ok = until_it_works(fun() -> warp_shards_sup:end_shard(Context, N) end),
    until_it_works(fun() -> warp_shards_sup:restart_shard(Context, N) end).

close(N, Context) ->
    ok = warp_cluster_member:mark(Context, N, freeze),
    case warp_component:shard_closing(Context, N, warp_deadline:from(?CLOSING_MS)) of
        ok ->
            case warp_shards_sup:end_shard(Context, N) of
                ok -> closed(N, Context);
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

closed(N, Context) ->
    case warp_journal:await(Context) of
        {ok, Journal} ->
            case {warp_nif:digest_of(Journal, file(N, Context), N), warp_component:give(Context, N)} of
                {{ok, Digest}, {ok, Extras}} -> {ok, Digest, Extras};
                {{error, _} = Error, _} -> Error;
                {_, {error, _} = Error} -> Error
            end;
        {error, _} = Error ->
            Error
    end.

clean(N, Context) ->
    case warp_journal:await(Context) of
        {ok, Journal} ->
            first_error([fun() -> warp_nif:leave(Journal, N) end,
                            fun() -> warp_nif:discard(file(N, Context)) end,
                            fun() -> warp_component:given(Context, N) end]);
        {error, _} = Error ->
            Error
    end.

first_error([]) -> ok;
first_error([Step | Steps]) ->
    case Step() of
        ok -> first_error(Steps);
        {error, _} = Error -> Error
    end.

verified(Digest, N, Context) ->
    case {warp_journal:await(Context), warp_nif:exists(file(N, Context))} of
        {{ok, Journal}, true} ->
            case warp_nif:digest_of(Journal, file(N, Context), N) of
                {ok, Digest} -> ok;
                {ok, _Other} -> {error, not_whole};
                {error, {Kind, _}} when Kind =:= corrupt; Kind =:= not_a_shard -> {error, not_whole};
                {error, _} = Error -> Error
            end;
        {{ok, _}, false} -> {error, not_whole};
        {{ok, _}, {error, _} = Error} -> Error;
        {{error, _} = Error, _} -> Error
    end.

%% The least loaded moment of a short time: the first look with as few appends as the fewest that were seen.
await_quiet(N, Context) ->
    Looks = [appended(N, Context) || _ <- lists:seq(1, ?LOOKS)],
    quieter(lists:min(Looks), N, Context, warp_deadline:from(?QUIET_MS)).

quieter(Fewest, N, Context, Deadline) ->
    case warp_deadline:is_over(Deadline) orelse appended(N, Context) =< Fewest of
        true -> ok;
        false -> quieter(Fewest, N, Context, Deadline)
    end.

appended(N, Context) ->
    Before = warp_shard_stats:log_position(Context, N),
    ok = timer:sleep(?LOOK_MS),
    warp_shard_stats:log_position(Context, N) - Before.

%% ------------------------------------------------------------------ Copying

opened(none, N, #{file_access := Access} = Context, Tell) ->
    case warp_nif:stage_open(file(N, Context), Access) of
        {ok, Stage} ->
            ok = Tell({stage, Stage}),
            {ok, Stage};
        {error, _} = Error ->
            Error
    end;
opened(Stage, _N, _Context, _Tell) ->
    {ok, Stage}.

%% Copies what has changed, again and again, until little is left.
rounds(Left, From, N, Stage, Context, Tell) ->
    {ok, Missing, All} = aimed(From, N, Stage, Context),
    ok = pull(All, From, N, Stage, Context, Tell, fun rest/1),
    ok = warp_nif:stage_sync(Stage),
    ok = Tell(round),
    case Missing =< ?LITTLE orelse Left =:= 0 of
        true -> ok;
        false -> rounds(Left - 1, From, N, Stage, Context, Tell)
    end.

until_whole(From, N, Stage, Context, Tell) ->
    case aimed(From, N, Stage, Context) of
        {ok, 0, _} ->
            ok;
        {ok, _, All} ->
            ok = pull(All, From, N, Stage, Context, Tell, fun(_) -> ok end),
            until_whole(From, N, Stage, Context, Tell)
    end.

aimed(From, N, Stage, Context) ->
    {ok, {_, All, _} = Outline} = asked(From, N, outline, [], Context),
    {ok, Missing} = warp_nif:stage_aim(Stage, Outline),
    {ok, Missing, All}.

pull(All, From, N, Stage, Context, Tell, Rest) ->
    Began = erlang:monotonic_time(microsecond),
    case warp_nif:stage_next(Stage, ?PAGES) of
        {ok, []} ->
            ok;
        {ok, Pages} ->
            {ok, Bytes} = asked(From, N, pages, [Pages], Context),
            {ok, _} = warp_nif:stage_write(Stage, Pages, Bytes),
            {ok, Left} = warp_nif:stage_missing(Stage),
            ok = Tell({copied, (All - Left) * ?PAGE_BYTES, All * ?PAGE_BYTES}),
            ok = Rest(erlang:monotonic_time(microsecond) - Began),
            pull(All, From, N, Stage, Context, Tell, Rest)
    end.

%% Half of the time is left to others.
rest(Micros) -> timer:sleep(max(1, min(1000, Micros div 1000))).

%% Asks the giver until it answers. This process is ended when the hand-off is over.
asked(From, N, Function, Args, #{ref := Ref} = Context) ->
    Asked =
        case warp_cluster_member:server(Context, From, N) of
            {ok, Server} ->
                Call = {warp_cluster_copy, Function, [Ref, N | Args]},
                warp_cluster_call:ask(Server, Call, warp_deadline:from(?PATIENCE_MS));
            {error, _} = Error ->
                Error
        end,
    case Asked of
        {ok, _} ->
            Asked;
        %% It is of another version of Warp. The attempt fails, and says so.
        {error, {unknown_request, _} = Why} ->
            exit(Why);
        {error, _} ->
            ok = timer:sleep(?PAUSE_MS),
            asked(From, N, Function, Args, Context)
    end.
