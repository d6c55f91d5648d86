%% The functions of the stand-in of gleam_erlang that are written in Erlang.
-module(gleam_erlang_standin).

-export([identity/1, sleep/1, sleep_forever/0, send/2]).
-export([get_atom/1, decode_atom/1, connect/1, priv_directory/1]).
-export([new_name/1, register/2, unregister/1, named/1]).
-export([new_selector/0, add_handler/3, remove_handler/2, map_selector/2, merge_selector/2]).
-export([select/2, select_forever/1, payload/2, flush_messages/0]).
-export([cancel_timer/1]).
-export([monitor/1, demonitor/1, to_down/1, to_exit/1, trap_exits/1, link/1, unlink/1, exit/2, kill/1]).

%% Handlers by what they take: {Tag, Size} of a tuple, a monitor, or anything.
-type selector() :: {selector, #{term() => fun((term()) -> term())}}.

-spec identity(Term) -> Term.
identity(Term) ->
    Term.

-spec sleep(timeout()) -> nil.
sleep(Millis) ->
    timer:sleep(Millis),
    nil.

-spec sleep_forever() -> no_return().
sleep_forever() ->
    timer:sleep(infinity).

-spec get_atom(binary()) -> {ok, atom()} | {error, nil}.
get_atom(Name) ->
    try {ok, binary_to_existing_atom(Name)} catch error:badarg -> {error, nil} end.

-spec decode_atom(term()) -> {ok | error, atom()}.
decode_atom(Atom) when is_atom(Atom) -> {ok, Atom};
decode_atom(_) -> {error, nil}.

-spec connect(node()) -> {ok, node()} | {error, failed_to_connect | local_node_is_not_alive}.
connect(Node) ->
    case net_kernel:connect_node(Node) of
        true -> {ok, Node};
        false -> {error, failed_to_connect};
        ignored -> {error, local_node_is_not_alive}
    end.

-spec priv_directory(binary()) -> {ok, binary()} | {error, nil}.
priv_directory(Name) ->
    try code:priv_dir(binary_to_existing_atom(Name)) of
        Dir when is_list(Dir) -> {ok, unicode:characters_to_binary(Dir)};
        {error, bad_name} -> {error, nil}
    catch
        error:badarg -> {error, nil}
    end.

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

-spec remove_handler(selector(), term()) -> selector().
remove_handler({selector, Handlers}, Key) ->
    {selector, maps:remove(Key, Handlers)}.

-spec map_selector(selector(), fun((term()) -> term())) -> selector().
map_selector({selector, Handlers}, Fun) ->
    {selector, maps:map(fun(_Key, Handler) -> fun(Message) -> Fun(Handler(Message)) end end, Handlers)}.

-spec merge_selector(selector(), selector()) -> selector().
merge_selector({selector, One}, {selector, Other}) ->
    {selector, maps:merge(One, Other)}.

-spec select_forever(selector()) -> term().
select_forever(Selector) ->
    {ok, Payload} = select(Selector, infinity),
    Payload.

-define(IS_SELECTED(Message, Handlers),
        is_map_key({element(1, Message), tuple_size(Message)}, Handlers)).

-spec select(selector(), timeout()) -> {ok, term()} | {error, nil}.
select({selector, Handlers} = Selector, Timeout) ->
    receive
        {'DOWN', Monitor, _, _, _} = Down when is_map_key(Monitor, Handlers) -> payload(Selector, Down);
        Message when ?IS_SELECTED(Message, Handlers) -> payload(Selector, Message);
        Message when is_map_key(anything, Handlers) -> payload(Selector, Message)
    after Timeout ->
        {error, nil}
    end.

%% What a selector makes of a message; an error for one that it does not select.
-spec payload(selector(), term()) -> {ok, term()} | {error, nil}.
payload({selector, Handlers}, {'DOWN', Monitor, _, _, _} = Down) when is_map_key(Monitor, Handlers) ->
    {ok, (map_get(Monitor, Handlers))(to_down(Down))};
payload({selector, Handlers}, Message) when ?IS_SELECTED(Message, Handlers) ->
    {ok, (map_get({element(1, Message), tuple_size(Message)}, Handlers))(Message)};
payload({selector, #{anything := Handler}}, Message) ->
    {ok, Handler(Message)};
payload(_Selector, _Message) ->
    {error, nil}.

-spec flush_messages() -> nil.
flush_messages() ->
    receive _ -> flush_messages() after 0 -> nil end.

-spec cancel_timer(reference()) -> timer_not_found | {cancelled, non_neg_integer()}.
cancel_timer(Timer) ->
    case erlang:cancel_timer(Timer) of
        false -> timer_not_found;
        Remaining -> {cancelled, Remaining}
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

-spec to_exit(tuple()) -> tuple().
to_exit({'EXIT', Pid, Reason}) -> {exit_message, Pid, reason(Reason)}.

reason(normal) -> normal;
reason(killed) -> killed;
reason(Other) -> {abnormal, Other}.

-spec trap_exits(boolean()) -> nil.
trap_exits(Trap) ->
    process_flag(trap_exit, Trap),
    nil.

%% Whether the process was there.
-spec link(pid()) -> boolean().
link(Pid) ->
    try erlang:link(Pid) catch error:noproc -> false end.

-spec unlink(pid()) -> nil.
unlink(Pid) ->
    erlang:unlink(Pid),
    nil.

-spec exit(pid(), term()) -> nil.
exit(Pid, Reason) ->
    erlang:exit(Pid, Reason),
    nil.

-spec kill(pid()) -> nil.
kill(Pid) ->
    erlang:exit(Pid, kill),
    nil.
