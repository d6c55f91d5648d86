%% What a projector decides to do, event by event. Nothing runs here: the effects are looked at.
-module(warp_projection_core_tests).

-include_lib("eunit/include/eunit.hrl").

-define(NOW, 1000).

%% A shard's handle is compared only.
handle() -> make_ref().

joining(Position) ->
    #{turn => 5, position => Position, events => 40, run => 3, aside => #{}, skipped => #{}}.

%% One that has found out where to go on.
joined(Handle) -> joined(Handle, joining(10)).

joined(Handle, Joining) ->
    {Number, Checking} = checking(Handle, Joining),
    warp_projection_core:did(Number, {ok, 3}, Checking).

%% One whose worker looks which run wrote the row at the checkpoint.
checking(Handle, #{position := Position} = Joining) ->
    {_, Asking} = warp_projection_core:join(warp_projection_core:new(0, 1)),
    {_, Answered} = warp_projection_core:joined({ok, Joining, Handle}, Asking),
    {Effects, Checking} = warp_projection_core:work(?NOW, Answered),
    {ask, Number, {check, #{handle := Handle, position := Position}}} = lists:keyfind(ask, 1, Effects),
    {Number, Checking}.

reading(Handle) ->
    {_, Core0} = joined(Handle),
    {Effects, Core} = warp_projection_core:work(?NOW, Core0),
    {ask, Number, {read, _}} = lists:keyfind(ask, 1, Effects),
    {Number, Core}.

part(To, Then) ->
    #{to => To, events => 2, rows => 2, projected => [{<<"a">>, 1}], run => 3, aside => #{}, seen => #{}, oldest => 7,
      log_end => 90,
      work => {sequence, [{1, <<"a">>, 1, {delete, <<"t">>, 1}}], #{}}, then => Then}.

%% One that has a batch at the writer.
flying(Handle) ->
    {Number, Core0} = reading(Handle),
    {_, Core1} = warp_projection_core:did(Number, {part, part(20, more)}, Core0),
    {Effects, Core} = warp_projection_core:work(?NOW, Core1),
    {write, Tag, Changes, {at, Handle}} = lists:keyfind(write, 1, Effects),
    {Tag, Changes, Core}.

starts_by_asking_the_writer_test() ->
    {Effects, Core} = warp_projection_core:join(warp_projection_core:new(0, 1)),
    ?assertEqual([join, tick_soon], Effects),
    %% Once.
    ?assertEqual([], element(1, warp_projection_core:join(Core))),
    %% And does nothing before it is answered.
    ?assertEqual([], element(1, warp_projection_core:work(?NOW, Core))).

goes_on_from_the_checkpoint_test() ->
    {Effects, Core} = joined(handle()),
    ?assertEqual(#{position => 10, events => 40, oldest => none, set_aside => 0, log_end => 10},
                 proplists:get_value(publish, Effects)),
    {Asked, _} = warp_projection_core:work(?NOW, Core),
    ?assertMatch({ask, _, {read, #{position := 10, single := false}}}, lists:keyfind(ask, 1, Asked)).

another_log_is_not_followed_test() ->
    [begin
         {Number, Checking} = checking(handle(), joining(10)),
         {Effects, Core} = warp_projection_core:did(Number, {ok, Found}, Checking),
         ?assertEqual({stalled, {rebuild_due, Why}}, proplists:get_value(show, Effects)),
         ?assert(lists:member(unpublish, Effects)),
         ?assertEqual([{reply, me, {error, rebuild_due}}],
                      element(1, warp_projection_core:await({1, infinity, <<"a">>, me}, handle(), ?NOW, Core)))
     end || {Found, Why} <- [{none, the_log_has_lost_events}, {4, the_log_is_another_one}]].

writes_with_the_turn_test() ->
    {Tag, Changes, Core} = flying(handle()),
    ?assertMatch(#{turn := 5, position := 20, run := 3, events := 2, shard := 0, generation := 1}, Changes),
    %% Meanwhile the next part is read, and no second batch is handed over.
    {Ahead, Reading} = warp_projection_core:work(?NOW, Core),
    {ask, Number, {read, #{position := 20}}} = lists:keyfind(ask, 1, Ahead),
    {_, Ready} = warp_projection_core:did(Number, {part, part(30, more)}, Reading),
    ?assertEqual([], element(1, warp_projection_core:work(?NOW, Ready))),
    {_, Written} = warp_projection_core:written(Tag, Ready),
    {Next, _} = warp_projection_core:work(?NOW, Written),
    ?assertMatch({write, _, #{turn := 6, position := 30}, _}, lists:keyfind(write, 1, Next)).

late_answers_change_nothing_test() ->
    {Tag, _, Core} = flying(handle()),
    [?assertEqual({[], Core}, Late)
     || Late <- [warp_projection_core:written(Tag + 1, Core), warp_projection_core:rejoin(Tag + 1, Core),
                 warp_projection_core:refused(Tag + 1, 1, no, Core), warp_projection_core:did(Tag + 1, void, Core),
                 warp_projection_core:unwritable(Tag + 1, {ok, none}, Core)]].

who_awaits_is_answered_test() ->
    Handle = handle(),
    {Tag, _, Core0} = flying(Handle),
    {Early, Core1} = warp_projection_core:await({10, infinity, <<"a">>, early}, Handle, ?NOW, Core0),
    ?assertEqual([{reply, early, ok}], Early),
    {None, Core2} = warp_projection_core:await({20, infinity, <<"a">>, waits}, Handle, ?NOW, Core1),
    ?assertEqual([], None),
    {Effects, _} = warp_projection_core:written(Tag, Core2),
    ?assertEqual([{reply, waits, ok}], [Reply || {reply, _, _} = Reply <- Effects]).

%% The shard was opened again: is it still the same log?
another_handle_test() ->
    {_, Core} = joined(handle()),
    {Effects, _} = warp_projection_core:await({99, infinity, <<"a">>, me}, handle(), ?NOW, Core),
    ?assertEqual([{join_in, 0}], Effects).

refused_is_read_again_test() ->
    {Tag, _, Core0} = flying(handle()),
    {_, Core1} = warp_projection_core:refused(Tag, unknown, no, Core0),
    {Effects, _} = warp_projection_core:work(?NOW, Core1),
    ?assertMatch({ask, _, {read, #{position := 10, single := true, bytes := 8192}}}, lists:keyfind(ask, 1, Effects)).

%% What was read of an erased entity, and is not at the writer yet, is read again.
erased_is_forgotten_test() ->
    {Number, Core0} = reading(handle()),
    {_, Core1} = warp_projection_core:flush(<<"a">>, Core0),
    {_, Core2} = warp_projection_core:did(Number, {part, part(20, more)}, Core1),
    {Effects, Core3} = warp_projection_core:work(?NOW, Core2),
    {ask, Again, {read, Job}} = lists:keyfind(ask, 1, Effects),
    ?assertMatch(#{position := 10, forget := [<<"a">>]}, Job),
    %% What is read after that may be of a new life.
    {_, Core4} = warp_projection_core:did(Again, {part, part(20, more)}, Core3),
    ?assertMatch({write, _, _, _}, lists:keyfind(write, 1, element(1, warp_projection_core:work(?NOW, Core4)))),
    %% Of another one it is kept.
    {_, Other1} = warp_projection_core:flush(<<"b">>, Core0),
    {_, Other2} = warp_projection_core:did(Number, {part, part(20, more)}, Other1),
    ?assertMatch({write, _, _, _}, lists:keyfind(write, 1, element(1, warp_projection_core:work(?NOW, Other2)))).

%% An entity that was set aside is erased while other entities are read: the worker is told so with its next job.
erased_is_not_aside_any_more_test() ->
    {_, Core1} = joined(handle(), (joining(10))#{aside := #{<<"b">> => 3, <<"c">> => 4}}),
    {Effects, Core2} = warp_projection_core:work(?NOW, Core1),
    {ask, Number, {read, #{told := {#{<<"b">> := 3}, _}}}} = lists:keyfind(ask, 1, Effects),
    {_, Core3} = warp_projection_core:flush(<<"b">>, Core2),
    {_, Core4} = warp_projection_core:did(Number, {part, part(20, more)}, Core3),
    {Writing, Core5} = warp_projection_core:work(?NOW, Core4),
    {write, Tag, _, _} = lists:keyfind(write, 1, Writing),
    {_, Core6} = warp_projection_core:written(Tag, Core5),
    {Again, _} = warp_projection_core:work(?NOW, Core6),
    {ask, _, {read, #{told := Told, forget := Forget}}} = lists:keyfind(ask, 1, Again),
    ?assertEqual({{#{<<"c">> => 4}, #{}}, [<<"b">>]}, {Told, Forget}).

%% At the end of the log it is read once more after the process was seen to sleep.
sleeps_at_the_end_test() ->
    {Number, Core0} = reading(handle()),
    Done = part(10, done),
    {First, Core1} = warp_projection_core:did(Number, {part, Done}, Core0),
    ?assertEqual([sleep, work_soon], First),
    {Effects, Core2} = warp_projection_core:work(?NOW, Core1),
    {ask, Again, _} = lists:keyfind(ask, 1, Effects),
    {Last, _} = warp_projection_core:did(Again, {part, Done}, Core2),
    ?assertEqual({live, none}, proplists:get_value(show, Last)),
    ?assert(lists:keymember(look_in, 1, Last)).

%% A pause is answered when nothing is at the writer any more, and nothing is handed over after that.
pause_test() ->
    {Tag, _, Core0} = flying(handle()),
    Monitor = make_ref(),
    {_, Core1} = warp_projection_core:pause(me, Monitor, Core0),
    {Waiting, Core2} = warp_projection_core:work(?NOW, Core1),
    ?assertEqual([], Waiting),
    {_, Core3} = warp_projection_core:written(Tag, Core2),
    {Answer, Core4} = warp_projection_core:work(?NOW, Core3),
    ?assertEqual([{reply, me, {ok, 20}}], Answer),
    ?assertEqual([], element(1, warp_projection_core:work(?NOW, Core4))),
    ?assert(warp_projection_core:is_paused_by(Monitor, Core4)),
    {Resumed, Core5} = warp_projection_core:resume(Core4),
    ?assert(lists:member({release, Monitor}, Resumed)),
    ?assertMatch({ask, _, {read, #{position := 20}}},
                 lists:keyfind(ask, 1, element(1, warp_projection_core:work(?NOW, Core5)))).

%% An entity is tried again when all before it is written, unless who asked has given up by then.
retry_test() ->
    Aside = (joining(10))#{aside => #{<<"a">> => 4}},
    {_, Core0} = joined(handle(), Aside),
    ?assertEqual([{reply, me, {error, not_set_aside}}],
                 element(1, warp_projection_core:retry({retry, <<"b">>, 2000, me}, ?NOW, Core0))),
    {_, Core1} = warp_projection_core:retry({retry, <<"a">>, 2000, me}, ?NOW, Core0),
    {Effects, _} = warp_projection_core:work(?NOW, Core1),
    ?assertMatch({ask, _, {retry, _}}, lists:keyfind(ask, 1, Effects)),
    {Late, _} = warp_projection_core:work(3000, Core1),
    ?assertEqual([work_soon], Late).

%% A call that does not return is said after three seconds, and ended after ten.
a_call_that_hangs_test() ->
    {_, Core0} = reading(handle()),
    Call = {11, 2, project, 1},
    {Seen, _} = lists:mapfoldl(fun(_, Core) -> warp_projection_core:tick(Call, Core) end, Core0, lists:seq(0, 11)),
    Shown = [N || {N, Effects} <- lists:zip(lists:seq(0, 11), Seen), lists:keymember(show, 1, Effects)],
    Ended = [N || {N, Effects} <- lists:zip(lists:seq(0, 11), Seen), lists:member(end_worker, Effects)],
    ?assertEqual({[3], [10]}, {Shown, Ended}).

%% The log that is to be written on with has changed under the batch.
unwritable_test() ->
    {Tag, _, Core} = flying(handle()),
    ?assertEqual([{join_in, 0}], element(1, warp_projection_core:unwritable(Tag, {ok, none}, Core))),
    {Effects, _} = warp_projection_core:unwritable(Tag, {error, closed}, Core),
    ?assertEqual({stalled, {log, closed}}, proplists:get_value(show, Effects)),
    ?assert(lists:keymember(join_in, 1, Effects)).

%% The node that has the shard is unreachable: the projector says so, and looks where the log is now.
unreachable_test() ->
    Why = {node_unavailable, 'b@host'},
    {Number, Reading} = reading(handle()),
    {Effects, Core} = warp_projection_core:did(Number, {error, Why}, Reading),
    ?assertEqual([{show, {stalled, Why}}, {join_in, 100}], Effects),
    %% It is shown once, with the time when it began.
    {_, Asking} = warp_projection_core:join(Core),
    ?assertEqual([{join_in, 100}], element(1, warp_projection_core:joined({error, Why}, Asking))),
    %% Nothing is read before the checkpoint was looked up.
    {_, Answered} = warp_projection_core:joined({ok, joining(10), handle()}, Asking),
    {Looking, _} = warp_projection_core:work(?NOW, Answered),
    ?assertMatch({ask, _, {check, #{position := 10}}}, lists:keyfind(ask, 1, Looking)).

%% A piece is read behind a row of the run that wrote what was read before.
reads_behind_the_run_test() ->
    {Number, Core0} = reading(handle()),
    {_, Core1} = warp_projection_core:did(Number, {part, (part(20, more))#{run := 8}}, Core0),
    {_, Core2} = warp_projection_core:work(?NOW, Core1),
    {Ahead, _} = warp_projection_core:work(?NOW, Core2),
    ?assertMatch({ask, _, {read, #{position := 20, run := 8}}}, lists:keyfind(ask, 1, Ahead)).

%% What the worker was doing when the checkpoint was asked for again counts no more; its check waits for its end.
checks_when_the_worker_is_free_test() ->
    {Number, Core0} = reading(handle()),
    {_, Core1} = warp_projection_core:joined({ok, joining(15), handle()}, Core0),
    {Waiting, Core2} = warp_projection_core:work(?NOW, Core1),
    ?assertEqual([], Waiting),
    {_, Core3} = warp_projection_core:did(Number, {part, part(20, more)}, Core2),
    {Effects, _} = warp_projection_core:work(?NOW, Core3),
    ?assertMatch({ask, _, {check, #{position := 15}}}, lists:keyfind(ask, 1, Effects)).
