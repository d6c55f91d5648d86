%% @private `warp restore': a context, or one entity of it, as it was at a cut of a backup.
-module(warp_cli_restore).
-behaviour(warp_cli_command).

-export([commands/0]).

-import(warp_cli_units, [count/1, exact_time/1, many/2]).

-spec commands() -> [warp_cli_command:command(), ...].
commands() ->
    [#{words => [<<"restore">>],
       about => <<"Restore a context from a backup, into a folder where there is none">>,
       text => <<"Into DATA_DIR/CONTEXT, as it was at a cut, without what was deleted since. An interrupted restore\n"
                 "goes on when the command is given again. Start the context as any other then.\n"
                 "--export writes the events of one entity, one JSON object a line, and leaves nothing behind. For\n"
                 "that it restores the entity into a folder that only you can read, beside DATA_DIR, or without\n"
                 "DATA_DIR in the one for temporary files. Who kills the command has to remove that folder, which is\n"
                 "called warp-restore-...">>,
       places => [warp_cli_target:place(),
                  #{name => data_dir, shown => <<"DATA_DIR">>, is => folder, optional => true}],
       options => warp_cli_target:key_options(master_key, required) ++ warp_cli_target:options()
                  ++ [#{name => until, value => <<"CUT">>,
                        about => <<"the number of a cut; or a time, such as 2026-11-28T13:00:00Z, for the last cut "
                                   "up to then; or end">>},
                      #{name => entity, value => <<"ID">>, about => <<"only this entity">>},
                      #{name => export, about => <<"write the events of the entity instead">>}],
       examples => [<<"warp restore backups/bank restored --master-key bank.key">>,
                    <<"warp restore backups/bank earlier --master-key bank.key --until 1">>,
                    <<"warp restore backups/bank --master-key bank.key --entity alice --export > alice.jsonl">>],
       run => fun run/1}].

run(#{export := true, entity := Entity} = Args) ->
    Options = options(Args),
    in_temporary_folder(Args, fun(Dir) -> export(Entity, Dir, Args, Options) end);
run(#{export := true}) ->
    warp_cli_fail:usage("--export needs --entity ID.");
run(#{data_dir := Given} = Args) ->
    Dir = warp_cli_target:path(Given),
    Options = options(Args),
    ok = own(Dir, existing(Dir)),
    #{context := Name} = Report = restored(Dir, Args, Options),
    Path = filename:join(Dir, Name),
    ok = warp_cli_result:print(Args, Report#{dir => Path}, fun(_) -> shown(Path, Report) end),
    _ = [warp_cli_terminal:note(["The backup has no events of ", Entity, " at this cut: there were none then, or they "
                                 "were deleted since."])
         || #{entity := Entity} <- [Args], #{events := 0} <- [Report]],
    ok;
run(_Args) ->
    warp_cli_fail:usage("`restore' needs DATA_DIR, or --entity ID and --export.").

options(Args) ->
    Options = maps:merge(warp_cli_target:master(master_key, Args), warp_cli_target:keys(keys_from, Args)),
    maps:merge(Options#{until => until(maps:get(until, Args, <<"end">>))}, maps:with([entity], Args)).

until(<<"end">>) ->
    'end';
until(Given) ->
    case {re:run(Given, "^[1-9]\\d{0,9}$"), warp_cli_units:of_time(Given)} of
        {{match, _}, _} -> {cut, binary_to_integer(Given)};
        {nomatch, {ok, Time}} -> {time, Time};
        {nomatch, error} ->
            warp_cli_fail:usage("--until is the number of a cut; or a time with its zone, such as "
                                "2026-11-28T13:00:00Z or 2026-11-28T14:00+01:00; or end.")
    end.

%% What of the path is there already.
existing(Dir) ->
    case filelib:is_dir(Dir) orelse filename:dirname(Dir) =:= Dir of
        true -> Dir;
        false -> existing(filename:dirname(Dir))
    end.

%% A folder that is not there yet will be this user's. As root, who can make one anywhere, that is a mistake too.
own(Dir, Existing) ->
    IsRoot = os:getenv("WARP_UID") =:= "0",
    case warp_cli_folder:foreign_owner(Existing) of
        {yes, Uid} when Dir =:= Existing; IsRoot ->
            warp_cli_fail:unreachable(
                <<"foreign_folder">>,
                ["The folder ", Existing, " is that of the user with the number ", integer_to_list(Uid),
                 ", who could not open files that this command makes."],
                "Run this as that user, such as with sudo -u USER, or restore elsewhere.");
        _ ->
            ok
    end.

restored(Dir, #{target := Target}, Options) ->
    warp_cli_target:result(
        Target, warp_backup:restore(Dir, warp_cli_target:target(Target),
                                    Options#{progress => fun warp_cli_target:progress/1})).

shown(Path, #{shards := Shards, cut := Cut, at := At, left_out := LeftOut, segments := Segments, rows := Rows,
              events := Events, erased := Erased, cleared := Cleared}) ->
    ["Restored ", Path, ".\n\n",
     warp_cli_table:pairs(
        [{"cut", [count(Cut), " of ", exact_time(At)]}, {"shards", count(Shards)}, {"segments", count(Segments)},
         {"appends", count(Rows)}, {"events", count(Events)}, {"deleted since", count(Erased)},
         {"appends cleared since", count(Cleared)}]),
     case LeftOut of
         none -> [];
         _ -> ["\nThe newest cut, ", count(LeftOut), ", was left out: its keys are not stored, since the run that made "
               "it did not end, or since these key pages are an old copy.\n"]
     end].

%% ------------------------------------------------------------------ One entity's events

export(Entity, Dir, Args, Options) ->
    #{context := Name, shards := Shards, erased := Erased} = restored(Dir, Args, Options),
    #{<<"events">> := Count} = warp_cli_context:own(filename:join(Dir, Name), Shards, fun(Ask) ->
        Ask(#{op => events, entity => Entity}, fun(Json) -> warp_cli_terminal:print([Json, $\n]) end)
    end),
    warp_cli_terminal:note([many(Count, "event"), " of ", Entity, ".",
                            [" What there was before was deleted since." || Erased > 0]]).

in_temporary_folder(Args, Use) ->
    Above = case Args of
        #{data_dir := Given} -> filename:dirname(warp_cli_target:path(Given));
        #{} -> unicode:characters_to_binary(os:getenv("TMPDIR", "/tmp"))
    end,
    Dir = filename:join(Above, <<"warp-restore-", (binary:encode_hex(crypto:strong_rand_bytes(8)))/binary>>),
    case file:make_dir(Dir) of
        ok ->
            try
                ok = file:change_mode(Dir, 8#700),
                Use(Dir)
            after
                removed(Dir, file:del_dir_r(Dir))
            end;
        {error, Why} ->
            warp_cli_fail:unreachable(["A folder in ", Above, " cannot be made: ", file:format_error(Why), "."],
                                      "Give a DATA_DIR beside which you may write, or set TMPDIR.")
    end.

removed(_Dir, ok) -> ok;
removed(Dir, {error, Why}) ->
    warp_cli_terminal:note(["The folder ", Dir, " could not be removed: ", file:format_error(Why), ". Remove it: it "
                            "has events that can be read."]).
