%% @private The caller's side of an entity's process: finds it, is admitted or turned away, and
%% tells what an answer that does not come means.
-module(warp_client).

-export([call/5, aside/2]).

-include("warp.hrl").

%% How many bytes of events may wait for one entity.
-define(MAX_PENDING_BYTES, 64 * 1024 * 1024).
%% How often, and after how long, a process that went away is looked for again.
-define(ATTEMPTS, 50).
-define(PAUSE_MS, 20).

%% Whether a request may be made again when the process was killed: `once' is for what could have
%% been carried out.
-type safety() :: repeatable | once.

%% @doc Calls the process of an entity. Errors: overloaded, timeout, interrupted,
%% {shard_unavailable, N}, context_stopped, and what the process answers.
-spec call(#warp_entity{}, term(), non_neg_integer(), timeout(), safety()) -> term().
call(Entity, Request, Bytes, Timeout, Safety) ->
    call(Entity, Request, Bytes, Timeout, Safety, ?ATTEMPTS).

call(#warp_entity{ref = Ref, id = Id} = Entity, Request, Bytes, Timeout, Safety, Left) ->
    case warp_context:find(Ref) of
        {ok, Context} ->
            case warp_registry:ensure(Context, Entity) of
                {ok, Pid, Pending} ->
                    case admit(Pending, Bytes, Context) of
                        true ->
                            case ask(Pid, Request, Timeout) of
                                {again, When} when Left > 0, (When =:= now orelse
                                                              Safety =:= repeatable) ->
                                    ok = warp_registry:forget(Context, {Id, Pid}),
                                    _ = [timer:sleep(?PAUSE_MS) || When =/= now],
                                    call(Entity, Request, Bytes, Timeout, Safety, Left - 1);
                                {again, _} ->
                                    stopped_or(Ref, interrupted);
                                Answer ->
                                    Answer
                            end;
                        false ->
                            {error, overloaded}
                    end;
                {error, _} when Left > 0 ->
                    %% The shard, or its supervisor, is being started again: nothing was asked.
                    _ = timer:sleep(?PAUSE_MS),
                    call(Entity, Request, Bytes, Timeout, Safety, Left - 1);
                {error, _} = Error ->
                    Error
            end;
        not_found ->
            {error, context_stopped}
    end.

%% The entity's process takes what it answers off again, and a process that dies takes its
%% counter with it: so a caller that dies leaves nothing counted.
admit(Pending, Bytes, #context{max_pending = Max}) ->
    Count = atomics:add_get(Pending, 1, 1),
    Waiting = atomics:add_get(Pending, 2, Bytes),
    case Count =< Max andalso (Waiting =< ?MAX_PENDING_BYTES orelse Waiting =:= Bytes) of
        true ->
            true;
        false ->
            ok = atomics:sub(Pending, 1, 1),
            ok = atomics:sub(Pending, 2, Bytes),
            false
    end.

ask(Pid, Request, Timeout) ->
    try
        gen_server:call(Pid, Request, Timeout)
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:{{shutdown, {warp, Reason}}, _} -> {error, Reason};
        %% It went, idle, before it took the request.
        exit:{normal, _} -> {again, now};
        exit:{noproc, _} -> {again, now};
        exit:{_Killed, _} -> {again, later}
    end.

stopped_or(Ref, Reason) ->
    case warp_context:find(Ref) of
        {ok, _} -> {error, Reason};
        not_found -> {error, context_stopped}
    end.

%% @doc Runs Fun in a process of its own, which is killed at the timeout, and goes with its caller:
%% for the user's functions that are called for a read.
-spec aside(fun(() -> Result), timeout()) -> Result | {error, timeout | interrupted}.
aside(Fun, Timeout) ->
    Caller = self(),
    Tag = make_ref(),
    {Pid, Monitor} = spawn_opt(
        fun() ->
            Result = try Fun() catch _:_ -> {error, interrupted} end,
            true = unlink(Caller),
            exit({Tag, Result})
        end,
        [link, monitor]),
    receive
        {'DOWN', Monitor, process, Pid, {Tag, Result}} -> Result;
        {'DOWN', Monitor, process, Pid, _} -> {error, interrupted}
    after Timeout ->
        true = unlink(Pid),
        true = exit(Pid, kill),
        true = erlang:demonitor(Monitor, [flush]),
        {error, timeout}
    end.
