%% @private Describes failures for the log of the system: which functions, and the shapes of terms, but nothing
%% that a user stored. The arguments in a stack, reasons, and the report of a crashed process can all hold states,
%% payloads and requests.
-module(warp_redact).

-export([reason/1, crash/3, shape/1, status/2, empty_mailbox/0]).

%% How deep a term is described, and how many elements of a tuple and functions of a stack are listed.
-define(DEPTH, 3).
-define(ELEMENTS, 8).
-define(FRAMES, 8).

%% @doc The reason of an error as text.
-spec reason(term()) -> iolist().
reason({Tag, {Class, Reason, Stack}}) when is_atom(Tag), is_atom(Class), is_list(Stack) ->
    io_lib:format("~tp: ~ts", [Tag, crash(Class, Reason, Stack)]);
reason(Reason) ->
    io_lib:format("~tp", [shape(Reason)]).

%% @doc A caught exception as text.
-spec crash(atom(), term(), term()) -> iolist().
crash(Class, Reason, Stack) ->
    io_lib:format("~tp ~tp in ~tp", [Class, shape(Reason), frames(Stack)]).

frames(Stack) when is_list(Stack) ->
    [frame(Frame) || Frame <- lists:sublist(Stack, ?FRAMES)];
frames(_NoStack) ->
    [].

frame({Module, Function, Args, Where}) when is_list(Args) ->
    frame({Module, Function, length(Args), Where});
frame({Module, Function, Arity, Where}) when is_integer(Arity), is_list(Where) ->
    {Module, Function, Arity, proplists:get_value(line, Where, 0)};
frame(_Other) ->
    unknown.

%% @doc The shape of a term: its atoms and its structure, without text and numbers.
-spec shape(term()) -> term().
shape(Term) ->
    shape(Term, ?DEPTH).

shape(Atom, _Depth) when is_atom(Atom) -> Atom;
shape(Number, _Depth) when is_integer(Number) -> integer;
shape(Number, _Depth) when is_float(Number) -> float;
shape(Binary, _Depth) when is_binary(Binary) -> {binary, byte_size(Binary)};
shape(Bits, _Depth) when is_bitstring(Bits) -> bitstring;
shape(Map, _Depth) when is_map(Map) -> {map, map_size(Map)};
shape([], _Depth) -> [];
shape(List, _Depth) when is_list(List) ->
    try {list, length(List)} catch error:badarg -> improper_list end;
shape(Tuple, 0) when is_tuple(Tuple) -> {tuple, tuple_size(Tuple)};
shape(Tuple, Depth) when tuple_size(Tuple) =< ?ELEMENTS ->
    list_to_tuple([shape(Element, Depth - 1) || Element <- tuple_to_list(Tuple)]);
shape(Tuple, _Depth) when is_tuple(Tuple) -> {tuple, tuple_size(Tuple)};
shape(Fun, _Depth) when is_function(Fun) -> function;
shape(Other, _Depth) -> Other.

%% @doc For `format_status/1' of a process: Summary in place of its state, and shapes in place of everything else.
-spec status(gen_server:format_status(), #{atom() => term()}) -> gen_server:format_status().
status(Status, Summary) ->
    maps:map(
        fun
            (state, _State) -> Summary;
            (message, Message) -> shape(Message);
            (reason, {Reason, Stack}) when is_list(Stack) -> {shape(Reason), frames(Stack)};
            (reason, Reason) -> shape(Reason);
            (log, _Events) -> [];
            (_Other, Value) -> Value
        end,
        Status).

%% @doc Drops the messages that the calling process has not read. A process calls this in its `terminate', since the
%% report of its crash would show them.
-spec empty_mailbox() -> ok.
empty_mailbox() ->
    receive _ -> empty_mailbox() after 0 -> ok end.
