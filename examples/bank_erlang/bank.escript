#!/usr/bin/env escript
%% A small bank on Warp, in Erlang. An account is an entity: its money moves by events, and the
%% overdraft is checked before one is stored. Run it in the folder of Warp, after `make build`:
%%
%%     ERL_LIBS=_build/default/lib escript examples/bank_erlang/bank.escript DATA_DIR
%%
%% DATA_DIR is a folder that does not exist yet, or holds no bank.
-mode(compile).

main([Dir]) ->
    Bank = start(Dir),
    Alice = warp_core:entity(Bank, <<"alice">>),
    Bob = warp_core:entity(Bank, <<"bob">>),
    Carol = warp_core:entity(Bank, <<"carol">>),

    say("open alice, overdraft 200", written(open(Alice, <<"Alice Liddell">>, 200))),
    say("open bob, overdraft 0", written(open(Bob, <<"Bob Cratchit">>, 0))),
    say("open alice again", written(open(Alice, <<"Alice Liddell">>, 200))),
    say("deposit 1000 to alice", written(deposit(Alice, 1000))),
    say("deposit -5 to alice", written(deposit(Alice, -5))),
    Events = [deposited(500), deposited(250)],
    say("deposit 500 and 250 to alice as a batch", written(warp_core:append_batch(Alice, Events))),
    say("withdraw 900 from alice", written(withdraw(Alice, 900))),
    say("withdraw 1051 from alice", written(withdraw(Alice, 1051))),
    say("withdraw 1050 from alice", written(withdraw(Alice, 1050))),
    say("balance of alice", balance(Alice)),
    say("deposit 500 to alice", written(deposit(Alice, 500))),
    say("deposit 10 to carol", written(deposit(Carol, 10))),
    EndOfMonth = time_of_last_event(Alice),

    say("transfer t-1, 300 from alice to bob", transfer(Bank, <<"t-1">>, <<"alice">>, <<"bob">>, 300)),
    say("transfer t-1 once more", transfer(Bank, <<"t-1">>, <<"alice">>, <<"bob">>, 300)),
    say("transfer t-2, 900 from alice to bob", transfer(Bank, <<"t-2">>, <<"alice">>, <<"bob">>, 900)),
    say("transfer t-3, 100 from alice to carol",
        transfer(Bank, <<"t-3">>, <<"alice">>, <<"carol">>, 100)),
    say("balance of alice", balance(Alice)),
    say("balance of bob", balance(Bob)),

    io:put_chars("statement of alice at the end of the month\n"),
    statement(Alice, EndOfMonth),

    {ok, Exported} = warp_core:export(Bob),
    io:put_chars("export of bob\n"),
    lists:foreach(fun movement/1, Exported),
    say("delete bob", atom_to_binary(warp_core:delete(Bob))),
    {ok, Left} = warp_core:export(Bob),
    say("events of bob", integer_to_binary(length(Left))),
    say("balance of bob", balance(Bob)),

    ok = warp_core:stop(Bank),
    Again = start(Dir),
    AliceAgain = warp_core:entity(Again, <<"alice">>),
    {ok, History} = warp_core:history(AliceAgain),
    say("after a restart, events of alice", integer_to_binary(length(History))),
    say("after a restart, balance of alice", balance(AliceAgain)),
    ok = warp_core:stop(Again);
main(_) ->
    io:put_chars(standard_error, "usage: bank.escript DATA_DIR\n"),
    halt(2).

start(Dir) ->
    {ok, Bank} = warp_core:start(#{
        context => <<"bank">>, data_dir => Dir, shards => 4, aggregates => [account()]
    }),
    Bank.

%% ---------------------------------------------------------------- The account

account() ->
    #{name => <<"Account">>,
      initial_state => none,
      validate => fun validate/2,
      apply => fun apply_event/2}.

%% What may happen to an account, in the state that it is in.
validate(none, #{type := <<"Opened">>}) ->
    ok;
validate(none, _Event) ->
    {error, no_account};
validate(_Account, #{type := <<"Opened">>}) ->
    {error, already_open};
validate(_Account, #{payload := #{<<"amount">> := Amount}}) when Amount =< 0 ->
    {error, not_an_amount};
validate(Account, #{type := <<"Withdrawn">>, payload := #{<<"amount">> := Amount}}) ->
    case available(Account) of
        Enough when Amount =< Enough -> ok;
        Available -> {error, {overdrawn, Available}}
    end;
validate(_Account, #{type := <<"Deposited">>}) ->
    ok.

%% What an event that has happened makes of the account.
apply_event(none, #{type := <<"Opened">>, payload := #{<<"owner">> := Owner, <<"overdraft">> := Overdraft}}) ->
    #{owner => Owner, overdraft => Overdraft, balance => 0};
apply_event(#{balance := Balance} = Account, #{type := <<"Deposited">>, payload := #{<<"amount">> := Amount}}) ->
    Account#{balance := Balance + Amount};
apply_event(#{balance := Balance} = Account, #{type := <<"Withdrawn">>, payload := #{<<"amount">> := Amount}}) ->
    Account#{balance := Balance - Amount}.

available(#{balance := Balance, overdraft := Overdraft}) ->
    Balance + Overdraft.

%% --------------------------------------------------- What the bank can be told

open(Account, Owner, Overdraft) ->
    warp_core:append(Account, #{type => <<"Opened">>,
                                payload => #{owner => Owner, overdraft => Overdraft}}).

deposit(Account, Amount) ->
    warp_core:append(Account, deposited(Amount)).

withdraw(Account, Amount) ->
    warp_core:append(Account, withdrawn(Amount)).

deposited(Amount) -> #{type => <<"Deposited">>, payload => #{amount => Amount}}.
withdrawn(Amount) -> #{type => <<"Withdrawn">>, payload => #{amount => Amount}}.

%% Two accounts are two entities, and no lock spans both: it takes a saga. Its id makes it happen
%% once, however often it is asked for, and what was done is undone if the rest is refused.
transfer(Bank, Id, From, To, Amount) ->
    Steps = [step(From, withdrawn(Amount), deposited(Amount)),
             step(To, deposited(Amount), withdrawn(Amount))],
    Saga = lists:foldl(fun(Step, Saga) -> warp_saga:step(Saga, Step) end, warp_saga:new(Id), Steps),
    case warp_saga:commit(Saga, Bank) of
        {ok, {committed, _}} ->
            "committed";
        {ok, {compensated, #{failed := #{step := N, reason := {rejected, Why}}}}} ->
            io_lib:format("compensated, since step ~b was refused: ~ts", [N, reason(Why)])
    end.

step(Account, Forward, Compensate) ->
    #{entity => Account, aggregate => <<"Account">>, forward => Forward, compensate => Compensate}.

%% ------------------------------------------------------------ What it answers

statement(Account, Time) ->
    {ok, #{owner := Owner, balance := Balance}} = warp_core:state_at(Account, <<"Account">>, {time, Time}),
    {ok, Events} = warp_core:history(Account),
    lists:foreach(fun movement/1, [Event || #{recorded_at := At} = Event <- Events, At =< Time]),
    io:format("  ~ts has ~b~n", [Owner, Balance]).

movement(#{seq := Seq, type := Type, payload := Payload}) ->
    Detail =
        case Payload of
            #{<<"amount">> := Amount} -> integer_to_binary(Amount);
            #{<<"owner">> := Owner} -> Owner
        end,
    io:format("  ~b ~ts ~ts~n", [Seq, Type, Detail]).

time_of_last_event(Account) ->
    {ok, [#{recorded_at := Time}]} = warp_core:history(Account, #{direction => backward, limit => 1}),
    Time.

balance(Account) ->
    case warp_core:get(Account, <<"Account">>) of
        {ok, none} -> reason(no_account);
        {ok, #{balance := Balance}} -> integer_to_binary(Balance)
    end.

written({ok, {First, Last}}) -> io_lib:format("events ~b to ~b", [First, Last]);
written({ok, Seq}) -> io_lib:format("event ~b", [Seq]);
written({error, {rejected, Why}}) -> ["refused: ", reason(Why)].

reason(no_account) -> "no account";
reason(already_open) -> "already open";
reason(not_an_amount) -> "not an amount";
reason({overdrawn, Available}) -> io_lib:format("only ~b available", [Available]).

say(What, Result) ->
    io:format("~ts: ~ts~n", [What, Result]).
