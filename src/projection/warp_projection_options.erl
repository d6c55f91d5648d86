%% @private The option `projections', checked.
-module(warp_projection_options).

-export([check/1, version/2, query/1, timeout/1, limit/1, within/2]).

-export_type([settings/0]).

-type settings() :: none | #{
    target := embedded | rqlite,
    config := warp_projection_target:config(),
    tables := warp_projection_schema:declared()
}.

-define(MAX_ROWS, 10000).
-define(QUERY_TIMEOUT_MS, 5000).
%% The longest that a process can wait, in milliseconds.
-define(MAX_MS, 16#FFFFFFFF).
-define(MAX_LIMIT, (1 bsl 62 - 1)).

%% @doc `none', `embedded', `{embedded, Config}' or `{rqlite, Config}'.
-spec check(term()) -> {ok, settings()} | {error, term()}.
check(none) ->
    {ok, none};
check(embedded) ->
    check({embedded, #{}});
check({Target, Config}) when Target =:= embedded orelse Target =:= rqlite, is_map(Config) ->
    Module = warp_projection_target:module(Target),
    case tables(maps:get(tables, Config, #{})) of
        {ok, Tables} ->
            case Module:check(maps:remove(tables, Config)) of
                {ok, Checked} -> {ok, #{target => Target, config => Checked, tables => Tables}};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end;
check(_Other) ->
    {error, {not_one_of, [none, embedded, {embedded, config}, {rqlite, config}]}}.

tables(Tables) when is_map(Tables) ->
    try
        {ok, maps:from_list([table(Name, Table) || {Name, Table} <- maps:to_list(Tables)])}
    catch
        throw:Why -> {error, Why}
    end;
tables(_Other) ->
    {error, {tables, not_a_map}}.

table(Given, #{} = Table) ->
    Name = name(table, Given),
    _ = [throw({tables, Given, {unknown_key, Key}})
         || Key <- maps:keys(maps:without([columns, indexes, keys], Table))],
    Columns = maps:from_list(
        [{own(name(column, C)), type(C, T)} || {C, T} <- maps:to_list(maps:get(columns, Table, #{}))]),
    {Name, #{columns => Columns,
             indexes => [index(Columns, I) || I <- maps:get(indexes, Table, [])],
             keys => [index(Columns, K) || K <- maps:get(keys, Table, [])]}};
table(Given, _Other) ->
    throw({tables, Given, not_a_map}).

index(Columns, [_ | _] = Names) ->
    Known = [name(column, C) || C <- Names],
    _ = [throw({index, C, not_declared}) || C <- Known, not is_map_key(C, Columns)],
    Known;
index(_Columns, Other) ->
    throw({index, Other, not_a_list_of_columns}).

name(Kind, Given) ->
    case warp_projection_command:name(Given) of
        {ok, Name} -> Name;
        {error, Why} -> throw({Kind, Given, Why})
    end.

own(Name) when Name =:= <<"id">>; Name =:= <<"_entity">>; Name =:= <<"_seq">> ->
    throw({column, Name, reserved});
own(Name) ->
    Name.

type(_Column, Type) when Type =:= text; Type =:= integer; Type =:= float; Type =:= bool;
                         Type =:= json; Type =:= any -> Type;
type(Column, Type) -> throw({column, Column, {unknown_type, Type}}).

%% @doc What projecting depends on, as text. Tables with another version need a rebuild.
-spec version(#{binary() => warp_aggregate:aggregate()}, warp_projection_schema:declared()) -> binary().
version(Aggregates, Declared) ->
    Each = [[Name, $=, integer_to_binary(warp_aggregate:version(Aggregate))]
            || {Name, #{project := _} = Aggregate} <- lists:sort(maps:to_list(Aggregates))],
    Tables = [["tables=", integer_to_binary(erlang:phash2(Declared, 1 bsl 32))]
              || map_size(Declared) > 0],
    iolist_to_binary(lists:join($\s, Each ++ Tables)).

%% @doc The options of a query, with defaults filled in.
-spec query(term()) -> {ok, warp_projection_target:query_options()} | {error, term()}.
query(Given) when is_map(Given) ->
    Defaults = #{max_rows => ?MAX_ROWS, timeout => ?QUERY_TIMEOUT_MS, level => default},
    case maps:keys(maps:without(maps:keys(Defaults), Given)) of
        [Unknown | _] ->
            {error, {unknown_option, Unknown}};
        [] ->
            Options = maps:merge(Defaults, Given),
            case [{Key, Why} || {Key, Value} <- lists:sort(maps:to_list(Options)),
                                Why <- wrong(Key, Value)] of
                [] -> {ok, Options};
                [{Key, Why} | _] -> {error, {bad_option, Key, Why}}
            end
    end;
query(_Given) ->
    {error, {bad_option, options, not_a_map}}.

wrong(max_rows, N) -> between(1, N, ?MAX_LIMIT);
wrong(timeout, N) -> between(1, N, ?MAX_MS);
wrong(level, Level) ->
    Levels = [default, none, weak, linearizable, strong, auto],
    [{not_one_of, Levels} || not lists:member(Level, Levels)].

between(Min, N, Max) when is_integer(N), N >= Min, N =< Max -> [];
between(Min, _, Max) -> [{not_an_integer_between, Min, Max}].

%% @doc How long a caller wants to wait: `infinity' or 0 to 2^32 - 1 milliseconds.
-spec timeout(term()) -> ok | {error, {bad_option, timeout, term()}}.
timeout(infinity) -> ok;
timeout(Ms) -> option(timeout, between(0, Ms, ?MAX_MS)).

%% @doc How many entries a caller wants.
-spec limit(term()) -> ok | {error, {bad_option, limit, term()}}.
limit(N) -> option(limit, between(1, N, ?MAX_LIMIT)).

option(_Name, []) -> ok;
option(Name, [Why]) -> {error, {bad_option, Name, Why}}.

%% @doc A timeout with some grace, still one that a process can wait.
-spec within(non_neg_integer(), non_neg_integer()) -> non_neg_integer().
within(Ms, Grace) -> min(Ms + Grace, ?MAX_MS).
