%% @private `warp keys': master keys of backups.
-module(warp_cli_keys).
-behaviour(warp_cli_command).

-export([commands/0]).

-import(warp_cli_units, [count/1, time/1]).

-spec commands() -> [warp_cli_command:command(), ...].
commands() ->
    [#{words => [<<"keys">>, <<"new">>],
       about => <<"Make a master key, in a file that only you can read">>,
       text => <<"Of 64 hexadecimal digits. A file that is there stays as it is, and the status is 1. Keep a copy of\n"
                 "the key elsewhere, apart from the backups: without it nothing can be restored.">>,
       places => [#{name => file, shown => <<"FILE">>, is => file}],
       examples => [<<"warp keys new new.key">>],
       run => fun new/1},
     #{words => [<<"keys">>, <<"show">>],
       about => <<"Show of which context a backup is, and what has wrapped its key">>,
       places => [warp_cli_target:place()],
       examples => [<<"warp keys show backups/bank">>],
       run => fun show/1},
     #{words => [<<"keys">>, <<"rotate">>],
       about => <<"Have a backup opened by another master key, in place of the present one">>,
       text => <<"Only the wrapping of the backup's key changes. When this command is interrupted, one of both keys\n"
                 "opens the backup, and the same command ends it. Give the new key to what backs up at once: a run\n"
                 "with the old one fails. Who has an older copy of the backup can still open that with the old key.">>,
       places => [warp_cli_target:place()],
       options => warp_cli_target:key_options(master_key, required)
                  ++ warp_cli_target:key_options(new_master_key, required),
       examples => [<<"warp keys rotate backups/bank --master-key bank.key --new-master-key new.key">>],
       run => fun rotate/1}].

new(#{file := Given} = Args) ->
    File = warp_cli_target:path(Given),
    case warp_backup:new_master_key(File) of
        exists ->
            warp_cli_fail:said(#{reason => <<"exists">>,
                                 meaning => <<"There is something of the name ", File/binary, " already.">>,
                                 to_do => <<"Give another name.">>});
        Result ->
            ok = warp_cli_target:result(Result),
            ok = warp_cli_result:print(Args, #{file => File}, fun(_) -> ["Made the master key ", Given, ".\n"] end),
            warp_cli_terminal:note("Keep a copy of it elsewhere, apart from the backups: without it nothing can be "
                                   "restored.")
    end.

show(#{target := Target} = Args) ->
    About = warp_cli_target:result(Target, warp_backup:about(warp_cli_target:target(Target))),
    warp_cli_result:print(Args, About, fun shown/1).

rotate(#{target := Target} = Args) ->
    Options = maps:merge(warp_cli_target:master(master_key, Args), warp_cli_target:master(new_master_key, Args)),
    ok = warp_cli_target:result(Target, warp_backup:rewrap(warp_cli_target:target(Target), Options)),
    ok = warp_cli_result:print(Args, #{target => warp_cli_target:target(Target), state => rotated}, fun(_) ->
        ["The new master key opens the backup in ", Target, " now, and the old one does not.\n"]
    end),
    warp_cli_terminal:note("Give the new one to what backs up, and keep a copy of it elsewhere.").

shown(#{context := Name, shards := Shards, created := Created, wrapped_by := By}) ->
    warp_cli_table:pairs([{"context", Name}, {"shards", count(Shards)}, {"begun", time(Created)},
                          {"key wrapped by", case By of
                               master_key -> "a master key";
                               _ -> ["the functions called ", By]
                           end}]).
