%% The context of make server: accounts, whose balances are also rows of a table, and a command that refuses to spend
%% what is not there.
-module(warp_demo_bank).
-behaviour(warp_server).

-export([context/1]).
-export([fold/2, project/3, withdraw/2]).

context(<<"bank">>) ->
    #{aggregates => [#{name => <<"Account">>, initial_state => #{balance => 0},
                       apply => fun ?MODULE:fold/2, project => fun ?MODULE:project/3}],
      projections => {embedded, #{tables => #{accounts => #{columns => #{balance => integer}}}}},
      commands => #{<<"withdraw">> => {<<"Account">>, fun ?MODULE:withdraw/2}}}.

fold(#{balance := Balance} = State, #{type := <<"Credited">>, payload := #{<<"amount">> := Amount}}) ->
    State#{balance := Balance + Amount};
fold(#{balance := Balance} = State, #{type := <<"Debited">>, payload := #{<<"amount">> := Amount}}) ->
    State#{balance := Balance - Amount};
fold(State, _Other) ->
    State.

project(Id, #{balance := Balance}, _Event) ->
    [warp_projection:upsert(accounts, Id, #{balance => Balance})].

%% The entity's process runs it, so nobody spends the same money twice.
withdraw(#{balance := Balance}, #{<<"amount">> := Amount}) when is_integer(Amount), Amount > 0, Amount =< Balance ->
    {ok, [#{type => <<"Debited">>, payload => #{amount => Amount}}]};
withdraw(#{balance := Balance}, #{<<"amount">> := Amount}) when is_integer(Amount), Amount > 0 ->
    {error, {missing, Amount - Balance}};
withdraw(_State, _Input) ->
    {error, amount_is_not_a_positive_integer}.
