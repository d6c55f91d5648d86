%% @private What a projector knows, and the small changes of it that {@link warp_projection_core} is made of.
%% Pure: what is to be done is noted as effects.
-module(warp_projection_core_state).

-export([summary/1, do/2, out/1, next_number/1, schedule/1, tick_soon/1, ask_to_join/1, join_in/2]).
-export([replies/3, interrupted/2, answer/1, ask/4, write/4, moved/1, trouble/2]).
-export([void/1, take_back/1, take_back_of/2, mentions/2, publish/1, show/2]).

-include("warp_projection_core.hrl").

-export_type([effect/0]).

-type effect() ::
    %% Ask the writer where to go on, then or at once.
    {join_in, Millis :: non_neg_integer()} | join
    | {reply, gen_server:from(), term()}
    %% Call `work/2' when other messages were handled.
    | work_soon
    %% Call `look/1' after so long, or before; call `tick/2' in a second.
    | {look_in, Millis :: pos_integer()} | tick_soon
    %% Have the next commit wake the process.
    | sleep
    | {ask, pos_integer(), warp_projection_worker:job()}
    | end_worker
    %% Have something written. The log has to have a row of that run at the position.
    | {write, pos_integer(), changes(), {at, warp_cluster_log:log()} | unchecked}
    | {show, shown()} | {publish, warp_projection_table:position()} | unpublish
    | {release, Monitor :: reference()}
    | {log, term()}.
%% A batch without its mark, with notes in place of the rows of what is set aside.
-type changes() :: map().

%% @doc For reports: no data of users.
-spec summary(#core{}) -> #{atom() => term()}.
summary(Core) ->
    #{shard => Core#core.n, generation => Core#core.generation, state => element(1, Core#core.shown),
      position => Core#core.position, committed => Core#core.committed, set_aside => map_size(Core#core.aside),
      waiters => warp_projection_waiters:size(Core#core.waiters), retries => length(Core#core.retries)}.

%% @doc Notes that something is to be done.
-spec do(effect(), #core{}) -> #core{}.
do(Effect, #core{effects = Effects} = Core) -> Core#core{effects = [Effect | Effects]}.

%% @doc All that is to be done, in order, and the state without it.
-spec out(#core{}) -> {[effect()], #core{}}.
out(#core{effects = Effects} = Core) -> {lists:reverse(Effects), Core#core{effects = []}}.

%% @doc A number for a job, a batch or a question.
-spec next_number(#core{}) -> {pos_integer(), #core{}}.
next_number(#core{count = Count} = Core) -> {Count + 1, Core#core{count = Count + 1}}.

%% @doc Messages that wait are looked at between two steps of work.
-spec schedule(#core{}) -> #core{}.
schedule(#core{scheduled = true} = Core) -> Core;
schedule(Core) -> do(work_soon, Core#core{scheduled = true}).

%% @doc Looks in a second what it waits for.
-spec tick_soon(#core{}) -> #core{}.
tick_soon(#core{ticking = true} = Core) -> Core;
tick_soon(Core) -> do(tick_soon, Core#core{ticking = true}).

%% @doc Asks the writer where to go on, unless it was asked already.
-spec ask_to_join(#core{}) -> #core{}.
ask_to_join(#core{joining = none} = Core0) ->
    {Number, Core} = next_number(Core0),
    tick_soon(do(join, Core#core{joining = Number}));
ask_to_join(Core) ->
    Core.

%% @doc Asks it after so long. Nothing is done before.
-spec join_in(non_neg_integer(), #core{}) -> #core{}.
join_in(Millis, Core) -> do({join_in, Millis}, Core#core{handle = none}).

%% @doc The outcome of what was begun is not known: who asked may ask again.
-spec interrupted([warp_projection_retry:retry()], #core{}) -> #core{}.
interrupted(Retries, Core) ->
    replies({error, interrupted}, [warp_projection_retry:from(Retry) || Retry <- Retries], Core).

-spec replies(term(), [gen_server:from()], #core{}) -> #core{}.
replies(Result, Froms, Core) ->
    lists:foldl(fun(From, Acc) -> do({reply, From, Result}, Acc) end, Core, Froms).

%% @doc Answers those who wait for a position that is written.
-spec answer(#core{}) -> #core{}.
answer(#core{waiters = Waiters, committed = Committed, aside = Aside} = Core) ->
    {Done, Left} = warp_projection_waiters:reached(Committed, Waiters),
    lists:foldl(
        fun({_, _, Entity, From}, Acc) ->
            do({reply, From, case Aside of
                                 #{Entity := Seq} -> {error, {set_aside, Seq}};
                                 #{} -> ok
                             end}, Acc)
        end,
        Core#core{waiters = Left},
        Done).

%% ------------------------------------------------------------------ The worker and the writer

%% @doc Gives the worker a job.
-spec ask(read | check | {retry, warp_projection_retry:retry()}, read | check | retry, map(), #core{}) -> #core{}.
ask(What, Kind, Job, #core{handle = Handle, forget = Forget} = Core0) ->
    {Number, Core} = next_number(Core0),
    tick_soon(do({ask, Number, {Kind, maps:merge(#{handle => Handle, forget => Forget}, Job)}},
                 Core#core{job = {Number, What}, forget = [], erased = []})).

%% @doc Hands something to the writer, with the turn of the checkpoint.
-spec write(pos_integer(), map(), {at, warp_cluster_log:log()} | unchecked, #core{}) -> #core{}.
write(Tag, Changes, Check, #core{n = N, generation = Generation, turn = Turn} = Core) ->
    do({write, Tag, Changes#{shard => N, generation => Generation, turn => Turn}, Check}, Core).

%% @doc What it waited for has come.
-spec moved(#core{}) -> #core{}.
moved(#core{shown = {stalled, Why}} = Core) when Why =:= reading; Why =:= writing; Why =:= paused;
                                                 element(1, Why) =:= calling ->
    show({catching_up, none}, Core);
moved(Core) ->
    Core.

%% @doc It cannot go on. Logged once for each reason.
-spec trouble(Reason :: term(), #core{}) -> #core{}.
trouble(Reason, #core{shown = Shown, handle = Handle} = Core) ->
    Now = {stalled, why(Reason)},
    %% The shard that is opened again, or that is on another node by now, may have another log: that is looked at first.
    IsGone = Reason =:= closed orelse (is_tuple(Reason) andalso element(1, Reason) =:= node_unavailable),
    Logged =
        case IsGone orelse Shown =:= Now of
            true -> Core;
            false -> do({log, {trouble, why(Reason)}}, Core)
        end,
    Stalled = show(Now, Logged),
    if
        IsGone -> join_in(?RETRY_MS, Stalled);
        Handle =:= none -> join_in(?LOOK_MS, Stalled);
        true -> do({look_in, ?LOOK_MS}, Stalled)
    end.

why({stale_function, _} = Stale) -> Stale;
why({node_unavailable, _} = Away) -> Away;
why(Reason) -> {log, Reason}.

%% ------------------------------------------------------------------ Taking back

%% @doc Nobody wants the result of the job any more.
-spec void(#core{}) -> #core{}.
void(#core{job = {Number, {retry, Retry}}, retries = Retries} = Core) ->
    Core#core{job = {Number, void}, retries = [{begun, Retry} | Retries]};
void(#core{job = {Number, _}} = Core) ->
    Core#core{job = {Number, void}};
void(Core) ->
    Core.

%% @doc What was read and not handed over is read again.
-spec take_back(#core{}) -> #core{}.
take_back(#core{ready = none} = Core) ->
    Core;
take_back(#core{ready = #batch{from = From, aside = Noted}, aside = Aside} = Core) ->
    Core#core{ready = none, position = From, aside = maps:without(maps:keys(Noted), Aside),
              told = none, asleep = false}.

%% @doc The same, where it has something of an entity.
-spec take_back_of(Entity :: binary(), #core{}) -> #core{}.
take_back_of(Entity, #core{job = {_, {retry, Retry}}} = Core) ->
    case warp_projection_retry:entity(Retry) of
        Entity -> void(Core);
        _ -> Core
    end;
take_back_of(Entity, #core{ready = #batch{work = Work, aside = Noted}, seen = Seen} = Core) ->
    case mentions(Entity, #{work => Work, aside => Noted, seen => Seen}) of
        true -> take_back(Core);
        false -> Core
    end;
take_back_of(_Entity, Core) ->
    Core.

%% @doc Whether a part has something of an entity.
-spec mentions(Entity :: binary(), #{work := term(), aside := map(), seen := map(), atom() => term()}) -> boolean().
mentions(Entity, #{work := Work, aside := Aside, seen := Seen}) ->
    is_map_key(Entity, Aside) orelse is_map_key(Entity, Seen) orelse warp_projection_merge:mentions(Entity, Work).

%% ------------------------------------------------------------------ What others see

%% @doc How far it is.
-spec publish(#core{}) -> #core{}.
publish(#core{committed = Committed, events = Events, skipped = Skipped, aside = Aside, log_end = LogEnd} = Core) ->
    Oldest =
        case Core of
            #core{flying = {_, #batch{oldest = Time}}} when is_integer(Time) -> Time;
            #core{ready = #batch{oldest = Time}} when is_integer(Time) -> Time;
            #core{} -> none
        end,
    do({publish, #{position => Committed, events => Events + Skipped, oldest => Oldest,
                   set_aside => map_size(Aside), log_end => max(LogEnd, Committed)}}, Core).

%% @doc How it is.
-spec show(shown(), #core{}) -> #core{}.
show(Shown, #core{shown = Shown} = Core) -> Core;
show(Shown, Core) -> do({show, Shown}, Core#core{shown = Shown}).
