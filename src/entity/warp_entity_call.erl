%% @private The caller's side of an entity's process: finds it, is admitted or turned away, and
%% tells what an answer that does not come means.
-module(warp_entity_call).

-export([call/5, cast/2, aside/2]).

%% A tag of gen_server is [alias | Alias].
-dialyzer({no_improper_lists, [ask/4, watch/4]}).

-include("../base/warp_entity.hrl").
-include_lib("kernel/include/logger.hrl").

%% How often, and after how long, a process that went away is looked for again.
-define(ATTEMPTS, 50).
-define(PAUSE_MS, 20).

%% How long an answer is waited for before the process is monitored.
-define(UNWATCHED_MS, 50).

%% How long the VM can wait for a message.
-define(LONGEST_MS, 16#ffffffff).

%% Whether a request may be made again when the process was killed: `once' is for what could have
%% been carried out.
-type safety() :: repeatable | once.

%% @doc Calls the process of an entity. Errors: overloaded, timeout, interrupted,
%% {shard_unavailable, N}, context_stopped, and what the process answers.
-spec call(#warp_entity{}, term(), non_neg_integer(), timeout(), safety()) -> term().
call(Entity, Request, Bytes, Timeout, Safety) ->
    call(Entity, Request, Bytes, Timeout, deadline(Timeout), Safety, ?ATTEMPTS).

call(#warp_entity{ref = Ref} = Entity, Request, Bytes, Timeout, Deadline, Safety, Left0) ->
    case reach(Entity, Bytes, Deadline, Left0) of
        {ok, Pid, Pending, Left} ->
            %% Most calls need to look at the clock only once.
            Patience = case Left of ?ATTEMPTS -> Timeout; _ -> left(Deadline) end,
            case ask(Pid, Pending, Request, Patience) of
                {again, When} when Left > 0, (When =:= now orelse Safety =:= repeatable) ->
                    _ = [timer:sleep(?PAUSE_MS) || When =/= now],
                    call(Entity, Request, Bytes, Timeout, Deadline, Safety, Left - 1);
                {again, _} ->
                    stopped_or(Ref, interrupted);
                Answer ->
                    Answer
            end;
        {error, _} = Error ->
            Error
    end.

deadline(infinity) -> infinity;
deadline(Timeout) -> erlang:monotonic_time(millisecond) + Timeout.

left(infinity) -> infinity;
left(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).

%% The process of the entity, at which the request is counted from now on.
reach(#warp_entity{ref = Ref} = Entity, Bytes, Deadline, Left) ->
    case warp_context:find(Ref) of
        {ok, Context} ->
            case warp_entity_registry:ensure(Context, Entity) of
                {ok, Pid, Pending} ->
                    case warp_entity_pending:admit(Pending, Bytes, maps:get(max_pending, Context)) of
                        true -> {ok, Pid, Pending, Left};
                        false -> {error, overloaded}
                    end;
                {error, {shard_unavailable, _}} = Error when Left > 0 ->
                    %% The shard, or its supervisor, is being started again: nothing was asked.
                    case left(Deadline) of
                        0 ->
                            Error;
                        _ ->
                            _ = timer:sleep(?PAUSE_MS),
                            reach(Entity, Bytes, Deadline, Left - 1)
                    end;
                {error, _} = Error ->
                    Error
            end;
        not_found ->
            {error, context_stopped}
    end.

%% @doc Gives the process of an entity a request that nobody gets the answer to. Those of one
%% caller are taken in order, also when the process leaves memory meanwhile: so they are in one
%% mailbox, or their sender waits until the process has taken them or is gone. A process that is
%% killed takes what is in its mailbox with it.
-spec cast(#warp_entity{}, term()) -> ok | {error, term()}.
cast(Entity, Request) ->
    cast(Entity, Request, ?ATTEMPTS).

cast(#warp_entity{ref = Ref} = Entity, Request, Left0) ->
    case reach(Entity, 0, infinity, Left0) of
        {ok, Pid, Pending, Left} ->
            Taken = erlang:alias(),
            ok = gen_server:cast(Pid, {warp_request, Taken, Request}),
            %% As in a call: one that is not closed now takes it.
            Result =
                case warp_entity_pending:is_closed(Pending) of
                    true -> await_taken(Pid, Taken);
                    false -> ok
                end,
            _ = erlang:unalias(Taken),
            receive {Taken, taken} -> ok after 0 -> ok end,
            case Result of
                ok -> ok;
                again when Left > 0 -> cast(Entity, Request, Left - 1);
                again -> stopped_or(Ref, interrupted)
            end;
        {error, _} = Error ->
            Error
    end.

await_taken(Pid, _Taken) when Pid =:= self() ->
    ok;
await_taken(Pid, Taken) ->
    Monitor = erlang:monitor(process, Pid),
    receive
        {Taken, taken} ->
            true = erlang:demonitor(Monitor, [flush]),
            ok;
        {'DOWN', Monitor, process, Pid, _} ->
            receive {Taken, taken} -> ok after 0 -> again end
    end.

%% A gen_server:call, but for the monitor: for what it costs, a process that was killed is noticed
%% a little later. One that goes by itself answers all whose requests it has, and says in its
%% counters that it is closed before it looks for the last of them: so a caller who finds it not
%% closed after sending was in time.
ask(Pid, Pending, Request, Timeout) ->
    Alias = erlang:alias([reply]),
    Tag = [alias | Alias],
    Pid ! {'$gen_call', {self(), Tag}, {warp_request, Request}},
    Unwatched =
        case warp_entity_pending:is_closed(Pending) of
            true -> 0;
            false -> min(Timeout, ?UNWATCHED_MS)
        end,
    receive
        {Tag, again} -> {again, now};
        {Tag, Answer} -> Answer
    after Unwatched ->
        watch(Pid, Pending, Alias, remaining(Timeout, Unwatched))
    end.

remaining(infinity, _Waited) -> infinity;
remaining(Timeout, Waited) -> Timeout - Waited.

watch(Pid, Pending, Alias, Timeout) ->
    Tag = [alias | Alias],
    Monitor = erlang:monitor(process, Pid),
    Result =
        receive
            {Tag, again} -> {again, now};
            {Tag, Answer} -> Answer;
            {'DOWN', Monitor, process, Pid, _} -> down(Pending, Tag)
        after Timeout ->
            {error, timeout}
        end,
    _ = erlang:unalias(Alias),
    true = erlang:demonitor(Monitor, [flush]),
    %% It may have answered in the meantime.
    receive {Tag, _} -> ok after 0 -> ok end,
    Result.

down(Pending, Tag) ->
    receive
        {Tag, again} -> {again, now};
        {Tag, Answer} -> Answer
    after 0 ->
        case warp_entity_pending:is_closed(Pending) of
            true -> {again, now};
            false -> {again, later}
        end
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
    Alias = erlang:alias([reply]),
    {Pid, Monitor} = spawn_opt(
        fun() ->
            Result = try Fun() catch Class:Reason:Stack -> failed(Class, Reason, Stack) end,
            true = unlink(Caller),
            Alias ! {Alias, Result}
        end,
        [link, monitor]),
    Answer =
        receive
            {Alias, Result} -> Result;
            {'DOWN', Monitor, process, Pid, _} -> {error, interrupted}
        after longest(Timeout) ->
            {error, timeout}
        end,
    _ = erlang:unalias(Alias),
    true = erlang:demonitor(Monitor, [flush]),
    true = unlink(Pid),
    true = exit(Pid, kill),
    receive {Alias, _} -> ok after 0 -> ok end,
    Answer.

%% A caller's timeout with some more on top may be too much.
longest(infinity) -> infinity;
longest(Timeout) -> min(Timeout, ?LONGEST_MS).

%% Crashes of the user's functions are answers. This is none of them, and nobody else would hear of it.
failed(Class, Reason, Stack) ->
    ?LOG_ERROR("Warp: a read failed: ~ts", [warp_redact:crash(Class, Reason, Stack)]),
    {error, interrupted}.
