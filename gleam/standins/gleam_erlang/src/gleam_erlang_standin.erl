%% The functions of the stand-in of gleam_erlang that are written in Erlang.
-module(gleam_erlang_standin).

-export([identity/1, sleep/1, send/2]).
-export([new_name/1, register/2, unregister/1, named/1]).
-export([new_selector/0, add_handler/3, select/2, select_forever/1]).
-export([monitor/1, demonitor/1, to_down/1, trap_exits/1, unlink/1, kill/1]).

%% Handlers by what they take: {Tag, Size} of a tuple, a monitor, or anything.
-type selector() :: {selector, #{term() => fun((term()) -> term())}}.

-spec identity(Term) -> Term.
identity(Term) ->
    Term.

-spec sleep(timeout()) -> nil.
sleep(Millis) ->
    timer:sleep(Millis),
    nil.

-spec send(pid(), term()) -> nil.
send(Pid, Message) ->
    Pid ! Message,
    nil.

-spec new_name(binary()) -> atom().
new_name(Prefix) ->
    Suffix = integer_to_binary(erlang:unique_integer([positive])),
    binary_to_atom(<<Prefix/binary, "$", Suffix/binary>>).

-spec register(pid(), atom()) -> {ok, nil} | {error, nil}.
register(Pid, Name) ->
    try erlang:register(Name, Pid) of true -> {ok, nil} catch error:badarg -> {error, nil} end.

-spec unregister(atom()) -> {ok, nil} | {error, nil}.
unregister(Name) ->
    try erlang:unregister(Name) of true -> {ok, nil} catch error:badarg -> {error, nil} end.

-spec named(atom()) -> {ok, pid()} | {error, nil}.
named(Name) ->
    case whereis(Name) of
        Pid when is_pid(Pid) -> {ok, Pid};
        _ -> {error, nil}
    end.

-spec new_selector() -> selector().
new_selector() ->
    {selector, #{}}.

-spec add_handler(selector(), term(), fun((term()) -> term())) -> selector().
add_handler({selector, Handlers}, Key, Handler) ->
    {selector, Handlers#{Key => Handler}}.

-spec select_forever(selector()) -> term().
select_forever(Selector) ->
    {ok, Payload} = select(Selector, infinity),
    Payload.

-spec select(selector(), timeout()) -> {ok, term()} | {error, nil}.
select({selector, Handlers}, Timeout) ->
    receive
        {'DOWN', Monitor, _, _, _} = Down when is_map_key(Monitor, Handlers) ->
            {ok, (map_get(Monitor, Handlers))(to_down(Down))};
        Message when is_map_key({element(1, Message), tuple_size(Message)}, Handlers) ->
            {ok, (map_get({element(1, Message), tuple_size(Message)}, Handlers))(Message)};
        Message when is_map_key(anything, Handlers) ->
            {ok, (map_get(anything, Handlers))(Message)}
    after Timeout ->
        {error, nil}
    end.

-spec monitor(pid()) -> reference().
monitor(Pid) ->
    erlang:monitor(process, Pid).

-spec demonitor(reference()) -> nil.
demonitor(Monitor) ->
    erlang:demonitor(Monitor, [flush]),
    nil.

-spec to_down(tuple()) -> tuple().
to_down({'DOWN', Monitor, process, Pid, Reason}) -> {process_down, Monitor, Pid, reason(Reason)};
to_down({'DOWN', Monitor, port, Port, Reason}) -> {port_down, Monitor, Port, reason(Reason)}.

reason(normal) -> normal;
reason(killed) -> killed;
reason(Other) -> {abnormal, Other}.

-spec trap_exits(boolean()) -> nil.
trap_exits(Trap) ->
    process_flag(trap_exit, Trap),
    nil.

-spec unlink(pid()) -> nil.
unlink(Pid) ->
    erlang:unlink(Pid),
    nil.

-spec kill(pid()) -> nil.
kill(Pid) ->
    exit(Pid, kill),
    nil.
