%% PropEr's view of the model: which calls to try next, and what they must answer.
%% The calls themselves are made by warp_model_run.
-module(warp_model_statem).
-behaviour(proper_statem).

-export([property/2]).
-export([initial_state/0, command/1, precondition/2, postcondition/3, next_state/3]).
-export([perform/2]).

-define(RUN, warp_model_run).

%% Modes: what a restart may start the context in; it begins in the first.
%% The header of PropEr is a package of its own, so its macros are spelt out.
-spec property([actor | read_through], pos_integer()) -> proper:test().
property(Modes, Commands) ->
    persistent_term:put({?MODULE, modes}, Modes),
    Sized = proper_types:resize(Commands, proper_statem:commands(?MODULE)),
    proper:forall(Sized, fun(Calls) -> guarded(fun() -> run(hd(Modes), Calls) end) end).

%% PropEr 1.2 asks for stack traces in a way that OTP 24 has dropped: an exception
%% that it sees is lost.
guarded(Run) ->
    try Run()
    catch Class:Reason:Stack ->
            io:format("~p: ~p~n~p~n", [Class, Reason, Stack]),
            false
    end.

-spec perform(atom(), [term()]) -> term().
perform(Name, Args) ->
    try apply(?RUN, Name, Args)
    catch Class:Reason:Stack -> {crashed, Class, Reason, Stack}
    end.

run(Mode, Calls) ->
    ok = ?RUN:open(Mode),
    {History, Model, Result} = proper_statem:run_commands(?MODULE, Calls),
    Closed = case Result of
                 ok -> perform(close, [[{E, warp_model:log(E, Model)} || E <- entities()]]);
                 _ -> perform(abandon, [])
             end,
    Names = [Name || {set, _, {call, _, _, [Name, _]}} <- Calls],
    proper:whenfail(
      fun() -> explain(Calls, History, Model, Result, Closed) end,
      fun() -> proper:aggregate(Names, Result =:= ok andalso Closed =:= ok) end).

explain(Calls, History, Model, Result, Closed) ->
    io:format("Calls and their answers:~n", []),
    lists:foreach(fun({{set, _, {call, _, _, [Name, Args]}}, {_, Answer}}) ->
                          io:format("  ~p ~0p~n      -> ~0p~n", [Name, Args, Answer])
                  end, lists:zip(lists:sublist(Calls, length(History)), History)),
    io:format("Result: ~p~nAt the end: ~p~nModel:~n  ~p~n", [Result, Closed, Model]).

%% ----------------------------------------------------------------- Generators

-spec initial_state() -> warp_model:model().
initial_state() -> warp_model:new().

-spec command(warp_model:model()) -> proper_types:type().
command(Model) ->
    bind(entity(), fun(E) -> command(E, warp_model:last(E, Model)) end).

command(E, Last) ->
    proper_types:frequency(
      [{12, call(append, [E, spec(Last), expected(Last)])},
       {10, call(batch, [E, specs(Last), expected(Last)])},
       {6, call(burst, [E, proper_types:integer(3, 12)])},
       {6, bind(aggregate(), fun(A) -> call(decide, [E, A, plan(A, Last)]) end)},
       {2, call(delete, [E])},
       {6, call(get, [E, aggregate()])},
       {4, call(state_at, [E, aggregate(), proper_types:integer(0, Last + 2)])},
       {3, call(state_at_time, [E, aggregate(), proper_types:integer(1, Last + 1)])},
       {5, call(history, [E, history_opts(Last)])},
       {2, call(export, [E])},
       {4, call(passivate, [E])},
       {3, call(kill_entity, [E])},
       {2, call(kill_process, [proper_types:integer(1, 1000)])},
       {2, call(restart, [proper_types:elements(modes())])}]).

call(Name, Args) -> {call, ?MODULE, perform, [Name, Args]}.

modes() -> persistent_term:get({?MODULE, modes}, [actor]).

entities() -> [<<"alice">>, <<"bob">>, <<"it's \"é\""/utf8>>].

entity() -> proper_types:elements(entities()).

aggregate() -> proper_types:elements([<<"Account">>, <<"Trail">>]).

%% Amounts and ids are few, so that ids meet again with the same content as often
%% as with another, and accounts run dry.
spec(Last) ->
    proper_types:oneof(
      [{<<"Account">>, proper_types:elements([<<"Credited">>, <<"Debited">>]),
        proper_types:integer(1, 3), id(Last), payload()},
       {<<"Trail">>, proper_types:elements([<<"Noted">>, <<"Seen">>]),
        proper_types:integer(1, 2), id(Last), payload()}]).

specs(Last) ->
    bind(proper_types:integer(1, 8), fun(N) -> proper_types:vector(N, spec(Last)) end).

id(Last) ->
    proper_types:frequency(
      [{6, none},
       {4, {given, proper_types:elements([<<"a">>, <<"b">>, <<"c">>, <<"d">>])}},
       {1, {own, proper_types:integer(1, Last + 3)}}]).

payload() -> proper_types:elements([map, json]).

expected(Last) ->
    proper_types:frequency(
      [{6, any}, {3, right(Last)}, {1, no_stream},
       {1, proper_types:integer(1, Last + 2)}]).

right(0) -> no_stream;
right(Last) -> Last.

plan(<<"Account">>, Last) ->
    proper_types:frequency([{4, {spend, proper_types:integer(1, 4)}} | plans(Last)]);
plan(<<"Trail">>, Last) ->
    proper_types:frequency(plans(Last)).

plans(Last) ->
    [{2, {emit, specs(Last)}}, {1, {emit, []}}, {1, refuse}, {1, crash}].

history_opts(Last) ->
    bind({optional(from, proper_types:integer(1, Last + 2)),
          optional(limit, proper_types:integer(1, 6)),
          optional(direction, proper_types:elements([forward, backward]))},
         fun(Opts) -> maps:from_list(lists:append(tuple_to_list(Opts))) end).

optional(Key, Value) -> proper_types:oneof([[], [{Key, Value}]]).

bind(Type, Fun) -> proper_types:bind(Type, Fun, false).

%% ---------------------------------------------------------------- The answers

-spec precondition(warp_model:model(), term()) -> boolean().
precondition(_Model, _Call) -> true.

-spec next_state(warp_model:model(), term(), term()) -> warp_model:model().
next_state(Model, _Answer, {call, _, _, [Name, Args]}) ->
    {_Expected, Next} = step(Name, Args, Model),
    Next.

%% `stored` is what warp_model_run answers for a call that was interrupted and
%% whose events are in the log nevertheless.
-spec postcondition(warp_model:model(), term(), term()) -> boolean().
postcondition(Model, {call, _, _, [Name, Args]}, stored) ->
    {Expected, Next} = step(Name, Args, Model),
    element(1, Expected) =:= ok andalso Next =/= Model;
postcondition(Model, {call, _, _, [state_at_time, [E, A, Seq]]}, {at, Count, State}) ->
    Count >= min(Seq, warp_model:last(E, Model)) andalso
        warp_model:matches(State, warp_model:state_at(E, A, Count, Model));
postcondition(Model, {call, _, _, [Name, Args]}, Answer) ->
    {Expected, _Next} = step(Name, Args, Model),
    warp_model:matches(Answer, Expected).

step(append, [E, Spec, Expected], Model) -> warp_model:append(E, Spec, Expected, Model);
step(batch, [E, Specs, Expected], Model) -> warp_model:batch(E, Specs, Expected, Model);
step(burst, [E, Count], Model) ->
    warp_model:batch(E, warp_model:burst(Count), any, Model);
step(decide, [E, Aggregate, Plan], Model) -> warp_model:decide(E, Aggregate, Plan, Model);
step(delete, [E], Model) -> {ok, warp_model:delete(E, Model)};
step(get, [E, Aggregate], Model) -> {warp_model:get(E, Aggregate, Model), Model};
step(state_at, [E, A, Seq], Model) -> {warp_model:state_at(E, A, Seq, Model), Model};
step(history, [E, Opts], Model) -> {warp_model:history(E, Opts, Model), Model};
step(export, [E], Model) -> {warp_model:export(E, Model), Model};
step(_PassivateKillRestartOrTime, _Args, Model) -> {ok, Model}.
