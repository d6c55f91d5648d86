%% @private Those who wait for the result of one saga. Pure, but for looking whether they are alive.
-module(warp_saga_callers).

-export([new/0, add/2, tell_waiting/2, is_told/2, is_any_cancelling/1, answer/2]).

-export_type([callers/0, caller/0]).

%% What a caller asked for, who it is, and until when it waits.
-type caller() :: {cancel | result, gen_server:from(), warp_deadline:deadline()}.

-define(ROOM, 64).

-record(callers, {
    list = [] :: [caller()],
    %% How many may come before those who have given up are dropped.
    room = ?ROOM :: non_neg_integer()
}).
-opaque callers() :: #callers{}.

-spec new() -> callers().
new() ->
    #callers{}.

%% @doc One more caller. Now and then this drops those who have given up, so that the list does not grow
%% with every attempt of callers who wait only for a short time.
-spec add(caller(), callers()) -> callers().
add(Caller, #callers{list = List, room = 0}) ->
    Left = lists:filter(fun still_waits/1, List),
    #callers{list = [Caller | Left], room = max(?ROOM, length(Left))};
add(Caller, #callers{list = List, room = Room}) ->
    #callers{list = [Caller | List], room = Room - 1}.

still_waits({_Asked, {Pid, _}, Deadline}) ->
    not warp_deadline:is_over(Deadline) andalso (node(Pid) =/= node() orelse is_process_alive(Pid)).

%% @doc Tells callers that the saga goes on only with another start of the context. Gives those who still
%% wait: see {@link is_told/2}.
-spec tell_waiting(warp_saga_table:waiting(), callers()) -> callers().
tell_waiting(Waiting, #callers{list = List} = Callers) ->
    {Told, Left} = lists:partition(fun(Caller) -> is_told(Caller, Waiting) end, List),
    ok = answer({error, {saga_waits, Waiting}}, Callers#callers{list = Told}),
    Callers#callers{list = Left}.

%% @doc Whether a caller is told that a saga waits. A saga that waits to go forward can still turn back, so
%% who cancels it waits for that.
-spec is_told(caller(), warp_saga_table:waiting()) -> boolean().
is_told({cancel, _, _}, #{direction := forward}) -> false;
is_told(_Caller, _Waiting) -> true.

%% @doc Whether any of them asked the saga to turn back.
-spec is_any_cancelling(callers()) -> boolean().
is_any_cancelling(#callers{list = List}) ->
    lists:keymember(cancel, 1, List).

%% @doc Gives all of them the answer.
-spec answer(term(), callers()) -> ok.
answer(Answer, #callers{list = List}) ->
    lists:foreach(fun({_Asked, From, _Deadline}) -> gen_server:reply(From, Answer) end, List).
