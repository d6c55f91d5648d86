%% Compares what Warp has folded with what the sqlite3 shell computes from the file alone.
-module(warp_demo_check).

-export([run/3]).

-type found() :: #{entities := non_neg_integer(), events := non_neg_integer(),
                   refused := non_neg_integer(), mismatches := non_neg_integer(),
                   examples := [binary()]}.

-spec run(warp_demo_job:job(), [{binary(), map()}], [{pos_integer(), term()}]) ->
          {ok, found()} | {error, iodata()}.
run(#{data := Data, csv := Csv, header := Header, id_column := IdColumn, dir := Dir},
    States, Refused) ->
    WarpCsv = filename:join(Dir, "warp.csv"),
    RefusedCsv = filename:join(Dir, "refused.csv"),
    ok = file:write_file(WarpCsv, [line([Id | Data:values(State)]) || {Id, State} <- States]),
    ok = file:write_file(RefusedCsv, [line([N]) || {N, _} <- Refused]),
    Columns = [[", ", Name, " ", Type] || {Name, Type} <- Data:columns()],
    Commands = [["create table direct(id text", Columns, ")"],
                ["create table warp(id text", Columns, ")"]]
        ++ Data:direct(Csv, Header, IdColumn, RefusedCsv)
        ++ [[".import --csv ", warp_demo_sqlite:quote(WarpCsv), " warp"]]
        ++ compare(Data:columns()),
    case warp_demo_sqlite:run("", Commands) of
        {ok, [Entities, Events, NotStored, Mismatches | Examples]} ->
            {ok, #{entities => binary_to_integer(Entities), events => binary_to_integer(Events),
                   refused => binary_to_integer(NotStored),
                   mismatches => binary_to_integer(Mismatches), examples => Examples}};
        {ok, Other} ->
            {error, io_lib:format("the sqlite3 shell answered ~tp", [Other])};
        {error, _} = Error ->
            Error
    end.

line(Values) ->
    [lists:join($,, [warp_demo_csv:quote(Value) || Value <- Values]), $\n].

%% The first column counts an entity's events.
compare([{Count, _} | _]) ->
    ["create table differing as "
     "select id from (select * from direct except select * from warp) "
     "union select id from (select * from warp except select * from direct)",
     "select count(*) from direct",
     ["select ifnull(sum(", Count, "), 0) from direct"],
     "select count(*) from refused",
     "select count(*) from differing",
     "select * from (select 'file', * from direct union all select 'warp', * from warp) "
     "where id in (select id from differing order by id limit 3) order by id, 1"].
