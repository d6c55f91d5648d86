%% What the tests of Kuma cannot do in Gleam: folders, kills, files as others see them, and bytes
%% that no encoder would write.
-module(kuma_test_ffi).

-export([new_dir/0, remove_dir/1, kill/1, sql/2, foreign_logs/2, parallel/2, wait_until/1]).
-export([hostile/0, late_constructor/0, atoms/0]).

new_dir() ->
    Name = io_lib:format("kuma-~s-~b", [os:getpid(), erlang:unique_integer([positive])]),
    Dir = filename:join(os:getenv("TMPDIR", "/tmp"), Name),
    ok = filelib:ensure_path(Dir),
    unicode:characters_to_binary(Dir).

remove_dir(Dir) ->
    _ = file:del_dir_r(Dir),
    nil.

%% Kills the process of an entity, and waits until it is gone.
kill(Entity) ->
    {ok, Pid} = warp_core:pid(Entity),
    Ref = monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Ref, process, Pid, _} -> nil end.

%% What any sqlite3 shell says of the shards of a folder.
sql(Dir, Query) ->
    Shards = filelib:wildcard(filename:join(unicode:characters_to_list(Dir), "kuma/shard-*.db")),
    true = Shards =/= [],
    Said = [os:cmd(io_lib:format("sqlite3 -readonly '~ts' \"~ts\"", [Shard, Query])) || Shard <- Shards],
    string:trim(unicode:characters_to_binary(Said)).

%% Logs that Kuma did not write: events go in unseen, since nothing folds them.
foreign_logs(Dir, Logs) ->
    Aggregates = [#{name => <<"Entity">>, initial_state => none}],
    {ok, Ctx} = warp_core:start(#{context => <<"kuma">>, data_dir => Dir, shards => 1,
                                  aggregates => Aggregates}),
    [{ok, _} = warp_core:append_batch(
         warp_core:entity(Ctx, Id), [#{type => Type, payload => Payload} || {Type, Payload} <- Events])
     || {Id, Events} <- Logs],
    ok = warp_core:stop(Ctx),
    nil.

%% For as long as the test may take.
wait_until(Condition) ->
    case Condition() of
        true -> nil;
        false -> timer:sleep(50), wait_until(Condition)
    end.

%% Calls a function so many times at once, and gives what the calls gave.
parallel(Times, Fun) ->
    Callers = [spawn_monitor(fun() -> exit({done, Fun()}) end) || _ <- lists:seq(1, Times)],
    [receive
         {'DOWN', Ref, process, Pid, {done, Result}} -> Result;
         {'DOWN', Ref, process, Pid, Crash} -> error(Crash)
     end || {Pid, Ref} <- Callers].

%% Payloads that stand for terms and must not become any.
hostile() ->
    Names = [<<"z", (integer_to_binary(erlang:unique_integer([positive])))/binary>>
             || _ <- lists:seq(1, 200)],
    News = << <<119, (byte_size(Name)), Name/binary>> || Name <- Names >>,
    [json(<<131, 108, 200:32, News/binary, 106>>),
     json(term_to_binary(lists:seq(1, 100000), [compressed])),
     json(term_to_binary(fun lists:reverse/1)),
     json(term_to_binary(fun() -> ok end)),
     json(term_to_binary(self())),
     json(<<(term_to_binary({deposited, 1}))/binary, 0>>),
     json(<<131, 104, 255>>),
     json(<<131, 105, 16#ffffffff:32>>),
     json(<<131, 108, 16#ffffffff:32, 97, 1>>),
     json(<<131, 109, 16#ffffffff:32>>),
     json(<<131>>),
     json(<<>>),
     <<"{\"$term\":\"no base64\"}">>,
     <<"{\"$term\":5}">>,
     <<"{\"$term\":{}}">>,
     <<"{\"amount\":5}">>,
     <<"{}">>].

json(Bytes) ->
    <<"{\"$term\":\"", (base64:encode(Bytes))/binary, "\"}">>.

atoms() ->
    erlang:system_info(atom_count).

%% The payload for an atom that no loaded module has, but one on the code path does.
late_constructor() ->
    Unique = integer_to_list(erlang:unique_integer([positive])),
    Module = "kuma_late_" ++ Unique,
    Name = list_to_binary("late_constructor_" ++ Unique),
    Dir = unicode:characters_to_list(new_dir()),
    Source = filename:join(Dir, Module ++ ".erl"),
    ok = file:write_file(Source, ["-module(", Module, ").\n-export([f/0]).\nf() -> ", Name, ".\n"]),
    [] = os:cmd("erlc -o '" ++ Dir ++ "' '" ++ Source ++ "'"),
    true = code:add_pathz(Dir),
    json(<<131, 119, (byte_size(Name)), Name/binary>>).
