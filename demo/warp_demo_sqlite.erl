%% The sqlite3 shell: it reads the CSV file and the context's shards with no code of Warp's.
-module(warp_demo_sqlite).

-export([run/2, quote/1, count_events/1]).

%% The lines that the shell prints for the commands, on the database in this file, or with "" on one
%% that is gone afterwards.
-spec run(file:filename_all(), [iodata()]) -> {ok, [binary()]} | {error, iodata()}.
run(File, Commands) ->
    Args = ["-batch", "-bail", "-cmd", ".timeout 10000", File
            | [iolist_to_binary(Command) || Command <- Commands]],
    %% What it says of rows that are too short or too long goes to standard error.
    Port = open_port({spawn_executable, os:find_executable("sh")},
                     [{args, ["-c", "exec sqlite3 \"$@\" 2>/dev/null", "sqlite3" | Args]},
                      binary, exit_status]),
    case output(Port, <<>>) of
        {0, Text} -> {ok, binary:split(Text, <<"\n">>, [global, trim])};
        {Status, _} -> {error, io_lib:format("the sqlite3 shell ended with status ~b", [Status])}
    end.

output(Port, Text) ->
    receive
        {Port, {data, More}} -> output(Port, <<Text/binary, More/binary>>);
        {Port, {exit_status, Status}} -> {Status, Text}
    end.

%% A file's name as a word of a command that starts with a dot.
-spec quote(file:filename_all()) -> iodata().
quote(Path) ->
    [$", [case Char of
              $" -> "\\\"";
              $\\ -> "\\\\";
              _ -> <<Char/utf8>>
          end || Char <- unicode:characters_to_list(filename:absname(Path))], $"].

%% What the view `events` holds, over all the shards of a context.
-spec count_events(file:filename_all()) -> non_neg_integer().
count_events(ContextDir) ->
    lists:sum([count_in(filename:join(ContextDir, Shard))
               || Shard <- filelib:wildcard("shard-*.db", ContextDir)]).

count_in(Shard) ->
    {ok, [Count]} = run(Shard, ["select count(*) from events"]),
    binary_to_integer(Count).
