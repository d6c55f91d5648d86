%% @private `warp backup' of what is in a target: its cuts, and whether it is whole. No VM has to run.
-module(warp_cli_backups).
-behaviour(warp_cli_command).

-export([commands/0]).

-import(warp_cli_units, [count/1, bytes/1, time/1, exact_time/1]).

-spec commands() -> [warp_cli_command:command(), ...].
commands() ->
    [#{words => [<<"backup">>, <<"list">>],
       about => <<"List the cuts of a backup, which are what it can be restored to">>,
       text => <<"Each run that found something new has made one. TARGET is the folder or bucket that has the\n"
                 "backup.">>,
       places => [warp_cli_target:place()],
       examples => [<<"warp backup list backups/bank">>, <<"warp backup list backups/bank --json">>],
       run => fun list/1},
     #{words => [<<"backup">>, <<"verify">>],
       about => <<"Check that a backup is whole">>,
       text => <<"Without a master key: that all segments are there, as they were written. With it also that\n"
                 "everything in them can be opened. The status is 1 where something is damaged, missing or\n"
                 "exchanged.">>,
       places => [warp_cli_target:place()],
       options => warp_cli_target:key_options(master_key, optional) ++ warp_cli_target:options(),
       examples => [<<"warp backup verify backups/bank">>,
                    <<"warp backup verify backups/bank --master-key bank.key">>],
       run => fun verify/1},
     #{words => [<<"backup">>, <<"check">>],
       about => <<"Look whether the key pages of a backup are as new as its segments">>,
       text => <<"The status is 1 where they are older, as an old copy of them is, or are not there.">>,
       places => [warp_cli_target:place()],
       options => warp_cli_target:options(),
       examples => [<<"warp backup check backups/bank || echo 'somebody has to look'">>],
       run => fun check/1}].

list(#{target := Target} = Args) ->
    Cuts = warp_cli_target:result(Target, warp_backup:list(warp_cli_target:target(Target))),
    warp_cli_result:print(Args, Cuts, fun(_) ->
        warp_cli_table:format(
            [{right, "cut"}, {left, "time"}, {right, "segments"}, {right, "size"}],
            [[integer_to_list(Cut), exact_time(At), count(Segments), bytes(Bytes)]
             || #{cut := Cut, at := At, segments := Segments, bytes := Bytes} <- Cuts])
    end).

verify(#{target := Target} = Args) ->
    Master = warp_cli_target:master(master_key, Args),
    Options = maps:merge(Master, warp_cli_target:keys(keys_from, Args)),
    Report = warp_cli_target:result(
        Target, warp_backup:verify(warp_cli_target:target(Target),
                                   Options#{progress => fun warp_cli_target:progress/1})),
    ok = warp_cli_result:print(Args, Report, fun verified/1),
    _ = [warp_cli_terminal:note("Whether the events can be opened was not checked: that needs the master key.")
         || Master =:= #{}],
    ok.

verified(#{segments := Segments, cuts := Cuts} = Report) ->
    ["Nothing is damaged.\n\n",
     warp_cli_table:pairs(
        [{"segments", count(Segments)}, {"cuts", count(Cuts)}
         | [{Name, count(Count)} || {Name, Key} <- [{"appends", rows}, {"events", events}, {"deleted since", erased},
                                                    {"appends cleared since", cleared}],
                                    #{Key := Count} <- [Report]]])].

check(#{target := Target} = Args) ->
    #{older := Older} = Report = warp_cli_target:result(
        Target, warp_backup:check(warp_cli_target:target(Target), warp_cli_target:keys(keys_from, Args))),
    ok = warp_cli_result:print(Args, Report, fun checked/1),
    case Older of
        [] ->
            ok;
        _ ->
            ok = warp_cli_terminal:note(
                ["The key pages are older than the segments of shards. What is newer there cannot be restored, and the "
                 "keys of entities that were deleted since may still be in them. See whether they are an old copy; if "
                 "not, make a run."]),
            warp_cli_fail:bad()
    end.

checked(#{cut := Cut, at := At, keys_at := KeysAt, older := Older}) ->
    warp_cli_table:pairs(
        [{"last cut", [count(Cut), " of ", time(At)]}, {"key pages of", time(KeysAt)},
         {"older keys", case Older of
              [] -> "none";
              _ -> ["shard ", lists:join(", ", [integer_to_list(N) || N <- Older])]
          end}]).
