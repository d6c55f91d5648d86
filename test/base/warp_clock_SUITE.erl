%% Events that were recorded while the clock was wrong.
-module(warp_clock_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include_lib("warp_core/src/base/warp_entity.hrl").

-import(warp_test, [incremented/0]).

-define(SECOND, 1000000).
-define(YEAR, (365 * 24 * 3600 * ?SECOND)).

all() -> warp_test:both_modes() ++ [a_saga_too, warned_once_a_minute].

groups() ->
    warp_test:both_modes([one_wrong_reading_does_not_stop_time, a_little_ahead_is_kept, time_travel,
                          times_of_a_long_log, correcting, correcting_a_batch,
                          what_cannot_be_corrected, corrected_times_survive, a_clock_of_1970]).

init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_Mode, _Config) -> ok.
init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

now_us() -> os:system_time(microsecond).

entity(Config) ->
    warp_core:entity(warp_test:start(Config), <<"e">>).

%% Appends as an entity's process would, at a time of ours. There must be none.
append_at(#warp_entity{ref = Ref, id = Id, shard = N} = Entity, Events, Time) ->
    warp_test:passivate(Entity),
    {ok, Context} = warp_context:find(Ref),
    {ok, Handle} = warp_context:shard(Context, N),
    {ok, #{packed := Packed}} = warp_entity_pack:pack(Context, Id, undefined, Events),
    Base = case warp_nif:head(Handle, Id) of {ok, none} -> 0; {ok, {_, Seq, _}} -> Seq end,
    ok = warp_nif:submit(Handle, Id, Base, [{Packed, Time}], none),
    receive {warp_reply, {stored, _}} -> ok end.

times(Entity) ->
    [Time || #{recorded_at := Time} <- warp_test:history(Entity)].

clock(#warp_entity{ref = Ref}) ->
    maps:get(clock, warp_core:stats({warp_context, Ref, 2})).

one_wrong_reading_does_not_stop_time(Config) ->
    Entity = entity(Config),
    {ok, 1} = warp_core:append(Entity, incremented()),
    ?assertEqual(#{ahead => 0, lead_seconds => 0}, clock(Entity)),
    ok = append_at(Entity, [incremented()], now_us() + 10 * ?YEAR),
    Before = now_us(),
    {ok, 3} = warp_core:append(Entity, incremented()),
    {ok, 4} = warp_core:append(Entity, incremented()),
    After = now_us(),
    [_, _, Third, Fourth] = times(Entity),
    ?assert(Before =< Third andalso Third =< Fourth andalso Fourth =< After),
    #{ahead := 1, lead_seconds := Lead} = clock(Entity),
    ?assert(abs(Lead - 10 * ?YEAR div ?SECOND) < 60).

a_little_ahead_is_kept(Config) ->
    Entity = entity(Config),
    Ahead = now_us() + 50 * ?SECOND,
    ok = append_at(Entity, [incremented()], Ahead),
    {ok, 2} = warp_core:append(Entity, incremented()),
    ?assertEqual([Ahead, Ahead], times(Entity)),
    ?assertEqual(#{ahead => 0, lead_seconds => 0}, clock(Entity)).

time_travel(Config) ->
    Entity = entity(Config),
    {ok, 1} = warp_core:append(Entity, incremented()),
    Wrong = now_us() + 10 * ?YEAR,
    ok = append_at(Entity, [incremented()], Wrong),
    {ok, 3} = warp_core:append(Entity, incremented()),
    [First, Wrong, Third] = times(Entity),
    At = fun(Time) -> warp_core:state_at(Entity, <<"Counter">>, {time, Time}) end,
    ?assertEqual({ok, 0}, At(First - 1)),
    ?assertEqual({ok, 1}, At(First)),
    ?assertEqual({ok, 1}, At(Third - 1)),
    %% What was recorded by now is there, also behind the wrong one.
    ?assertEqual({ok, 3}, At(Third)),
    ?assertEqual({ok, 3}, At(now_us())),
    ?assertEqual({ok, 3}, At(Wrong)),
    ?assertEqual({ok, 2}, warp_core:state_at(Entity, <<"Counter">>, {seq, 2})).

%% Of several pages, with a snapshot in it.
times_of_a_long_log(Config) ->
    Entity = entity(Config),
    Start = now_us() - ?YEAR,
    [ok = append_at(Entity, lists:duplicate(300, incremented()), Start + N * ?SECOND) || N <- lists:seq(1, 12)],
    {ok, 3601} = warp_core:append(Entity, incremented()),
    At = fun(Seconds) -> warp_core:state_at(Entity, <<"Counter">>, {time, Start + Seconds * ?SECOND}) end,
    [?assertEqual({N, {ok, 300 * N}}, {N, At(N)}) || N <- [12, 11, 7, 4, 3, 1, 0]],
    ?assertEqual({ok, 3600}, At(100)),
    ?assertEqual({ok, 0}, At(-1)).

correcting(Config) ->
    Entity = entity(Config),
    {ok, 1} = warp_core:append(Entity, incremented()),
    ok = append_at(Entity, [incremented()], now_us() + 10 * ?YEAR),
    {ok, 2} = warp_core:get(Entity, <<"Counter">>),
    [First, _] = times(Entity),
    ok = warp_core:correct_time(Entity, 2, First + 7),
    ?assertEqual([First, First + 7], times(Entity)),
    ?assertEqual({ok, 2}, warp_core:state_at(Entity, <<"Counter">>, {time, First + 7})),
    warp_test:wait_until(fun() ->
        warp_entity_registry:lookup(Entity) =:= none orelse ?config(mode, Config) =:= actor
    end),
    {ok, 3} = warp_core:append(Entity, incremented()),
    %% Its process knows it: nothing is ahead of the clock any more.
    ?assertEqual(#{ahead => 0, lead_seconds => 0}, clock(Entity)).

correcting_a_batch(Config) ->
    Entity = entity(Config),
    {ok, 1} = warp_core:append(Entity, incremented()),
    ok = append_at(Entity, [incremented(), incremented(), incremented()], now_us() + ?YEAR),
    [First | _] = times(Entity),
    ok = warp_core:correct_time(Entity, 3, First + 1),
    ?assertEqual([First, First + 1, First + 1, First + 1], times(Entity)).

what_cannot_be_corrected(Config) ->
    Entity = entity(Config),
    {error, no_event} = warp_core:correct_time(Entity, 1, now_us()),
    {ok, 1} = warp_core:append(Entity, incremented()),
    [Time] = times(Entity),
    {error, no_event} = warp_core:correct_time(Entity, 2, now_us()),
    [{error, {bad_option, seq, _}} = warp_core:correct_time(Entity, Seq, now_us()) || Seq <- [0, -1, a, 1.0, 1 bsl 70]],
    [{error, {bad_option, recorded_at, _}} = warp_core:correct_time(Entity, 1, Micros)
     || Micros <- [0, -1, a, 1.0, 1 bsl 62, 1 bsl 70]],
    ok = append_at(Entity, [incremented()], 1000),
    {error, {io_error, _}} = warp_core:correct_time(Entity, 2, now_us()),
    {error, {bad_entity_id, _}} = warp_core:correct_time(Entity#warp_entity{id = x}, 1, now_us()),
    ?assertEqual([Time, 1000], times(Entity)).

corrected_times_survive(Config) ->
    Ctx = warp_test:start(Config),
    Entity = warp_core:entity(Ctx, <<"e">>),
    [{ok, _} = warp_core:append(Entity, incremented()) || _ <- lists:seq(1, 200)],
    [First | _] = times(Entity),
    ok = warp_core:correct_time(Entity, 70, First - 5),
    Again = warp_core:entity(warp_test:restart(Ctx), <<"e">>),
    ?assertEqual(First - 5, lists:nth(70, times(Again))),
    %% It can be erased as any other.
    ok = warp_core:delete(Again),
    {ok, []} = warp_core:history(Again).

%% A machine without a battery begins in 1970: what it records then is not a time of few bytes.
a_clock_of_1970(Config) ->
    Entity = entity(Config),
    {ok, #{clock := Clock}} = warp_context:find(Entity#warp_entity.ref),
    ?assert(warp_clock:stamp(Clock, <<"e">>, 0) >= 1 bsl 47),
    {ok, 1} = warp_core:append(Entity, incremented()).

%% One that was planned while the clock was wrong goes on by the right one.
a_saga_too(Config) ->
    Ctx = warp_test:start(Config),
    {ok, Context} = warp_context:find(Ctx),
    Step = #{entity => <<"e">>, aggregate => <<"Counter">>,
             forward => #{type => <<"Incremented">>, payload => #{by => 1}},
             compensate => #{type => <<"Incremented">>, payload => #{by => -1}}},
    Saga = warp_saga:step(warp_saga:new(<<"s">>), Step),
    {ok, _, Packed} = warp_saga_builder:build(Saga, Context, #{timeout => infinity, retries => 1}),
    Id = warp_saga_plan:entity_id(<<"s">>),
    {ok, N} = warp_nif:shard_of(Id, 2),
    {ok, Handle} = warp_context:shard(Context, N),
    Wrong = now_us() + 10 * ?YEAR,
    ok = warp_nif:submit(Handle, Id, 0, [{Packed, Wrong}], none),
    receive {warp_reply, {stored, _}} -> ok end,
    Again = warp_test:restart(Ctx),
    {ok, {committed, _}} = warp_saga:commit(Saga, Again),
    {ok, #{started_at := Wrong, updated_at := Updated}} = warp_saga:status(Again, <<"s">>),
    ?assert(Updated =< now_us()),
    #{clock := #{ahead := 1}} = warp_core:stats(Again).

warned_once_a_minute(Config) ->
    Ctx = warp_test:start(Config),
    {ok, #{clock := Clock}} = warp_context:find(Ctx),
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => warning, config => self()}),
    try
        [begin
             Time = warp_clock:stamp(Clock, <<"e">>, now_us() + ?YEAR),
             ?assert(Time =< now_us())
         end || _ <- lists:seq(1, 5)],
        #{ahead := 5} = warp_clock:read(Clock),
        {match, _} = re:run(logged(), "entity e was recorded 3153[0-9]+ seconds ahead of the clock"),
        ?assertEqual(nothing, logged())
    after
        logger:remove_handler(?MODULE)
    end.

%% A handler of logger's.
log(Event, #{config := Pid}) ->
    Pid ! {logged, unicode:characters_to_binary(logger_formatter:format(Event, #{single_line => true}))}.

logged() ->
    receive {logged, Text} -> Text after 200 -> nothing end.
