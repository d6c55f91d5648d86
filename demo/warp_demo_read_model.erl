%% The read model: what projections have written, compared row by row with what the sqlite3 shell
%% computes from the file alone.
-module(warp_demo_read_model).

-export([target/0, name/0, run/3, without/4]).

-type found() :: #{rows := non_neg_integer(), mismatches := non_neg_integer(),
                   examples := [binary()], seconds := float()}.

-define(QUERY, #{max_rows => 10000000, timeout => 120000, level => strong}).
-define(LOOK_MS, 20).

%% Where to: `scripts/with-rqlited' says where its rqlite is.
-spec target() -> embedded | {rqlite, map()}.
target() ->
    case os:getenv("WARP_RQLITE") of
        false -> embedded;
        Url -> {rqlite, #{nodes => [Url]}}
    end.

-spec name() -> string().
name() ->
    case target() of
        embedded -> "the embedded database";
        {rqlite, _} -> "rqlite"
    end.

%% Waits until the last event shows, and compares all tables.
-spec run(warp_demo_job:job(), Ctx :: term(), [{pos_integer(), term()}]) ->
          {ok, found()} | {error, iodata()}.
run(#{data := Data, csv := Csv, header := Header, id_column := IdColumn, dir := Dir}, Ctx, Refused) ->
    {Micros, ok} = timer:tc(fun() -> until_even(Ctx) end),
    RefusedCsv = filename:join(Dir, "refused.csv"),
    ok = file:write_file(RefusedCsv, [line([N]) || {N, _} <- Refused]),
    Tables = Data:tables(),
    Columns = [[", ", Name, " ", Type] || {Name, Type} <- Data:columns()],
    Commands = [["create table direct(id text", Columns, ")"]
                | Data:direct(Csv, Header, IdColumn, RefusedCsv)]
        ++ lists:append([compare(Dir, Ctx, Table) || Table <- Tables]),
    case warp_demo_sqlite:run("", Commands) of
        {ok, Lines} -> {ok, (found(length(Tables), Lines))#{seconds => Micros / 1000000}};
        {error, _} = Error -> Error
    end.

until_even(Ctx) ->
    case warp_projection:status(Ctx) of
        {ok, #{set_aside := N}} when N > 0 ->
            {ok, [First | _]} = warp_projection:set_aside(Ctx, 1),
            throw({stop, io_lib:format("~b entities are set aside, such as this one: ~tp", [N, First])});
        {ok, #{behind_positions := 0, state := up, shards := Shards}} ->
            case [S || #{position := P, log_position := L} = S <- Shards, P < L] of
                [] -> ok;
                _ -> look_again(Ctx)
            end;
        {ok, _} ->
            look_again(Ctx)
    end.

look_again(Ctx) ->
    timer:sleep(?LOOK_MS),
    until_even(Ctx).

compare(Dir, Ctx, {Table, Columns, Direct}) ->
    Names = ["id" | [Name || {Name, _} <- Columns]],
    File = filename:join(Dir, Table ++ ".csv"),
    Rows = rows(Ctx, ["select ", lists:join(", ", Names), " from ", Table], []),
    ok = file:write_file(File, [line(Row) || Row <- Rows]),
    Typed = ["(id text", [[", ", Name, " ", Type] || {Name, Type} <- Columns], ")"],
    [["create table direct_", Table, Typed],
     ["insert into direct_", Table, " ", Direct],
     ["create table warp_", Table, Typed],
     [".import --csv ", warp_demo_sqlite:quote(File), " warp_", Table],
     ["create table differing_", Table, " as select id from (select * from direct_", Table,
      " except select * from warp_", Table, ") union select id from (select * from warp_", Table,
      " except select * from direct_", Table, ")"],
     ["select count(*) from direct_", Table],
     ["select count(*) from differing_", Table],
     ["select '", Table, "', * from (select 'file', * from direct_", Table,
      " union all select 'read model', * from warp_", Table, ") where id in "
      "(select id from differing_", Table, " order by id limit 3) order by id, 1"]].

%% Of each table two counts, and then examples, if any.
found(Tables, Lines) -> found(Tables, Lines, #{rows => 0, mismatches => 0, examples => []}).

found(0, [], Found) ->
    Found;
found(Tables, [Rows, Differing | More], #{rows := R, mismatches := M, examples := E} = Found) ->
    {Examples, Rest} = lists:splitwith(fun(Line) -> binary:match(Line, <<"|">>) =/= nomatch end, More),
    found(Tables - 1, Rest,
          Found#{rows := R + binary_to_integer(Rows), mismatches := M + binary_to_integer(Differing),
                 examples := E ++ Examples}).

%% Whether an entity that was deleted is gone: its own row, and its share in the rows of others. The
%% first column of each table counts each event once.
-spec without(warp_demo_job:job(), Ctx :: term(), Id :: binary(), Left :: non_neg_integer()) -> boolean().
without(#{data := Data}, Ctx, Id, Left) ->
    [{First, _, _} | _] = Tables = Data:tables(),
    [[Own]] = rows(Ctx, ["select count(*) from ", First, " where id = ?"], [Id]),
    Sums = [hd(hd(rows(Ctx, ["select ifnull(sum(", Count, "), 0) from ", Table], [])))
            || {Table, [{Count, _} | _], _} <- Tables],
    Own =:= 0 andalso lists:all(fun(Sum) -> Sum =:= Left end, Sums).

rows(Ctx, Sql, Params) ->
    case warp_core:query(Ctx, iolist_to_binary(Sql), Params, ?QUERY) of
        {ok, #{rows := Rows}} -> Rows;
        {error, Why} -> throw({stop, io_lib:format("the read model could not be read: ~tp", [Why])})
    end.

line(Values) ->
    [lists:join($,, [warp_demo_csv:quote(blank(Value)) || Value <- Values]), $\n].

blank(null) -> <<>>;
blank(Value) -> Value.
