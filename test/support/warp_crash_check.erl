%% Compares what a killed VM left behind with what its callers did: pure functions
%% over logs and calls. A log is a list of `{Seq, Place}`, first to last, where
%% Place is `{Call, At, Of}` of the event's payload.
-module(warp_crash_check).

-export([shared/4, own/4]).

%% An entity to which all callers append. Before is its log as it was found after
%% the last kill; Log only what came behind that.
shared(Entity, Length, Log, Calls) ->
    whole_seqs(Entity, Length, Log),
    Found = calls_in(Entity, Log),
    Sent = [{Call, Size, Answer}
            || {{append, E, Call, Size, _}, Answer} <- lists:append(Calls), E =:= Entity],
    Places = maps:from_list([{Call, {First, Last}} || {Call, First, Last} <- Found]),
    map_size(Places) =:= length(Found) orelse error({stored_twice, Entity, repeated(Found)}),
    case maps:keys(Places) -- [Call || {Call, _, _} <- Sent] of
        [] -> ok;
        NeverSent -> error({never_sent, Entity, NeverSent})
    end,
    lists:foreach(fun(Call) -> answered_truly(Entity, Call, Places) end, Sent),
    lists:foreach(fun(Caller) -> in_order(Entity, Caller, Places) end, Calls).

%% An entity of one caller, which appends and deletes: its log is that of all the
%% calls that were answered, with or without the one that was not.
own(Entity, Before, Log, Calls) ->
    Mine = [Call || Call = {Op, _} <- lists:append(Calls), element(2, Op) =:= Entity],
    Answered = [Call || Call = {_, Answer} <- Mine, Answer =/= unanswered],
    With = fun(Done) -> lists:foldl(fun(Call, L) -> perform(Entity, Call, L) end, Before, Done) end,
    case lists:member(Log, [With(Answered), With(Mine)]) of
        true -> ok;
        false -> error({other_log, Entity, Log, Before, Mine})
    end.

perform(Entity, {{delete, _} = Op, Answer}, _Log) ->
    expect(Entity, Op, Answer, ok),
    [];
perform(Entity, {{append, _, Call, Size, _} = Op, Answer}, Log) ->
    First = length(Log) + 1,
    expect(Entity, Op, Answer, {ok, {First, First + Size - 1}}),
    Log ++ [{First + I - 1, {Call, I, Size}} || I <- lists:seq(1, Size)].

expect(_Entity, _Op, unanswered, _Right) -> ok;
expect(_Entity, _Op, Right, Right) -> ok;
expect(Entity, Op, Answer, Right) -> error({wrong_answer, Entity, Op, Answer, Right}).

whole_seqs(Entity, Length, Log) ->
    case [Seq || {Seq, _} <- Log] =:= lists:seq(Length + 1, Length + length(Log)) of
        true -> ok;
        false -> error({gap, Entity, Length, Log})
    end.

%% The calls of a log: each of them whole, its events side by side.
calls_in(_Entity, []) ->
    [];
calls_in(Entity, [{First, {Call, 1, Of}} | _] = Log) ->
    {Events, Rest} = lists:split(min(Of, length(Log)), Log),
    case [Place || {_, Place} <- Events] =:= [{Call, I, Of} || I <- lists:seq(1, Of)] of
        true -> [{Call, First, First + Of - 1} | calls_in(Entity, Rest)];
        false -> error({partial, Entity, Events})
    end;
calls_in(Entity, [Event | _]) ->
    error({partial, Entity, Event}).

repeated(Found) ->
    Calls = [Call || {Call, _, _} <- Found],
    Calls -- lists:usort(Calls).

answered_truly(_Entity, {_Call, _Size, unanswered}, _Places) ->
    ok;
answered_truly(Entity, {Call, Size, {ok, {First, Last} = Place}}, Places) ->
    case Places of
        #{Call := Place} when Last - First + 1 =:= Size -> ok;
        #{Call := Other} -> error({other_place, Entity, Call, Place, Other});
        #{} -> error({lost, Entity, Call, Place})
    end;
answered_truly(Entity, Sent, _Places) ->
    error({wrong_answer, Entity, Sent}).

%% A caller waits for each answer, so its calls stand in the order it made them.
in_order(Entity, Caller, Places) ->
    Firsts = [element(1, maps:get(Call, Places))
              || {{append, E, Call, _, _}, _} <- Caller, E =:= Entity, is_map_key(Call, Places)],
    Firsts =:= lists:sort(Firsts) orelse error({out_of_order, Entity, Firsts}).
