%% Which entity each call is for, the same for Warp and Mnesia.
-module(warp_peers_load).

-export([entities/0, tag/0, turn/3, zipf/0, drawn/3]).

-define(ENTITIES, 10000).
-define(EXPONENT, 1.001).
-define(DRAWN, 65536).

-spec entities() -> pos_integer().
entities() -> ?ENTITIES.

%% Entities of this measurement are not those of another one on the same store.
-spec tag() -> string().
tag() ->
    "acct-" ++ integer_to_list(erlang:system_time(microsecond), 36).

%% Callers share the entities out among them, and each takes its own in turn.
-spec turn(pos_integer(), pos_integer(), pos_integer()) -> pos_integer().
turn(Caller, Round, Callers) ->
    Caller + Callers * (Round rem (?ENTITIES div Callers)).

%% So many draws, made before anything is measured.
-spec zipf() -> tuple().
zipf() ->
    {Sums, Total} = lists:mapfoldl(fun(N, Sum) -> S = Sum + math:pow(N, -?EXPONENT), {S, S} end, 0.0,
                                   lists:seq(1, ?ENTITIES)),
    Table = list_to_tuple(Sums),
    list_to_tuple([search(rand:uniform() * Total, Table, 1, ?ENTITIES) || _ <- lists:seq(1, ?DRAWN)]).

search(_, _, Found, Found) ->
    Found;
search(At, Table, Low, High) ->
    Middle = (Low + High) div 2,
    case element(Middle, Table) < At of
        true -> search(At, Table, Middle + 1, High);
        false -> search(At, Table, Low, Middle)
    end.

%% Callers begin at different places.
-spec drawn(pos_integer(), pos_integer(), tuple()) -> pos_integer().
drawn(Caller, Round, Drawn) ->
    element(1 + (Caller * 7919 + Round) rem ?DRAWN, Drawn).
