%% @private The caller's side of an entity's process: finds it, is admitted or turned away, and
%% tells what an answer that does not come means.
-module(warp_entity_call).

-export([call/5, cast/3, aside/2]).

-include("../base/warp_entity.hrl").
-include_lib("kernel/include/logger.hrl").

%% The pause before a process that went away is looked for again, and how often that is done.
-define(RETRIES, {20, 50}).

%% How long an answer is waited for before the process is monitored.
-define(UNWATCHED_MS, 50).

%% Whether a request may be made again when the process was killed: `once' is for what could have
%% been carried out.
-type safety() :: repeatable | once.

%% @doc Calls the process of an entity. Errors: overloaded, timeout, interrupted,
%% {shard_unavailable, N}, context_stopped, and what the process answers.
-spec call(#warp_entity{}, term(), non_neg_integer(), warp_deadline:deadline(), safety()) -> term().
call(Entity, Request, Bytes, Deadline, Safety) ->
    case try_once(Entity, Request, Bytes, Deadline) of
        {again, _} = Again -> retry(Again, Entity, Request, Bytes, Deadline, Safety);
        {error, {shard_unavailable, _}} = Again -> retry(Again, Entity, Request, Bytes, Deadline, Safety);
        Answer -> Answer
    end.

retry({again, later}, #warp_entity{ref = Ref}, _Request, _Bytes, _Deadline, once) ->
    stopped_or(Ref, interrupted);
retry(_First, #warp_entity{ref = Ref} = Entity, Request, Bytes, Deadline, Safety) ->
    IsRetried = fun(Result) -> is_retried(Result, Safety) end,
    case warp_retry:while(IsRetried, ?RETRIES, Deadline, fun() -> try_once(Entity, Request, Bytes, Deadline) end) of
        {again, _} -> stopped_or(Ref, interrupted);
        Answer -> Answer
    end.

is_retried({again, When}, Safety) -> When =:= now orelse Safety =:= repeatable;
%% The shard, or its supervisor, is being started again: nothing was asked.
is_retried({error, {shard_unavailable, _}}, _Safety) -> true;
is_retried(_Answer, _Safety) -> false.

%% `{again, now}': the process left before it took the request. `{again, later}': it was killed, and may have
%% carried the request out.
try_once(Entity, Request, Bytes, Deadline) ->
    case reach(Entity, Bytes, Deadline) of
        {ok, Pid, Pending} -> ask(Pid, Pending, Request, Deadline);
        {error, _} = Error -> Error
    end.

%% The process of the entity, at which the request is counted from now on.
reach(#warp_entity{ref = Ref} = Entity, Bytes, Deadline) ->
    case warp_context:find(Ref) of
        {ok, Context} ->
            case warp_entity_registry:ensure(Context, Entity, Deadline) of
                {ok, _Pid, Pending} = Reached ->
                    case warp_entity_pending:admit(Pending, Bytes, maps:get(max_pending, Context)) of
                        true -> Reached;
                        false -> {error, overloaded}
                    end;
                {error, _} = Error ->
                    Error
            end;
        not_found ->
            {error, context_stopped}
    end.

%% @doc Gives the process of an entity a request that nobody gets the answer to. Those of one
%% caller are taken in order, also when the process leaves memory meanwhile: so they are in one
%% mailbox, or their sender waits until the process has taken them or is gone. A killed process loses
%% the casts in its mailbox. After `timeout' the process may still take the request.
-spec cast(#warp_entity{}, term(), warp_deadline:deadline()) -> ok | {error, term()}.
cast(#warp_entity{ref = Ref} = Entity, Request, Deadline) ->
    IsRetried = fun(Result) -> is_retried(Result, once) end,
    case warp_retry:while(IsRetried, ?RETRIES, Deadline, fun() -> cast_once(Entity, Request, Deadline) end) of
        {again, now} -> stopped_or(Ref, interrupted);
        Result -> Result
    end.

cast_once(Entity, Request, Deadline) ->
    case reach(Entity, 0, Deadline) of
        {ok, Pid, Pending} ->
            Taken = erlang:alias(),
            ok = gen_server:cast(Pid, {warp_request, Taken, Request}),
            %% As in a call: one that is not closed now takes it.
            Result =
                case warp_entity_pending:is_closed(Pending) of
                    true -> await_taken(Pid, Taken, Deadline);
                    false -> ok
                end,
            _ = erlang:unalias(Taken),
            receive {Taken, taken} -> ok after 0 -> ok end,
            Result;
        {error, _} = Error ->
            Error
    end.

await_taken(Pid, _Taken, _Deadline) when Pid =:= self() ->
    ok;
await_taken(Pid, Taken, Deadline) ->
    Monitor = erlang:monitor(process, Pid),
    Result =
        receive
            {Taken, taken} -> ok;
            {'DOWN', Monitor, process, Pid, _} -> receive {Taken, taken} -> ok after 0 -> {again, now} end
        after warp_deadline:left(Deadline) ->
            {error, timeout}
        end,
    true = erlang:demonitor(Monitor, [flush]),
    Result.

%% A gen_server:call, but for the monitor: for what it costs, a process that was killed is noticed
%% a little later. One that goes by itself answers all whose requests it has, and says in its
%% counters that it is closed before it looks for the last of them: so a caller who finds it not
%% closed after sending was in time.
ask(Pid, Pending, Request, Deadline) ->
    Sent = warp_call:send(Pid, {warp_request, Request}),
    Unwatched =
        case warp_entity_pending:is_closed(Pending) of
            true -> 0;
            false -> min(warp_deadline:left(Deadline), ?UNWATCHED_MS)
        end,
    case warp_call:await(Sent, Unwatched) of
        {answer, again} -> {again, now};
        {answer, Answer} -> Answer;
        none -> watch(Sent, Pid, Pending, Deadline)
    end.

watch(Sent, Pid, Pending, Deadline) ->
    case warp_call:watch(Sent, Pid, warp_deadline:left(Deadline)) of
        {answer, again} ->
            {again, now};
        {answer, Answer} ->
            Answer;
        down ->
            case warp_entity_pending:is_closed(Pending) of
                true -> {again, now};
                false -> {again, later}
            end;
        timeout ->
            {error, timeout}
    end.

stopped_or(Ref, Reason) ->
    case warp_context:find(Ref) of
        {ok, _} -> {error, Reason};
        not_found -> {error, context_stopped}
    end.

%% @doc Runs Fun in a process of its own, which is killed at the deadline, and goes with its caller:
%% for the user's functions that are called for a read.
-spec aside(fun(() -> Result), warp_deadline:deadline()) -> Result | {error, timeout | interrupted}.
aside(Fun, Deadline) ->
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
        after warp_deadline:left(Deadline) ->
            {error, timeout}
        end,
    _ = erlang:unalias(Alias),
    true = erlang:demonitor(Monitor, [flush]),
    true = unlink(Pid),
    true = exit(Pid, kill),
    receive {Alias, _} -> ok after 0 -> ok end,
    Answer.

%% Crashes of the user's functions are answers. This is none of them, and nobody else would hear of it.
failed(Class, Reason, Stack) ->
    ?LOG_ERROR("Warp: a read failed: ~ts", [warp_redact:crash(Class, Reason, Stack)]),
    {error, interrupted}.
