%% @private Requests to other processes. This module alone knows how OTP's behaviours form requests and
%% answers: the messages `$gen_call' and `$gen_cast', and aliases, to which only one answer can come.
-module(warp_call).

-export([call/3, start_child/3]).
-export([send/2, await/2, watch/3]).
-export([next_request/1, next_cast/1]).

%% OTP's tag of an answer to an alias is `[alias | Alias]'.
-dialyzer({no_improper_lists, [send/2]}).

-export_type([request/0]).

%% A request that was sent and is not answered yet.
-opaque request() :: reference().

%% @doc Calls a `gen_server'. Errors: `timeout' when no answer came by the deadline; the request may be
%% carried out all the same. `interrupted' when the process is not there, or ended before it answered.
-spec call(pid(), Request :: term(), warp_deadline:deadline()) ->
    Answer :: term() | {error, timeout | interrupted}.
call(Pid, Request, Deadline) ->
    try
        gen_server:call(Pid, Request, warp_deadline:left(Deadline))
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:_ -> {error, interrupted}
    end.

%% @doc Starts a child as `supervisor:start_child/2' does, which waits without a limit. After `timeout' the
%% child may still be started.
-spec start_child(pid(), [term()] | supervisor:child_spec(), warp_deadline:deadline()) ->
    {ok, undefined | pid()} | {ok, undefined | pid(), term()} | {error, timeout | interrupted | term()}.
start_child(Supervisor, Child, Deadline) ->
    call(Supervisor, {start_child, Child}, Deadline).

%% @doc Sends a request as `gen_server:call' does, without a monitor, which costs more than the message.
%% The answer is taken by `await/2', and when that has none by `watch/3'.
-spec send(pid(), Request :: term()) -> request().
send(Pid, Request) ->
    Alias = erlang:alias([reply]),
    Pid ! {'$gen_call', {self(), [alias | Alias]}, Request},
    Alias.

%% @doc Waits for the answer for so many milliseconds, and does not notice when the process ends.
-spec await(request(), Millis :: non_neg_integer()) -> {answer, term()} | none.
await(Alias, Millis) ->
    receive
        {[alias | Alias], Answer} -> {answer, Answer}
    after Millis ->
        none
    end.

%% @doc Waits for the answer until the timeout, or until the process ends. After `timeout' and `down' no
%% answer comes any more.
-spec watch(request(), pid(), timeout()) -> {answer, term()} | down | timeout.
watch(Alias, Pid, Timeout) ->
    Monitor = erlang:monitor(process, Pid),
    Result =
        receive
            {[alias | Alias], Answer} -> {answer, Answer};
            {'DOWN', Monitor, process, Pid, _} -> down
        after Timeout ->
            timeout
        end,
    _ = erlang:unalias(Alias),
    true = erlang:demonitor(Monitor, [flush]),
    case Result of
        {answer, _} ->
            Result;
        _ ->
            %% NOTE: the answer may have come after the wait ended and before the alias was closed. A process
            %% that answered and ended did answer; a timeout stays a timeout.
            case await(Alias, 0) of
                {answer, _} = Late when Result =:= down -> Late;
                _ -> Result
            end
    end.

%% @doc Takes the next request of the form `{Kind, _}' out of the mailbox of the calling process.
-spec next_request(Kind :: atom()) -> {gen_server:from(), {Kind :: atom(), term()}} | none.
next_request(Kind) ->
    receive
        {'$gen_call', From, {Kind, _} = Request} -> {From, Request}
    after 0 ->
        none
    end.

%% @doc Takes the next cast out of the mailbox of the calling process whose first element is a key of
%% `Kinds'.
-spec next_cast(Kinds :: #{atom() => term()}) -> {cast, tuple()} | none.
next_cast(Kinds) ->
    receive
        {'$gen_cast', Cast} when is_map_key(element(1, Cast), Kinds) -> {cast, Cast}
    after 0 ->
        none
    end.
