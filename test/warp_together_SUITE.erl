%% Sagas and projections in one context: what one does, the other sees.
-module(warp_together_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_group/2, end_per_group/2,
         init_per_testcase/2, end_per_testcase/2]).
-export([what_a_saga_does_is_projected_once/1,
         deleting_clears_rows_and_sagas/1]).

-define(WAIT_MS, 60000).

suite() -> [{timetrap, {minutes, 5}}].

all() -> warp_test:both_modes().

groups() ->
    warp_test:both_modes(
      [what_a_saga_does_is_projected_once,
       deleting_clears_rows_and_sagas]).

init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_Mode, _Config) -> ok.

init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

what_a_saga_does_is_projected_once(Config) ->
    Ctx = start(Config),
    Expected = transfers(Ctx),
    ?assertEqual(Expected, balances(Ctx)),
    ok = warp_projection:rebuild(Ctx),
    ok = warp_projection:await_rebuild(Ctx, ?WAIT_MS),
    ?assertEqual(Expected, balances(Ctx)),
    Again = warp_test:restart(Ctx),
    ?assertEqual(Expected, balances(Again)).

deleting_clears_rows_and_sagas(Config) ->
    Ctx = start(Config),
    [_Alice, Bob] = transfers(Ctx),
    %% In Alice's log, and in those of the sagas: one that was carried out, and one that was not.
    Marks = [<<"mark-of-one">>, <<"mark-of-two">>],
    ?assertNotEqual([], warp_test:files_with(?config(dir, Config), hd(Marks))),
    ?assertEqual(ok, warp_core:delete(warp_core:entity(Ctx, <<"alice">>))),
    ?assertEqual([Bob], balances(Ctx)),
    [?assertEqual([], warp_test:files_with(?config(dir, Config), Mark)) || Mark <- Marks],
    ?assertMatch({ok, #{state := committed}}, warp_saga:status(Ctx, <<"one">>)),
    ok = warp_projection:rebuild(Ctx),
    ok = warp_projection:await_rebuild(Ctx, ?WAIT_MS),
    ?assertEqual([Bob], balances(Ctx)).

start(Config) ->
    Account = (warp_test:account())#{
        project => fun(Id, Balance, _Event) ->
            [warp_projection:upsert(balances, Id, #{amount => Balance}),
             warp_projection:increment(bank, <<"all">>, #{events => 1})]
        end},
    warp_test:start(Config, #{aggregates => [Account], projections => embedded}).

%% One that is carried out, one that is refused and reversed; the balances they lead to.
transfers(Ctx) ->
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"alice">>), warp_test:credited(100)),
    {ok, {committed, _}} = warp_saga:commit(transfer(<<"one">>, 30, <<"mark-of-one">>), Ctx),
    {ok, {committed, _}} = warp_saga:commit(transfer(<<"one">>, 30, <<"mark-of-one">>), Ctx),
    {ok, {compensated, _}} = warp_saga:commit(transfer(<<"two">>, 1000, <<"mark-of-two">>), Ctx),
    [[<<"alice">>, 70], [<<"bob">>, 30]].

%% Bob is credited first, so that a refusal of Alice's reverses something.
transfer(Id, Amount, Mark) ->
    Step = fun(Entity, Forward, Compensate, Payload) ->
        #{entity => Entity, aggregate => <<"Account">>,
          forward => #{type => Forward, payload => Payload},
          compensate => #{type => Compensate, payload => Payload}}
    end,
    Bob = warp_saga:step(warp_saga:new(Id),
                         Step(<<"bob">>, <<"Credited">>, <<"Debited">>, #{amount => Amount})),
    warp_saga:step(Bob, Step(<<"alice">>, <<"Debited">>, <<"Credited">>, #{amount => Amount, note => Mark})).

balances(Ctx) ->
    [ok = warp_core:await_projection(warp_core:entity(Ctx, Id), ?WAIT_MS) || Id <- [<<"alice">>, <<"bob">>]],
    {ok, #{rows := [[<<"all">>, Events]]}} = warp_core:query(Ctx, "SELECT id, events FROM bank", []),
    ?assertEqual(lists:sum([length(warp_test:history(warp_core:entity(Ctx, Id))) || Id <- [<<"alice">>, <<"bob">>]]),
                 Events),
    {ok, #{rows := Rows}} = warp_core:query(Ctx, "SELECT id, amount FROM balances ORDER BY id", []),
    Rows.
