%% @private Checks the options of a server and fills in defaults. Pure, but that it loads modules which options name.
-module(warp_server_options).

-export([check/1, change/2]).

-export_type([settings/0, token/0, context/0, error/0]).

-type error() ::
    {bad_option, Key :: term(), Why :: term()} | {missing_option, Key :: atom()} | {unknown_option, Key :: term()}.
-type token() :: #{
    id := binary(),
    %% The SHA-256 of the token, in lower case.
    sha256 := binary(),
    scopes := [warp_server_scope:scope()],
    expires := none | non_neg_integer(),
    connections := pos_integer(),
    in_flight := pos_integer(),
    subscriptions := pos_integer()
}.
-type context() :: #{
    name := binary(),
    %% Of `warp_core:start_link/1', or none where the context is started by somebody else.
    start := none | map(),
    commands := #{binary() => {Aggregate :: binary(), fun((term(), map()) -> term())}},
    views := #{binary() => fun((term()) -> term())}
}.
-type settings() :: #{
    contexts := #{binary() => context()},
    listeners := [#{address := binary(), port := inet:port_number(), tls := none | map()}],
    hosts := [binary()],
    origins := [binary()],
    tokens := #{binary() => token()},
    limits := #{atom() => pos_integer()},
    keys := [binary()],
    server := binary(),
    %% How long somebody who reads a stream is kept waiting for events, how long server-sent events of a stream go on,
    %% and how often those of a name have a sign of life.
    live := #{long_poll_ms := pos_integer(), events_ms := pos_integer(), heartbeat_ms := pos_integer()},
    gateway := #{program := file:filename_all(), ping_ms := pos_integer(), silent_ms := pos_integer()},
    %% While the server runs: the description of its paths, which takes some time to make; the process that changes
    %% settings; and where the server listens.
    openapi => binary(),
    keeper => pid(),
    addresses => [{binary(), inet:port_number()}]
}.

-define(MAX_MS, 16#ffffffff).

%% @doc All options of a server.
-spec check(term()) -> {ok, settings()} | {error, error()}.
check(Options) ->
    try
        {ok, all(Options, options())}
    catch
        throw:Reason -> {error, Reason}
    end.

%% @doc The settings with other hosts, origins, tokens, limits, times of `live', and certificates. Everything else
%% stays: also the addresses of the listeners, and which of them have TLS.
-spec change(term(), settings()) -> {ok, settings()} | {error, error()}.
change(Options, #{listeners := Listeners} = Settings) ->
    try
        Changing = [Option || {Key, _, _} = Option <- options(), lists:member(Key, changing())],
        Given = maps:with(maps:keys(is_map(Options) andalso Options), all(Options, Changing)),
        {ok, maps:merge(Settings, same_addresses(Given, Listeners))}
    catch
        throw:Reason -> {error, Reason};
        error:{badmap, _} -> {error, {bad_option, options, not_a_map}}
    end.

changing() -> [hosts, origins, tokens, limits, live, listeners].

same_addresses(#{listeners := New} = Given, Listeners) ->
    Same = length(New) =:= length(Listeners)
        andalso lists:all(fun({#{address := A, port := P, tls := S}, #{address := B, port := Q, tls := T}}) ->
                              A =:= B andalso (P =:= Q orelse P =:= 0) andalso (S =:= none) =:= (T =:= none)
                          end, lists:zip(New, Listeners)),
    _ = [throw({bad_option, listeners, addresses_cannot_change}) || not Same],
    Given#{listeners := [Old#{tls := Tls} || {Old, #{tls := Tls}} <- lists:zip(Listeners, New)]};
same_addresses(Given, _) ->
    Given.

options() ->
    [{contexts, required, fun contexts/1},
     {listeners, [#{}], list(fun listener/1)},
     {hosts, [<<"localhost">>, <<"127.0.0.1">>, <<"[::1]">>], list(fun text/1)},
     {origins, [], list(fun text/1)},
     {tokens, [], fun tokens/1},
     {limits, #{}, fun limits/1},
     {keys, random, fun keys/1},
     {server, <<"warp">>, fun text/1},
     {live, #{}, fun live/1},
     {gateway, #{}, fun gateway/1}].

%% Every default is a value that somebody could give, and is checked as one.
all(Given, Options) when is_map(Given) ->
    _ = [throw({unknown_option, Key}) || Key <- maps:keys(Given) -- [Key || {Key, _, _} <- Options]],
    maps:from_list([{Key, value(Key, maps:get(Key, Given, Default), Check)} || {Key, Default, Check} <- Options]);
all(_, _) ->
    throw({bad_option, options, not_a_map}).

value(Key, required, _) -> throw({missing_option, Key});
value(Key, Value, Check) ->
    try
        Check(Value)
    catch
        throw:{why, Why} -> throw({bad_option, Key, Why})
    end.

%% The same inside of an option: what is wrong stands behind the place.
inside(Given, Options) when is_map(Given) ->
    _ = [why({Key, unknown_key}) || Key <- maps:keys(Given) -- [Key || {Key, _, _} <- Options]],
    maps:from_list([{Key, part(Key, maps:get(Key, Given, Default), Check)} || {Key, Default, Check} <- Options]);
inside(_, _) ->
    why(not_a_map).

part(Key, required, _) -> why({Key, missing});
part(Key, Value, Check) -> at(Key, fun() -> Check(Value) end).

at(Place, Check) ->
    try
        Check()
    catch
        throw:{why, Why} -> why({Place, Why})
    end.

-spec why(term()) -> no_return().
why(Why) -> throw({why, Why}).

%% ------------------------------------------------------------------------------------------------ Contexts

contexts(Given) ->
    Contexts = each(fun context/1, Given),
    by(name, Contexts).

context({running, Name}) ->
    (extras(none, Name))#{name => text(Name), start => none};
context({running, Name, Module}) ->
    (extras(Module, text(Name)))#{name => text(Name), start => none};
context(Given) ->
    #{name := Name, data_dir := Dir, module := Module, options := Options} =
        inside(Given, [{name, required, fun text/1}, {data_dir, required, fun same/1}, {module, none, fun same/1},
                       {options, #{}, fun map/1}]),
    #{rest := Rest} = Extras = extras(Module, Name),
    Start = maps:merge(maps:merge(Rest, Options), #{context => Name, data_dir => Dir}),
    Extras#{name => Name, start => Start}.

%% What the module says of a context: options of its start, and what only the server needs.
extras(None, _Name) when None =:= none; None =:= undefined ->
    #{commands => #{}, views => #{}, rest => #{}};
extras(Module, Name) when is_atom(Module) ->
    _ = [why({module, no_such_module}) || code:ensure_loaded(Module) =/= {module, Module}],
    _ = [why({module, {not_exported, context, 1}}) || not erlang:function_exported(Module, context, 1)],
    Said = at(module, fun() -> map(Module:context(Name)) end),
    #{commands => at(commands, fun() -> maps:map(fun command/2, map(maps:get(commands, Said, #{}))) end),
      views => at(views, fun() -> maps:map(fun view/2, map(maps:get(views, Said, #{}))) end),
      rest => maps:without([commands, views], Said)};
extras(_, _Name) ->
    why({module, not_a_module}).

command(_, {Aggregate, Fun}) when is_binary(Aggregate), is_function(Fun, 2) -> {Aggregate, Fun};
command(Name, _) -> why({Name, not_a_command}).

view(_, Fun) when is_function(Fun, 1) -> Fun;
view(Name, _) -> why({Name, {not_a_function, 1}}).

%% -------------------------------------------------------------------------------------- Listeners and gateway

listener(Given) ->
    inside(Given, [{address, <<"127.0.0.1">>, fun text/1}, {port, 9090, integer(0, 65535)}, {tls, none, fun tls/1}]).

tls(none) -> none;
tls(Given) -> inside(Given, [{certificate, required, fun file/1}, {key, required, fun file/1}]).

gateway(Given) ->
    inside(Given, [{program, program(), fun file/1}, {ping_ms, 2000, integer(1, ?MAX_MS)},
                   {silent_ms, 10000, integer(1, ?MAX_MS)}]).

live(Given) ->
    inside(Given, [{long_poll_ms, 25000, integer(1, ?MAX_MS)}, {events_ms, 60000, integer(1, ?MAX_MS)},
                   {heartbeat_ms, 15000, integer(1, ?MAX_MS)}]).

program() ->
    filename:join(code:priv_dir(warp_server), "warp_gateway").

limits(Given) ->
    inside(Given, [{Key, Default, integer(1, 1 bsl 40)} || {Key, Default} <- default_limits()]).

default_limits() ->
    [{connections, 20000}, {connections_per_address, 10000}, {in_flight, 20000}, {bytes_in_flight, 128 bsl 20},
     {body, 17 bsl 20}, {header, 16384}, {headers, 64}, {head_ms, 10000}, {body_ms, 30000}, {idle_ms, 75000},
     {message, 17 bsl 20}, {send_ms, 30000}, {socket_ping_ms, 25000}, {streams, 100}].

%% -------------------------------------------------------------------------------------------------- Tokens

tokens(Given) ->
    by(id, each(fun token/1, Given)).

token(Given) ->
    inside(Given, [{id, required, fun text/1}, {sha256, required, fun(Hash) -> hex(Hash, 32) end},
                   {scopes, required, list(fun scope/1)}, {expires, none, fun expires/1},
                   {connections, 100, integer(1, 1 bsl 32)}, {in_flight, 1000, integer(1, 1 bsl 32)},
                   {subscriptions, 1000, integer(0, 1 bsl 32)}]).

scope(Given) ->
    inside(Given, [{operations, all, fun operations/1}, {context, all, fun all_or_text/1}, {prefix, <<>>, fun prefix/1},
                   {aggregates, all, fun all_or_texts/1}]).

operations(all) -> all;
operations(Given) ->
    Known = warp_server_scope:operations(),
    each(fun(Operation) -> one_of(Operation, Known) end, Given).

expires(none) -> none;
expires(Seconds) -> (integer(0, 1 bsl 53))(Seconds).

keys(random) -> [binary:encode_hex(crypto:strong_rand_bytes(32))];
keys([]) -> why(empty);
keys(Given) -> each(fun(Key) -> hex(Key, 32) end, Given).

hex(Text, Bytes) when is_binary(Text), byte_size(Text) =:= 2 * Bytes ->
    try
        string:lowercase(binary:encode_hex(binary:decode_hex(Text)))
    catch
        error:_ -> why({not_hex, Bytes})
    end;
hex(_, Bytes) ->
    why({not_hex, Bytes}).

%% ------------------------------------------------------------------------------------------------- Values

list(Check) -> fun(Given) -> each(Check, Given) end.

each(Check, Given) when length(Given) >= 0 ->
    [at(N, fun() -> Check(Value) end) || {N, Value} <- lists:zip(lists:seq(1, length(Given)), Given)];
each(_, _) ->
    why(not_a_list).

by(Key, Values) ->
    lists:foldl(
        fun(#{Key := Name}, Found) when is_map_key(Name, Found) -> why({duplicate_name, Name});
           (#{Key := Name} = Value, Found) -> Found#{Name => Value}
        end,
        #{},
        Values).

same(Value) -> Value.

map(Given) when is_map(Given) -> Given;
map(_) -> why(not_a_map).

integer(Min, Max) ->
    fun(N) when is_integer(N), N >= Min, N =< Max -> N;
       (_) -> why({not_an_integer_between, Min, Max})
    end.

one_of(Value, Values) ->
    _ = [why({not_one_of, Values}) || not lists:member(Value, Values)],
    Value.

file(Path) when is_binary(Path), Path =/= <<>> -> Path;
file([_ | _] = Path) -> Path;
file(_) -> why(not_a_path).

text(<<>>) -> why(empty);
text(Text) -> prefix(Text).

prefix(Text) when is_binary(Text) ->
    _ = [why(not_utf8) || not is_list(unicode:characters_to_list(Text))],
    Text;
prefix(_) ->
    why(not_a_binary).

all_or_text(all) -> all;
all_or_text(Text) -> text(Text).

all_or_texts(all) -> all;
all_or_texts(Texts) -> each(fun text/1, Texts).
