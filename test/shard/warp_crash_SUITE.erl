%% SIGKILL at any moment: a VM of its own works under load on a directory that is
%% kept through all rounds. After each kill the files are opened here.
-module(warp_crash_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([nothing_acknowledged_is_lost_and_nothing_is_half_there_after_a_kill/1]).

-define(SHARDS, 3).

suite() -> [{timetrap, {minutes, 60}}].

all() -> [nothing_acknowledged_is_lost_and_nothing_is_half_there_after_a_kill].

init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

nothing_acknowledged_is_lost_and_nothing_is_half_there_after_a_kill(Config) ->
    SideDir = filename:join(?config(dir, Config), "side"),
    DataDir = filename:join(?config(dir, Config), "data"),
    ok = file:make_dir(SideDir),
    Rounds = case os:getenv("WARP_LONG") of false -> 20; _ -> 200 end,
    Known = lists:foldl(fun(Round, Known) -> round(Round, DataDir, SideDir, Known) end,
                        #{}, lists:seq(1, Rounds)),
    check_everything(DataDir, Known),
    Events = lists:sum([length(Log) || Log <- maps:values(Known)]),
    ct:log("~b rounds, ~b entities, ~b events", [Rounds, map_size(Known), Events]),
    ?assert(Events > 100 * Rounds).

%% Known: the logs of all entities as they were found after the last kill.
round(Round, DataDir, SideDir, Known) ->
    Mode = lists:nth(1 + Round rem 2, [actor, read_through]),
    Opts = #{context => <<"crash">>, data_dir => DataDir, shards => ?SHARDS, mode => Mode,
             durability => lists:nth(1 + Round rem 5, [normal, full, full, full, full]),
             snapshot_every => 20},
    run_and_kill(Round, Opts#{side_dir => SideDir,
                              callers => lists:nth(1 + Round rem 3, [4, 16, 64])}),
    Calls = warp_crash_load:read_side_files(SideDir, Round),
    deleted_bytes_are_gone(DataDir, Calls),
    Ctx = warp_test:start(Opts#{aggregates => [warp_crash_load:aggregate()]}),
    Logs = check_logs(Ctx, Known, Calls),
    Sent = send_again(Ctx, delete_again(Ctx, DataDir, Logs, Calls), Calls),
    warp_test:stop(Ctx),
    files_are_sound(DataDir),
    Sent.

%% Every fourth time the kill comes while the context starts.
run_and_kill(Round, Opts) ->
    Erl = filename:join([code:root_dir(), "bin", "erl"]),
    Port = open_port({spawn_executable, Erl},
                     [{args, warp_fault_vm:path() ++ warp_crash_load:args(Round, Opts)},
                      binary, exit_status, stderr_to_stdout]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    case Round rem 4 of
        0 ->
            timer:sleep(150 + rand:uniform(400));
        _ ->
            receive {Port, {data, <<"ready\n">>}} -> ok
            after 30000 -> ct:fail({not_ready, flush(Port)})
            end,
            timer:sleep(200 + rand:uniform(1000))
    end,
    "" = os:cmd("kill -9 " ++ integer_to_list(Pid)),
    {Status, Said} = wait_for_exit(Port, <<>>),
    ?assertEqual(137, Status),
    %% A disk that is busy with others may keep a shard from one of its tasks for a while, which it says. The program
    %% that starts others for a VM says so when the VM is killed at its start.
    ?assertEqual([], [Line || Line <- binary:split(Said, <<"\n">>, [global, trim_all]), Line =/= <<"ready">>,
                              re:run(Line, "(WARNING|NOTICE) REPORT|can(not)? do its task"
                                           "|^erl_child_setup: failed with error 32 ") =:= nomatch]).

wait_for_exit(Port, Said) ->
    receive
        {Port, {data, Text}} -> wait_for_exit(Port, <<Said/binary, Text/binary>>);
        {Port, {exit_status, Status}} -> {Status, Said}
    after 10000 -> ct:fail(still_alive)
    end.

flush(Port) ->
    receive {Port, Message} -> [Message | flush(Port)] after 0 -> [] end.

%% ------------------------------------------------------------------ Comparing

check_logs(Ctx, Known, Calls) ->
    Touched = lists:usort([element(2, Op) || {Op, _} <- lists:append(Calls)]),
    lists:foldl(fun(Entity, Logs) -> check_log(Ctx, Entity, Logs, Calls) end, Known, Touched).

check_log(Ctx, <<"shared-", _/binary>> = Entity, Logs, Calls) ->
    Before = maps:get(Entity, Logs, []),
    Log = read(Ctx, Entity, length(Before) + 1),
    warp_crash_check:shared(Entity, length(Before), Log, Calls),
    Logs#{Entity => Before ++ Log};
check_log(Ctx, Entity, Logs, Calls) ->
    Log = read(Ctx, Entity, 1),
    warp_crash_check:own(Entity, maps:get(Entity, Logs, []), Log, Calls),
    Logs#{Entity => Log}.

%% The log from a seq on, every payload compared with what was sent.
read(Ctx, Entity, From) ->
    case warp_core:history(warp_core:entity(Ctx, Entity), #{from => From, limit => 5000}) of
        {ok, []} -> [];
        {ok, Events} -> [place(Event) || Event <- Events] ++ read(Ctx, Entity, From + length(Events))
    end.

place(#{seq := Seq, payload := #{<<"call">> := Call, <<"at">> := I, <<"of">> := Of} = Payload}) ->
    ?assertEqual(warp_crash_load:payload(Call, I, Of), Payload),
    {Seq, {Call, I, Of}}.

%% The caller that got no answer sends the same ids again: what is there stays
%% where it is, what is not comes last.
send_again(Ctx, Logs, Calls) ->
    Unanswered = [Op || {{append, _, _, _, ids} = Op, unanswered} <- lists:append(Calls)],
    lists:foldl(
      fun({append, Entity, Call, Size, ids} = Op, Known) ->
              Log = maps:get(Entity, Known),
              Expected = case [Seq || {Seq, {C, 1, _}} <- Log, C =:= Call] of
                             [First] -> Log;
                             [] -> First = length(Log) + 1,
                                   Log ++ [{First + I - 1, {Call, I, Size}} || I <- lists:seq(1, Size)]
                         end,
              ?assertEqual({ok, {First, First + Size - 1}}, warp_crash_load:run(Ctx, Op)),
              ?assertEqual(lists:nthtail(First - 1, Expected), read(Ctx, Entity, First)),
              Known#{Entity := Expected}
      end, Logs, lists:sublist(Unanswered, 10)).

%% A delete that was interrupted may have been carried out but for its last bytes.
delete_again(Ctx, DataDir, Logs, Calls) ->
    Again = [{Op, warp_crash_load:run(Ctx, Op)}
             || {{delete, _} = Op, unanswered} <- lists:append(Calls)],
    deleted_bytes_are_gone(DataDir, [Again]),
    lists:foldl(fun({{delete, Entity}, ok}, Known) -> Known#{Entity => []} end, Logs, Again).

%% Nothing has opened the files since the answer.
deleted_bytes_are_gone(DataDir, Calls) ->
    Deleted = [Entity || {{delete, <<"gone-", _/binary>> = Entity}, ok} <- lists:append(Calls)],
    Files = filelib:wildcard(filename:join([DataDir, "**", "shard-*"])),
    ?assertEqual([], [{File, Found} || Deleted =/= [], File <- Files,
                                       Found <- found(File, Deleted)]).

found(File, Names) ->
    {ok, Bytes} = file:read_file(File),
    [binary:part(Bytes, Match) || Match <- binary:matches(Bytes, Names)].

files_are_sound(DataDir) ->
    Files = warp_test:shard_files(DataDir),
    ?assertEqual(?SHARDS, length(Files)),
    [?assertEqual({File, [<<"ok">>]}, {File, warp_test:sqlite(File, "PRAGMA integrity_check")})
     || File <- Files].

%% In the end every event of every round, through the engine and through the view
%% that the sqlite3 shell reads.
check_everything(DataDir, Known) ->
    Ctx = warp_test:start(#{context => <<"crash">>, data_dir => DataDir, shards => ?SHARDS,
                            aggregates => [warp_crash_load:aggregate()]}),
    maps:foreach(
      fun(Entity, Log) ->
              ?assertEqual(Log, read(Ctx, Entity, 1)),
              ?assertEqual({ok, length(Log)}, warp_core:get(warp_core:entity(Ctx, Entity), <<"Load">>))
      end, Known),
    warp_test:stop(Ctx),
    Shown = lists:append([warp_test:sqlite(File, "SELECT entity, count(*), min(seq), max(seq)"
                                                 " FROM events GROUP BY entity")
                          || File <- warp_test:shard_files(DataDir)]),
    ?assertEqual(lists:sort([row(Entity, length(Log)) || {Entity, Log} <- maps:to_list(Known), Log =/= []]),
                 lists:sort(Shown)).

row(Entity, Count) ->
    iolist_to_binary(io_lib:format("~s|~b|1|~b", [Entity, Count, Count])).
