%% @private The SQL that changes rows of the tables of commands. Pure.
%%
%% Such a table has the columns `id', `_entity' (whose row it is; empty when it only holds counts of
%% many), `_seq' (of the event that wrote it last) and those that commands use.
%%
%% A condition that does not hold makes a NOT NULL column null. So it is the database that refuses, in the
%% same transaction, whatever Warp believed of its content.
-module(warp_projection_sql_rows).

-export([merged/3, step/4, erase/4, explain/1]).

-import(warp_projection_sql, [table/2, counts/1, quote/1, commas/1, params/1]).

-type set() :: warp_projection_schema:set().
-type statement() :: warp_projection_target:statement().

%% @doc The statements of merged changes.
-spec merged(set(), warp_projection_merge:merged(), warp_projection_schema:schema()) ->
    {ok, [statement()]} | {error, term()}.
merged(Set, #{deletes := Deletes, upserts := Upserts, adds := Adds, counts := Counts}, Schema) ->
    Deleting = [S || {Table, Rows} <- lists:sort(maps:to_list(Deletes)),
                     S <- delete(Set, Table, Rows, Schema)],
    Adding = [S || {{Table, Column}, Rows} <- lists:sort(maps:to_list(Adds)),
                   S <- add(Set, Table, Column, Rows)],
    Counting = [count(Set, Counts) || Counts =/= []],
    try
        Setting = [S || {{Table, Columns}, Rows} <- lists:sort(maps:to_list(Upserts)),
                        S <- upsert(Set, Table, Columns, Rows, Schema)],
        %% Shares are written first, since a sum may be computed from them.
        {ok, Deleting ++ Setting ++ Counting ++ Adding}
    catch
        throw:Why -> {error, Why}
    end.

%% @doc The statements of one command.
-spec step(set(), {binary(), warp_core:seq()}, warp_projection_command:op(), warp_projection_schema:schema()) ->
    {ok, [statement()]} | {error, term()}.
step(Set, {Entity, Seq}, {upsert, Table, Id, Columns}, Schema) ->
    Sorted = lists:sort(maps:to_list(Columns)),
    Row = [Id, Entity, Seq | [V || {_, {_, V}} <- Sorted]],
    try
        {ok, upsert(Set, Table, [C || {C, _} <- Sorted], [Row], Schema)}
    catch
        throw:Why -> {error, Why}
    end;
step(Set, {Entity, _Seq}, {increment, Table, Id, Columns}, _Schema) ->
    Each = lists:sort(maps:to_list(Columns)),
    {ok, [count(Set, [[Table, Id, C, Entity, N] || {C, N} <- Each])
          | [S || {C, N} <- Each, S <- add(Set, Table, C, [[Id, N]])]]};
step(Set, {Entity, _Seq}, {delete, Table, Id}, Schema) ->
    {ok, delete(Set, Table, [{Id, Entity}], Schema)}.

upsert(Set, Table, Columns, Rows, Schema) ->
    case warp_projection_schema:counted(Table, Schema) of
        [] ->
            [{insert(Set, Table, Columns, false), Rows}];
        Counted ->
            Plain = [C || C <- Columns, not lists:member(C, Counted)],
            Split = [{[Id, Entity, Seq], lists:zip(Columns, Values)}
                     || [Id, Entity, Seq | Values] <- Rows],
            [{insert(Set, Table, Plain, true),
              [Key ++ [V || {C, V} <- Values, not lists:member(C, Counted)]
               || {Key, Values} <- Split]}]
                ++ lists:append([share(Set, Table, C, Id, Entity, V)
                                 || {[Id, Entity, _], Values} <- Split, {C, V} <- Values,
                                    lists:member(C, Counted)])
    end.

%% For a row of another entity `_seq' becomes null, which it may not be: so the database refuses.
insert(Set, Table, Columns, Shared) ->
    Quoted = [quote(C) || C <- Columns],
    Mine =
        case Shared of
            true -> <<"\"_entity\" IN ('', excluded.\"_entity\")">>;
            false -> <<"\"_entity\" = excluded.\"_entity\"">>
        end,
    Sets = [<<"\"_seq\" = iif(", Mine/binary, ", excluded.\"_seq\", NULL)">>]
        ++ [<<"\"_entity\" = excluded.\"_entity\"">> || Shared]
        ++ [<<C/binary, " = excluded.", C/binary>> || C <- Quoted],
    <<"INSERT INTO ", (table(Set, Table))/binary, " (",
      (commas([<<"\"id\"">>, <<"\"_entity\"">>, <<"\"_seq\"">> | Quoted]))/binary, ") VALUES (",
      (params(3 + length(Columns)))/binary, ") ON CONFLICT (\"id\") DO UPDATE SET ",
      (commas(Sets))/binary>>.

%% A value that an entity sets in a counted column is its share of the sum.
share(Set, Table, Column, Id, Entity, N) when is_number(N) ->
    [{<<"INSERT INTO ", (counts(Set))/binary, " (tbl, id, col, entity, amount) VALUES (?1, ?2, ?3, ?4, ?5) "
        "ON CONFLICT (tbl, id, col, entity) DO UPDATE SET amount = excluded.amount, high = 0">>,
      [[Table, Id, Column, Entity, N]]},
     sum(Set, Table, Column, Id)];
share(Set, Table, Column, Id, Entity, null) ->
    [{<<"DELETE FROM ", (counts(Set))/binary,
        " WHERE tbl = ?1 AND id = ?2 AND col = ?3 AND entity = ?4">>, [[Table, Id, Column, Entity]]},
     sum(Set, Table, Column, Id)];
share(_Set, Table, Column, _Id, _Entity, _Text) ->
    throw({counted_column, Table, Column, not_a_number}).

sum(Set, Table, Column, Id) ->
    {<<"UPDATE ", (table(Set, Table))/binary, " SET ", (quote(Column))/binary,
       " = ", (warp_projection_sums:total(<<"FROM ", (counts(Set))/binary,
                                     " WHERE tbl = ?1 AND id = ?2 AND col = ?3">>))/binary,
       " WHERE \"id\" = ?2">>, [[Table, Id, Column]]}.

%% Adds to the column what was added to the shares, which are written by now.
add(Set, Table, Column, Rows) ->
    T = table(Set, Table),
    C = quote(Column),
    {Plain, Large} = lists:partition(fun([_Id, N]) -> warp_projection_sums:is_plain(N) end, Rows),
    Total = warp_projection_sums:total(<<"FROM ", (counts(Set))/binary, " WHERE tbl = '", Table/binary,
                                   "' AND id = ", T/binary, ".\"id\" AND col = '", Column/binary, "'">>),
    [{<<"INSERT INTO ", T/binary, " (\"id\", \"_entity\", \"_seq\", ", C/binary, ") VALUES (?1, '', 0, ?2) "
        "ON CONFLICT (\"id\") DO UPDATE SET ", C/binary, " = ",
        (warp_projection_sums:running(C, Total))/binary>>, Plain} || Plain =/= []]
        ++ lists:append(
            [[{<<"INSERT INTO ", T/binary, " (\"id\", \"_entity\", \"_seq\") VALUES (?1, '', 0) "
                 "ON CONFLICT (\"id\") DO NOTHING">>, [[Id]]},
              sum(Set, Table, Column, Id)] || [Id, _] <- Large]).

count(Set, Rows) ->
    {<<"INSERT INTO ", (counts(Set))/binary, " (tbl, id, col, entity, amount, high) "
       "VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (tbl, id, col, entity) DO UPDATE SET amount = ",
       (warp_projection_sums:added_amount())/binary, ", high = ", (warp_projection_sums:added_high())/binary>>,
     [begin
          {Amount, High} = warp_projection_sums:limbs(N),
          [Table, Id, Column, Entity, Amount, High]
      end || [Table, Id, Column, Entity, N] <- Rows]}.

%% An entity takes its own part out of a row. A row of which nothing is left is deleted.
delete(Set, Table, Rows, Schema) ->
    T = table(Set, Table),
    Params = [[Entity, Id] || {Id, Entity} <- Rows],
    case warp_projection_schema:counted(Table, Schema) of
        [] ->
            [{<<"UPDATE ", T/binary, " SET \"_seq\" = NULL WHERE \"id\" = ?2 AND \"_entity\" <> ?1">>,
              Params},
             {<<"DELETE FROM ", T/binary, " WHERE \"id\" = ?2 AND \"_entity\" = ?1">>, Params}];
        _ ->
            Mine = <<"EXISTS (SELECT 1 FROM ", (counts(Set))/binary, " WHERE tbl = '",
                     Table/binary, "' AND id = ?2 AND entity = ?1)">>,
            Sql = [<<"UPDATE ", T/binary, " SET \"_seq\" = NULL WHERE \"id\" = ?2 AND "
                     "\"_entity\" NOT IN ('', ?1) AND NOT ", Mine/binary>>
                   | withdraw(Set, Table, {<<"= ?2">>, Mine}, exact, Schema)],
            %% Row by row, since the second deletion of a row may be the one after which nothing is left.
            [{S, [Row]} || Row <- Params, S <- Sql]
    end.

%% @doc Takes an entity out of a table. The database can refuse `exact', when a CHECK or an index on a counted
%% column does not allow what is left of the sum. It cannot refuse `lenient', which leaves null in such a
%% column until the next increment.
-spec erase(set(), binary(), exact | lenient, warp_projection_schema:schema()) -> [binary()].
erase(Set, Table, How, Schema) ->
    case warp_projection_schema:counted(Table, Schema) of
        [] ->
            [<<"DELETE FROM ", (table(Set, Table))/binary, " WHERE \"_entity\" = ?1">>];
        _ ->
            Own = <<"(SELECT id FROM ", (counts(Set))/binary, " WHERE tbl = '", Table/binary,
                    "' AND entity = ?1)">>,
            withdraw(Set, Table,
                     {<<"IN (SELECT \"id\" FROM ", (table(Set, Table))/binary,
                        " WHERE \"_entity\" = ?1 UNION ALL SELECT id FROM ", (counts(Set))/binary,
                        " WHERE tbl = '", Table/binary, "' AND entity = ?1)">>,
                      <<"\"id\" IN ", Own/binary>>},
                     How, Schema)
    end.

%% Which is the condition on the id, and Mine whether the entity has counts in the row.
withdraw(Set, Table, {Which, Mine}, How, Schema) ->
    T = table(Set, Table),
    Counts = counts(Set),
    Counted = warp_projection_schema:counted(Table, Schema),
    Others = <<"FROM ", Counts/binary, " WHERE tbl = '", Table/binary, "' AND id = ", T/binary,
               ".\"id\" AND entity <> ?1">>,
    Own = [<<"\"_seq\" = iif(\"_entity\" = ?1, 0, \"_seq\")">>,
           <<"\"_entity\" = iif(\"_entity\" = ?1, '', \"_entity\")">>]
        ++ [<<(quote(C))/binary, " = iif(\"_entity\" = ?1, NULL, ", (quote(C))/binary, ")">>
            || C <- warp_projection_schema:columns(Table, Schema), not lists:member(C, Counted)],
    Left = [{quote(C), warp_projection_sums:total(<<Others/binary, " AND col = '", C/binary, "'">>)} || C <- Counted],
    Sets = [<<C/binary, " = ", Total/binary>> || {C, Total} <- Left],
    Of = <<" WHERE \"id\" ", Which/binary, " AND (\"_entity\" = ?1 OR ", Mine/binary, ")">>,
    Updates =
        case How of
            exact ->
                [<<"UPDATE ", T/binary, " SET ", (commas(Own ++ Sets))/binary, Of/binary>>];
            lenient ->
                Not = [<<C/binary, " IS NOT ", Total/binary>> || {C, Total} <- Left],
                Nulls = [<<C/binary, " = NULL">> || {C, _} <- Left],
                [<<"UPDATE OR IGNORE ", T/binary, " SET ", (commas(Own ++ Sets))/binary, Of/binary>>,
                 <<"UPDATE ", T/binary, " SET ", (commas(Own ++ Nulls))/binary, Of/binary, " AND (",
                   (iolist_to_binary(lists:join(<<" OR ">>, [<<"\"_entity\" = ?1">> | Not])))/binary, ")">>]
        end,
    [<<"DELETE FROM ", T/binary, " WHERE \"id\" ", Which/binary, " AND (\"_entity\" = ?1 OR "
       "\"_entity\" = '' AND ", Mine/binary, ") AND NOT EXISTS (SELECT 1 ", Others/binary, ")">>]
        ++ Updates
        ++ [<<"DELETE FROM ", Counts/binary, " WHERE tbl = '", Table/binary, "' AND entity = ?1 AND id ",
              Which/binary>>].

%% @doc SQLite's message, or a message that says what is wrong where SQLite's names a column of Warp's own.
-spec explain(binary()) -> binary().
explain(Message) ->
    case re:run(Message, "NOT NULL constraint failed: (?:_warp_new_)?([^.]+)\\._seq",
                [{capture, [1], binary}]) of
        {match, [Table]} ->
            <<"the row of table ", Table/binary, " belongs to another entity: only increment may be "
              "used on rows of others">>;
        nomatch ->
            Message
    end.
