%% The aggregate's own functions: what they are given, and what happens when
%% they refuse, crash, return nonsense or never return.
-module(warp_aggregate_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {seconds, 60}}].
all() -> warp_test:both_modes().
groups() -> warp_test:both_modes(cases()).
init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_, _) -> ok.
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

cases() ->
    [apply_sees_the_same_event_live_and_on_replay,
     apply_sees_the_same_event_under_many_callers,
     apply_may_return_any_term,
     validate_sees_the_event_and_the_state_before_it,
     a_rejected_event_is_not_stored,
     a_batch_is_validated_step_by_step_and_refused_whole,
     a_crash_in_validate_refuses_the_event,
     a_crash_in_apply_refuses_the_event,
     a_crash_in_migrate_refuses_the_event,
     a_crash_in_decide_writes_nothing,
     nonsense_from_a_callback_refuses_the_event,
     one_callers_bad_event_does_not_fail_its_neighbours,
     migrate_is_given_events_live_and_replayed,
     history_is_migrated_and_export_is_as_stored,
     a_log_whose_callbacks_now_crash_is_whole_again_once_they_are_mended,
     an_apply_that_never_returns_stops_only_its_own_entity,
     a_reader_that_is_killed_leaves_no_process_behind].

apply_sees_the_same_event_live_and_on_replay(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, 1} = warp_core:append(Alice, (warp_test:saw(#{atom_key => nil}))#{id => <<"one">>}),
    {ok, {2, 3}} = warp_core:append_batch(Alice,
        [(warp_test:saw(<<" {\"a\" : 1.0} ">>))#{metadata => #{by => bob}, schema_vsn => 4},
         warp_test:saw(#{})]),
    {ok, [4]} = warp_core:decide(Alice, <<"Seen">>,
                                 fun(State) -> {ok, [warp_test:saw(#{n => length(State)})]} end),
    {ok, Live} = warp_core:get(Alice, <<"Seen">>),
    ?assertEqual(lists:reverse(warp_test:history(Alice)), Live),
    ?assertMatch([_, _, _, #{seq := 1, id := <<"one">>, payload := #{<<"atom_key">> := null}}], Live),
    warp_test:passivate(Alice),
    ?assertEqual({ok, Live}, warp_core:get(Alice, <<"Seen">>)),
    Again = warp_core:entity(warp_test:restart(Ctx), <<"alice">>),
    ?assertEqual({ok, Live}, warp_core:get(Again, <<"Seen">>)).

apply_sees_the_same_event_under_many_callers(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    _ = warp_test:parallel(30, fun(Caller) ->
        [{ok, _} = warp_core:append(Alice, warp_test:saw(#{caller => Caller, n => N}))
         || N <- lists:seq(1, 10)]
    end),
    {ok, Live} = warp_core:get(Alice, <<"Seen">>),
    ?assertEqual(lists:reverse(warp_test:history(Alice)), Live),
    warp_test:passivate(Alice),
    ?assertEqual({ok, Live}, warp_core:get(Alice, <<"Seen">>)).

apply_may_return_any_term(Config) ->
    Terms = {self(), make_ref(), 1.5, <<"b">>, #{k => [v]}, {error, x}, [a | b]},
    Ctx = start_with(Config, #{apply => fun(none, _) -> Terms; (T, _) -> {T, again} end}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, 1} = warp_core:append(Alice, event()),
    ?assertEqual({ok, Terms}, warp_core:get(Alice, <<"Test">>)),
    {ok, 2} = warp_core:append(Alice, event()),
    ?assertEqual({ok, {Terms, again}}, warp_core:get(Alice, <<"Test">>)).

validate_sees_the_event_and_the_state_before_it(Config) ->
    Self = self(),
    Ctx = start_with(Config, #{initial_state => [],
                               apply => fun(Seqs, #{seq := Seq}) -> [Seq | Seqs] end,
                               validate => fun(State, Event) -> Self ! {saw, State, Event}, ok end}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, {1, 2}} = warp_core:append_batch(Alice, [event(), event(#{metadata => #{by => bob}})]),
    receive {saw, [], First} ->
        ?assertMatch(#{type := <<"T">>, aggregate := <<"Test">>, payload := #{<<"n">> := 1}}, First)
    after 5000 -> error(validate_not_called) end,
    receive {saw, [1], Second} -> ?assertMatch(#{metadata := #{<<"by">> := <<"bob">>}}, Second)
    after 5000 -> error(validate_not_called) end.

a_rejected_event_is_not_stored(Config) ->
    refused(Config, #{validate => fun(_, _) -> {error, {not_now, #{a => 1}}} end},
            {error, {rejected, {not_now, #{a => 1}}}}).

a_batch_is_validated_step_by_step_and_refused_whole(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Batch = [warp_test:credited(10), warp_test:debited(10)],
    ?assertEqual({ok, {1, 2}}, warp_core:append_batch(Alice, Batch)),
    ?assertEqual({error, {rejected, {overdraft, 0, 10}}},
                 warp_core:append_batch(Alice, lists:reverse(Batch))),
    ?assertEqual({error, {rejected, {overdraft, 10, 11}}},
                 warp_core:append_batch(Alice, Batch ++ [warp_test:credited(10), warp_test:debited(11)])),
    ?assertEqual({ok, 0}, warp_core:get(Alice, <<"Account">>)),
    warp_test:assert_whole(Alice, 2).

a_crash_in_validate_refuses_the_event(Config) ->
    [refused(Config, #{validate => fun(_, _) -> Crash() end}, {validate_failed, Class, Reason})
     || {Crash, Class, Reason} <- crashes()].

a_crash_in_apply_refuses_the_event(Config) ->
    [refused(Config, #{apply => fun(_, _) -> Crash() end}, {apply_failed, Class, Reason})
     || {Crash, Class, Reason} <- crashes()].

a_crash_in_migrate_refuses_the_event(Config) ->
    [refused(Config, #{migrate => fun(_, _) -> Crash() end}, {migrate_failed, Class, Reason})
     || {Crash, Class, Reason} <- crashes()].

a_crash_in_decide_writes_nothing(Config) ->
    Ctx = start_with(Config, #{}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    [begin
         {error, {decide_failed, Crashed}} = warp_core:decide(Alice, <<"Test">>, fun(_) -> Crash() end),
         ?assertMatch({Class, Reason, [_ | _]}, Crashed)
     end || {Crash, Class, Reason} <- crashes()],
    warp_test:assert_whole(Alice, 0).

nonsense_from_a_callback_refuses_the_event(Config) ->
    [refused(Config, #{validate => fun(_, _) -> Nonsense end},
             {error, {bad_return, validate, Nonsense}})
     || Nonsense <- [true, false, {ok, fine}, error, {error, a, b}, []]],
    [refused(Config, #{migrate => fun(_, _) -> Nonsense end},
             {error, {bad_return, migrate, Nonsense}})
     || Nonsense <- [ok, not_an_event, {ok, #{}}, []]].

one_callers_bad_event_does_not_fail_its_neighbours(Config) ->
    Crashing = fun(_, #{payload := #{<<"n">> := 3}}) -> error(three);
                  (Count, _) -> Count + 1
               end,
    Ctx = start_with(Config, #{initial_state => 0, apply => Crashing}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Results = warp_test:parallel(60, fun(N) ->
        warp_core:append(Alice, event(#{payload => #{n => N rem 6}}))
    end),
    {Taken, Refused} = lists:partition(fun(R) -> element(1, R) =:= ok end, Results),
    ?assertEqual(lists:seq(1, 50), lists:sort([Seq || {ok, Seq} <- Taken])),
    [?assertMatch({error, {apply_failed, {error, three, _}}}, R) || R <- Refused],
    ?assertEqual({ok, 50}, warp_core:get(Alice, <<"Test">>)),
    warp_test:assert_whole(Alice, 50).

%% Version 1 counted in cents, version 2 counts in whole units.
migrate_is_given_events_live_and_replayed(Config) ->
    Ctx = start_with(Config, cents()),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, {1, 2}} = warp_core:append_batch(Alice, [amount(300), amount(400)]),
    ?assertEqual({ok, 700}, warp_core:get(Alice, <<"Test">>)),
    Units = warp_core:entity(restart_with(Ctx, units()), <<"alice">>),
    ?assertEqual({ok, 7}, warp_core:get(Units, <<"Test">>)),
    {ok, 3} = warp_core:append(Units, amount(5)),
    {ok, 4} = warp_core:append(Units, (amount(900))#{schema_vsn => 1}),
    ?assertEqual({ok, 21}, warp_core:get(Units, <<"Test">>)),
    ?assertEqual({ok, 12}, warp_core:state_at(Units, <<"Test">>, {seq, 3})),
    warp_test:passivate(Units),
    ?assertEqual({ok, 21}, warp_core:get(Units, <<"Test">>)).

history_is_migrated_and_export_is_as_stored(Config) ->
    Ctx = start_with(Config, cents()),
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"alice">>), amount(300)),
    Alice = warp_core:entity(restart_with(Ctx, units()), <<"alice">>),
    {ok, 2} = warp_core:append(Alice, amount(4)),
    {ok, Export} = warp_core:export(Alice),
    Versions = fun(Events) ->
        [{Vsn, Amount} || #{schema_vsn := Vsn, payload := #{<<"amount">> := Amount}} <- Events]
    end,
    ?assertEqual([{2, 3}, {2, 4}], Versions(warp_test:history(Alice))),
    ?assertEqual([{1, 300}, {2, 4}], Versions(Export)),
    ?assertEqual({ok, Export}, warp_core:history(Alice, #{migrate => false})),
    ?assertEqual({ok, lists:reverse(Export)}, warp_core:history(Alice, #{migrate => false, direction => backward})),
    ?assertEqual({error, {bad_option, migrate, {not_one_of, [true, false]}}},
                 warp_core:history(Alice, #{migrate => 1})).

a_log_whose_callbacks_now_crash_is_whole_again_once_they_are_mended(Config) ->
    Ctx = start_with(Config, cents()),
    {ok, {1, 2}} = warp_core:append_batch(warp_core:entity(Ctx, <<"alice">>), [amount(1), amount(2)]),
    Broken = fun(_, _) -> error(broken) end,
    BadApply = restart_with(Ctx, (cents())#{apply => Broken}),
    Failing = warp_core:entity(BadApply, <<"alice">>),
    ApplyFailed = fun(Result) ->
        ?assertMatch({error, {apply_failed, {error, broken, _}}}, Result)
    end,
    ApplyFailed(warp_core:get(Failing, <<"Test">>)),
    ApplyFailed(warp_core:append(Failing, amount(3))),
    ApplyFailed(warp_core:state_at(Failing, <<"Test">>, {seq, 1})),
    warp_test:assert_whole(Failing, 2),
    BadMigrate = restart_with(BadApply, (cents())#{migrate => Broken}),
    Unread = warp_core:entity(BadMigrate, <<"alice">>),
    MigrateFailed = fun(Result) ->
        ?assertMatch({error, {migrate_failed, {error, broken, _}}}, Result)
    end,
    MigrateFailed(warp_core:get(Unread, <<"Test">>)),
    MigrateFailed(warp_core:append(Unread, amount(3))),
    MigrateFailed(warp_core:history(Unread)),
    ?assertMatch({ok, [#{seq := 1}, #{seq := 2}]}, warp_core:export(Unread)),
    Mended = warp_core:entity(restart_with(BadMigrate, cents()), <<"alice">>),
    ?assertEqual({ok, 3}, warp_core:append(Mended, amount(4))),
    ?assertEqual({ok, 7}, warp_core:get(Mended, <<"Test">>)).

an_apply_that_never_returns_stops_only_its_own_entity(Config) ->
    Apply = fun(_, #{type := <<"Loop">>}) -> loop();
               (Count, _) -> Count + 1
            end,
    Ctx = start_with(Config, #{initial_state => 0, apply => Apply}),
    [Stuck, Other] = [warp_core:entity(Ctx, Id) || Id <- [<<"stuck">>, <<"other">>]],
    {ok, 1} = warp_core:append(Stuck, event()),
    ?assertEqual({error, timeout},
                 warp_core:append(Stuck, event(#{type => <<"Loop">>}), #{timeout => 200})),
    ?assertEqual({error, timeout}, warp_core:append(Stuck, event(), #{timeout => 100})),
    ?assertEqual({ok, 1}, warp_core:append(Other, event())),
    ?assertEqual({ok, 1}, warp_core:get(Other, <<"Test">>)),
    Again = warp_core:entity(warp_test:restart(Ctx), <<"stuck">>),
    ?assertEqual({ok, 1}, warp_core:get(Again, <<"Test">>)),
    ?assertEqual([<<"T">>], lists:usort([Type || #{type := Type} <- warp_test:history(Again)])).

a_reader_that_is_killed_leaves_no_process_behind(Config) ->
    Ctx = start_with(Config, #{}),
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"alice">>), event()),
    Slow = warp_core:entity(restart_with(Ctx, #{migrate => fun(_, _) -> loop() end}), <<"alice">>),
    %% Some processes of a context come after its start.
    warp_test:wait_until(fun() ->
        Now = processes(),
        timer:sleep(50),
        Now =:= processes()
    end),
    Before = processes(),
    Reads = [fun() -> warp_core:state_at(Slow, <<"Test">>, {seq, 1}) end,
             fun() -> warp_core:history(Slow) end],
    Readers = [spawn(Read) || Read <- Reads],
    warp_test:wait_until(fun() -> length(loopers()) =:= 2 end),
    [exit(Reader, kill) || Reader <- Readers],
    warp_test:wait_until(fun() ->
        case processes() -- Before of
            [] -> true;
            Left -> Left
        end
    end, 3000).

loopers() ->
    [Pid || Pid <- processes(),
            process_info(Pid, current_function) =:= {current_function, {?MODULE, loop, 0}}].

%% ---------------------------------------------------------------- helpers

start_with(Config, Aggregate) ->
    warp_test:start(Config, #{aggregates => [aggregate(Aggregate)]}).

restart_with(Ctx, Aggregate) ->
    warp_test:restart(Ctx, #{aggregates => [aggregate(Aggregate)]}).

aggregate(Changes) ->
    maps:merge(#{name => <<"Test">>, initial_state => none, apply => fun(_, _) -> some end}, Changes).

event() -> event(#{}).
event(Changes) -> maps:merge(#{type => <<"T">>, payload => #{n => 1}}, Changes).

cents() ->
    #{initial_state => 0, apply => fun(Sum, #{payload := #{<<"amount">> := N}}) -> Sum + N end}.

units() ->
    (cents())#{version => 2,
               migrate => fun(#{payload := #{<<"amount">> := Cents}} = Event, 1) ->
                                  Event#{payload => #{<<"amount">> => Cents div 100}, schema_vsn => 2};
                             (Event, 2) -> Event
                          end}.

amount(N) -> event(#{payload => #{amount => N}}).

crashes() ->
    [{fun() -> error(oops) end, error, oops}, {fun() -> throw(oops) end, throw, oops},
     {fun() -> exit(oops) end, exit, oops}, {fun() -> exit(normal) end, exit, normal},
     {fun() -> exit(kill) end, exit, kill}].

loop() -> loop().

%% With this aggregate an append is refused so, the log stays as it was, the
%% entity's process lives on, and an event of another aggregate is taken.
refused(Config, Aggregate, Expected) ->
    Ctx = warp_test:start(Config, #{aggregates => [aggregate(Aggregate), warp_test:counter()]}),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Good = warp_test:incremented(),
    Bad = event(#{aggregate => <<"Test">>}),
    {ok, Last} = warp_core:append(Alice, Good),
    Process = lives_on(Config, Alice),
    assert_refused(Expected, warp_core:append(Alice, Bad)),
    assert_refused(Expected, warp_core:append_batch(Alice, [Good, Bad])),
    assert_refused(Expected, warp_core:decide(Alice, <<"Counter">>, fun(_) -> {ok, [Good, Bad]} end)),
    ?assertEqual(Process, lives_on(Config, Alice)),
    ?assertEqual({ok, Last}, warp_core:get(Alice, <<"Counter">>)),
    warp_test:assert_whole(Alice, Last),
    warp_test:stop(Ctx).

%% In the other mode the process goes when it has nothing to do.
lives_on(Config, Entity) ->
    case warp_test:opts(Config) of
        #{mode := actor} -> {ok, _} = warp_entity_registry:lookup(Entity);
        #{mode := read_through} -> any
    end.

assert_refused({error, _} = Expected, Result) ->
    ?assertEqual(Expected, Result);
assert_refused({Why, Class, Reason}, Result) ->
    ?assertMatch({error, {Why, {Class, Reason, [_ | _]}}}, Result).
