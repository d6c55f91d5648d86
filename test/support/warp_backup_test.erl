%% What the suites of backups share: a target and a master key in the folder of a case, restored contexts, and looking
%% at what is in them.
-module(warp_backup_test).

-export([target/1, master/1, run/2, restore/3, restored/3, opts/2]).
-export([rows/1, logs/2, names/1, copied/2]).

-include_lib("common_test/include/ct.hrl").

target(Config) -> filename:join(?config(dir, Config), "backup").

%% A file with a key, which is made with the first call.
master(Config) ->
    Path = filename:join(?config(dir, Config), "master"),
    case filelib:is_file(Path) of
        true -> ok;
        false ->
            ok = file:write_file(Path, binary:encode_hex(crypto:strong_rand_bytes(32))),
            ok = file:change_mode(Path, 8#600)
    end,
    {file, Path}.

run(Ctx, Config) ->
    warp_backup:run(Ctx, target(Config), #{master_key => master(Config)}).

%% Restores a cut into a data directory of that name: its path, and the report.
restore(Config, Name, Options) ->
    DataDir = filename:join(?config(dir, Config), Name),
    {ok, Report} = warp_backup:restore(DataDir, target(Config), maps:merge(#{master_key => master(Config)}, Options)),
    {DataDir, Report}.

%% The same, started with these options.
restored(Config, Name, {Options, Opts}) ->
    {DataDir, Report} = restore(Config, Name, Options),
    {warp_test:start(maps:merge(Opts, opts(DataDir, Report))), Report}.

%% What a start needs to know of a restored context.
opts(DataDir, #{context := Context, shards := Shards}) ->
    #{context => Context, data_dir => DataDir, shards => Shards}.

%% Every row that was not erased, as it is in the files below a folder: by shard and position.
rows(Dir) ->
    maps:from_list([begin
        [Position, Rest] = binary:split(Row, <<"|">>),
        {{filename:basename(File), binary_to_integer(Position)}, Rest}
    end || File <- warp_test:shard_files(Dir),
           Row <- warp_test:sqlite(File, "SELECT position, hex(entity), hex(aggregate), seq, count, recorded_at, prev,"
                                         " checksum, hex(data) FROM log WHERE typeof(entity) = 'text'")]).

%% All events of these entities, as they are stored.
logs(Ctx, Names) ->
    maps:from_list([begin
        {ok, Events} = warp_core:export(warp_core:entity(Ctx, Name), #{timeout => 60000}),
        {Name, Events}
    end || Name <- Names]).

%% The ids of all entities.
names(Ctx) -> names(Ctx, #{}, []).

names(Ctx, Options, Sofar) ->
    {ok, #{entities := Found, next := Next}} = warp_core:entities(Ctx, Options),
    All = [Id || #{id := Id} <- Found] ++ Sofar,
    case Next of
        done -> lists:sort(All);
        _ -> names(Ctx, #{'after' => Next}, All)
    end.

%% A copy of a folder or a file, in place of what is there.
copied(From, To) ->
    "" = os:cmd(["rm -rf ", quoted(To), " && cp -a ", quoted(From), " ", quoted(To)]),
    ok.

quoted(Path) -> ["'", Path, "'"].
