%% An account is an entity: its events say what was paid in and out, and its state is the balance that follows.
-module(new_project_account).

-export([aggregate/0, apply/2, validate/2]).
-export([deposit/2, withdraw/2, balance/1, events/1]).

aggregate() ->
    #{name => <<"Account">>, initial_state => 0, apply => fun ?MODULE:apply/2, validate => fun ?MODULE:validate/2}.

%% The balance after an event.
apply(Balance, #{type := <<"Deposited">>, payload := #{<<"amount">> := Amount}}) -> Balance + Amount;
apply(Balance, #{type := <<"Withdrawn">>, payload := #{<<"amount">> := Amount}}) -> Balance - Amount.

%% Whether an event may be stored.
validate(Balance, #{type := <<"Withdrawn">>, payload := #{<<"amount">> := Amount}}) when Amount > Balance ->
    {error, {missing, Amount - Balance}};
validate(_Balance, _Event) ->
    ok.

%% {ok, Seq} once the event is on disk; Seq is its number in the account.
deposit(Name, Amount) -> append(Name, <<"Deposited">>, Amount).

withdraw(Name, Amount) -> append(Name, <<"Withdrawn">>, Amount).

append(Name, Type, Amount) ->
    warp_core:append(account(Name), #{type => Type, payload => #{amount => Amount}}).

balance(Name) ->
    warp_core:get(account(Name), <<"Account">>).

events(Name) ->
    warp_core:history(account(Name)).

account(Name) ->
    {ok, Bank} = warp_core:context(<<"new_project">>),
    warp_core:entity(Bank, Name).
