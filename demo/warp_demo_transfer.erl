%% make demo-transfer: four transfers between accounts. One commits, one is reversed, one gets stuck
%% and is closed by hand, and one is cut in two by SIGKILL and finished at the next start.
-module(warp_demo_transfer).

-export([main/0]).

-import(warp_demo_text, [say/1, count/1]).

-define(NAMES, [<<"alice">>, <<"bob">>, <<"landlord">>]).

-spec main() -> no_return().
main() ->
    case init:get_plain_arguments() of
        [] ->
            show();
        ["killed", Dir] ->
            killed(Dir);
        _ ->
            io:format(standard_error, "usage: make demo-transfer~n", []),
            halt(2)
    end.

show() ->
    Dir = filename:join([warp_demo_text:root(), "_build", "demo-transfer"]),
    _ = file:del_dir_r(Dir),
    {ok, Ctx} = warp_core:start(options(Dir)),
    {ok, _} = append(Ctx, <<"alice">>, <<"Credited">>, #{amount => 2000}),
    {ok, _} = append(Ctx, <<"landlord">>, <<"Locked">>, #{}),
    say(["A transfer is a saga: one step per account, each with what reverses it.\n",
         "Nobody spends what they have not; from the landlord's account nothing is paid out.\n"]),
    balances(Ctx, "At first"),

    heading("1  A transfer that commits", "alice pays bob 500"),
    run(Ctx, transfer(<<"xfr-1">>, [debit(<<"alice">>, 500), credit(<<"bob">>, 500)])),

    heading("2  A transfer that is reversed", "bob gets 900 from alice, and passes on 2,000"),
    run(Ctx, transfer(<<"xfr-2">>, [debit(<<"alice">>, 900), credit(<<"bob">>, 900),
                                    debit(<<"bob">>, 2000), credit(<<"landlord">>, 2000)])),

    heading("3  A transfer that gets stuck", "alice pays the landlord 300, and bob should add 2,000"),
    run(Ctx, transfer(<<"xfr-3">>, [debit(<<"alice">>, 300), credit(<<"landlord">>, 300),
                                    debit(<<"bob">>, 2000)])),
    {ok, Stuck} = warp_saga:stuck(Ctx),
    say(["   Waiting for an operator: ", lists:join(", ", [Id || #{id := Id} <- Stuck])]),
    {ok, {How, _}} = warp_saga:retry(Ctx, <<"xfr-3">>),
    say(["   Tried again, it is ", atom_to_list(How), " again."]),
    {ok, {stuck, #{note := Note}}} =
        warp_saga:resolve(Ctx, <<"xfr-3">>, <<"alice agreed: the 300 count as rent">>),
    say(["   The operator closes it as it is: \"", Note, "\""]),
    balances(Ctx, "Now"),

    heading("4  A transfer that survives a kill", "alice pays bob 100 in a VM that is killed between"),
    ok = warp_core:stop(Ctx),
    ok = kill_in_the_middle(Dir),
    {ok, Again} = warp_core:start(options(Dir)),
    {ok, _} = warp_saga:recover_pending(Again),
    #{sagas := #{recovered := Recovered}} = warp_core:stats(Again),
    say(["   Started again: ", count(Recovered), " unfinished saga was found, and finished."]),
    {ok, {Ended, Map}} = warp_saga:commit(killed_transfer(), Again),
    say("   Its caller, who never had an answer, asks again:"),
    result(Ended, Map),
    balances(Again, "In the end"),
    ok = warp_core:stop(Again),
    _ = file:del_dir_r(Dir),
    halt(0).

%% ------------------------------------------------------------------- Accounts and transfers

options(Dir) ->
    options(Dir, fun() -> ok end).

options(Dir, BeforeCredit) ->
    #{context => <<"bank">>, data_dir => Dir, shards => 4, aggregates => [account(BeforeCredit)]}.

account(BeforeCredit) ->
    #{name => <<"Account">>, initial_state => {0, open},
      validate => fun
          ({_, locked}, #{type := <<"Debited">>}) ->
              {error, account_is_locked};
          ({Balance, _}, #{type := <<"Debited">>, payload := #{<<"amount">> := N}}) when N > Balance ->
              {error, {insufficient_funds, Balance}};
          (_, #{type := <<"Credited">>, payload := #{<<"amount">> := _}}) ->
              BeforeCredit();
          (_, _) ->
              ok
      end,
      apply => fun
          ({Balance, Lock}, #{type := <<"Credited">>, payload := #{<<"amount">> := N}}) ->
              {Balance + N, Lock};
          ({Balance, Lock}, #{type := <<"Debited">>, payload := #{<<"amount">> := N}}) ->
              {Balance - N, Lock};
          ({Balance, _}, #{type := <<"Locked">>}) ->
              {Balance, locked}
      end}.

append(Ctx, Name, Type, Payload) ->
    warp_core:append(warp_core:entity(Ctx, Name), #{type => Type, payload => Payload}).

transfer(Id, Steps) ->
    lists:foldl(fun(Step, Saga) -> warp_saga:step(Saga, Step) end, warp_saga:new(Id), Steps).

debit(Name, Amount) -> step(Name, <<"Debited">>, <<"Credited">>, Amount).
credit(Name, Amount) -> step(Name, <<"Credited">>, <<"Debited">>, Amount).

step(Name, Type, Opposite, Amount) ->
    #{entity => Name, aggregate => <<"Account">>,
      forward => #{type => Type, payload => #{amount => Amount}},
      compensate => #{type => Opposite, payload => #{amount => Amount}}}.

%% ------------------------------------------------------------------------- The killed VM

killed_transfer() ->
    transfer(<<"xfr-4">>, [debit(<<"alice">>, 100), credit(<<"bob">>, 100)]).

kill_in_the_middle(Dir) ->
    Paths = lists:append([["-pa", filename:dirname(code:which(Module))] || Module <- [?MODULE, warp_core]]),
    Port = open_port({spawn_executable, os:find_executable("erl")},
                     [{args, ["-noinput", "+Bd" | Paths]
                           ++ ["-s", atom_to_list(?MODULE), "main", "-extra", "killed", Dir]},
                      exit_status, stderr_to_stdout, {line, 200}]),
    told(Port).

told(Port) ->
    receive
        {Port, {data, {_, Line}}} ->
            say(Line),
            told(Port);
        {Port, {exit_status, 137}} ->
            ok;
        {Port, {exit_status, Status}} ->
            io:format(standard_error, "the VM should have been killed, but ended with ~b~n", [Status]),
            halt(1)
    end.

%% The credit is looked at before it is stored; the debit is on disk by then.
killed(Dir) ->
    Kill = fun() ->
        io:format("   alice is debited, bob not credited yet: SIGKILL~n"),
        os:cmd("kill -9 " ++ os:getpid())
    end,
    {ok, Ctx} = warp_core:start(options(Dir, Kill)),
    _ = warp_saga:commit(killed_transfer(), Ctx),
    halt(1).

%% ------------------------------------------------------------------------------- Showing

heading(Title, Text) ->
    say(["\n", Title, ": ", Text]).

run(Ctx, Saga) ->
    {ok, {How, Map}} = warp_saga:commit(Saga, Ctx),
    result(How, Map),
    balances(Ctx, "Now").

result(How, #{id := Id, steps := Steps} = Map) ->
    say(["   ", Id, " is ", atom_to_list(How), because(Map)]),
    Width = lists:max([byte_size(Entity) || #{entity := Entity} <- Steps]),
    say(lists:join("\n", [string:trim(line(Step, Width), trailing) || Step <- Steps])).

because(#{blocked := #{step := N, reason := Reason}}) ->
    io_lib:format(": reversing step ~b was refused, ~0p", [N, reason(Reason)]);
because(#{failed := #{step := N, reason := Reason}}) ->
    io_lib:format(": step ~b was refused, ~0p", [N, reason(Reason)]);
because(#{}) ->
    "".

reason({rejected, Reason}) -> Reason;
reason(Reason) -> Reason.

line(#{step := N, entity := Entity, status := Status} = Step, Width) ->
    Event = case Step of #{seq := Seq} -> ["event ", integer_to_list(Seq)]; #{} -> "" end,
    Reversal = case Step of #{compensation_seq := By} -> [", reversed by ", integer_to_list(By)]; #{} -> "" end,
    ["     step ", integer_to_list(N), "  ", string:pad(Entity, Width), "  ", string:pad(said(Status), 12),
     "  ", Event, Reversal].

said(not_run) -> "not run";
said(not_reversed) -> "not reversed";
said(Status) -> atom_to_list(Status).

balances(Ctx, When) ->
    Balances = [balance(Ctx, Name) || Name <- ?NAMES],
    Each = [[Name, " ", count(Balance)] || {Name, Balance} <- lists:zip(?NAMES, Balances)],
    say(["   ", When, ": ", lists:join(", ", Each), "; together ", count(lists:sum(Balances))]).

balance(Ctx, Name) ->
    {ok, {Balance, _}} = warp_core:get(warp_core:entity(Ctx, Name), <<"Account">>),
    Balance.
