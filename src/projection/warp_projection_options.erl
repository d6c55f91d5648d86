%% @private The options of projections and of queries, checked. Pure.
-module(warp_projection_options).

-export([check/1, version/2, query/1, timeout/1, limit/1]).

-export_type([settings/0]).

-type settings() :: none | #{
    target := embedded | rqlite,
    config := warp_projection_target:config(),
    tables := warp_projection_schema:declared()
}.

-define(MAX_ROWS, 10000).
-define(QUERY_TIMEOUT_MS, 5000).
-define(MAX_LIMIT, (1 bsl 62 - 1)).
-define(LEVELS, [default, none, weak, linearizable, strong, auto]).

%% @doc `none', `untouched', `embedded', `{embedded, Config}' or `{rqlite, Config}'.
-spec check(term()) -> {ok, settings() | untouched} | {error, term()}.
check(Is) when Is =:= none; Is =:= untouched ->
    {ok, Is};
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
-spec query(term()) -> {ok, warp_projection_target:query_options()} | {error, warp_check:error()}.
query(Given) ->
    warp_check:options(Given, [
        {level, default, fun(Level) -> warp_check:one_of(Level, ?LEVELS) end},
        {max_rows, ?MAX_ROWS, fun(N) -> warp_check:integer(N, 1, ?MAX_LIMIT) end},
        {timeout, ?QUERY_TIMEOUT_MS, fun(Millis) -> warp_check:integer(Millis, 1, warp_deadline:longest()) end}]).

%% @doc How long a caller wants to wait: `infinity' or 0 to 2^32 - 1 milliseconds.
-spec timeout(term()) -> ok | {error, {bad_option, timeout, term()}}.
timeout(Timeout) -> checked(warp_check:one(timeout, Timeout, fun warp_check:timeout/1)).

%% @doc How many entries a caller wants.
-spec limit(term()) -> ok | {error, {bad_option, limit, term()}}.
limit(Limit) -> checked(warp_check:one(limit, Limit, fun(N) -> warp_check:integer(N, 1, ?MAX_LIMIT) end)).

checked({ok, _}) -> ok;
checked({error, _} = Error) -> Error.
