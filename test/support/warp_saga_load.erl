%% Transfers between accounts at random, in a VM that is killed at any moment. Each caller notes in
%% a side file which transfer it is about to make, and then what it was answered.
-module(warp_saga_load).

-export([main/0, args/2, names/0, aggregate/0, transfer/1, answers/2]).

-define(ACCOUNTS, 100).
-define(FUNDS, 200).

%% The flags of `erl' that run this load.
args(Round, Opts) ->
    Text = base64:encode_to_string(term_to_binary({Round, Opts})),
    ["-noshell", "-noinput", "-boot", "start_clean", "-kernel", "logger_level", "critical",
     "-s", ?MODULE_STRING, "main", "-extra", Text].

main() ->
    [Text] = init:get_plain_arguments(),
    {Round, #{side_dir := SideDir, callers := Callers} = Opts} =
        binary_to_term(base64:decode(Text)),
    {ok, Ctx} = warp_core:start(maps:without([side_dir, callers], Opts#{aggregates => [aggregate()]})),
    [{ok, 1} = warp_core:append(warp_core:entity(Ctx, Name),
                                (event(<<"Credited">>, ?FUNDS))#{id => <<"funds">>})
     || Name <- names()],
    _ = [spawn_link(fun() -> caller(Ctx, SideDir, Round, N) end) || N <- lists:seq(1, Callers)],
    _ = spawn_link(fun() -> killer(Ctx) end),
    io:format("ready~n").

names() ->
    [name(N) || N <- lists:seq(1, ?ACCOUNTS)].

name(N) ->
    <<"account-", (integer_to_binary(N))/binary>>.

%% Nobody spends what they have not; but what was credited by mistake is taken back in any case.
aggregate() ->
    #{name => <<"Account">>, initial_state => 0,
      apply => fun(Balance, Event) -> Balance + change(Event) end,
      validate => fun(Balance, Event) ->
          case Event of
              #{type := <<"Debited">>, payload := #{<<"amount">> := N}} when N > Balance ->
                  {error, {overdraft, Balance}};
              _ ->
                  ok
          end
      end}.

change(#{type := <<"Credited">>, payload := #{<<"amount">> := N}}) -> N;
change(#{type := <<"Debited">>, payload := #{<<"amount">> := N}}) -> -N;
change(#{type := <<"TakenBack">>, payload := #{<<"amount">> := N}}) -> -N.

event(Type, Amount) ->
    #{type => Type, payload => #{amount => Amount}}.

caller(Ctx, SideDir, Round, Caller) ->
    {ok, File} = file:open(side_file(SideDir, Round, Caller), [raw, append]),
    loop(Ctx, File, Round, Caller, 1).

loop(Ctx, File, Round, Caller, N) ->
    Transfer = {iolist_to_binary(io_lib:format("~b-~b-~b", [Round, Caller, N])),
                name(rand:uniform(?ACCOUNTS)), name(rand:uniform(?ACCOUNTS)),
                %% Many are refused: the money is in few hands after a while.
                rand:uniform(150), rand:uniform(4)},
    write(File, {trying, Transfer}),
    write(File, {answered, Transfer, warp_saga:commit(transfer(Transfer), Ctx)}),
    loop(Ctx, File, Round, Caller, N + 1).

%% The credit first, every fourth time: then it is the debit's refusal that reverses it.
transfer({Id, From, To, Amount, 1}) ->
    steps(Id, [credit(To, Amount), debit(From, Amount)]);
transfer({Id, From, To, Amount, _}) ->
    steps(Id, [debit(From, Amount), credit(To, Amount)]).

steps(Id, Steps) ->
    lists:foldl(fun(Step, Saga) -> warp_saga:step(Saga, Step) end, warp_saga:new(Id), Steps).

credit(Name, Amount) ->
    #{entity => Name, aggregate => <<"Account">>, forward => event(<<"Credited">>, Amount),
      compensate => event(<<"TakenBack">>, Amount)}.

debit(Name, Amount) ->
    #{entity => Name, aggregate => <<"Account">>, forward => event(<<"Debited">>, Amount),
      compensate => event(<<"Credited">>, Amount)}.

%% Entities mostly; now and then the process that drives the sagas of a shard.
killer(Ctx) ->
    timer:sleep(rand:uniform(10)),
    case rand:uniform(50) of
        1 ->
            Keepers = [Pid || {saga_keeper, Pid} <- warp_test:processes(Ctx)],
            _ = [exit(lists:nth(rand:uniform(length(Keepers)), Keepers), kill) || Keepers =/= []];
        _ ->
            case warp_entity_registry:lookup(warp_core:entity(Ctx, name(rand:uniform(?ACCOUNTS)))) of
                {ok, Pid} -> exit(Pid, kill);
                none -> ok
            end
    end,
    killer(Ctx).

%% ---------------------------------------------------------------- Side files

side_file(Dir, Round, Caller) ->
    filename:join(Dir, lists:concat([Round, "-", Caller])).

%% One write call: with a raw file it is in the operating system when it returns.
write(File, Term) ->
    Bytes = term_to_binary(Term),
    ok = file:write(File, [<<(byte_size(Bytes)):32>>, Bytes]).

%% `{Transfer, Answer | unanswered}' of the round.
answers(Dir, Round) ->
    lists:append([calls(terms(element(2, file:read_file(File))))
                  || File <- filelib:wildcard(side_file(Dir, Round, "*"))]).

calls([{trying, Transfer}, {answered, Transfer, Answer} | Rest]) -> [{Transfer, Answer} | calls(Rest)];
calls([{trying, Transfer}]) -> [{Transfer, unanswered}];
calls([]) -> [].

%% A last one that was cut off was not written yet.
terms(<<Size:32, Bytes:Size/binary, Rest/binary>>) -> [binary_to_term(Bytes) | terms(Rest)];
terms(_) -> [].
