%% The logs of sagas that have ended are removed after a time, and their ids stay used.
-module(warp_saga_sweeper_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([what_is_left_says_how_a_saga_ended/1, sagas_under_way_stay/1, young_sagas_stay/1,
         nothing_of_a_log_is_left_in_the_files/1, a_stop_anywhere_leaves_a_saga_whole_or_removed/1,
         deleting_entities_beside_it/1, many_are_removed_in_pieces/1, options/1]).

-import(warp_saga_test, [saga/2, step/3, step/4, transfer/4, fund/3]).
-import(warp_fault_vm, [run/2, fault/1, ctx/0]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [what_is_left_says_how_a_saga_ended, sagas_under_way_stay, young_sagas_stay,
     nothing_of_a_log_is_left_in_the_files, a_stop_anywhere_leaves_a_saga_whole_or_removed,
     deleting_entities_beside_it, many_are_removed_in_pieces, options].

init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

what_is_left_says_how_a_saga_ended(Config) ->
    Ctx = warp_test:start(Config, #{keep_sagas => infinity}),
    _ = fund(Ctx, <<"alice">>, 100),
    Good = transfer(<<"good">>, <<"alice">>, <<"bob">>, 7),
    Bad = transfer(<<"bad">>, <<"alice">>, <<"bob">>, 1000),
    {ok, {committed, #{steps := [_, _]}}} = warp_saga:commit(Good, Ctx),
    {ok, {compensated, #{failed := #{reason := Reason}}}} = warp_saga:commit(Bad, Ctx),
    Stuck = stuck(Ctx, <<"stuck">>),
    {ok, {stuck, #{blocked := #{reason := Blocked}}}} = warp_saga:commit(Stuck, Ctx),
    {ok, {stuck, _}} = warp_saga:resolve(Ctx, <<"stuck">>, <<"so be it">>),
    {ok, #{updated_at := Updated}} = warp_saga:status(Ctx, <<"bad">>),
    Before = warp_saga_test:balances(Ctx, [<<"alice">>, <<"bob">>]),
    Removing = warp_test:restart(Ctx, #{keep_sagas => 0}),
    await_removed(Removing, 3),
    Check = fun(Of) ->
        ?assertEqual({ok, {committed, #{id => <<"good">>, steps => []}}}, warp_saga:commit(Good, Of)),
        ?assertMatch({ok, {compensated, #{steps := [], failed := #{step := none, reason := Reason}}}},
                     warp_saga:commit(Bad, Of)),
        ?assertMatch({ok, #{state := compensated, updated_at := Updated}}, warp_saga:status(Of, <<"bad">>)),
        ?assertMatch({ok, {stuck, #{blocked := #{reason := Blocked}, note := <<"so be it">>}}},
                     warp_saga:commit(Stuck, Of)),
        ?assertMatch({ok, #{state := resolved}}, warp_saga:status(Of, <<"stuck">>)),
        ?assertEqual({error, {not_stuck, resolved}}, warp_saga:retry(Of, <<"stuck">>)),
        ?assertMatch({ok, {committed, _}}, warp_saga:cancel(Of, <<"good">>)),
        ?assertEqual({error, {saga_conflict, <<"good">>}},
                     warp_saga:commit(transfer(<<"good">>, <<"alice">>, <<"bob">>, 8), Of)),
        ?assertEqual({ok, []}, warp_saga:pending(Of)),
        ?assertEqual({ok, []}, warp_saga:stuck(Of)),
        ?assertEqual(Before, warp_saga_test:balances(Of, [<<"alice">>, <<"bob">>])),
        ?assertMatch({ok, _}, warp_core:verify(Of))
    end,
    Check(Removing),
    %% What is left is not removed again.
    Again = warp_test:restart(Removing, #{keep_sagas => 0}),
    timer:sleep(500),
    ?assertMatch(#{sagas := #{removed := 0}}, warp_core:stats(Again)),
    Check(Again).

sagas_under_way_stay(Config) ->
    Gate = warp_test:restart(warp_saga_test:gated(Config), #{keep_sagas => 0}),
    Waits = saga(<<"waits">>, [warp_saga_test:waits_for_gate(<<"log">>)]),
    {error, timeout} = warp_saga:commit(Waits, Gate, #{wait => 100}),
    Program = warp_saga_test:at_gate(),
    {ok, {stuck, _}} = warp_saga:commit(stuck(Gate, <<"stuck">>), Gate),
    timer:sleep(500),
    ?assertMatch({ok, #{state := running, steps := [_]}}, warp_saga:status(Gate, <<"waits">>)),
    ?assertMatch({ok, #{state := stuck, steps := [_, _]}}, warp_saga:status(Gate, <<"stuck">>)),
    Program ! go,
    await_removed(Gate, 1),
    ?assertMatch({ok, #{state := committed, steps := []}}, warp_saga:status(Gate, <<"waits">>)).

young_sagas_stay(Config) ->
    Ctx = warp_test:start(Config, #{keep_sagas => 2000}),
    _ = fund(Ctx, <<"alice">>, 100),
    {ok, {committed, _}} = warp_saga:commit(transfer(<<"old">>, <<"alice">>, <<"bob">>, 1), Ctx),
    timer:sleep(1500),
    {ok, {committed, _}} = warp_saga:commit(transfer(<<"young">>, <<"alice">>, <<"bob">>, 1), Ctx),
    Await = fun(Id) ->
        warp_test:wait_until(fun() ->
            {ok, #{updated_at := Ended, steps := Steps}} = warp_saga:status(Ctx, Id),
            ?assert(Steps =/= [] orelse os:system_time(microsecond) - Ended >= 2_000_000),
            Steps =:= []
        end)
    end,
    Await(<<"young">>),
    Await(<<"old">>).

nothing_of_a_log_is_left_in_the_files(Config) ->
    Ctx = warp_test:start(Config, #{keep_sagas => 0}),
    Secret = <<"a secret of ", (integer_to_binary(rand:uniform(1 bsl 60)))/binary>>,
    Dir = warp_test:context_dir(Ctx),
    Note = #{type => <<"Noted">>, payload => #{text => Secret}},
    {ok, {committed, _}} = warp_saga:commit(saga(<<"s">>, [step(<<"log">>, <<"Log">>, Note, Note)]), Ctx),
    await_removed(Ctx, 1),
    %% The step's own event has it still.
    ok = warp_core:delete(warp_core:entity(Ctx, <<"log">>)),
    warp_test:wait_until(fun() -> holding(Dir, Secret) =:= [] orelse holding(Dir, Secret) end).

a_stop_anywhere_leaves_a_saga_whole_or_removed(Config) ->
    Transfers = [transfer(<<"t", N>>, <<"alice">>, <<"bob">>, 1) || N <- "12345"],
    Rounds = [stopped(Config, N, Transfers) || N <- lists:seq(1, 12)],
    %% The last ones stop too late, or not at all.
    ?assertMatch([_ | _], [Left || {crashed, Left} <- Rounds, Left > 0]).

stopped(Config, N, Transfers) ->
    Dir = filename:join(?config(dir, Config), "stop" ++ integer_to_list(N)),
    First = warp_test:start(#{data_dir => Dir, context => <<"fault">>, shards => 1, keep_sagas => infinity}),
    _ = fund(First, <<"alice">>, 100),
    [{ok, {committed, _}} = warp_saga:commit(Transfer, First) || Transfer <- Transfers],
    warp_test:stop(First),
    End = warp_fault_vm:crash(fun() ->
        fault({rows_at_once, 2}),
        fault({abort_after, N}),
        case warp_fault_vm:open(#{data_dir => Dir, shards => 1, keep_sagas => 0}) of
            ok -> await_removed(ctx(), length(Transfers));
            {error, _} = Error -> error(Error)
        end,
        fault(off)
    end),
    Again = warp_test:start(#{data_dir => Dir, context => <<"fault">>, shards => 1, keep_sagas => infinity}),
    ?assertMatch({ok, _}, warp_core:verify(Again)),
    Left = [begin
                {ok, {committed, #{steps := Steps}}} = warp_saga:commit(Transfer, Again),
                length(Steps)
            end || Transfer <- Transfers],
    ?assertEqual([], Left -- [0, 2, 0, 2, 0, 2, 0, 2, 0, 2]),
    ?assertEqual([95, 5], warp_saga_test:balances(Again, [<<"alice">>, <<"bob">>])),
    warp_test:stop(Again),
    {End, lists:sum(Left)}.

%% Who deletes an entity clears its payloads from logs that are just being removed.
deleting_entities_beside_it(Config) ->
    Ctx = warp_test:start(Config, #{keep_sagas => 0}),
    Transfers = [begin
         Id = integer_to_binary(N),
         _ = fund(Ctx, Id, 10),
         Transfer = transfer(<<"t", Id/binary>>, Id, <<"bob">>, 1),
         {ok, {committed, _}} = warp_saga:commit(Transfer, Ctx),
         ok = warp_core:delete(warp_core:entity(Ctx, Id)),
         Transfer
     end || N <- lists:seq(1, 60)],
    await_removed(Ctx, 60),
    [?assertMatch({ok, {committed, #{steps := []}}}, warp_saga:commit(Transfer, Ctx)) || Transfer <- Transfers],
    ?assertMatch({ok, _}, warp_core:verify(Ctx)).

many_are_removed_in_pieces(Config) ->
    Ctx = warp_test:start(Config, #{keep_sagas => infinity, shards => 1}),
    warp_test:parallel(10, fun(N) ->
        [{ok, {committed, _}} = warp_saga:commit(one(N, M), Ctx) || M <- lists:seq(1, 50)]
    end),
    Removing = warp_test:restart(Ctx, #{keep_sagas => 0}),
    await_removed(Removing, 500),
    warp_test:await_applied(Removing),
    ?assertMatch({ok, #{rows := 1000, entities := 510}}, warp_core:verify(Removing)).

one(N, M) ->
    Event = #{type => <<"Noted">>, payload => #{}},
    Id = iolist_to_binary(io_lib:format("~b-~b", [N, M])),
    saga(Id, [step(integer_to_binary(N), <<"Log">>, Event, Event)]).

options(Config) ->
    Start = fun(Keep) -> catch warp_test:start(Config, #{keep_sagas => Keep}) end,
    [?assertMatch({'EXIT', {{badmatch, {error, {bad_option, keep_sagas, _}}}, _}}, Start(Bad))
     || Bad <- [-1, forever, 1.0, 1 bsl 62]].

%% -------------------------------------------------------------------- Helpers

await_removed(Ctx, Count) ->
    warp_test:wait_until(fun() ->
        #{sagas := #{removed := Removed}} = warp_core:stats(Ctx),
        Removed =:= Count orelse Removed
    end, 30000).

%% Its second step is refused, and so is the compensation of the first.
stuck(Ctx, Id) ->
    _ = fund(Ctx, <<"carol">>, 5),
    Credit = #{type => <<"Credited">>, payload => #{amount => 1}},
    Debit = #{type => <<"Debited">>, payload => #{amount => 1000}},
    saga(Id, [step(<<"carol">>, <<"Account">>, Credit, Debit), step(<<"dave">>, <<"Account">>, Debit, Credit)]).

holding(Dir, Secret) ->
    Files = filelib:wildcard(filename:join(Dir, "*")),
    [File || File <- Files, {ok, Bytes} <- [file:read_file(File)], binary:match(Bytes, Secret) =/= nomatch].
