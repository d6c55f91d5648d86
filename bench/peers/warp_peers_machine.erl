%% What is told with the figures: the machine, its disk, and the versions.
-module(warp_peers_machine).

-export([machine/2, text/1, has_room/2, available_memory/0]).
-export_type([machine/0]).

-type machine() :: [{Key :: atom(), binary() | number()}].

-spec machine(warp_peer:env(), warp_peers_options:options()) -> machine().
machine(#{dir := Dir, bin := Bin}, #{rounds := Rounds, seconds := Seconds}) ->
    {{Year, Month, Day}, _} = calendar:universal_time(),
    [{date, text("~4..0b-~2..0b-~2..0b", [Year, Month, Day])},
     {cores, erlang:system_info(schedulers_online)},
     {system, line("uname -sm")},
     {otp, list_to_binary(erlang:system_info(otp_release))},
     {fdatasync_per_second, round(warp_bench_run:fdatasync(filename:join(Dir, "sync")))},
     {rounds, Rounds},
     {seconds, Seconds},
     {postgresql, version(Bin ++ "/postgres/postgres --version")},
     {redis, version(Bin ++ "/redis-server --version")},
     {sqlite, line("python3 -c 'import sqlite3; print(sqlite3.sqlite_version)'")}].

text(Format, Args) ->
    iolist_to_binary(io_lib:format(Format, Args)).

line(Command) ->
    list_to_binary(string:trim(os:cmd(Command))).

version(Command) ->
    case re:run(os:cmd(Command), "[0-9]+[.][0-9.]*[0-9]", [{capture, first, binary}]) of
        {match, [Version]} -> Version;
        nomatch -> <<"unknown">>
    end.

-spec text(machine()) -> iodata().
text(Machine) ->
    Of = fun(Key) -> proplists:get_value(Key, Machine) end,
    io_lib:format("~ts: ~b cores, ~ts, OTP ~ts, ~b fdatasync/s of 4 kB; PostgreSQL ~ts, Redis ~ts, SQLite ~ts; "
                  "medians of ~b round(s) of ~b s",
                  [Of(Key) || Key <- [date, cores, system, otp, fdatasync_per_second, postgresql, redis, sqlite, rounds,
                                      seconds]]).

%% What each stored event takes of the disk at most, of all peers together and with their logs.
-define(DISK_PER_EVENT, 900).

-spec has_room(warp_peer:env(), warp_peers_options:options()) -> ok.
has_room(#{dir := Dir}, #{events := Events, stored := Stored}) ->
    Needed = ?DISK_PER_EVENT * max(Events, Stored),
    [_, _, _, Free | _] = string:lexemes(lists:last(string:lexemes(os:cmd("df -Pk '" ++ Dir ++ "'"), "\n")), " "),
    list_to_integer(Free) * 1024 >= Needed orelse
        throw(io_lib:format("The disk of ~ts needs ~b GB of room, and has ~b. Give a smaller --stored and --events, or"
                            " another folder with --dir.",
                            [Dir, Needed div 1000000000, list_to_integer(Free) div 1000000])),
    ok.

%% In bytes. Where the system does not say, there is enough.
-spec available_memory() -> number().
available_memory() ->
    case file:read_file("/proc/meminfo") of
        {ok, Text} ->
            {match, [Kb]} = re:run(Text, "^MemAvailable: *([0-9]+) kB", [multiline, {capture, all_but_first, list}]),
            list_to_integer(Kb) * 1024;
        {error, _} ->
            1 bsl 60
    end.
