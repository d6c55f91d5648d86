%% Callers inside a VM of a cluster, which append in turn and rest between, and remember how long each append took.
-module(warp_bench_probe).

-export([start/2, seen/1, stop/1]).
-export_type([probes/0, seen/0]).

-type probes() :: {Caller :: term(), [warp_core:entity()]}.
%% Of each caller, how long its appends took since the last look, in microseconds.
-type seen() :: [{Caller :: term(), [non_neg_integer()]}].

%% Begins a process for each caller. It rests for so many milliseconds between two appends.
-spec start([probes()], non_neg_integer()) -> [{Caller :: term(), pid()}].
start(Callers, RestMs) ->
    [{Caller, spawn(fun() -> loop(list_to_tuple(Entities), RestMs, []) end)} || {Caller, Entities} <- Callers].

-spec seen([{Caller, pid()}]) -> [{Caller, [non_neg_integer()]}].
seen(Pids) -> ask(seen, Pids).

%% What was seen since, and the end of the callers.
-spec stop([{Caller, pid()}]) -> [{Caller, [non_neg_integer()]}].
stop(Pids) -> ask(stop, Pids).

ask(What, Pids) ->
    Asked = [{Caller, Pid, monitor(process, Pid)} || {Caller, Pid} <- Pids],
    _ = [Pid ! {What, self()} || {_, Pid} <- Pids],
    [receive
         {Pid, Took} -> true = demonitor(Monitor, [flush]), {Caller, Took};
         {'DOWN', Monitor, process, Pid, Reason} -> error({caller_failed, Caller, Reason})
     end || {Caller, Pid, Monitor} <- Asked].

%% An append that fails ends the caller: nobody may get an error because a shard moves.
loop(Entities, RestMs, Took) ->
    receive
        {seen, From} ->
            From ! {self(), Took},
            loop(Entities, RestMs, []);
        {stop, From} ->
            From ! {self(), Took}
    after RestMs ->
        Entity = element(rand:uniform(tuple_size(Entities)), Entities),
        Start = erlang:monotonic_time(microsecond),
        {ok, _} = warp_core:append(Entity, warp_bench_run:event(1), #{timeout => 60000}),
        loop(Entities, RestMs, [erlang:monotonic_time(microsecond) - Start | Took])
    end.
