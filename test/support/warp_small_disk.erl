%% A file system of a few megabytes, to fill up or to make read-only.
-module(warp_small_disk).

-export([mount/2, unmount/1, read_only/1, writable/1, fill/1, make_room/1]).

%% A tmpfs, or an ext4 in a file where that is not allowed: `{ok, Dir}`, or
%% `{error, Text}` with what the system said.
mount(Dir, MiB) ->
    ok = filelib:ensure_path(Dir),
    Size = integer_to_list(MiB),
    Image = Dir ++ ".img",
    case sh(["mount -t tmpfs -o size=", Size, "m tmpfs ", Dir]) of
        ok -> {ok, Dir};
        {error, NoTmpfs} ->
            case sh(["truncate -s ", Size, "M ", Image, " && mkfs.ext4 -q -m 0 ", Image,
                     " && mount -o loop ", Image, " ", Dir]) of
                ok -> {ok, Dir};
                {error, NoLoop} -> {error, [NoTmpfs, NoLoop]}
            end
    end.

%% Also when a VM that is on its way down still has files open there.
unmount(Dir) ->
    ok = sh(["umount ", Dir, " || umount -l ", Dir]),
    _ = file:delete(Dir ++ ".img"),
    ok.

read_only(Dir) ->
    ok = sh(["mount -o remount,ro ", Dir]).

writable(Dir) ->
    ok = sh(["mount -o remount,rw ", Dir]).

%% A file that takes all the room there is.
fill(Dir) ->
    {ok, File} = file:open(filler(Dir), [raw, write, append]),
    ok = fill(File, 65536),
    ok = file:close(File).

fill(File, Size) ->
    case file:write(File, binary:copy(<<1>>, Size)) of
        ok -> fill(File, Size);
        {error, enospc} when Size > 1 -> fill(File, Size div 16);
        {error, enospc} -> ok
    end.

make_room(Dir) ->
    ok = file:delete(filler(Dir)).

filler(Dir) -> filename:join(Dir, "filler").

sh(Command) ->
    Output = os:cmd(lists:append(["("] ++ Command ++ [") 2>&1 && echo done"])),
    case lists:suffix("done\n", Output) of
        true -> ok;
        false -> {error, Output}
    end.
