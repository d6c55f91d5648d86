%% @private Checks the options that concern entities, of `warp_core:start/1' and of each call.
-module(warp_entity_options).

-export([start/0, append/1, decide/1, read/1, export/1, import/1, delete/1, correction/2, time/1]).
-export([history/1, entities/1, events/2]).

-define(MAX_PENDING, 1000000).
-define(MAX_NAME_BYTES, 512).
-define(CALL_TIMEOUT_MS, 5000).
-define(READ_TIMEOUT_MS, 5000).
-define(DELETE_TIMEOUT_MS, 10000).
-define(HISTORY_LIMIT, 1000).
%% How many entities or events one page may be asked for.
-define(MAX_LIMIT, 10000).

%% @doc The options of `warp_core:start/1' that concern entities.
-spec start() -> [warp_check:option()].
start() ->
    [
        {aggregates, required, fun aggregates/1},
        {mode, actor, fun(M) -> warp_check:one_of(M, [actor, read_through]) end},
        {snapshot_every, 1000, fun(N) -> warp_check:integer(N, 1, infinity) end},
        {idle_timeout, 60000, fun warp_check:timeout/1},
        {max_pending, 10000, fun(N) -> warp_check:integer(N, 1, ?MAX_PENDING) end}
    ].

%% @doc The options of an append: `expected' (any), `timeout' (5000 ms).
-spec append(term()) -> {ok, #{expected := any | no_stream | warp_core:seq(), timeout := timeout()}}
    | {error, warp_check:wrong()}.
append(Given) when Given =:= #{} ->
    {ok, #{expected => any, timeout => ?CALL_TIMEOUT_MS}};
append(Given) ->
    warp_check:options(Given, [{expected, any, fun expected/1}, {timeout, ?CALL_TIMEOUT_MS, fun warp_check:timeout/1}]).

%% @doc The options of a decide: `timeout' (5000 ms).
-spec decide(term()) -> {ok, #{timeout := timeout()}} | {error, warp_check:wrong()}.
decide(Given) ->
    warp_check:options(Given, [{timeout, ?CALL_TIMEOUT_MS, fun warp_check:timeout/1}]).

%% @doc The options of a read of a state: `timeout' (5000 ms).
-spec read(term()) -> {ok, #{timeout := timeout()}} | {error, warp_check:wrong()}.
read(Given) when Given =:= #{} ->
    {ok, #{timeout => ?READ_TIMEOUT_MS}};
read(Given) ->
    warp_check:options(Given, [{timeout, ?READ_TIMEOUT_MS, fun warp_check:timeout/1}]).

%% @doc The options of an export: `timeout' (`infinity', since it reads the whole log).
-spec export(term()) -> {ok, #{timeout := timeout()}} | {error, warp_check:wrong()}.
export(Given) ->
    warp_check:options(Given, [{timeout, infinity, fun warp_check:timeout/1}]).

%% @doc The options of an import: `timeout' (`infinity').
-spec import(term()) -> {ok, #{timeout := timeout()}} | {error, warp_check:wrong()}.
import(Given) ->
    export(Given).

%% @doc The options of a deletion: `timeout' (10000 ms), `receipt' (false).
-spec delete(term()) -> {ok, #{timeout := timeout(), receipt := boolean()}} | {error, warp_check:wrong()}.
delete(Given) ->
    warp_check:options(Given, [{timeout, ?DELETE_TIMEOUT_MS, fun warp_check:timeout/1},
                               {receipt, false, fun(Value) -> warp_check:one_of(Value, [true, false]) end}]).

%% @doc Checks the seq of an event and its correct time in microseconds since 1970. The time has to take as many
%% bytes in the file as the one that it replaces.
-spec correction(term(), term()) -> ok | {error, warp_check:wrong()}.
correction(Seq, Micros) ->
    case warp_check:one(seq, Seq, fun(N) -> warp_check:integer(N, 1, 1 bsl 62) end) of
        {ok, _} ->
            case warp_check:one(recorded_at, Micros, fun time/1) of
                {ok, _} -> ok;
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc A check: a time that an event can have, in microseconds since 1970. All of them take the same bytes in the file.
-spec time(term()) -> {ok, warp_core:micros()} | {error, term()}.
time(Micros) -> warp_check:integer(Micros, 1 bsl 47, 1 bsl 62 - 1).

%% @doc The options of a history: `from' (0, which is the first event, or the last one backward), `limit' (1000),
%% `direction' (forward), `migrate' (true), `timeout' (5000 ms).
-spec history(term()) -> {ok, map()} | {error, warp_check:wrong()}.
history(Given) ->
    warp_check:options(Given, [
        {from, 0, fun seq/1},
        {limit, ?HISTORY_LIMIT, fun seq/1},
        {direction, forward, fun(D) -> warp_check:one_of(D, [forward, backward]) end},
        {migrate, true, fun(Flag) -> warp_check:one_of(Flag, [true, false]) end},
        {timeout, ?READ_TIMEOUT_MS, fun warp_check:timeout/1}
    ]).

%% @doc The options of a list of entities: `prefix' (empty), `aggregate' (`undefined': any), `after' (the first),
%% `limit' (1000), `timeout' (5000 ms).
-spec entities(term()) -> {ok, map()} | {error, warp_check:wrong()}.
entities(Given) ->
    warp_check:options(Given, [
        {prefix, <<>>, fun(Prefix) -> text(Prefix, 0) end},
        {aggregate, undefined, fun(Name) -> text(Name, 1) end},
        {'after', {0, first}, fun warp_entity_list:place/1},
        {limit, ?HISTORY_LIMIT, fun(N) -> warp_check:integer(N, 1, ?MAX_LIMIT) end},
        {timeout, ?READ_TIMEOUT_MS, fun warp_check:timeout/1}
    ]).

%% @doc The options of a read of events: `shard' (`all'), `after' (none: from the beginning), `limit' (1000), `timeout'
%% (5000 ms).
-spec events(term(), Shards :: pos_integer()) -> {ok, map()} | {error, warp_check:wrong()}.
events(Given, Shards) ->
    warp_check:options(Given, [
        {shard, all, fun(all) -> {ok, all}; (N) -> warp_check:integer(N, 0, Shards - 1) end},
        {'after', #{}, fun warp_entity_list:positions/1},
        {limit, ?HISTORY_LIMIT, fun(N) -> warp_check:integer(N, 1, ?MAX_LIMIT) end},
        {timeout, ?READ_TIMEOUT_MS, fun warp_check:timeout/1}
    ]).

text(<<>>, 0) -> {ok, <<>>};
text(Text, _Least) ->
    case warp_text:check(Text, ?MAX_NAME_BYTES) of
        ok -> {ok, Text};
        {error, _} = Error -> Error
    end.

expected(any) -> {ok, any};
expected(no_stream) -> {ok, no_stream};
expected(Seq) when is_integer(Seq), Seq >= 0 -> {ok, Seq};
expected(_) -> {error, not_any_no_stream_or_a_seq}.

%% No log reaches 2^62, and a larger number would not fit the integers of the file.
seq(N) when is_integer(N), N > 1 bsl 62 -> {ok, 1 bsl 62};
seq(N) -> warp_check:integer(N, 1, infinity).

aggregates([]) ->
    {error, empty};
aggregates(List) when is_list(List) ->
    try by_name(List) of
        ByName -> {ok, ByName}
    catch
        throw:Why -> {error, Why};
        error:function_clause -> {error, not_a_list}
    end;
aggregates(_) ->
    {error, not_a_list}.

by_name(List) ->
    ByName = lists:foldl(fun add_aggregate/2, #{}, List),
    ok = check_aliases(maps:values(ByName), maps:map(fun(_, _) -> [] end, ByName)),
    ByName.

add_aggregate(#{name := Name} = Aggregate, ByName) when is_binary(Name) ->
    ok = name(Name),
    _ = [throw({duplicate_name, Name}) || is_map_key(Name, ByName)],
    _ = [throw({Name, initial_state, missing}) || not is_map_key(initial_state, Aggregate)],
    maps:foreach(
        fun(Key, Value) -> _ = [throw({Name, Key, Why}) || Why <- field(Key, Value)] end, Aggregate),
    ByName#{Name => maps:map(fun lasting/2, Aggregate)};
add_aggregate(#{name := _}, _ByName) ->
    throw({name, not_a_binary});
add_aggregate(#{}, _ByName) ->
    throw({name, missing});
add_aggregate(_, _ByName) ->
    throw(not_a_map).

%% Each name stands for one aggregate.
check_aliases(Aggregates, Names) ->
    _ = lists:foldl(
        fun({Name, Alias}, Taken) ->
            _ = [throw({Name, aliases, {duplicate_name, Alias}}) || is_map_key(Alias, Taken)],
            Taken#{Alias => []}
        end,
        Names,
        [{Name, Alias} || #{name := Name, aliases := Aliases} <- Aggregates, Alias <- Aliases]),
    ok.

name(<<"$warp", _/binary>> = Name) ->
    throw({Name, name, reserved});
name(Name) ->
    case warp_text:check(Name, ?MAX_NAME_BYTES) of
        ok -> ok;
        {error, not_utf8} -> throw({name, not_utf8});
        {error, Why} -> throw({Name, name, Why})
    end.

lasting(Key, Fun) when Key =:= apply; Key =:= validate; Key =:= migrate; Key =:= project ->
    warp_function:lasting(Fun);
lasting(_Key, Value) ->
    Value.

%% Gives what is wrong with a field of an aggregate, as a list of at most one reason.
field(name, _) -> [];
field(initial_state, _) -> [];
field(version, V) when is_integer(V), V > 0, V < 1 bsl 32 -> [];
field(version, _) -> [not_a_positive_integer];
field(aliases, Names) when length(Names) >= 0 ->
    lists:sublist([Why || Name <- Names, Why <- earlier_name(Name)], 1);
field(aliases, _) -> [not_a_list];
field(Key, F) when Key =:= apply; Key =:= validate; Key =:= migrate -> [{not_a_function, 2} || not is_function(F, 2)];
field(project, F) -> [{not_a_function, 3} || not is_function(F, 3)];
field(_, _) -> [unknown_field].

earlier_name(<<"$warp", _/binary>>) -> [reserved];
earlier_name(Name) ->
    case warp_text:check(Name, ?MAX_NAME_BYTES) of
        ok -> [];
        {error, Why} -> [Why]
    end.
