%% What the disk allows: the same bytes in groups of the same size into a file whose space was taken before, and a sync
%% for each group. A group has one call of each caller. See limit.py.
-module(warp_peers_limit).
-behaviour(warp_peer).

-export([open/4, close/1, fill/2, measure/4, memory_per_event/0]).

open(_, _, Dir, Env) ->
    #{dir => Dir, start_ms => 0, env => Env}.

close(_) -> ok.

fill(_, _) -> ok.

memory_per_event() -> 0.

measure(Peer, {singles, Callers}, empty, Env) -> Callers * groups(Peer, Callers, Env);
measure(Peer, {batches, Callers}, empty, Env) -> Callers * 500 * groups(Peer, Callers * 500, Env);
measure(Peer, {transfers, Callers}, empty, Env) -> Callers * groups(Peer, Callers * 2, Env);
measure(_, _, _, _) -> blank.

groups(#{dir := Dir}, Events, #{root := Root, seconds := Seconds} = Env) ->
    warp_peers_os:number(Env, [filename:join(Root, "bench/peers/limit.py"), Dir, integer_to_list(Events),
                               integer_to_list(Seconds)]).
