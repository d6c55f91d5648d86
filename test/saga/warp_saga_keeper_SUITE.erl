%% The keeper of a shard's sagas: it goes on with open sagas whenever the shard is opened, and forgets
%% nothing that it was asked for while a runner is being restarted.
-module(warp_saga_keeper_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_saga_test, [gated/1, waits_for_gate/1, at_gate/0, saga/2, ids/2, types/2, runner/2, context/1]).

suite() -> [{timetrap, {seconds, 60}}].
init_per_suite(Config) -> warp_killer:quiet(Config).
end_per_suite(Config) -> warp_killer:loud(Config).
all() ->
    [sagas_go_on_once_their_shard_can_be_opened,
     sagas_go_on_with_a_keeper_that_starts_after_the_shard_was_opened,
     a_saga_cancelled_while_its_runner_is_restarted_turns_back,
     a_decision_that_is_made_again_is_carried_out_once].
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

%% Whoever decides may not hear of it, and says it again.
a_decision_that_is_made_again_is_carried_out_once(Config) ->
    Ctx = gated(Config),
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"a">>), warp_test:credited(10)),
    Unreversible = warp_saga_test:step(<<"a">>, warp_saga_test:action(<<"Credited">>, 1),
                                       warp_saga_test:action(<<"Debited">>, 1000)),
    Refused = warp_saga_test:step(<<"b">>, <<"Debited">>, 1),
    {ok, {stuck, _}} = warp_saga:commit(saga(<<"x">>, [Unreversible, Refused]), Ctx),
    Context = context(Ctx),
    {ok, N} = warp_context:shard_of(Context, warp_saga_plan:entity_id(<<"x">>)),
    Ask = fun(Request) -> warp_saga_keeper:ask(Context, N, Request, infinity) end,
    Seq = fun() -> {ok, #{seq := Of}} = warp_saga_log:read(Context, <<"x">>), Of end,
    Stuck = Seq(),
    ?assertMatch({ok, {stuck, _}}, Ask({retry, <<"x">>, Stuck})),
    Again = Seq(),
    ?assert(Again > Stuck),
    ?assertEqual([known, known], [Ask({retry, <<"x">>, Stuck}), Ask({resolve, <<"x">>, Stuck, <<"no">>})]),
    ?assertEqual(Again, Seq()),
    ?assertMatch({ok, {stuck, #{note := <<"yes">>}}}, Ask({resolve, <<"x">>, Again, <<"yes">>})),
    ?assertEqual(known, Ask({resolve, <<"x">>, Again, <<"yes">>})),
    Request = fun(Note) -> warp_saga_call:run(Context, <<"x">>, {resolve, Again, Note}, infinity) end,
    ?assertMatch({ok, {stuck, #{note := <<"yes">>}}}, Request(<<"yes">>)),
    ?assertEqual({error, {not_stuck, resolved}}, Request(<<"other">>)).

%% The keeper starts long before the shard is open.
sagas_go_on_once_their_shard_can_be_opened(Config) ->
    Ctx = gated(Config),
    {Id, N} = in_another_shard(<<"g">>),
    spawn(fun() -> warp_saga:commit(saga(Id, [waits_for_gate(<<"g">>), waits_for_gate(<<"g">>)]), Ctx) end),
    First = at_gate(),
    File = filename:join(warp_test:context_dir(Ctx), lists:flatten(io_lib:format("shard-~4..0b.db", [N]))),
    ok = file:rename(File, File ++ ".moved"),
    ok = file:make_symlink("nowhere", File),
    {ok, Owner} = warp_context:registered(context(Ctx), {owner, N}),
    exit(Owner, kill),
    warp_test:wait_until(fun() -> warp_shard:failure(context(Ctx), N) =/= none end),
    ?assertNot(warp_saga_table:is_loaded(context(Ctx), N)),
    ?assertEqual({error, {shard_unavailable, N}}, warp_saga:cancel(Ctx, Id)),
    First ! go,
    ok = file:delete(File),
    ok = file:rename(File ++ ".moved", File),
    at_gate() ! go,
    {ok, #{compensated := 0, stuck := 0, waiting := 0}} = warp_saga:recover_pending(Ctx),
    ?assertMatch({ok, #{state := committed}}, warp_saga:status(Ctx, Id)),
    ?assertEqual([<<Id/binary, "/fwd/0">>, <<Id/binary, "/fwd/1">>], ids(Ctx, <<"g">>)).

sagas_go_on_with_a_keeper_that_starts_after_the_shard_was_opened(Config) ->
    Ctx = gated(Config),
    {Id, N} = in_another_shard(<<"g">>),
    spawn(fun() -> warp_saga:commit(saga(Id, [waits_for_gate(<<"g">>), waits_for_gate(<<"g">>)]), Ctx) end),
    First = at_gate(),
    {ok, Keeper} = warp_context:registered(context(Ctx), {saga_keeper, N}),
    exit(Keeper, kill),
    First ! go,
    at_gate() ! go,
    warp_test:wait_until(fun() -> types(Ctx, Id) =:= [<<"Planned">>, <<"Forward">>, <<"Reverse">>,
                                                      <<"Forward">>, <<"Reverse">>, <<"Committed">>] end),
    ?assertEqual([<<Id/binary, "/fwd/0">>, <<Id/binary, "/fwd/1">>], ids(Ctx, <<"g">>)).

a_saga_cancelled_while_its_runner_is_restarted_turns_back(Config) ->
    Ctx = gated(Config),
    Self = self(),
    Saga = saga(<<"x">>, [waits_for_gate(<<"g">>), waits_for_gate(<<"h">>)]),
    spawn(fun() -> Self ! {committed, warp_saga:commit(Saga, Ctx)} end),
    First = at_gate(),
    Runner = runner(Ctx, <<"x">>),
    Monitor = erlang:monitor(process, Runner),
    exit(Runner, kill),
    receive {'DOWN', Monitor, process, Runner, killed} -> ok end,
    spawn(fun() -> Self ! {cancelled, warp_saga:cancel(Ctx, <<"x">>)} end),
    timer:sleep(100),
    First ! go,
    [receive
         {Asked, Result} ->
             ?assertMatch({ok, {compensated, #{failed := #{step := none, reason := cancelled}}}}, Result);
         {at_gate, _} ->
             ct:fail(went_on)
     end || Asked <- [committed, cancelled]],
    ?assertEqual({[<<"x/fwd/0">>, <<"x/comp/0">>], []}, {ids(Ctx, <<"g">>), ids(Ctx, <<"h">>)}).

%% --------------------------------------------------------------------------- Helpers

%% The id of a saga that lives in the other one of two shards, and that shard.
in_another_shard(Entity) ->
    {ok, Other} = warp_nif:shard_of(Entity, 2),
    hd([{Id, 1 - Other} || Id <- [<<"s", C>> || C <- lists:seq($a, $z)],
                           warp_nif:shard_of(warp_saga_plan:entity_id(Id), 2) =:= {ok, 1 - Other}]).
