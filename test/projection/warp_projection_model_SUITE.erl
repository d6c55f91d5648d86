%% Random events that lead to random commands, with deletions, crashes of `project', restarts and
%% killed processes in between: what was projected on the way, what a rebuild makes, and a fold in
%% memory have to be equal.
-module(warp_projection_model_SUITE).

-export([all/0, suite/0, groups/0, init_per_group/2, end_per_group/2]).
-export([three_ways_are_equal/1]).

-include_lib("common_test/include/ct.hrl").

suite() -> [{timetrap, {hours, 3}}].
all() -> [{group, embedded}, {group, rqlite}].
groups() -> warp_projection_test:groups([three_ways_are_equal]).
init_per_group(Group, Config) -> warp_projection_test:init_group(Group, Config).
end_per_group(_Group, Config) -> warp_projection_test:end_group(Config).

three_ways_are_equal(Config) ->
    Long = os:getenv("WARP_LONG") =:= "1",
    Tests = case ?config(target, Config) of
        embedded when Long -> 2000;
        embedded -> 40;
        rqlite when Long -> 200;
        rqlite -> 4
    end,
    Property = proper:forall(actions(), fun(Actions) -> equal(Config, Actions) end),
    true = proper:quickcheck(Property, [{numtests, Tests}, {max_size, 60}, {to_file, user}]).

%% ------------------------------------------------------------------ Actions

actions() ->
    proper_types:sized(fun(Size) -> proper_types:resize(max(10, Size), list(action())) end).

action() ->
    weighted([
        {20, {append, entity(), [commands()]}},
        {6, {append, entity(), proper_types:non_empty(list(commands()))}},
        {1, {append, entity(), [crash]}},
        {3, {delete, entity()}},
        {1, restart},
        {2, {kill, one_of([writer, projector, erasure, manager])}},
        {2, await}
    ]).

entity() -> one_of([<<"e1">>, <<"e2">>, <<"e3">>, <<"x'00'">>, <<"e';5">>]).

%% Where `own' stands, the entity's id comes: rows are set by their own entity, and counted in by all.
commands() ->
    list(weighted([
        {6, {upsert, table(), {own, number_of_row()}, columns()}},
        {5, {increment, table(), row(), numbers()}},
        {2, {delete, table(), {own, number_of_row()}}}
    ])).

table() -> one_of([t, u]).
number_of_row() -> proper_types:integer(1, 2).
row() ->
    one_of([{own, number_of_row()}, {shared, number_of_row()}, {other, entity(), number_of_row()}]).

columns() ->
    mapped(list(one_of([{Column, value(Column)} || Column <- [a, b, y, n, m]])), fun maps:from_list/1).

%% Columns n and m are counted: only numbers, and sums of these floats are exact.
value(Column) when Column =:= n; Column =:= m -> one_of([number(), null]);
value(y) -> one_of([proper_types:boolean(), null]);
value(_) ->
    one_of([proper_types:integer(), proper_types:float(), null, text(), {json, #{k => [1, null]}}]).

number() -> one_of([proper_types:integer(), mapped(proper_types:integer(), fun(I) -> I / 2 end)]).

text() ->
    one_of([mapped(list(proper_types:integer(0, 16#D7FF)), fun unicode:characters_to_binary/1),
            <<"x'6869'">>, <<0>>, <<"'; DROP TABLE t; --">>]).

numbers() ->
    mapped(proper_types:non_empty(list({one_of([n, m]), number()})), fun maps:from_list/1).

%% PropEr's macros are in a header that not every package of it has.
list(Type) -> proper_types:list(Type).
one_of(Types) -> proper_types:union(Types).
weighted(Types) -> proper_types:weighted_union(Types).
mapped(Type, Fun) -> proper_types:bind(Type, Fun, false).

%% ------------------------------------------------------------------ Running them

equal(Config0, Actions) ->
    Config = warp_projection_test:init_case(Config0),
    try
        Aggregate = warp_projection_test:commands(),
        %% A column of booleans is told from one of integers by its type.
        Tables = maps:from_list([{Table, #{columns => #{y => bool}}} || Table <- [t, u]]),
        Projections = warp_projection_test:projections(Config, #{tables => Tables}),
        Ctx0 = warp_projection_test:start(Config, [Aggregate], #{projections => Projections}),
        Ctx = lists:foldl(fun run/2, Ctx0, Actions),
        %% The process that was killed last is there again.
        ok = again(fun() -> warp_core:delete(warp_core:entity(Ctx, <<"nobody">>)) end),
        warp_projection_test:even(Ctx),
        Incremental = warp_projection_test:dump(Ctx),
        ok = again(fun() -> warp_projection:rebuild(Ctx) end),
        ok = warp_projection:await_rebuild(Ctx, 60000),
        warp_projection_test:even(Ctx),
        Rebuilt = warp_projection_test:dump(Ctx),
        Model = model(lists:foldl(fun remember/2, #{}, Actions)),
        Same = without_empty(Incremental) =:= Model andalso without_empty(Rebuilt) =:= Model,
        Same orelse ct:pal("incremental ~p~nrebuilt ~p~nmodel ~p", [Incremental, Rebuilt, Model]),
        Same
    catch
        Class:Reason:Stack ->
            ct:pal("~p:~p~n~p~nwith ~p", [Class, Reason, Stack, Actions]),
            false
    after
        warp_projection_test:end_case(Config)
    end.

run({append, Id, Events}, Ctx) ->
    Given = [warp_projection_test:does(case E of crash -> fun(_) -> error(crash) end; _ -> terms(E, Id) end)
             || E <- Events],
    {ok, _} = again(fun() -> warp_core:append_batch(warp_core:entity(Ctx, Id), Given) end),
    Ctx;
run({delete, Id}, Ctx) ->
    ok = again(fun() -> warp_core:delete(warp_core:entity(Ctx, Id)) end),
    Ctx;
run(restart, Ctx) ->
    warp_test:restart(Ctx);
run({kill, Part}, Ctx) ->
    [exit(Pid, kill) || {P, Pid} <- warp_test:processes(Ctx), P =:= Part],
    Ctx;
run(await, Ctx) ->
    warp_projection_test:even(Ctx),
    Ctx.

%% Killed processes are asked again.
again(Fun) ->
    case Fun() of
        {error, Why} when Why =:= interrupted; element(1, Why) =:= target_away -> timer:sleep(10), again(Fun);
        Result -> Result
    end.

terms(Commands, Id) ->
    [case Command of
         {upsert, Table, Row, Columns} -> warp_projection:upsert(Table, id(Row, Id), Columns);
         {increment, Table, Row, Numbers} -> warp_projection:increment(Table, id(Row, Id), Numbers);
         {delete, Table, Row} -> warp_projection:delete(Table, id(Row, Id))
     end || Command <- Commands].

id({own, N}, Id) -> id({other, Id, N}, Id);
id({other, Entity, N}, _Id) -> <<Entity/binary, "/", (integer_to_binary(N))/binary>>;
id({shared, N}, _Id) -> N.

%% ------------------------------------------------------------------ The fold in memory

%% By entity, the commands of all events up to the first crash.
remember({append, Id, Events}, Log) ->
    lists:foldl(
        fun(_, #{Id := {crashed, _}} = Acc) -> Acc;
           (crash, Acc) -> Acc#{Id => {crashed, element(2, maps:get(Id, Acc, {ok, []}))}};
           (Commands, Acc) ->
                {ok, Before} = maps:get(Id, Acc, {ok, []}),
                Acc#{Id => {ok, Before ++ terms(Commands, Id)}}
        end,
        Log,
        Events);
remember({delete, Id}, Log) -> maps:remove(Id, Log);
remember(_Other, Log) -> Log.

%% Each entity has a share in a row: what it set and what it counted; together they are the row.
model(Log) ->
    Shares = [{Key, Id, Share}
              || {Id, {_, Commands}} <- maps:to_list(Log),
                 {Key, Share} <- maps:to_list(lists:foldl(fun share/2, #{}, Commands))],
    Rows = lists:foldl(
        fun({{Table, Row}, Id, {Owns, Columns}}, Acc) ->
            Before = maps:get({Table, Row}, Acc, #{<<"id">> => Row, <<"_entity">> => <<>>}),
            Owned = case Owns of true -> Before#{<<"_entity">> := Id}; false -> Before end,
            Acc#{{Table, Row} => maps:fold(fun together/3, Owned, Columns)}
        end,
        #{},
        Shares),
    Tables = lists:foldl(
        fun({{Table, _}, Row}, Acc) ->
            Shown = maps:filter(fun(_, V) -> V =/= null end, Row),
            Acc#{Table => [Shown | maps:get(Table, Acc, [])]}
        end,
        #{},
        maps:to_list(Rows)),
    maps:map(fun(_, Each) -> lists:sort(Each) end, Tables).

together(Column, Value, Row) when is_number(Value), is_map_key(Column, Row) ->
    maps:update_with(Column, fun(null) -> Value; (Sum) -> Sum + Value end, Row);
together(Column, Value, Row) when not is_map_key(Column, Row); Value =/= null ->
    Row#{Column => Value};
together(_Column, null, Row) ->
    Row.

share({upsert, Table, Row, Columns}, Shares) ->
    {_, Before} = maps:get(key(Table, Row), Shares, {false, #{}}),
    Set = maps:from_list([{atom_to_binary(C), shown(V)} || {C, V} <- maps:to_list(Columns)]),
    Shares#{key(Table, Row) => {true, maps:merge(Before, Set)}};
share({increment, Table, Row, Numbers}, Shares) ->
    {Owns, Before} = maps:get(key(Table, Row), Shares, {false, #{}}),
    Added = maps:fold(
        fun(C, N, Acc) ->
            maps:update_with(atom_to_binary(C), fun(null) -> N; (V) -> V + N end, N, Acc)
        end,
        Before,
        Numbers),
    Shares#{key(Table, Row) => {Owns, Added}};
share({delete, Table, Row}, Shares) ->
    maps:remove(key(Table, Row), Shares).

key(Table, Row) -> {atom_to_binary(Table), Row}.

shown({json, _}) -> <<"{\"k\":[1,null]}">>;
shown(F) when is_float(F) -> F + 0.0;
shown(V) -> V.

without_empty(Dump) -> maps:filter(fun(_, Rows) -> Rows =/= [] end, Dump).
