%% @private Requests to other processes. This module alone knows how OTP's behaviours form requests and
%% answers: the messages `$gen_call' and `$gen_cast', and aliases, which take one answer at most.
-module(warp_call).

-export([call/3, start_child/3]).
-export([send/2, await/2, watch/3]).
-export([alias/0, from/1, answer/2, answered/1, await_any/2, give_up/1]).
-export([next_request/1, next_cast/1]).

%% OTP tags an answer to an alias with `[alias | Alias]'.
-dialyzer({no_improper_lists, [send/2, from/1, answer/2]}).

-export_type([request/0, alias/0]).

%% A request that was sent and is not answered yet.
-opaque request() :: reference().
%% Takes one answer, and closes with it.
-type alias() :: reference().

%% @doc Calls a `gen_server' and gives its answer. Errors: `timeout' when no answer came by the deadline; the
%% process may still carry the request out. `interrupted' when there is no such process, or when it ended before
%% it answered.
-spec call(pid(), Request :: term(), warp_deadline:deadline()) ->
    Answer :: term() | {error, timeout | interrupted}.
call(Pid, Request, Deadline) ->
    try
        gen_server:call(Pid, Request, warp_deadline:left(Deadline))
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:_ -> {error, interrupted}
    end.

%% @doc Starts a child as `supervisor:start_child/2' does, but waits no longer than until the deadline. Gives the
%% results of `supervisor:start_child/2', and the errors of {@link call/3}. After `timeout' the supervisor may
%% still start the child.
-spec start_child(pid(), [term()] | supervisor:child_spec(), warp_deadline:deadline()) ->
    {ok, undefined | pid()} | {ok, undefined | pid(), term()} | {error, timeout | interrupted | term()}.
start_child(Supervisor, Child, Deadline) ->
    call(Supervisor, {start_child, Child}, Deadline).

%% @doc Sends a request as `gen_server:call' does, but without a monitor, which costs more than the message.
%% The caller takes the answer with {@link await/2}, and with {@link watch/3} if none came.
-spec send(pid(), Request :: term()) -> request().
send(Pid, Request) ->
    Alias = erlang:alias([reply]),
    Pid ! {'$gen_call', {self(), [alias | Alias]}, Request},
    Alias.

%% @doc Waits so many milliseconds for the answer, and does not notice when the process ends. `none' when no
%% answer came.
-spec await(request() | alias(), Millis :: non_neg_integer()) -> {answer, term()} | none.
await(Alias, Millis) ->
    receive
        {[alias | Alias], Answer} -> {answer, Answer}
    after Millis ->
        none
    end.

%% @doc Waits for the answer, for `Timeout' milliseconds at most, or until the process has ended (`down'). After
%% `timeout' and `down' the mailbox gets no answer any more.
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
            %% NOTE: the answer may have come after the wait ended and before the alias was closed. An answer
            %% counts although its process has ended since; after a timeout it is dropped.
            case await(Alias, 0) of
                {answer, _} = Late when Result =:= down -> Late;
                _ -> Result
            end
    end.

%% @doc An alias of the calling process for the answer to a request.
-spec alias() -> alias().
alias() ->
    erlang:alias([reply]).

%% @doc Who has to be answered, as `gen_server:reply/2' takes it.
-spec from(alias()) -> {pid(), Tag :: term()}.
from(Alias) ->
    {self(), [alias | Alias]}.

%% @doc Answers a request in place of the process that was asked. Nobody gets the answer if there was one before.
-spec answer(alias(), Answer :: term()) -> ok.
answer(Alias, Answer) ->
    Alias ! {[alias | Alias], Answer},
    ok.

%% @doc What a message answers: the alias of the request, and the answer. `none' when it is no answer to an alias.
-spec answered(Message :: term()) -> {alias(), Answer :: term()} | none.
answered({[alias | Alias], Answer}) when is_reference(Alias) -> {Alias, Answer};
answered(_Message) -> none.

%% @doc Waits so many milliseconds for the next answer to any request whose alias is a key of the map.
-spec await_any(#{alias() => term()}, timeout()) -> {alias(), Answer :: term()} | none.
await_any(Requests, Millis) ->
    receive
        {[alias | Alias], Answer} when is_map_key(Alias, Requests) -> {Alias, Answer}
    after Millis ->
        none
    end.

%% @doc Closes the aliases that are the keys of the map: the mailbox gets no answer any more, and loses those that it
%% has.
-spec give_up(#{alias() => term()}) -> ok.
give_up(Requests) ->
    ok = lists:foreach(fun erlang:unalias/1, maps:keys(Requests)),
    flush(Requests).

flush(Requests) ->
    case await_any(Requests, 0) of
        none -> ok;
        {_Alias, _Answer} -> flush(Requests)
    end.

%% @doc Takes the next request of the form `{Kind, _}' out of the mailbox of the calling process, without waiting.
-spec next_request(Kind :: atom()) -> {gen_server:from(), {Kind :: atom(), term()}} | none.
next_request(Kind) ->
    receive
        {'$gen_call', From, {Kind, _} = Request} -> {From, Request}
    after 0 ->
        none
    end.

%% @doc Takes the next cast whose first element is a key of `Kinds' out of the mailbox of the calling process,
%% without waiting.
-spec next_cast(Kinds :: #{atom() => term()}) -> {cast, tuple()} | none.
next_cast(Kinds) ->
    receive
        {'$gen_cast', Cast} when is_map_key(element(1, Cast), Kinds) -> {cast, Cast}
    after 0 ->
        none
    end.
