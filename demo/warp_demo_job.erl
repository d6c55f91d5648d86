%% What the demo works on: the file, how its rows are read, and the folders it uses.
-module(warp_demo_job).

-export([prepare/1, open/1, bytes/1]).
-export_type([job/0]).

-type job() :: #{data := module(), csv := file:filename_all(), id_column := binary(),
                 header := [binary()],
                 shards := pos_integer(), json := boolean(), data_dir := file:filename_all(),
                 context_dir := file:filename_all(), dir := file:filename_all()}.

%% Throws {stop, Why} where the user has to do something about it.
-spec prepare(warp_demo_options:options()) -> job().
prepare(#{csv := Given, id := IdColumn, shards := Shards, data_dir := Wanted, json := Json}) ->
    {Data, Csv} = case Given of
                      flights -> {warp_demo_flights, built("demo-cache/flights-by-time.csv")};
                      _ -> {warp_demo_rows, Given}
                  end,
    Header = header(Csv, IdColumn),
    Dir = built("demo-run"),
    ok = empty(Dir),
    Context = binary_to_list(Data:context()),
    DataDir = data_dir(Wanted, Context),
    #{data => Data, csv => Csv, id_column => IdColumn, header => Header, shards => Shards,
      json => Json, data_dir => DataDir, context_dir => filename:join(DataDir, Context),
      dir => Dir}.

built(Name) ->
    filename:join([warp_demo_text:root(), "_build", Name]).

header(Csv, IdColumn) ->
    case warp_demo_csv:open(Csv) of
        {ok, Open} ->
            Header = warp_demo_csv:header(Open),
            First = warp_demo_csv:read(Open),
            ok = warp_demo_csv:close(Open),
            First =/= eof orelse throw({stop, [Csv, " has a header and no rows."]}),
            checked(Header, IdColumn, Csv);
        {error, Why} ->
            throw({stop, [Why, "\nGive --csv the path of a CSV file whose first row names the "
                          "columns."]})
    end.

checked(Header, IdColumn, Csv) ->
    case {[N || N <- Header, N =:= IdColumn], Header -- lists:usort(Header)} of
        {[_ | _], []} ->
            Header;
        {[_ | _], Twice} ->
            throw({stop, [Csv, " names a column twice: ", lists:join(", ", lists:usort(Twice)),
                          "\nGive each column a name of its own."]});
        {[], _} ->
            throw({stop, [Csv, " has no column ", IdColumn, "\nIts columns are: ",
                          lists:join(", ", Header), "\nGive --id one of these."]})
    end.

%% The demo's own folder starts empty. Somebody else's is left as it is.
data_dir(default, _Context) ->
    Dir = built("demo-data"),
    ok = empty(Dir),
    Dir;
data_dir(Dir, Context) ->
    ContextDir = filename:join(Dir, Context),
    case filelib:is_file(ContextDir) of
        false -> filename:absname(Dir);
        true -> throw({stop, [ContextDir, " is there already, and the demo starts from nothing.\n"
                              "Give --data-dir another folder, or remove that one."]})
    end.

empty(Dir) ->
    case file:del_dir_r(Dir) of
        ok -> ok;
        {error, enoent} -> ok
    end,
    filelib:ensure_path(Dir).

%% Starts the context; also answers how many seconds that took.
-spec open(job()) -> {Ctx :: term(), float()}.
open(#{data := Data, data_dir := DataDir, shards := Shards}) ->
    {Micros, Result} = timer:tc(fun() ->
        warp_core:start(#{context => Data:context(), data_dir => DataDir, shards => Shards,
                          aggregates => [Data:aggregate()],
                          projections => warp_demo_read_model:target()})
    end),
    case Result of
        {ok, Ctx} -> {Ctx, Micros / 1000000};
        {error, Reason} -> throw({stop, io_lib:format("Warp did not start on ~ts: ~tp",
                                                      [DataDir, Reason])})
    end.

%% What the context's shards take on disk.
-spec bytes(job()) -> non_neg_integer().
bytes(#{context_dir := ContextDir}) ->
    lists:sum([filelib:file_size(filename:join(ContextDir, File))
               || File <- filelib:wildcard("shard-*", ContextDir)]).
