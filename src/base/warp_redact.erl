%% @private What the log of the system may say of a failure: which functions, and the shape of
%% terms, but nothing that a user gave. States, payloads and requests stand in the arguments of a
%% stack, in reasons, and in what a process prints of itself when it crashes.
-module(warp_redact).

-export([reason/1, crash/3, shape/1, status/2, empty_mailbox/0]).

%% How deep a term is described, how many elements of a tuple, and how many functions of a stack.
-define(DEPTH, 3).
-define(ELEMENTS, 8).
-define(FRAMES, 8).

%% @doc The reason of an error as text.
-spec reason(term()) -> iolist().
reason({Tag, {Class, Reason, Stack}}) when is_atom(Tag), is_atom(Class), is_list(Stack) ->
    io_lib:format("~tp: ~ts", [Tag, crash(Class, Reason, Stack)]);
reason(Reason) ->
    io_lib:format("~tp", [shape(Reason)]).

%% @doc What was caught, as text.
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

%% @doc The shape of a term: its atoms and how it is built, no text and no numbers.
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

%% @doc What a process says of itself, for `format_status/1': Summary in place of its state, and
%% shapes of everything else.
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

%% @doc Drops the messages that the calling process has not read. A process does so in its `terminate',
%% since a report of its crash would show them.
-spec empty_mailbox() -> ok.
empty_mailbox() ->
    receive _ -> empty_mailbox() after 0 -> ok end.
