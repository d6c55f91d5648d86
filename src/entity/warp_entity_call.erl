%% @private The caller's side of a request to an entity's process: finds or starts the process, counts the request
%% there, sends it, and decides what to do when no answer comes.
-module(warp_entity_call).

-export([call/5, cast/3, aside/2, reach/3, stopped_or/2]).

-include("../base/warp_entity.hrl").
-include_lib("kernel/include/logger.hrl").

%% The pause before a request to a process that has ended is made again, and how often that is done.
-define(RETRIES, {20, 50}).

%% How long the caller waits for an answer before it monitors the process.
-define(UNWATCHED_MS, 50).

%% Whether a request may be made again after the process was killed: `once' is for a request that must not be
%% carried out twice.
-type safety() :: repeatable | once.

%% @doc Calls the process of an entity, with a request that has so many bytes of events, and gives its answer.
%% Errors beside those that the process answers: `overloaded' (too many requests or bytes wait), `timeout' (the
%% process may still carry the request out), `interrupted' (the process was killed and may have carried it out),
%% `{shard_unavailable, N}', `{bad_entity_id, Why}' and `context_stopped'.
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
    IsRetried = fun(Result) -> is_retried(Result, Safety) andalso is_here(Entity) end,
    case warp_retry:while(IsRetried, ?RETRIES, Deadline, fun() -> try_once(Entity, Request, Bytes, Deadline) end) of
        {again, now} -> stopped_or(Ref, not_taken(Entity));
        {again, later} -> stopped_or(Ref, interrupted);
        Answer -> Answer
    end.

%% No process has taken the request: where the shard is on its way to another node it may be made there.
not_taken(#warp_entity{shard = N} = Entity) ->
    case is_here(Entity) of
        true -> interrupted;
        false -> {shard_unavailable, N}
    end.

%% A shard that was handed to another node does not open here again.
is_here(#warp_entity{ref = Ref, shard = N}) ->
    case warp_context:find(Ref) of
        {ok, Context} -> warp_context_owners:is_here(Context, N);
        not_found -> false
    end.

is_retried({again, When}, Safety) -> When =:= now orelse Safety =:= repeatable;
%% The shard or its supervisor is being restarted. No process has got the request.
is_retried({error, {shard_unavailable, _}}, _Safety) -> true;
is_retried(_Answer, _Safety) -> false.

%% `{again, now}': the process ended before it took the request. `{again, later}': the process was killed, and may
%% have carried the request out.
try_once(Entity, Request, Bytes, Deadline) ->
    case reach(Entity, Bytes, Deadline) of
        {ok, Pid, Pending} -> ask(Pid, Pending, Request, Deadline);
        {error, _} = Error -> Error
    end.

%% @doc Finds or starts the process of the entity, and counts a request with so many bytes there. Errors are those of
%% {@link call/5} without `interrupted'; `timeout' means that the process was not started by the deadline.
-spec reach(#warp_entity{}, non_neg_integer(), warp_deadline:deadline()) ->
    {ok, pid(), warp_entity_pending:pending()} | {error, term()}.
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

%% @doc Casts a request, which nobody gets an answer to, to the process of an entity. Casts of one caller are taken
%% in order, also when the process leaves memory meanwhile: either they are in one mailbox, or the caller waits here
%% until the process has taken the cast or has ended. A killed process loses the casts in its mailbox. Errors are
%% those of {@link call/5}; after `timeout' the process may still take the request.
-spec cast(#warp_entity{}, term(), warp_deadline:deadline()) -> ok | {error, term()}.
cast(#warp_entity{ref = Ref} = Entity, Request, Deadline) ->
    IsRetried = fun(Result) -> is_retried(Result, once) andalso is_here(Entity) end,
    case warp_retry:while(IsRetried, ?RETRIES, Deadline, fun() -> cast_once(Entity, Request, Deadline) end) of
        {again, now} -> stopped_or(Ref, not_taken(Entity));
        Result -> Result
    end.

cast_once(Entity, Request, Deadline) ->
    case reach(Entity, 0, Deadline) of
        {ok, Pid, Pending} ->
            Taken = erlang:alias(),
            ok = gen_server:cast(Pid, {warp_request, Taken, Request}),
            %% NOTE: as in `ask/4', a process whose counters are not closed after the message was sent takes the
            %% message.
            Result =
                case warp_entity_pending:is_closed(Pending) of
                    true -> await_taken(Pid, Taken, Deadline);
                    false -> ok
                end,
            %% NOTE: the process may take the cast at any time until the alias is closed, and its message must not
            %% stay in the caller's mailbox.
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
            %% NOTE: the process may have taken the cast before it ended.
            {'DOWN', Monitor, process, Pid, _} -> receive {Taken, taken} -> ok after 0 -> {again, now} end
        after warp_deadline:left(Deadline) ->
            {error, timeout}
        end,
    true = erlang:demonitor(Monitor, [flush]),
    Result.

%% As `gen_server:call', but monitors the process only after some time, since a monitor costs more than the message.
%% The caller of a killed process therefore learns of that a little later.
%%
%% NOTE: a process that ends by itself closes its counters before it looks for the last requests in its mailbox, and
%% answers those. So a caller that finds the counters not closed after it has sent was in time.
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

%% @doc The reason as an error, or `context_stopped' if the context has been stopped.
-spec stopped_or(warp_context:ref(), Reason) -> {error, Reason | context_stopped}.
stopped_or(Ref, Reason) ->
    case warp_context:find(Ref) of
        {ok, _} -> {error, Reason};
        not_found -> {error, context_stopped}
    end.

%% @doc Runs Fun in a process of its own and gives its result. That process is killed at the deadline, and when the
%% caller is killed or crashes. For reads, which call the user's functions. Errors beside those of Fun: `timeout',
%% and `interrupted' when the process was killed or Fun crashed, which is logged.
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
    %% NOTE: the result may have come after the deadline and before the alias was closed.
    receive {Alias, _} -> ok after 0 -> ok end,
    Answer.

%% A crash of a user's function is a result of Fun. This crash is a bug of Warp, and the caller does not get its
%% reason.
failed(Class, Reason, Stack) ->
    ?LOG_ERROR("Warp: a read failed: ~ts. Its caller got `interrupted'. This is a bug of Warp, please report it.",
               [warp_redact:crash(Class, Reason, Stack)]),
    {error, interrupted}.
