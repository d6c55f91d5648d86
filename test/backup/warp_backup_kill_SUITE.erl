%% SIGKILL at any moment, of a VM that works and backs up at once, again and again on the same folder and target: what a
%% cut gives is what was acknowledged before it, and nothing that was asked for later or never.
-module(warp_backup_kill_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_backup_test, [master/1, restore/3, rows/1]).

-define(SHARDS, 3).
-define(FUNDS, 200).
%% So many rounds back up to the same target.
-define(ROUNDS_OF_TARGET, 5).

suite() -> [{timetrap, {minutes, 90}}].

all() ->
    [a_cut_has_what_was_acknowledged_before_it, a_run_of_several_segments_that_is_killed_is_made_again,
     a_restore_that_is_killed_goes_on_with_the_same_result,
     a_restore_that_was_complete_is_not_taken_for_another_cut].

init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

%% ------------------------------------------------------------------ Kills of a VM that backs up

a_cut_has_what_was_acknowledged_before_it(Config) ->
    [ok = file:make_dir(filename:join(dir(Config), Name)) || Name <- ["side", "data"]],
    Ctx = warp_test:start(opts(Config)),
    Funds = #{aggregate => <<"Account">>, type => <<"Credited">>, payload => #{amount => ?FUNDS}},
    [{ok, 1} = warp_core:append(warp_core:entity(Ctx, Name), Funds) || Name <- warp_saga_load:names()],
    ok = warp_test:stop(Ctx),
    Rounds = case os:getenv("WARP_LONG") of false -> 20; _ -> 200 end,
    Known = lists:foldl(fun(Round, Known) -> round(Round, Config, Known) end, #{}, lists:seq(1, Rounds)),
    Events = lists:sum([length(Log) || Log <- maps:values(Known)]),
    ct:log("~b rounds, ~b entities, ~b events", [Rounds, map_size(Known), Events]),
    ?assert(Events > 100 * Rounds).

%% Known: the logs of all entities as they were found after the last kill.
round(Round, Config, Known) ->
    Side = filename:join(dir(Config), "side"),
    Mode = #{mode => lists:nth(1 + Round rem 2, [actor, read_through]),
             durability => lists:nth(1 + Round rem 5, [normal, full, full, full, full])},
    Opts = maps:merge(opts(Config), Mode),
    run_and_kill(Round, Opts#{side_dir => Side, callers => lists:nth(1 + Round rem 3, [3, 8, 16]),
                              backup => backup(Round, Config)}),
    Killed = cuts(Round, Config),
    verified(Round, Config),
    %% The next VM.
    Ctx = warp_test:start(Opts),
    {ok, _} = warp_backup:start(Ctx, backup(Round, Config)),
    Calls = warp_backup_load:calls(Side, Round),
    Logs = deleted_again(Ctx, check_logs(Ctx, Known, Calls), Calls),
    settled(Ctx),
    {ok, #{cut := Last}} =
        warp_backup:run(Ctx, target(Round, Config), maps:without([to, every], backup(Round, Config))),
    ?assertMatch(#{backups := [#{failing := none}]}, warp_core:stats(Ctx)),
    ok = warp_backup:stop(Ctx, target(Round, Config)),
    _ = [ok = warp_backup:forget(Ctx, target(Round, Config)) || target(Round, Config) =/= target(Round + 1, Config)],
    warp_test:await_applied(Ctx),
    Rows = rows(warp_test:context_dir(Ctx)),
    Live = {Rows, calls_of(Rows)},
    ok = warp_test:stop(Ctx),
    verified(Round, Config),
    All = cuts(Round, Config),
    [#{cut := Last} = Now] = [Cut || #{cut := Of} = Cut <- All, Of =:= Last],
    same(Rows, came_back(Now, Round, Config, Live)),
    %% It may have been merged since.
    LastKilled = [Of || #{cut := Of} <- lists:sublist(lists:reverse(Killed), 1)],
    _ = [came_back(Cut, Round, Config, Live) || #{cut := Of} = Cut <- All, [Of] =:= LastKilled],
    _ = [came_back(lists:nth(rand:uniform(length(All)), All), Round, Config, Live) || Round rem 3 =:= 0],
    Logs.

%% Every fourth time the kill comes while the context starts, or the first run is under way.
run_and_kill(Round, Opts) ->
    Erl = filename:join([code:root_dir(), "bin", "erl"]),
    Port = open_port({spawn_executable, Erl},
                     [{args, warp_fault_vm:path() ++ warp_backup_load:args(Round, Opts)},
                      binary, exit_status, stderr_to_stdout]),
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    case Round rem 4 of
        0 ->
            timer:sleep(150 + rand:uniform(600));
        _ ->
            receive {Port, {data, <<"ready\n">>}} -> ok
            after 60000 -> ct:fail({not_ready, flush(Port)})
            end,
            timer:sleep(500 + rand:uniform(2500))
    end,
    "" = os:cmd("kill -9 " ++ integer_to_list(Pid)),
    {Status, Said} = exited(Port, <<>>),
    ?assertEqual(137, Status),
    %% A disk that is busy with others may keep a shard from one of its tasks for a while, which it says.
    ?assertEqual([], [Line || Line <- binary:split(Said, <<"\n">>, [global, trim_all]), Line =/= <<"ready">>,
                              re:run(Line, "(WARNING|NOTICE) REPORT|can(not)? do its task"
                                           "|^erl_child_setup: failed with error 32 ") =:= nomatch]).

exited(Port, Said) ->
    receive
        {Port, {data, Text}} -> exited(Port, <<Said/binary, Text/binary>>);
        {Port, {exit_status, Status}} -> {Status, Said}
    after 10000 -> ct:fail(still_alive)
    end.

flush(Port) ->
    receive {Port, Message} -> [Message | flush(Port)] after 0 -> [] end.

%% ------------------------------------------------------------------ What the context has

%% In the context itself: what `warp_crash_SUITE' says of it.
check_logs(Ctx, Known, Calls) ->
    Plain = [[{Op, plain(Answer)} || {_, Op, Answer} <- Of] || Of <- Calls],
    Touched = lists:usort([element(2, Op) || {_, Op, _} <- lists:append(Calls)]),
    lists:foldl(fun(Entity, Logs) ->
        Before = maps:get(Entity, Logs, []),
        Log = log(Ctx, Entity),
        case Entity of
            <<"shared-", _/binary>> ->
                {Before, New} = lists:split(length(Before), Log),
                warp_crash_check:shared(Entity, length(Before), New, Plain);
            _ ->
                warp_crash_check:own(Entity, Before, Log, Plain)
        end,
        Logs#{Entity => Log}
    end, Known, Touched).

%% A deletion that still waits for the target has erased the log.
plain({_, {error, {still_to_erase, #{target := backup}}}}) -> ok;
plain({_, Answer}) -> Answer;
plain(unanswered) -> unanswered.

log(Ctx, Entity) ->
    {ok, Events} = warp_core:export(warp_core:entity(Ctx, Entity), #{timeout => 60000}),
    [{Seq, {Call, I, Of}} || #{seq := Seq, payload := #{<<"call">> := Call, <<"at">> := I, <<"of">> := Of}} <- Events].

deleted_again(Ctx, Logs, Calls) ->
    Again = [Entity || {_, {delete, Entity}, Answer} <- lists:append(Calls), not is_done(Answer)],
    _ = [?assertEqual(ok, warp_core:delete(warp_core:entity(Ctx, Entity), #{timeout => 60000})) || Entity <- Again],
    maps:merge(Logs, maps:from_list([{Entity, []} || Entity <- Again])).

is_done({_, ok}) -> true;
is_done(_) -> false.

%% No saga is under way, and no money is lost.
settled(Ctx) ->
    {ok, _} = warp_saga:recover_pending(Ctx),
    warp_test:wait_until(fun() -> {ok, []} =:= warp_saga:pending(Ctx) end, 60000),
    Names = warp_saga_load:names(),
    ?assertEqual(?FUNDS * length(Names), lists:sum([warp_saga_test:balance(Ctx, Name) || Name <- Names])).

%% ------------------------------------------------------------------ What a cut has

%% Restores a cut, and compares it with what the context has by now, rows and calls, and with what callers were told.
%% Gives its rows.
came_back(#{cut := Cut, at := At}, Round, Config, {Live, Alive}) ->
    DataDir = filename:join(dir(Config), "restored"),
    {ok, Report} = warp_backup:restore(DataDir, target(Round, Config),
                                       #{master_key => master(Config), until => {cut, Cut}}),
    Rows = rows(DataDir),
    %% In each shard all rows up to a position, but those that were deleted since.
    Ends = maps:fold(fun({Shard, Position}, _, Of) -> Of#{Shard => max(Position, maps:get(Shard, Of, 0))} end,
                     #{}, Rows),
    same(maps:filter(fun({Shard, Position}, _) -> Position =< maps:get(Shard, Ends, 0) end, Live), Rows),
    Side = filename:join(dir(Config), "side"),
    Calls = lists:append([Of || N <- lists:seq(1, Round), Of <- warp_backup_load:calls(Side, N)]),
    There = calls_of(Rows),
    %% NOTE: a cut's time is taken between two commits.
    ?assertEqual([], [Lost || {_, {append, _, Call, _, _} = Lost, {Answered, {ok, _}}} <- Calls, Answered < At,
                              is_map_key(Call, Alive), not is_map_key(Call, There)]),
    ?assertEqual([], [Early || {Tried, {append, _, Call, _, _} = Early, _} <- Calls, Tried > At,
                               is_map_key(Call, There)]),
    Sent = maps:from_list([{Call, sent} || {_, {append, _, Call, _, _}, _} <- Calls]),
    ?assertEqual([], maps:keys(maps:without(maps:keys(Sent), There))),
    Gone = [Entity || {_, {delete, <<"gone-", _/binary>> = Entity}, {_, ok}} <- Calls],
    ?assertEqual([], [File || Gone =/= [], File <- warp_test:files_with(DataDir, Gone)]),
    Opts = warp_backup_test:opts(DataDir, Report),
    Ctx = warp_test:start(Opts#{aggregates => warp_backup_load:aggregates()}),
    {ok, _} = warp_core:verify(Ctx),
    settled(Ctx),
    transferred(Ctx, At, lists:append([warp_backup_load:transfers(Side, N) || N <- lists:seq(1, Round)])),
    ok = warp_test:stop(Ctx),
    ok = file:del_dir_r(DataDir),
    Rows.

%% The calls whose events are in these rows, which have data in hexadecimal digits.
calls_of(Rows) ->
    Name = binary:encode_hex(<<"\"call\":\"">>),
    maps:from_list([{binary:decode_hex(until_quote(Rest)), there}
                    || Row <- maps:values(Rows), [_, Rest] <- [binary:split(Row, Name)]]).

%% Before the first quotation mark.
until_quote(<<"22", _/binary>>) -> <<>>;
until_quote(<<Byte:2/binary, Rest/binary>>) -> <<Byte/binary, (until_quote(Rest))/binary>>.

%% A transfer that was answered before the cut has the same answer in it; one that was begun later is not there.
transferred(Ctx, At, Transfers) ->
    Some = fun(List) -> [Of || {_, Of} <- lists:sublist(lists:sort([{rand:uniform(), Of} || Of <- List]), 40)] end,
    [?assertEqual({Transfer, Answer}, {Transfer, warp_saga:commit(warp_saga_load:transfer(Transfer), Ctx)})
     || {_, Transfer, {Answered, {ok, _} = Answer}} <- Some(Transfers), Answered < At],
    [?assertEqual({error, not_found}, warp_saga:status(Ctx, element(1, Transfer)))
     || {Tried, Transfer, _} <- Some(Transfers), Tried > At].

same(Expected, Found) ->
    Keys = lists:usort(maps:keys(Expected) ++ maps:keys(Found)),
    ?assertEqual([], [{Key, maps:find(Key, Expected), maps:find(Key, Found)}
                      || Key <- Keys, maps:find(Key, Expected) =/= maps:find(Key, Found)]),
    Found.

%% It has stored one of them.
a_run_of_several_segments_that_is_killed_is_made_again(Config) ->
    Opts = opts(Config),
    Backup = #{master_key => master(Config)},
    Target = warp_backup_test:target(Config),
    Vm = warp_fault_vm:start(),
    %% More than two segments have room for.
    ok = warp_fault_vm:run(Vm, fun() ->
        {ok, Ctx} = warp_core:start(Opts),
        Pad = binary:copy(<<"x">>, 200000),
        [{ok, _} = warp_core:append(warp_core:entity(Ctx, <<"e-", (integer_to_binary(N rem 40))/binary>>),
                                    #{aggregate => <<"Load">>, type => <<"Loaded">>, payload => #{n => N, pad => Pad}})
         || N <- lists:seq(1, 400)],
        persistent_term:put(ctx, Ctx)
    end),
    Self = self(),
    spawn(fun() ->
        Self ! {ran, catch warp_fault_vm:run(Vm, fun() ->
            Stop = fun(#{segments := 1}) -> timer:sleep(infinity); (_) -> ok end,
            warp_backup:run(persistent_term:get(ctx), Target, Backup#{progress => Stop})
        end)}
    end),
    %% Not one that is being written, with a longer name.
    warp_test:wait_until(fun() -> filelib:wildcard(filename:join([Target, "segments", "*", "??????????"])) =/= [] end,
                         60000),
    warp_fault_vm:kill(Vm),
    receive {ran, {'EXIT', _}} -> ok end,
    ?assertEqual({error, no_backup}, warp_backup:list(Target)),
    Ctx = warp_test:start(Opts),
    {ok, #{cut := Cut, segments := Segments}} = warp_backup:run(Ctx, Target, Backup),
    ?assert(Segments > 1),
    ?assertMatch({ok, [#{cut := Cut, segments := Cut}]}, warp_backup:list(Target)),
    ?assertEqual(Cut, Segments + 1),
    {ok, #{events := 400}} = warp_backup:verify(Target, Backup),
    Names = warp_backup_test:names(Ctx),
    Logs = warp_backup_test:logs(Ctx, Names),
    ok = warp_test:stop(Ctx),
    {Restored, #{events := 400}} = warp_backup_test:restored(Config, "restored", {#{}, maps:without([data_dir], Opts)}),
    ?assertEqual(Names, warp_backup_test:names(Restored)),
    ?assert(Logs =:= warp_backup_test:logs(Restored, Names)).

%% ------------------------------------------------------------------ Kills of a restore

a_restore_that_is_killed_goes_on_with_the_same_result(Config) ->
    Ctx = warp_test:start(opts(Config)),
    Rounds = 12,
    [begin
         ok = fill(Ctx, 300),
         {ok, #{cut := Cut}} = warp_backup_test:run(Ctx, Config)
     end || Cut <- lists:seq(1, Rounds)],
    ok = warp_core:delete(warp_core:entity(Ctx, <<"e-7">>)),
    warp_test:await_applied(Ctx),
    ok = warp_test:stop(Ctx),
    {Micros, {Whole, #{events := Events} = Report}} = timer:tc(fun() -> restore(Config, "whole", #{}) end),
    Expected = rows(Whole),
    ?assert(Events > 10000),
    Kills = [killed_restore(Config, integer_to_list(N), Micros div 1000, {Expected, Report}) || N <- lists:seq(1, 6)],
    ct:log("a restore takes ~b ms; kills of each: ~w", [Micros div 1000, Kills]),
    ?assert(lists:sum(Kills) >= 6).

%% Again and again, each time a bit later, until one gets through: how many were killed.
killed_restore(Config, Name, Millis, {Expected, Report}) ->
    DataDir = filename:join(dir(Config), Name),
    Target = warp_backup_test:target(Config),
    Master = master(Config),
    Self = self(),
    Try = fun Try(N) ->
        Vm = warp_fault_vm:start(),
        spawn(fun() ->
            Self ! {Vm, catch warp_fault_vm:run(Vm, fun() ->
                warp_backup:restore(DataDir, Target, #{master_key => Master})
            end)}
        end),
        Result = receive {Vm, Early} -> Early
                 after rand:uniform(max(2, Millis div 2)) + N * Millis div 8 ->
                     warp_fault_vm:kill(Vm),
                     receive {Vm, Late} -> Late end
                 end,
        _ = (catch warp_fault_vm:stop(Vm)),
        case Result of
            {ok, _} -> N;
            %% The kill before came when it had its name.
            {error, {not_empty, _}} when N > 0 -> N;
            {'EXIT', _} -> Try(N + 1)
        end
    end,
    Killed = Try(0),
    Rows = rows(DataDir),
    same(Expected, Rows),
    Ctx = warp_test:start((warp_backup_test:opts(DataDir, Report))#{aggregates => warp_backup_load:aggregates()}),
    {ok, _} = warp_core:verify(Ctx),
    ok = warp_test:stop(Ctx),
    ok = file:del_dir_r(DataDir),
    Killed.

fill(Ctx, Entities) ->
    lists:foreach(fun(N) ->
        Event = #{aggregate => <<"Load">>, type => <<"Loaded">>, payload => #{pad => binary:copy(<<"x">>, 50)}},
        {ok, _} = warp_core:append_batch(warp_core:entity(Ctx, <<"e-", (integer_to_binary(N))/binary>>),
                                         lists:duplicate(4, Event))
    end, lists:seq(1, Entities)).

%% What is in its way when it gets its name stands for a kill just before that.
a_restore_that_was_complete_is_not_taken_for_another_cut(Config) ->
    Ctx = warp_test:start(opts(Config)),
    Cuts = [begin ok = fill(Ctx, 10 * Cut), {ok, #{cut := Cut}} = warp_backup_test:run(Ctx, Config),
                  warp_test:await_applied(Ctx), rows(warp_test:context_dir(Ctx))
            end || Cut <- [1, 2]],
    ok = warp_test:stop(Ctx),
    DataDir = filename:join(dir(Config), "restored"),
    Path = filename:join(DataDir, "kill"),
    Restore = fun(Cut, Tell) ->
        warp_backup:restore(DataDir, warp_backup_test:target(Config),
                            #{master_key => master(Config), until => {cut, Cut}, progress => Tell})
    end,
    Nothing = fun(_) -> ok end,
    InItsWay = fun(#{done := N, 'of' := N}) -> ok = file:write_file(Path, "in its way"); (_) -> ok end,
    ?assertMatch({error, {io_error, _}}, Restore(2, InItsWay)),
    ok = file:delete(Path),
    ?assertMatch({error, {other_restore, _}}, Restore(1, Nothing)),
    ?assertMatch({ok, #{cut := 2}}, Restore(2, Nothing)),
    same(lists:last(Cuts), rows(DataDir)),
    ?assertMatch({error, {not_empty, _}}, Restore(2, Nothing)).

%% ------------------------------------------------------------------ Helpers

opts(Config) ->
    #{context => <<"kill">>, data_dir => filename:join(dir(Config), "data"), shards => ?SHARDS, snapshot_every => 20,
      aggregates => warp_backup_load:aggregates()}.

backup(Round, Config) ->
    #{to => target(Round, Config), master_key => master(Config), every => 1000, keep => #{cuts => 3}}.

target(Round, Config) ->
    filename:join(dir(Config), "backup-" ++ integer_to_list((Round - 1) div ?ROUNDS_OF_TARGET)).

%% The first run may not have come so far.
cuts(Round, Config) ->
    case warp_backup:list(target(Round, Config)) of
        {ok, Cuts} -> Cuts;
        {error, no_backup} -> []
    end.

verified(Round, Config) ->
    case cuts(Round, Config) of
        [] ->
            ok;
        _ ->
            {ok, _} = warp_backup:verify(target(Round, Config)),
            {ok, _} = warp_backup:verify(target(Round, Config), #{master_key => master(Config)}),
            ok
    end.

dir(Config) -> ?config(dir, Config).
