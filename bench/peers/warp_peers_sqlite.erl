%% A plain SQLite file, through Python's sqlite3: see sqlite_load.py.
-module(warp_peers_sqlite).
-behaviour(warp_peer).

-export([open/4, close/1, fill/2, measure/4, memory_per_event/0]).

-define(BATCH, 500).

open(_, _, Dir, Env) ->
    #{dir => Dir, start_ms => 0, env => Env}.

close(_) -> ok.

memory_per_event() -> 0.

fill(Peer, {filled, Events, Each}) ->
    _ = load(Peer, ["fill", integer_to_list(Events), integer_to_list(Each)]),
    ok;
fill(Peer, {victims, Events, Each, Victims}) ->
    _ = load(Peer, ["victims", integer_to_list(Victims), integer_to_list(Each)]),
    fill(Peer, {filled, Events, Each}).

measure(Peer, start, _, _) ->
    load(Peer, ["start"]);
measure(_, memory, _, _) ->
    blank;
measure(#{dir := Dir}, bytes, {filled, Events, _}, _) ->
    warp_peers_os:bytes(Dir) / Events;
measure(Peer, {Kind, N}, _, _) when Kind =:= read; Kind =:= delete ->
    load(Peer, [atom_to_list(Kind), "victim-" ++ integer_to_list(N)]);
measure(Peer, {Kind, Callers}, _, #{seconds := Seconds}) ->
    Rate = load(Peer, [atom_to_list(Kind), integer_to_list(Callers), integer_to_list(Seconds), tag()]),
    case Kind of batches -> ?BATCH * Rate; _ -> Rate end.

tag() ->
    integer_to_list(erlang:system_time(microsecond), 36).

load(#{dir := Dir, env := #{root := Root} = Env}, Args) ->
    Program = filename:join(Root, "bench/peers/sqlite_load.py"),
    warp_peers_os:number(Env, [Program, filename:join(Dir, "events.db") | Args]).
