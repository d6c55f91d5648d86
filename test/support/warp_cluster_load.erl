%% Load on a cluster, inside a VM: callers that append, each to entities of its own, and remember what was acknowledged.
-module(warp_cluster_load).

-export([start/2, stop/0, check/1]).

-define(LOAD, {?MODULE, load}).

%% Begins so many callers, whose entities have names that begin with Prefix.
start(Callers, Prefix) ->
    Ctx = warp_cluster_vm:ctx(),
    Pids = [spawn(fun() -> caller(Ctx, <<Prefix/binary, (integer_to_binary(N))/binary>>) end)
            || N <- lists:seq(1, Callers)],
    persistent_term:put(?LOAD, Pids).

caller(Ctx, Name) ->
    loop([warp_core:entity(Ctx, <<Name/binary, "-", (integer_to_binary(N))/binary>>) || N <- lists:seq(1, 20)],
         1, #{}, [], 0).

%% Each event has an id, so that it may be appended again when nobody knows what became of it.
loop([Entity | Entities], N, Stored, Errors, Longest) ->
    receive
        {stop, From} -> From ! {self(), Stored, Errors, Longest}
    after 0 ->
        Id = integer_to_binary(N),
        Began = erlang:monotonic_time(millisecond),
        Result = warp_core:append(Entity, (warp_test:credited(1))#{id => <<"load-", Id/binary>>}),
        Took = erlang:monotonic_time(millisecond) - Began,
        case Result of
            {ok, Seq} ->
                Seqs = maps:get(Entity, Stored, []),
                loop(Entities ++ [Entity], N + 1, Stored#{Entity => [Seq | Seqs]}, Errors, max(Longest, Took));
            {error, Reason} ->
                timer:sleep(20),
                loop([Entity | Entities], N, Stored, [Reason | Errors], max(Longest, Took))
        end
    end.

%% Ends the callers: how many events were acknowledged, the errors, the longest call in milliseconds, and what is stored
%% of each entity.
stop() ->
    Pids = persistent_term:get(?LOAD),
    true = persistent_term:erase(?LOAD),
    _ = [Pid ! {stop, self()} || Pid <- Pids],
    Each = [receive {Pid, Stored, Errors, Longest} -> {Stored, Errors, Longest} end || Pid <- Pids],
    Stored = lists:foldl(fun({Of, _, _}, Acc) -> maps:merge(Acc, Of) end, #{}, Each),
    #{stored => Stored, acknowledged => lists:sum([length(Seqs) || Seqs <- maps:values(Stored)]),
      errors => lists:append([Errors || {_, Errors, _} <- Each]),
      longest => lists:max([Longest || {_, _, Longest} <- Each])}.

%% Whether the logs have what was acknowledged, once, without a gap: the entities of which that is not so.
check(#{stored := Stored}) ->
    [{Entity, Seqs, Log} || {Entity, Seqs} <- maps:to_list(Stored),
                            {ok, Events} <- [warp_core:export(Entity)],
                            Log <- [[Seq || #{seq := Seq} <- Events]],
                            Log =/= lists:seq(1, length(Log)) orelse lists:reverse(Seqs) =/= Log].
