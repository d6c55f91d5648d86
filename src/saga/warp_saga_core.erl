%% @private The decisions of a saga: what to do next, given its plan, its log and what became of its steps
%% so far. Pure: {@link warp_saga_runner} carries them out.
%%
%% Entries of the log change the state only through {@link replay/2}, in a saga that runs as after a restart.
%% What the log does not have can be found out again: a step is appended with the same event id until the
%% runner knows whether it was applied, and nothing is compensated before that.
%%
%% A new saga runs ahead of the disk: its plan, its steps and its result are queued one behind the other, and the
%% runner waits only for the result to be stored, since the journal then has what was queued before. At the first
%% thing that is not as it should be the saga settles: the runner waits until everything that it has queued is
%% stored or has failed. From then on it waits for each step.
-module(warp_saga_core).

-export([new/1, removed/3, ahead/1, recovered/1, replay/2, retry/1, stop/2]).
-export([next/2, outcome/3, settled/2, is_ahead/1, waiting/1, phase/1, plan/1, result/1, describe/1]).

-export_type([core/0, entry/0, action/0, outcome/0, task/0, phase/0, failure/0, result/0]).

-type n() :: non_neg_integer().
-type fate() ::
    %% Not sent, as far as the log and this process know.
    todo
    %% Its event may be in the entity's log, or come there from what was sent already.
    | unknown
    %% Handed to the writer, and stored if nothing fails.
    | {accepted, warp_core:seq()}
    | {applied, warp_core:seq()}
    | {refused, term()}
    | {reversed, warp_core:seq(), CompensationSeq :: warp_core:seq()}
    %% Applied, and its compensation was refused with this reason.
    | {blocked, warp_core:seq(), term()}.
%% The step that failed, or none for the deadline, a cancellation, and a saga whose log was removed; and why.
-type failure() :: {n() | none, term()}.
-type phase() :: forward | compensating | stuck | committed | compensated | resolved.
%% What the log has behind the plan.
-type entry() ::
    {committed, [warp_core:seq()]}
    | {compensating, failure(), [not_run | {applied, warp_core:seq()} | {refused, term()}]}
    | {compensated, [{n(), warp_core:seq()}]}
    | {stuck, [{n(), warp_core:seq()}], failure()}
    | retried
    | {resolved, binary()}.
%% A step to do or to reverse. `first': its event is known to be in no log, nor on its way there. `again': it
%% may be.
-type task() :: {n(), first | again}.
-type action() ::
    {forward | reverse, [task()]}
    %% Send these steps behind what was queued before, and wait until their entities have accepted them.
    | {ahead, [n()]}
    %% Queue this entry behind the steps, and wait until it is stored, and so everything before it.
    | {close, entry()}
    %% Wait until everything that was queued is stored or has failed.
    | settle
    %% Find out whether these steps are applied, and apply none.
    | {probe, [n()]}
    | {wait, Millis :: non_neg_integer()}
    %% Append these entries, and clear the payloads of steps that are not needed any more.
    | {record, [entry()], Clear :: [n()]}
    | finished.
-type outcome() ::
    {applied, warp_core:seq()}
    | {accepted, warp_core:seq()}
    | {refused, term()}
    | absent
    %% Not known, or not possible now: to be tried again.
    | {transient, term()}
    %% Nothing was sent this time, since the node of the entity cannot be reached: to be tried again until it can.
    | {not_sent, term()}
    %% The event is in no log, nor on its way there, and this start of the context lacks what it takes.
    | {waiting, term()}.
-type result() :: {committed | compensated | stuck, map()}.

-record(core, {
    plan :: warp_saga_plan:plan(),
    phase = forward :: phase(),
    fates :: #{n() => fate()},
    %% Why the saga turns back. Recorded once all outcomes are known.
    stop = none :: none | failure(),
    failed = none :: none | failure(),
    blocked = none :: none | failure(),
    note = none :: none | binary(),
    %% How often each step failed for a transient reason.
    tries = #{} :: #{n() => pos_integer()},
    %% How often in a row nothing of a step could be sent.
    not_sent = #{} :: #{n() => pos_integer()},
    %% Steps that this start of the context can neither do nor reverse, and why.
    waiting = #{} :: #{n() => term()},
    pause = 0 :: non_neg_integer(),
    %% Whether an earlier runner may have sent steps that are not recorded.
    recovered = false :: boolean(),
    %% Whether the plan, and what was accepted, may not be stored yet.
    ahead = false :: boolean()
}).
-opaque core() :: #core{}.

-define(FIRST_PAUSE_MS, 10).
-define(LAST_PAUSE_MS, 1000).
%% How often a step that waits is looked at again.
-define(WAITING_PAUSE_MS, 5000).

%% @doc A saga whose plan was stored a moment ago.
-spec new(warp_saga_plan:plan()) -> core().
new(#{steps := Steps} = Plan) ->
    #core{plan = Plan, fates = maps:from_list([{N, todo} || #{n := N} <- Steps])}.

%% @doc A saga that has ended and whose log was removed: how it ended, and why, without the steps.
-spec removed(warp_saga_plan:plan(), committed | compensated | resolved,
              #{failed => term(), blocked => term(), note := none | binary()}) -> core().
removed(Plan, Phase, #{note := Note} = Why) ->
    Failure = fun(Key) -> case Why of #{Key := Reason} -> {none, Reason}; #{} -> none end end,
    (new(Plan))#core{phase = Phase, failed = Failure(failed), blocked = Failure(blocked), note = Note}.

%% @doc The same saga, with a plan that is queued and may not be stored yet.
-spec ahead(core()) -> core().
ahead(Core) ->
    Core#core{ahead = true}.

%% @doc Whether the plan, and what was accepted, may not be stored yet.
-spec is_ahead(core()) -> boolean().
is_ahead(#core{ahead = Ahead}) ->
    Ahead.

%% @doc A saga as its log has it, to go on with. An earlier runner may have done what is not recorded.
-spec recovered(core()) -> core().
recovered(#core{phase = forward, fates = Fates} = Core) ->
    Core#core{recovered = true, fates = maps:map(fun(_, _) -> unknown end, Fates)};
recovered(Core) ->
    Core#core{recovered = true}.

%% @doc The state behind one more entry of the log.
-spec replay(entry(), core()) -> core().
replay({committed, Seqs}, #core{plan = #{steps := Steps}} = Core) ->
    Fates = maps:from_list([{N, {applied, Seq}} || {#{n := N}, Seq} <- lists:zip(Steps, Seqs)]),
    Core#core{phase = committed, fates = Fates, ahead = false};
replay({compensating, Failure, Known}, #core{plan = #{steps := Steps}} = Core) ->
    Fates = maps:from_list([{N, fate(Fate)} || {#{n := N}, Fate} <- lists:zip(Steps, Known)]),
    Core#core{phase = compensating, fates = Fates, failed = Failure, stop = none,
              tries = #{}, not_sent = #{}, waiting = #{}, pause = 0};
replay({compensated, Reversed}, Core) ->
    Core#core{phase = compensated, fates = reversed(Reversed, Core#core.fates)};
replay({stuck, Reversed, {N, Reason} = Failure}, Core) ->
    Fates = #{N := {_, Seq}} = unblocked(reversed(Reversed, Core#core.fates)),
    Core#core{phase = stuck, fates = Fates#{N := {blocked, Seq, Reason}}, blocked = Failure,
              waiting = #{}};
replay(retried, #core{fates = Fates} = Core) ->
    Core#core{phase = compensating, fates = unblocked(Fates), blocked = none, tries = #{}, not_sent = #{}};
replay({resolved, Note}, Core) ->
    Core#core{phase = resolved, note = Note}.

fate(not_run) -> todo;
fate(Fate) -> Fate.

reversed(Reversed, Fates) ->
    lists:foldl(
        fun({N, CompSeq}, Acc) ->
            case Acc of
                #{N := {reversed, _, _}} -> Acc;
                #{N := {_, Seq}} -> Acc#{N := {reversed, Seq, CompSeq}}
            end
        end,
        unblocked(Fates),
        Reversed).

unblocked(Fates) ->
    maps:map(fun(_, {blocked, Seq, _}) -> {applied, Seq}; (_, Fate) -> Fate end, Fates).

%% @doc The entry of an operator's retry of a stuck saga.
-spec retry(core()) -> entry().
retry(#core{phase = stuck}) ->
    retried.

%% @doc Has the saga turn back, if it goes forward.
-spec stop(cancelled | timeout, core()) -> core().
stop(Reason, #core{phase = forward, stop = none} = Core) ->
    Core#core{stop = {none, Reason}, pause = 0};
stop(_Reason, Core) ->
    Core.

%% @doc What to do next at this time.
-spec next(core(), warp_core:micros()) -> {action(), core()}.
next(#core{ahead = true, stop = none, tries = Tries, waiting = Waiting, not_sent = NotSent} = Core, Now)
  when map_size(Tries) =:= 0, map_size(Waiting) =:= 0, map_size(NotSent) =:= 0 ->
    #core{plan = #{groups := Groups, deadline := Deadline}} = Core,
    case groups_left(Groups, Core) of
        [] -> {{close, committed(Core)}, Core};
        _ when Now >= Deadline -> {settle, stop(timeout, Core)};
        [Group | _] -> {ahead(Group, Core), Core}
    end;
next(#core{ahead = true} = Core, _Now) ->
    {settle, Core};
next(#core{phase = forward, stop = none} = Core, Now) ->
    #core{plan = #{groups := Groups, deadline := Deadline}} = Core,
    case first_group(Groups, fun(N) -> not is_applied(N, Core) end) of
        [] -> commit(Core);
        _ when Now >= Deadline -> next(stop(timeout, Core), Now);
        Ns -> unless_paused({forward, tasks(Ns, Core)}, Now, Core)
    end;
next(#core{phase = forward, fates = Fates} = Core, Now) ->
    case lists:sort([N || {N, unknown} <- maps:to_list(Fates)]) of
        [] -> turn_back(Core);
        Ns -> unless_paused({probe, Ns}, Now, Core)
    end;
next(#core{phase = compensating, plan = #{groups := Groups}, fates = Fates} = Core, Now) ->
    Blocked = lists:sort([{N, Reason} || {N, {blocked, _, Reason}} <- maps:to_list(Fates)]),
    case {Blocked, in_doubt(Core)} of
        {[], _} ->
            case first_group(lists:reverse(Groups), fun(N) -> is_applied(N, Core) end) of
                [] -> {{record, [{compensated, reversed(Fates)}], []}, Core};
                Ns -> unless_paused({reverse, tasks(Ns, Core)}, Now, Core)
            end;
        {_, []} ->
            %% Steps are reversed from the last one on: an operator is told of that one.
            {{record, [{stuck, reversed(Fates), lists:last(Blocked)}], []}, Core};
        {_, Ns} ->
            %% These ran side by side with the blocked step and may be reversed. An operator has to know
            %% whether they are.
            unless_paused({reverse, tasks(Ns, Core)}, Now, Core)
    end;
next(Core, _Now) ->
    {finished, Core}.

groups_left(Groups, #core{fates = Fates}) ->
    lists:dropwhile(fun(Group) -> lists:all(fun(N) -> maps:get(N, Fates) =/= todo end, Group) end, Groups).

%% What a step function does elsewhere must not be done for a plan that may vanish: it is called when everything
%% before it is stored.
ahead(Group, #core{plan = #{steps := Steps}}) ->
    case [N || #{n := N, forward := {run, _, _}} <- Steps, lists:member(N, Group)] of
        [] -> {ahead, Group};
        _ -> settle
    end.

%% @doc Takes in what became of everything that was queued: `stored', or `failed' when something of it was not
%% stored. What was accepted may be anywhere then, and is sent again.
-spec settled(stored | failed, core()) -> core().
settled(stored, #core{fates = Fates} = Core) ->
    Stored = maps:map(fun(_, {accepted, Seq}) -> {applied, Seq}; (_, Fate) -> Fate end, Fates),
    Core#core{fates = Stored, ahead = false};
settled(failed, #core{fates = Fates} = Core) ->
    Accepted = lists:sort([N || {N, {accepted, _}} <- maps:to_list(Fates)]),
    lists:foldl(fun(N, Acc) -> outcome(N, {transient, interrupted}, Acc) end, Core#core{ahead = false}, Accepted).

first_group([], _Wanted) ->
    [];
first_group([Group | Groups], Wanted) ->
    case lists:filter(Wanted, Group) of
        [] -> first_group(Groups, Wanted);
        Ns -> Ns
    end.

is_applied(N, #core{fates = Fates}) ->
    case Fates of
        #{N := {applied, _}} -> true;
        #{} -> false
    end.

%% Steps whose compensation was sent, and is not known to be stored. An earlier runner may have sent those that this one
%% could not send.
in_doubt(#core{fates = Fates, tries = Tries, not_sent = NotSent, recovered = Recovered, waiting = Waiting}) ->
    lists:sort([N || {N, {applied, _}} <- maps:to_list(Fates),
                     is_map_key(N, Tries) orelse (Recovered andalso is_map_key(N, NotSent)),
                     not is_map_key(N, Waiting)]).

tasks(Ns, Core) ->
    [{N, case is_absent(N, Core) of true -> first; false -> again end} || N <- Ns].

is_absent(N, #core{waiting = Waiting}) when is_map_key(N, Waiting) -> true;
is_absent(N, #core{recovered = Recovered, tries = Tries}) ->
    not Recovered andalso not is_map_key(N, Tries).

unless_paused(Action, _Now, #core{pause = 0} = Core) ->
    {Action, Core};
unless_paused(_Action, Now, #core{pause = Pause, stop = none, phase = forward} = Core) ->
    #core{plan = #{deadline := Deadline}} = Core,
    {{wait, at_most(Pause, Deadline, Now)}, Core#core{pause = 0}};
unless_paused(_Action, _Now, #core{pause = Pause} = Core) ->
    {{wait, Pause}, Core#core{pause = 0}}.

at_most(Pause, infinity, _Now) -> Pause;
at_most(Pause, Deadline, Now) -> min(Pause, max(0, (Deadline - Now) div 1000) + 1).

commit(Core) ->
    {{record, [committed(Core)], []}, Core}.

committed(#core{plan = #{steps := Steps}, fates = Fates}) ->
    {committed, [begin #{N := {How, Seq}} = Fates, true = How =:= applied orelse How =:= accepted, Seq end
                 || #{n := N} <- Steps]}.

%% All outcomes are known.
turn_back(#core{plan = #{steps := Steps}, fates = Fates, stop = Failure} = Core) ->
    Known = [known(maps:get(N, Fates)) || #{n := N} <- Steps],
    Applied = [Seq || {applied, Seq} <- Known],
    Clear = [N || {#{n := N}, Fate} <- lists:zip(Steps, Known), not is_tuple(Fate) orelse
                                                                element(1, Fate) =:= refused],
    Compensating = {compensating, Failure, Known},
    case Applied of
        _ when length(Applied) =:= length(Known) ->
            %% The last step that was in doubt turned out to be applied.
            commit(Core);
        [] ->
            {{record, [Compensating, {compensated, []}], Clear}, Core};
        _ ->
            {{record, [Compensating], Clear}, Core}
    end.

known(todo) -> not_run;
known({applied, _} = Fate) -> Fate;
known({refused, _} = Fate) -> Fate.

reversed(Fates) ->
    lists:sort([{N, CompSeq} || {N, {reversed, _, CompSeq}} <- maps:to_list(Fates)]).

%% @doc Takes in what became of a step that was to be done, reversed or looked for.
-spec outcome(n(), outcome(), core()) -> core().
outcome(N, {waiting, Reason}, #core{waiting = Waiting, pause = Pause} = Core) ->
    not_sent(N, Core#core{waiting = Waiting#{N => Reason}, pause = max(Pause, ?WAITING_PAUSE_MS)});
%% What was sent before, if anything was, may be anywhere still.
outcome(N, {not_sent, _}, #core{not_sent = NotSent, pause = Pause} = Core) ->
    Count = maps:get(N, NotSent, 0) + 1,
    Core#core{not_sent = NotSent#{N => Count}, pause = max(Pause, backoff(Count))};
outcome(N, Outcome, #core{waiting = Waiting, not_sent = NotSent} = Core) ->
    sent(N, Outcome, Core#core{waiting = maps:remove(N, Waiting), not_sent = maps:remove(N, NotSent)}).

%% A step that waits was neither tried nor refused.
not_sent(N, #core{phase = forward, fates = Fates} = Core) ->
    Core#core{fates = Fates#{N := todo}};
not_sent(_N, Core) ->
    Core.

sent(N, Outcome, #core{phase = forward, fates = Fates} = Core) ->
    case Outcome of
        {How, _} when How =:= applied; How =:= accepted ->
            Core#core{fates = Fates#{N := Outcome}};
        {refused, Reason} ->
            fail(N, Reason, Core#core{fates = Fates#{N := Outcome}});
        absent ->
            Core#core{fates = Fates#{N := absent(N, Core#core.stop)}};
        {transient, Reason} ->
            #core{plan = #{retries := Retries}} = Retried =
                retry_later(N, Core#core{fates = Fates#{N := unknown}}),
            case maps:get(N, Retried#core.tries) > Retries of
                true -> fail(N, Reason, Retried);
                false -> Retried
            end
    end;
sent(N, Outcome, #core{phase = compensating, fates = Fates} = Core) ->
    #{N := {applied, Seq}} = Fates,
    case Outcome of
        {applied, CompSeq} -> Core#core{fates = Fates#{N := {reversed, Seq, CompSeq}}};
        {refused, Reason} -> Core#core{fates = Fates#{N := {blocked, Seq, Reason}}};
        {transient, _} -> retry_later(N, Core)
    end.

absent(N, {N, Reason}) -> {refused, Reason};
absent(_N, _Stop) -> todo.

fail(N, Reason, #core{stop = none} = Core) ->
    Core#core{stop = {N, Reason}, pause = 0};
fail(_N, _Reason, Core) ->
    Core.

retry_later(N, #core{tries = Tries, pause = Pause} = Core) ->
    Count = maps:get(N, Tries, 0) + 1,
    Core#core{tries = Tries#{N => Count}, pause = max(Pause, backoff(Count))}.

backoff(Count) ->
    min(?LAST_PAUSE_MS, ?FIRST_PAUSE_MS bsl min(Count - 1, 10)).

%% @doc The first step that waits for another start of the context, and why.
-spec waiting(core()) -> none | failure().
waiting(#core{waiting = Waiting}) when map_size(Waiting) =:= 0 -> none;
waiting(#core{waiting = Waiting}) -> hd(lists:sort(maps:to_list(Waiting))).

-spec phase(core()) -> phase().
phase(#core{phase = Phase}) ->
    Phase.

-spec plan(core()) -> warp_saga_plan:plan().
plan(#core{plan = Plan}) ->
    Plan.

%% @doc The result of a saga that came to an end or is stuck, as its callers get it.
-spec result(core()) -> result().
result(#core{phase = committed} = Core) -> {committed, describe(Core)};
result(#core{phase = compensated} = Core) -> {compensated, describe(Core)};
result(#core{phase = Phase} = Core) when Phase =:= stuck; Phase =:= resolved ->
    {stuck, describe(Core)}.

%% @doc The saga as its callers see it.
-spec describe(core()) -> map().
describe(#core{plan = #{id := Id, steps := Steps}} = Core) ->
    #core{failed = Failed, blocked = Blocked, note = Note} = Core,
    maps:from_list(
        [{id, Id}, {steps, [step(Step, Core) || Step <- Steps]}]
        ++ [{failed, failure(Failed, Steps)} || Failed =/= none]
        ++ [{blocked, failure(Blocked, Steps)} || Blocked =/= none]
        ++ [{note, Note} || Note =/= none]).

failure({none, Reason}, _Steps) ->
    #{step => none, entity => none, reason => Reason};
failure({N, Reason}, Steps) ->
    #{entity := Entity} = lists:nth(N + 1, Steps),
    #{step => N, entity => Entity, reason => Reason}.

step(#{n := N, entity := Entity, aggregate := Aggregate}, #core{fates = Fates, phase = Phase}) ->
    Step = #{step => N, entity => Entity, aggregate => Aggregate},
    IsStuck = Phase =:= stuck orelse Phase =:= resolved,
    case maps:get(N, Fates) of
        {applied, Seq} when IsStuck -> Step#{status => not_reversed, seq => Seq};
        {applied, Seq} -> Step#{status => applied, seq => Seq};
        {blocked, Seq, Reason} -> Step#{status => not_reversed, seq => Seq, reason => Reason};
        {reversed, Seq, Comp} -> Step#{status => reversed, seq => Seq, compensation_seq => Comp};
        {refused, Reason} -> Step#{status => refused, reason => Reason};
        _ -> Step#{status => not_run}
    end.
