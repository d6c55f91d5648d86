%% @private The caller's side of an entity's process: finds it, is admitted or turned away, and
%% tells what an answer that does not come means.
-module(warp_client).

-export([call/5, aside/2]).

%% A tag of gen_server is [alias | Alias].
-dialyzer({no_improper_lists, [ask/4, watch/4]}).

-include("warp.hrl").

%% How often, and after how long, a process that went away is looked for again.
-define(ATTEMPTS, 50).
-define(PAUSE_MS, 20).

%% How long an answer is waited for before the process is monitored.
-define(UNWATCHED_MS, 50).

%% Whether a request may be made again when the process was killed: `once' is for what could have
%% been carried out.
-type safety() :: repeatable | once.

%% @doc Calls the process of an entity. Errors: overloaded, timeout, interrupted,
%% {shard_unavailable, N}, context_stopped, and what the process answers.
-spec call(#warp_entity{}, term(), non_neg_integer(), timeout(), safety()) -> term().
call(Entity, Request, Bytes, Timeout, Safety) ->
    call(Entity, Request, Bytes, Timeout, Safety, ?ATTEMPTS).

call(#warp_entity{ref = Ref} = Entity, Request, Bytes, Timeout, Safety, Left) ->
    case warp_context:find(Ref) of
        {ok, Context} ->
            case warp_registry:ensure(Context, Entity) of
                {ok, Pid, Pending} ->
                    case warp_pending:admit(Pending, Bytes, Context#context.max_pending) of
                        true ->
                            case ask(Pid, Pending, Request, Timeout) of
                                {again, When} when Left > 0, (When =:= now orelse
                                                              Safety =:= repeatable) ->
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

%% A gen_server:call, but for the monitor: for what it costs, a process that was killed is noticed
%% a little later. One that goes by itself answers all whose requests it has, and says in its
%% counters that it is closed before it looks for the last of them: so a caller who finds it not
%% closed after sending was in time.
ask(Pid, Pending, Request, Timeout) ->
    Alias = erlang:alias([reply]),
    Tag = [alias | Alias],
    Pid ! {'$gen_call', {self(), Tag}, Request},
    Unwatched =
        case warp_pending:is_closed(Pending) of
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
        case warp_pending:is_closed(Pending) of
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
            Result = try Fun() catch _:_ -> {error, interrupted} end,
            true = unlink(Caller),
            Alias ! {Alias, Result}
        end,
        [link, monitor]),
    Answer =
        receive
            {Alias, Result} -> Result;
            {'DOWN', Monitor, process, Pid, _} -> {error, interrupted}
        after Timeout ->
            {error, timeout}
        end,
    _ = erlang:unalias(Alias),
    true = erlang:demonitor(Monitor, [flush]),
    true = unlink(Pid),
    true = exit(Pid, kill),
    receive {Alias, _} -> ok after 0 -> ok end,
    Answer.
