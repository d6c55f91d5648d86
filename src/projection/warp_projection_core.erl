%% @private What a projector does next: its decisions, apart from the process that carries them out
%% ({@link warp_projection_projector}). Pure: each event gives the next state and what is to be done, in order.
-module(warp_projection_core).

-export([new/2, join/1, joined/2]).
-export([await/4, flush/2, retry/3, pause/3, resume/1, is_paused_by/2]).
-export([prod/1, log_grew/1, look/1, work/2, tick/2]).
-export([written/2, refused/4, rejoin/2, unwritable/3]).
-export([did/3, worker_gone/3]).
-export([summary/1]).

-include("warp_projection_core.hrl").

-import(warp_projection_core_state, [do/2, out/1, next_number/1, schedule/1, tick_soon/1, ask_to_join/1, join_in/2,
                                     replies/3, interrupted/2, answer/1, ask/4, write/4, moved/1, trouble/2,
                                     void/1, take_back/1, take_back_of/2, mentions/2, publish/1, show/2]).

-export_type([core/0, effect/0, joining/0]).

%% How many entities of a shard may be set aside before it is not followed further.
-define(MAX_ASIDE, 10000).
%% After so many events without a command the checkpoint is moved all the same.
-define(MAX_SKIPPED, 20000).
%% How many entities that were erased the worker has not been told of.
-define(MAX_FORGET, 1000).

-opaque core() :: #core{}.
-type effect() :: warp_projection_core_state:effect().
%% What the writer says of where to go on.
-type joining() :: #{turn := non_neg_integer(), position := non_neg_integer(), events := non_neg_integer(),
                     run := non_neg_integer() | unknown, aside := #{binary() => warp_core:seq()},
                     skipped := #{{binary(), warp_core:seq()} => []}}.
-type result() :: {[effect()], core()}.

-spec new(N :: non_neg_integer(), Generation :: pos_integer()) -> core().
new(N, Generation) -> #core{n = N, generation = Generation}.

%% @doc For reports: no data of users.
-spec summary(core()) -> #{atom() => term()}.
summary(Core) -> warp_projection_core_state:summary(Core).

%% ------------------------------------------------------------------ Where to go on

%% @doc Asks the writer, which may be busy with the target, where to go on.
-spec join(core()) -> result().
join(Core) -> out(ask_to_join(Core)).

%% @doc The writer has answered, and the log can be read; or why that is not so. The worker looks next whether the log
%% still has what the checkpoint stands on.
-spec joined({ok, joining(), warp_cluster_log:log()} | {error, Why :: term()}, core()) -> result().
joined({ok, Joining, Log}, Core) ->
    out(schedule((void(Core))#core{joining = none, checking = {Joining, Log}}));
joined({error, Why}, Core) ->
    out(join_in(?RETRY_MS, show({stalled, Why}, Core#core{joining = none, checking = none}))).

begins(_Joining, _Log, {ok, none}, Core) ->
    forked(the_log_has_lost_events, Core);
begins(#{run := Run} = Joining, Log, {ok, Found}, Core) when Found =:= Run; Run =:= unknown ->
    schedule(answer(publish((begin_at(Joining, Log, Core))#core{run = Found})));
begins(_Joining, _Log, {ok, _Another}, Core) ->
    forked(the_log_is_another_one, Core);
begins(_Joining, _Log, {error, Reason}, Core) ->
    trouble(Reason, Core#core{handle = none}).

%% The tables have events that are not in the log: an older copy of the shard was put in its place,
%% or a power failure took what was not fsynced. Other events have their positions, or will have.
%% So the shard is not followed until the tables are rebuilt, or its file is the right one again.
forked(Why, Core0) ->
    #core{waiters = Waiters, retries = Retries, shown = Shown} = Core = void(Core0),
    Said = case Shown of {stalled, {rebuild_due, _}} -> Core; _ -> do({log, {forked, Why}}, Core) end,
    Answered = replies({error, rebuild_due}, [From || {_, _, _, From} <- warp_projection_waiters:all(Waiters)]
                                             ++ [who_asked(Retry) || Retry <- Retries], do(unpublish, Said)),
    Stopped = interrupted(flying_retry(Core), Answered),
    %% Who waits for a pause need not wait longer.
    schedule(join_in(?LOOK_MS, show({stalled, {rebuild_due, Why}},
        Stopped#core{position = 0, committed = 0, ready = none, flying = none,
                     waiters = warp_projection_waiters:new(), retries = []}))).

begin_at(#{turn := Turn, position := Position, events := Events, aside := Aside, skipped := Skipped}, Handle, Core0) ->
    #core{retries = Retries} = Core = void(Core0),
    %% What one of them wrote last is not known: who asked may ask again.
    Stopped = interrupted([Retry || {begun, Retry} <- Retries] ++ flying_retry(Core), Core),
    show({catching_up, none},
         Stopped#core{handle = Handle, turn = Turn, position = Position, committed = Position, events = Events,
                      aside = Aside, skipped = 0, ready = none, flying = none,
                      blame = warp_projection_blame:forget(Core#core.blame), left_out = Skipped,
                      retries = [New || {new, _} = New <- Retries]}).

flying_retry(#core{flying = {_, {retry, Retry}}}) -> [Retry];
flying_retry(_Core) -> [].

who_asked({new, {_, _, _, From}}) -> From;
who_asked({begun, Retry}) -> warp_projection_retry:from(Retry).

%% ------------------------------------------------------------------ Requests

%% @doc Answers when everything up to a position, which was seen in the log with that handle, is written.
-spec await(warp_projection_waiters:waiter(), warp_cluster_log:log() | none, Now :: integer(), core()) -> result().
await({_, _, _, From}, _Handle, _Now, #core{shown = {stalled, {rebuild_due, _}}} = Core) ->
    out(do({reply, From, {error, rebuild_due}}, Core));
await(Waiter, Handle, Now, #core{waiters = Waiters} = Core) ->
    Waiting = Core#core{waiters = warp_projection_waiters:add(Waiter, Now, Waiters)},
    out(case Core#core.handle of
            Handle -> answer(Waiting);
            none -> Waiting;
            %% The shard was opened again: is it still the log that was followed?
            _Another -> join_in(0, Waiting)
        end).

%% @doc Forgets what was read of an entity that was erased from the log, and not yet handed over.
-spec flush(Entity :: binary(), core()) -> result().
flush(Entity, Core0) ->
    #core{aside = Aside, seen = Seen, forget = Forget, erased = Erased} = Core = take_back_of(Entity, Core0),
    out(schedule(forgetful(Core#core{forget = lists:usort([Entity | Forget]), erased = lists:usort([Entity | Erased]),
                                     aside = maps:remove(Entity, Aside), seen = maps:remove(Entity, Seen)}))).

%% The worker is told with its next job. Where that does not come for long, a new one knows nothing.
forgetful(#core{forget = Forget, job = none, ended = no} = Core) when length(Forget) > ?MAX_FORGET ->
    do(end_worker, Core#core{ended = {none}});
forgetful(Core) ->
    Core.

%% @doc Projects an entity that was set aside on, from the event itself or the one behind it.
-spec retry(request(), Now :: integer(), core()) -> result().
retry({_, _, _, From}, _Now, #core{shown = {stalled, {rebuild_due, _}}} = Core) ->
    out(do({reply, From, {error, rebuild_due}}, Core));
retry({_, _, _, From}, _Now, #core{handle = none, shown = {_, Why}} = Core) ->
    out(do({reply, From, {error, {stalled, Why}}}, Core));
retry({_, Entity, _, From} = Request, Now, #core{aside = Aside, retries = Retries} = Core) ->
    out(case Aside of
            #{Entity := _} ->
                Left = [Retry || Retry <- Retries, not has_given_up(Retry, Now)],
                schedule(Core#core{retries = Left ++ [{new, Request}]});
            #{} ->
                do({reply, From, {error, not_set_aside}}, Core)
        end).

has_given_up({new, {_, _, Deadline, _}}, Now) -> Deadline =< Now;
has_given_up({begun, _}, _Now) -> false.

%% @doc Hands nothing more over until it is resumed; answers when what it had is written.
-spec pause(gen_server:from(), Monitor :: reference(), core()) -> result().
pause(From, Monitor, Core) ->
    out(schedule(tick_soon((unpause(take_back(void(Core))))#core{paused = {From, Monitor}}))).

-spec resume(core()) -> result().
resume(Core) -> out(schedule(unpause(Core))).

%% @doc Whether the pause ends with the process of that monitor.
-spec is_paused_by(reference(), core()) -> boolean().
is_paused_by(Monitor, #core{paused = Paused}) ->
    case Paused of {_, Monitor} -> true; _ -> false end.

unpause(#core{paused = none} = Core) -> Core;
unpause(#core{paused = {_, Monitor}} = Core) -> moved(do({release, Monitor}, Core#core{paused = none})).

%% ------------------------------------------------------------------ The next step

%% @doc What it waited for may have changed.
-spec prod(core()) -> result().
prod(Core) -> out(schedule(Core)).

-spec log_grew(core()) -> result().
log_grew(Core) -> out(schedule(Core#core{asleep = false})).

%% @doc It is time to look again.
-spec look(core()) -> result().
look(Core) -> out(schedule(Core#core{asleep = false, scheduled = false})).

-spec work(Now :: integer(), core()) -> result().
work(Now, Core) -> out(step(Now, Core#core{scheduled = false})).

step(_Now, #core{checking = {#{position := Position}, Log}, ended = no, job = none} = Core) ->
    ask(check, check, #{handle => Log, position => Position}, Core);
step(_Now, #core{checking = {_, _}} = Core) ->
    Core;
step(_Now, #core{paused = {From, Monitor}, flying = none, committed = Committed} = Core) when From =/= answered ->
    do({reply, From, {ok, Committed}}, Core#core{paused = {answered, Monitor}});
step(_Now, #core{paused = Paused, handle = Handle, ended = Ended, job = Job} = Core)
  when Paused =/= none; Handle =:= none; Ended =/= no; Job =/= none ->
    Core;
step(Now, #core{flying = none, ready = none, retries = [Retry | Retries], committed = At, position = At} = Core) ->
    begin_retry(Retry, Now, Core#core{retries = Retries});
step(_Now, #core{flying = {_, _}, ready = none, retries = [_ | _]} = Core) ->
    %% One that waits is not kept waiting by a log that has much more.
    Core;
step(_Now, #core{ready = none, aside = Aside} = Core) when map_size(Aside) >= ?MAX_ASIDE ->
    show({stalled, {set_aside, ?MAX_ASIDE}}, Core);
step(_Now, #core{ready = none, flying = Flying, blame = Blame} = Core) ->
    case Flying =/= none andalso warp_projection_blame:is_careful(Blame) of
        true -> Core;
        false -> read(Core)
    end;
step(_Now, #core{ready = #batch{}, flying = none} = Core) ->
    submit(Core);
step(_Now, Core) ->
    Core.

%% ------------------------------------------------------------------ The worker

read(#core{position = Position, aside = Aside, left_out = LeftOut, told = Told, blame = Blame} = Core) ->
    Now = {Aside, LeftOut},
    Job = (warp_projection_blame:reading(Blame))#{
        position => Position, run => read_run(Core), told => case Told of Now -> same; _ -> Now end},
    ask(read, read, Job, Core#core{told = Now}).

%% The run that wrote the row up to which the log is read.
read_run(#core{flying = {_, #batch{run = Run}}}) -> Run;
read_run(#core{run = Run}) -> Run.

%% @doc The worker has done a job.
-spec did(pos_integer(), Result :: term(), core()) -> result().
did(Number, Result, #core{job = {Number, What}} = Core) -> out(done(What, Result, moved(Core#core{job = none})));
did(_Late, _Result, Core) -> out(Core).

done(void, _Result, Core) ->
    schedule(Core#core{told = none});
done(check, Found, #core{checking = {Joining, Log}} = Core) ->
    begins(Joining, Log, Found, Core#core{checking = none});
done(read, {part, #{log_end := LogEnd} = Part}, #core{erased = Erased} = Core0) ->
    Core = Core0#core{log_end = LogEnd},
    case lists:any(fun(Entity) -> mentions(Entity, Part) end, Erased) of
        true -> schedule(Core#core{told = none});
        false -> took(Part, Core)
    end;
done(read, {error, Reason}, Core) ->
    trouble(Reason, Core);
done({retry, Retry}, Decision, Core) ->
    retry_on(Retry, Decision, Core).

took(#{to := From, then := Then}, #core{position = From} = Core) ->
    case Then of
        done -> doze(Core);
        %% A deletion has to be done first.
        held -> do({look_in, ?RETRY_MS}, Core);
        {error, Reason} -> trouble(Reason, Core);
        more -> schedule(Core)
    end;
took(#{to := To, then := Then, aside := Notes, seen := NewlySeen} = Part, Core) ->
    #core{position = From, aside = Before, seen = Seen, told = {Told, LeftOut}, shown = Shown} = Core,
    Noted = maps:map(fun(_, {Seq, _, _, _}) -> Seq end, Notes),
    #{events := Events, projected := Projected, work := Work, rows := Rows, oldest := Oldest, run := Run} = Part,
    Batch = #batch{from = From, to = To, events = Events, projected = Projected, work = Work, run = Run,
                   aside = Notes, rows = Rows, oldest = Oldest},
    %% NOTE: the worker knows what it was told and what it noted. An entity that was erased meanwhile is not set
    %% aside any more, and the worker does not know it.
    Next = Core#core{ready = Batch, position = To, asleep = false, aside = maps:merge(Before, Noted),
                     seen = maps:merge(Seen, NewlySeen), told = {maps:merge(Told, Noted), LeftOut}},
    schedule(publish(case {Then, Shown} of
                         %% It is at the end of the log again and again.
                         {done, {live, _}} -> Next;
                         _ -> show({catching_up, none}, Next)
                     end)).

%% The log ends here.
doze(#core{asleep = false} = Core) ->
    %% NOTE: it may have grown before the commit saw us sleep, so it is read once more.
    schedule(do(sleep, Core#core{asleep = true}));
doze(Core) ->
    do({look_in, ?LOOK_MS}, show({live, none}, publish(Core))).

%% @doc The worker has ended, in that call of the user's code or in none. There is a new one.
-spec worker_gone(Reason :: term(), Call :: warp_projection_user_code:where() | none, core()) -> result().
worker_gone(Reason, Call, #core{ended = Ended, job = Job, blame = Blame} = Core0) ->
    Core = (void(Core0))#core{told = none, forget = [], ended = no, job = none, watch = warp_projection_watch:new()},
    out(schedule(case {Job, Call} of
            {none, _} -> Core;
            {_, none} -> failed(Reason, Core);
            _ ->
                EndedFor = case Ended of {Where} -> Where; no -> none end,
                case warp_projection_blame:call(Call, EndedFor, Reason, Blame) of
                    {guilty, Suspect, Why} ->
                        convict(Suspect, Why, Core);
                    {suspected, Suspect, Suspecting} ->
                        do({log, {tried_once_more, Suspect, Reason}}, Core#core{blame = Suspecting})
                end
        end)).

failed(Reason, #core{position = Position, blame = Blame} = Core) ->
    Logged = do({log, {worker_failed, Reason}}, Core),
    %% Nothing is done before the next look.
    Waiting = do({look_in, ?LOOK_MS}, Logged#core{scheduled = true}),
    show({stalled, worker_failed}, Waiting#core{blame = warp_projection_blame:retreat(Position, Blame)}).

convict(Suspect, Why, #core{blame = Blame, retries = Retries} = Core) ->
    After = Core#core{blame = warp_projection_blame:convict(Suspect, Why, Blame)},
    case {Suspect, Retries} of
        {{0, Seq, Kind}, [{begun, Retry} | Others]} ->
            After#core{retries = [{begun, warp_projection_retry:ended(Retry, Seq, Kind, Why)} | Others]};
        _ ->
            After
    end.

%% ------------------------------------------------------------------ What it waits for

%% @doc A second has passed; the worker is in that call of the user's code, or in none.
-spec tick(Call :: warp_projection_user_code:where() | none, core()) -> result().
tick(Call, #core{watch = Before, ended = Ended} = Core0) ->
    Wait = waits_for(Call, Core0),
    {Verdict, Watch} = warp_projection_watch:look(Wait, Before),
    Watching = Core0#core{watch = Watch, ticking = false},
    Core = case Wait of nothing -> Watching; _ -> tick_soon(Watching) end,
    out(case Verdict of
            fine -> Core;
            {overdue, Where, _Why} when Ended =:= no ->
                do(end_worker, do({log, {call_ended, Where}}, Core#core{ended = {Where}}));
            {overdue, _, Why} -> show({stalled, Why}, Core);
            {stalled, Why} -> show({stalled, Why}, Core)
        end).

waits_for(none, #core{job = {Number, _}}) -> {reading, Number};
waits_for(Call, #core{job = {_, _}}) -> {calling, Call};
waits_for(_Call, #core{joining = Number}) when Number =/= none -> {joining, Number};
waits_for(_Call, #core{flying = {Number, _}}) -> {writing, Number};
waits_for(_Call, #core{paused = {_, Monitor}}) -> {paused, Monitor};
waits_for(_Call, _Core) -> nothing.

%% ------------------------------------------------------------------ Writing

submit(#core{ready = #batch{work = none, aside = Noted, events = Events, to = To, run = Run}, skipped = Skipped} = Core)
  when map_size(Noted) =:= 0, Events + Skipped < ?MAX_SKIPPED ->
    %% There is nothing to write, and where the checkpoint stands matters little.
    schedule(passed(To, Core#core{ready = none, committed = To, run = Run, skipped = Skipped + Events}));
submit(#core{ready = #batch{} = Batch, handle = Handle, skipped = Skipped} = Core0) ->
    {Tag, Core} = next_number(Core0),
    #batch{to = To, run = Run, events = Events, work = Work, aside = Noted} = Batch,
    Changes = #{position => To, run => Run, events => Events + Skipped, work => Work,
                aside => maps:to_list(Noted), clear => [], skip => []},
    %% Without the work: the writer has it.
    Flying = {Tag, Batch#batch{events = Events + Skipped, work = none}},
    schedule(tick_soon(publish(write(Tag, Changes, {at, Handle},
                                     Core#core{ready = none, skipped = 0, flying = Flying})))).

%% @doc What was to be written is.
-spec written(pos_integer(), core()) -> result().
written(Tag, #core{flying = {Tag, Flown}, turn = Turn} = Core) ->
    out(schedule(behind(Flown, moved(Core#core{flying = none, turn = Turn + 1}))));
written(_Late, Core) ->
    out(Core).

behind(#batch{to = To, run = Run, events = Events, aside = Noted}, #core{events = Before} = Core) ->
    Logged = case map_size(Noted) of 0 -> Core; _ -> do({log, set_aside}, Core) end,
    passed(To, Logged#core{committed = To, run = Run, events = Before + Events});
behind({retry, Retry}, Core) ->
    next_piece(warp_projection_retry:written(Retry), Core).

passed(To, #core{blame = Blame} = Core) ->
    answer(publish(Core#core{blame = warp_projection_blame:passed(To, Blame)})).

%% @doc The target took nothing of it. A batch is read again, in smaller pieces.
-spec refused(pos_integer(), Index :: pos_integer() | unknown, Reason :: term(), core()) -> result().
refused(Tag, Index, Reason, #core{flying = {Tag, Flown}} = Core) ->
    out(schedule(again(Flown, Index, Reason, Core#core{flying = none})));
refused(_Late, _Index, _Reason, Core) ->
    out(Core).

again(#batch{from = From, to = To, rows = Rows, projected = Projected, aside = Noted}, Index, Reason, Core0) ->
    #core{blame = Blame, aside = Aside} = Core = take_back(void(Core0)),
    Core#core{position = From, skipped = 0, told = none, aside = maps:without(maps:keys(Noted), Aside),
              blame = warp_projection_blame:refused({To, Rows, Projected}, Index, Reason, Blame)};
again({retry, Retry}, Index, Reason, Core) ->
    next_piece(warp_projection_retry:refused(Retry, Index, Reason), Core).

%% @doc The checkpoint stands elsewhere.
-spec rejoin(pos_integer(), core()) -> result().
rejoin(Tag, #core{flying = {Tag, _}} = Core) -> out(ask_to_join(Core));
rejoin(_Late, Core) -> out(Core).

%% @doc Nothing was handed to the writer, since the log has no row of that run at the position, or cannot be
%% read. Where to go on is found out from the start.
-spec unwritable(pos_integer(), {ok, non_neg_integer() | none} | {error, term()}, core()) -> result().
unwritable(Tag, {error, Reason}, #core{flying = {Tag, _}} = Core) ->
    out(trouble(Reason, Core#core{flying = none, handle = none}));
unwritable(Tag, {ok, _Another}, #core{flying = {Tag, _}} = Core) ->
    out(join_in(0, Core#core{flying = none}));
unwritable(_Late, _Found, Core) ->
    out(Core).

%% ------------------------------------------------------------------ Entities that are tried again

%% Nothing is read, ready or under way meanwhile.
begin_retry({begun, Retry}, _Now, Core) ->
    next_piece(Retry, Core);
begin_retry({new, {How, Entity, _, From}} = New, Now, #core{aside = Aside} = Core) ->
    case {has_given_up(New, Now), Aside} of
        {true, _} ->
            schedule(Core);
        {false, #{Entity := Seq}} ->
            next_piece(warp_projection_retry:new(How, Entity, Seq, From), Core);
        {false, #{}} ->
            %% Someone else's went before.
            schedule(do({reply, From, {error, not_set_aside}}, Core))
    end.

next_piece(Retry, #core{committed = Committed, seen = Seen, left_out = LeftOut} = Core) ->
    At = {Committed, maps:with([warp_projection_retry:entity(Retry)], Seen), LeftOut},
    ask({retry, Retry}, retry, #{retry => Retry, at => At}, Core).

retry_on(_Retry, {write, Changes, Next}, #core{committed = Committed, run = Run} = Core0) ->
    {Tag, Core} = next_number(Core0),
    tick_soon(write(Tag, Changes#{position => Committed, run => Run, events => 0}, unchecked,
                    Core#core{flying = {Tag, {retry, Next}}}));
retry_on(_Retry, {later, Next}, #core{retries = Retries} = Core) ->
    %% The log has to be read on before it is known how far to go.
    read(Core#core{retries = Retries ++ [{begun, Next}]});
retry_on(Retry, {done, Entity, From, Result}, #core{aside = Before, seen = Seen, left_out = LeftOut} = Core) ->
    Aside =
        case Result of
            ok -> maps:remove(Entity, Before);
            {error, {set_aside, Seq}} when is_map_key(Entity, Before) -> Before#{Entity := Seq};
            {error, _} -> Before
        end,
    NextSeen = case Aside of #{Entity := _} -> Seen; #{} -> maps:remove(Entity, Seen) end,
    schedule(publish((do({reply, From, Result}, Core))#core{
        aside = Aside, seen = NextSeen, left_out = maps:merge(LeftOut, warp_projection_retry:skipped(Retry))})).
