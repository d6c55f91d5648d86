%% Reads that take longer than their callers wait.
-module(warp_patience_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_test, [incremented/0]).

all() ->
    [a_fold_that_takes_several_times_the_limit_ends, even_within_one_page, of_the_past_too,
     a_caller_may_wait_longer, what_is_newer_stays, an_entity_that_was_deleted_meanwhile].

init_per_testcase(_Case, Config) -> warp_test:init_case([{mode, read_through} | Config]).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

%% Every event takes that many milliseconds.
counter(Version, Millis) ->
    #{name => <<"Counter">>, initial_state => 0, version => Version,
      apply => fun(Count, #{payload := #{<<"by">> := By}}) -> timer:sleep(Millis), Count + By end}.

%% An entity of so many events, whose aggregate was raised to a slow version.
raised(Config, Count, Millis) ->
    Ctx = warp_test:start(Config, #{aggregates => [counter(1, 0)]}),
    {ok, _} = warp_core:append_batch(warp_core:entity(Ctx, <<"e">>), lists:duplicate(Count, incremented())),
    Slow = warp_test:restart(Ctx, #{aggregates => [counter(2, Millis)]}),
    warp_core:entity(Slow, <<"e">>).

%% How many reads it takes until one gives an answer. On a busy machine a millisecond is long.
attempts(Read) ->
    attempts(Read, 1).

attempts(Read, N) when N =< 60 ->
    case Read() of
        {error, timeout} -> attempts(Read, N + 1);
        {ok, State} -> {State, N}
    end.

a_fold_that_takes_several_times_the_limit_ends(Config) ->
    %% More than a page.
    Entity = raised(Config, 2000, 1),
    {2000, N} = attempts(fun() -> warp_core:get(Entity, <<"Counter">>, #{timeout => 1500}) end),
    ct:pal("~b attempts", [N]),
    ?assert(N > 1),
    %% And from then on it is fast, as soon as what was kept last is written.
    warp_test:wait_until(fun() ->
        warp_core:get(Entity, <<"Counter">>, #{timeout => 1500}) =:= {ok, 2000}
    end).

even_within_one_page(Config) ->
    Entity = raised(Config, 40, 100),
    {40, N} = attempts(fun() -> warp_core:get(Entity, <<"Counter">>, #{timeout => 1500}) end),
    ?assert(N > 1).

of_the_past_too(Config) ->
    Entity = raised(Config, 40, 100),
    {30, N} = attempts(fun() -> warp_core:state_at(Entity, <<"Counter">>, {seq, 30}, #{timeout => 1500}) end),
    ?assert(N > 1).

a_caller_may_wait_longer(Config) ->
    Entity = raised(Config, 40, 50),
    {error, timeout} = warp_core:get(Entity, <<"Counter">>, #{timeout => 100}),
    {ok, 40} = warp_core:get(Entity, <<"Counter">>, #{timeout => infinity}),
    {ok, 39} = warp_core:state_at(Entity, <<"Counter">>, {seq, 39}, #{timeout => 10000}).

%% A slow read of the past does not take the place of a later snapshot.
what_is_newer_stays(Config) ->
    Ctx = warp_test:start(Config, #{aggregates => [counter(1, 0)], snapshot_every => 30}),
    Entity = warp_core:entity(Ctx, <<"e">>),
    {ok, _} = warp_core:append_batch(Entity, lists:duplicate(40, incremented())),
    warp_test:wait_until(fun() -> snapshot_seq(Entity) =:= 40 end),
    Again = warp_test:restart(Ctx, #{aggregates => [counter(1, 100)], snapshot_every => 30}),
    Slow = warp_core:entity(Again, <<"e">>),
    {ok, 25} = warp_core:state_at(Slow, <<"Counter">>, {seq, 25}),
    timer:sleep(2000),
    40 = snapshot_seq(Slow),
    {ok, 40} = warp_core:get(Slow, <<"Counter">>, #{timeout => 500}).

snapshot_seq(Entity) ->
    {ok, Context} = warp_context:find(element(2, Entity)),
    {ok, Handle} = warp_context:shard(Context, element(4, Entity)),
    {ok, {Incarnation, _, _}} = warp_nif:head(Handle, element(3, Entity)),
    case warp_nif:snapshot(Handle, Incarnation, <<"Counter">>) of
        {ok, {_, Seq, _, _}} -> Seq;
        {ok, none} -> none
    end.

%% What is kept of its former life is not found in the next.
an_entity_that_was_deleted_meanwhile(Config) ->
    Entity = raised(Config, 40, 100),
    Read = spawn_monitor(fun() -> exit(warp_core:get(Entity, <<"Counter">>, #{timeout => 10000})) end),
    timer:sleep(500),
    ok = warp_core:delete(Entity),
    {ok, 1} = warp_core:append(Entity, incremented()),
    receive {'DOWN', _, process, Pid, _} when Pid =:= element(1, Read) -> ok end,
    timer:sleep(1500),
    {ok, 1} = warp_core:get(Entity, <<"Counter">>).
