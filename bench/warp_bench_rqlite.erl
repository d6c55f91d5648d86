%% A fresh rqlite for each figure, from `scripts/with-rqlited'.
-module(warp_bench_rqlite).

-export([missing/0, start/0, stop/1]).

-define(START_MS, 120000).

%% Why there is none, in one line; or false.
-spec missing() -> false | string().
missing() ->
    Port = open_port({spawn_executable, "scripts/rqlited"}, [exit_status, stderr_to_stdout, {line, 1000}]),
    receive
        {Port, {data, {eol, Line}}} ->
            receive
                {Port, {exit_status, 0}} -> false;
                {Port, {exit_status, _}} -> Line
            end;
        {Port, {exit_status, Status}} ->
            "scripts/rqlited ended with " ++ integer_to_list(Status)
    end.

%% The node lives for as long as the port's process does.
-spec start() -> {port(), map()}.
start() ->
    Port = open_port({spawn_executable, "scripts/with-rqlited"},
                     [{args, ["sh", "-c", "echo $WARP_RQLITE; read -r line"]}, exit_status, {line, 1000}]),
    receive
        {Port, {data, {eol, Url}}} -> {Port, #{nodes => [Url]}};
        {Port, {exit_status, Status}} -> error({rqlited, Status})
    after ?START_MS ->
        error(rqlited_is_not_ready)
    end.

-spec stop(port()) -> ok.
stop(Port) ->
    true = port_command(Port, "\n"),
    receive {Port, {exit_status, _}} -> ok end.
