%% Following the log of a shard by position: who sees whose rows.
-module(warp_follow_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(SAGAS, {kind, <<"$warp/saga/">>}).

all() ->
    [rows_of_sagas_are_for_those_who_ask_for_them,
     positions_are_the_same_after_a_restart,
     a_kind_that_the_shard_does_not_know_is_a_bug,
     what_is_not_a_follower_is_refused].

init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

rows_of_sagas_are_for_those_who_ask_for_them(Config) ->
    {Ctx, Handle} = start(Config),
    ok = saga(Ctx),
    {Users, Last} = rows(Handle, users, all),
    {Sagas, Last} = rows(Handle, ?SAGAS, all),
    {All, Last} = rows(Handle, all, all),
    %% The plan and the end of the saga, around its two steps, in the order of the log.
    ?assertEqual([<<"alice">>, <<"$warp/saga/x">>, <<"alice">>, <<"bob">>, <<"$warp/saga/x">>], entities(All)),
    ?assertEqual([<<"alice">>, <<"alice">>, <<"bob">>], entities(Users)),
    ?assertEqual([<<"$warp/saga/x">>, <<"$warp/saga/x">>], entities(Sagas)),
    ?assertEqual(lists:sort(Users ++ Sagas), All),
    ?assertEqual([<<"Planned">>, <<"Forward">>, <<"Reverse">>, <<"Forward">>, <<"Reverse">>, <<"Committed">>],
                 [Type || {_, _, _, _, Events} <- Sagas, #{type := Type} <- Events]),
    %% Aggregates narrow the events, not the rows.
    {Ends, Last} = rows(Handle, ?SAGAS, [<<"$warp/saga/end">>]),
    ?assertEqual([0, 1], [length(Events) || {_, _, _, _, Events} <- Ends]),
    ?assertMatch({[], Last}, rows(Handle, {kind, <<"$warp/other/">>}, all)),
    %% From a position on, and in small pieces.
    [{First, _, _, _, _}, Second] = Sagas,
    ?assertMatch({ok, {[Second], Last, done}}, warp_nif:follow(Handle, First, 100000, ?SAGAS, all)),
    ?assertMatch({ok, {[_], First, more}}, warp_nif:follow(Handle, First - 1, 1, ?SAGAS, all)),
    ?assertMatch({ok, {[], _, more}}, warp_nif:follow(Handle, First, 1, ?SAGAS, all)).

positions_are_the_same_after_a_restart(Config) ->
    {Ctx, Handle} = start(Config),
    ok = saga(Ctx),
    Before = rows(Handle, all, all),
    Again = warp_test:restart(Ctx),
    ?assertEqual(Before, rows(handle(Again), all, all)).

a_kind_that_the_shard_does_not_know_is_a_bug(Config) ->
    {_, Handle} = start(Config),
    {error, {internal, Why}} = warp_nif:open_entities(Handle, <<"$warp/other/">>),
    ?assertMatch({_, _}, binary:match(Why, <<"bug in Warp">>)),
    ?assertEqual({ok, {[], []}}, warp_nif:open_entities(Handle, <<"$warp/saga/">>)),
    %% The row has to keep its size.
    Types = [{<<"Forward">>, <<"Gone">>}],
    ?assertMatch({error, {internal, _}}, warp_nif:clear(Handle, [{<<"alice">>, [1]}], Types)).

what_is_not_a_follower_is_refused(Config) ->
    {_, Handle} = start(Config),
    [?assertError(badarg, warp_nif:follow(Handle, 0, 1000, Followed, all))
     || Followed <- [sagas, {kind, saga}, {kind, <<255>>}, {sort, <<"x">>}, <<"x">>]],
    ?assertError(badarg, warp_nif:follow(Handle, 0, 1000, all, some)).

start(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    {Ctx, handle(Ctx)}.

handle(Ctx) ->
    {ok, Context} = warp_context:find(Ctx),
    {ok, Handle} = warp_context:shard(Context, 0),
    Handle.

saga(Ctx) ->
    1 = warp_saga_test:fund(Ctx, <<"alice">>, 10),
    Saga = warp_saga_test:transfer(<<"x">>, <<"alice">>, <<"bob">>, 3),
    {ok, {committed, _}} = warp_saga:commit(Saga, Ctx),
    ok.

rows(Handle, Followed, Aggregates) ->
    {ok, {Rows, Last, done}} = warp_nif:follow(Handle, 0, 1000000, Followed, Aggregates),
    {Rows, Last}.

entities(Rows) ->
    [Entity || {_, Entity, _, _, _} <- Rows].
