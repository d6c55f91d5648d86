%% @private `warp backup' of a context: backing it up once, or from now on.
-module(warp_cli_backup).
-behaviour(warp_cli_command).

-export([commands/0, summary/1, table/1]).

-import(warp_cli_units, [count/1, bytes/1, text/1, time/1, many/2]).

-define(EVERY_S, 60).
-define(DAY_MS, 24 * 60 * 60 * 1000).

-spec commands() -> [warp_cli_command:command(), ...].
commands() ->
    To = #{name => to, value => <<"TARGET">>, required => true,
           about => <<"the folder that has the backup, or s3://BUCKET/PREFIX">>},
    Making = [To, #{name => keys_to, value => <<"TARGET">>,
                    about => <<"the folder or bucket for the backup's key pages, if that is to be another one">>}
              | warp_cli_target:key_options(master_key, required)]
        ++ [#{name => keep_cuts, value => <<"N">>, is => positive,
              about => <<"keep the last N cuts; segments before them may be merged">>},
            #{name => keep_days, value => <<"N">>, is => positive,
              about => <<"keep what is needed to restore any time of the last N days">>}],
    [#{words => [<<"backup">>, <<"run">>],
       about => <<"Back a context up once, with what is new since the last run">>,
       text => <<"The VM that has the context open makes the backup and reads the master key, in its file or in its\n"
                 "own variable: the key itself is not sent. A stopped context is opened here, and this program reads\n"
                 "the key. Without the master key, or without the key pages, nothing can be restored: keep a copy of\n"
                 "the key elsewhere.">>,
       opens => true,
       options => Making,
       examples => [<<"warp keys new bank.key">>,
                    <<"warp backup run data/bank --to backups/bank --master-key bank.key">>],
       run => fun run/1},
     #{words => [<<"backup">>, <<"start">>],
       about => <<"Back a running context up again and again, until it stops">>,
       text => <<"Waits for the first run. The VM reads the master key at each run, in its file or in its own\n"
                 "variable: the key itself is not sent. After a start of the context the backups have to be started\n"
                 "again, by this command or by the program that the context belongs to. `warp stats' shows them.">>,
       options => Making ++ [#{name => every, value => <<"SECONDS">>, is => positive,
                               about => <<"the pause between two runs (60)">>}],
       examples => [<<"warp backup start data/bank --to backups/bank --master-key bank.key --every 300">>],
       run => fun start/1},
     #{words => [<<"backup">>, <<"merge">>],
       about => <<"Make a backup smaller: merge old segments, without what was deleted">>,
       text => <<"Makes a run first, and then reads all segments up to the oldest cut that is kept. Older cuts\n"
                 "cannot be restored any more. `warp backup start' with `--keep-cuts' or `--keep-days' merges by\n"
                 "itself, a few segments at a time.">>,
       opens => true,
       asks => true,
       options => Making,
       examples => [<<"warp backup merge data/bank --to backups/bank --master-key bank.key --keep-days 30 --yes">>],
       run => fun merge/1},
     #{words => [<<"backup">>, <<"stop">>],
       about => <<"End what `warp backup start' has begun">>,
       text => <<"The backup stays. Deletions still wait until their entities are dead data in it.">>,
       options => [To],
       examples => [<<"warp backup stop data/bank --to backups/bank">>],
       run => fun stop/1},
     #{words => [<<"backup">>, <<"forget">>],
       about => <<"Say that a backup is gone, so that deletions wait for it no more">>,
       text => <<"Of a running context. Where the backup is still there, it can be read for good by who has its master "
                 "key: also\nwhat is deleted from now on.">>,
       asks => true,
       options => [To],
       examples => [<<"warp backup forget data/bank --to backups/bank --yes">>],
       run => fun forget/1}].

run(#{to := To} = Args) ->
    Report = warp_cli_context:with(Args, open, fun(Ask, _Hello) ->
        warp_cli_context:ask(Ask, (request(Args))#{op => backup_run})
    end),
    ok = warp_cli_result:print(Args, Report, fun made/1),
    first(Report, To).

request(#{to := To} = Args) ->
    #{master_key := Master} = warp_cli_target:master(master_key, Args),
    Keys = warp_cli_target:keys(keys_to, Args),
    Keep = maps:from_list([{cuts, N} || #{keep_cuts := N} <- [Args]] ++
                              [{age, N * ?DAY_MS} || #{keep_days := N} <- [Args]]),
    Request = Keys#{to => warp_cli_target:target(To), master_key => warp_cli_target:in_json(Master)},
    case map_size(Keep) of
        0 -> Request;
        _ -> Request#{keep => Keep}
    end.

merge(#{to := To} = Args) ->
    case request(Args) of
        #{keep := _} = Request ->
            Report = warp_cli_context:with(Args, open, fun(Ask, #{<<"context">> := Name}) ->
                ok = warp_cli_terminal:confirm(
                    ["Old segments of the backup of ", Name, " in ", To, " will be merged, and what was deleted is "
                     "left out of them. Cuts before those that are kept cannot be restored any more."], Args),
                warp_cli_context:ask(Ask, Request#{op => backup_merge})
            end),
            warp_cli_result:print(Args, Report, fun(#{<<"merged">> := Merged}) ->
                [made(Report), "Merged: ", many(Merged, "old segment"), ".\n"]
            end);
        #{} ->
            warp_cli_fail:usage(<<"`warp backup merge' needs --keep-cuts or --keep-days: what must still be "
                                  "restorable.">>)
    end.

made(#{<<"cut">> := Cut, <<"segments">> := 0}) ->
    ["Nothing has changed since cut ", count(Cut), ".\n"];
made(#{<<"cut">> := Cut, <<"at">> := At, <<"segments">> := Segments, <<"key_pages">> := Pages, <<"rows">> := Rows,
       <<"events">> := Events, <<"bytes">> := Bytes}) ->
    ["Made cut ", count(Cut), " of ", time(At), ": ", many(Rows, "append"), " with ", many(Events, "event"), ", in ",
     many(Segments, "segment"), " and ", many(Pages, "key page"), ", ", bytes(Bytes), ".\n"].

%% Cuts have the numbers of segments.
first(#{<<"cut">> := N, <<"segments">> := N}, To) ->
    warp_cli_terminal:note(["This is the first run to ", To, ". Keep a copy of the master key elsewhere: without it, "
                            "or without the key pages, nothing can be restored."]);
first(_, _To) ->
    ok.

start(#{to := To} = Args) ->
    Every = maps:get(every, Args, ?EVERY_S),
    Report = warp_cli_context:with(Args, refuse, fun(Ask, _Hello) ->
        warp_cli_context:ask(Ask, (request(Args))#{op => backup_start, every => Every * 1000})
    end),
    ok = warp_cli_result:print(Args, Report, fun(_) ->
        [made(Report), "The next run is made in ", many(Every, "second"), ", and so on until the context stops.\n"]
    end),
    first(Report, To).

stop(#{to := To} = Args) ->
    Path = warp_cli_target:target(To),
    warp_cli_context:with(Args, refuse, fun(Ask, _Hello) ->
        _ = warp_cli_context:ask(Ask, #{op => backup_stop, to => Path}),
        warp_cli_result:print(Args, #{to => Path, state => stopped},
                              fun(_) -> ["No more runs to ", To, " are made.\n"] end)
    end).

forget(#{to := To} = Args) ->
    Path = warp_cli_target:target(To),
    warp_cli_context:with(Args, refuse, fun(Ask, #{<<"context">> := Name}) ->
        ok = warp_cli_terminal:confirm(
            ["The context ", Name, " will forget its backup in ", Path, ": deletions wait for it no more. What is "
             "deleted from now on can still be restored from it, if it is still there."], Args),
        _ = warp_cli_context:ask(Ask, #{op => backup_forget, to => Path}),
        warp_cli_result:print(Args, #{to => Path, state => forgotten}, fun(_) -> ["Forgotten: ", To, ".\n"] end)
    end).

%% ------------------------------------------------------------------ How backups are

%% @doc The backups of a context, as its statistics have them, in a few words.
-spec summary([map()]) -> iodata().
summary([]) ->
    "none";
summary(Backups) ->
    States = [state(Backup) || Backup <- Backups],
    Times = [At || #{<<"at">> := At} <- Backups, is_integer(At)],
    [count(length(Backups)), [[", the last cut of ", time(lists:max(Times))] || Times =/= []],
     [[", ", count(length(Of)), $\s, Said]
      || {Is, Said} <- [{failing, "failing"}, {unmerged, "not merging"}, {not_started, "not started"}],
         Of <- [[State || State <- States, State =:= Is]], Of =/= []]].

%% @doc The backups of a context, one a line.
-spec table([map()]) -> unicode:chardata().
table(Backups) ->
    warp_cli_table:format(
        [{left, "backup to"}, {left, "every"}, {right, "cut"}, {left, "made"}, {left, "state"}],
        [[To, every(Every), count(Cut), time(At), shown(Backup)]
         || #{<<"to">> := To, <<"every">> := Every, <<"cut">> := Cut, <<"at">> := At} = Backup <- Backups]).

every(Millis) when is_integer(Millis) -> warp_cli_units:seconds(Millis / 1000);
every(_) -> "-".

state(#{<<"failing">> := #{}}) -> failing;
state(#{<<"unmerged">> := #{}}) -> unmerged;
state(#{<<"running">> := true}) -> running;
state(#{<<"every">> := <<"not_started">>}) -> not_started;
state(_) -> waiting.

shown(#{<<"failing">> := #{<<"why">> := Why, <<"since">> := Since}}) ->
    ["failing since ", time(Since), ": ", text(Why)];
shown(#{<<"unmerged">> := #{<<"why">> := Why, <<"since">> := Since}}) ->
    ["does not merge since ", time(Since), ": ", text(Why)];
shown(Backup) ->
    case state(Backup) of
        running -> "running";
        not_started -> "not started again";
        waiting -> case Backup of #{<<"every">> := <<"once">>} -> "made"; _ -> "waits for the next run" end
    end.
