%% The load that runs in a VM which is killed at any moment while it is backed up: appends, batches and deletions as
%% those of `warp_crash_load', and transfers as those of `warp_saga_load'. What it is about to do is in a side file
%% before it does it, and each answer with the time at which it was given.
-module(warp_backup_load).

-export([main/0, args/2, aggregates/0, calls/2, transfers/2]).

%% The flags of `erl' that run this load. Opts: those of a start, side_dir, callers, and backup, the options of
%% `warp_backup:start/2'.
args(Round, Opts) ->
    Text = base64:encode_to_string(term_to_binary({Round, Opts})),
    ["-noshell", "-noinput", "-boot", "start_clean", "-s", ?MODULE_STRING, "main", "-extra", Text].

main() ->
    [Text] = init:get_plain_arguments(),
    {Round, #{side_dir := Dir, callers := Callers, backup := Backup} = Opts} = binary_to_term(base64:decode(Text)),
    {ok, Ctx} = warp_core:start(maps:without([side_dir, callers, backup], Opts#{aggregates => aggregates()})),
    case warp_backup:start(Ctx, Backup) of
        {ok, _} -> ok;
        {error, Why} -> io:format("not backed up: ~0p~n", [Why])
    end,
    _ = [spawn_link(fun() -> caller(Ctx, Dir, {Round, N}, 1) end) || N <- lists:seq(1, Callers)],
    _ = [spawn_link(fun() -> transferrer(Ctx, Dir, {Round, N}, 1) end) || N <- lists:seq(1, Callers)],
    io:format("ready~n").

aggregates() -> [warp_crash_load:aggregate(), warp_saga_load:aggregate()].

caller(Ctx, Dir, {Round, Caller} = By, N) ->
    lists:foreach(
        fun({I, Op}) -> noted(warp_crash_load:side_file(Dir, Round, Caller), {N, I}, Op,
                              fun() -> warp_crash_load:run(Ctx, Op) end) end,
        lists:enumerate(warp_crash_load:ops(By, N))),
    timer:sleep(rand:uniform(60)),
    caller(Ctx, Dir, By, N + 1).

transferrer(Ctx, Dir, {Round, Caller} = By, N) ->
    Names = warp_saga_load:names(),
    Any = fun() -> lists:nth(rand:uniform(length(Names)), Names) end,
    Transfer = {iolist_to_binary(io_lib:format("~b-~b-~b", [Round, Caller, N])), Any(), Any(), rand:uniform(100),
                rand:uniform(4)},
    noted(warp_crash_load:side_file(Dir, Round, 1000 + Caller), N, Transfer,
          fun() -> warp_saga:commit(warp_saga_load:transfer(Transfer), Ctx) end),
    timer:sleep(rand:uniform(60)),
    transferrer(Ctx, Dir, By, N + 1).

noted(Path, Call, Op, Do) ->
    {ok, File} = file:open(Path, [raw, append]),
    ok = warp_crash_load:write(File, {trying, Call, {os:system_time(microsecond), Op}}),
    Answer = Do(),
    ok = warp_crash_load:write(File, {answered, Call, {os:system_time(microsecond), Answer}}),
    ok = file:close(File).

%% Of each caller of the round what it did, in order, as `{Tried, Op, unanswered | {Answered, Answer}}'.
calls(Dir, Round) ->
    [Calls || [{_, Op, _} | _] = Calls <- read(Dir, Round), is_atom(element(1, Op))].

%% All transfers of the round, likewise.
transfers(Dir, Round) ->
    lists:append([Calls || [{_, Op, _} | _] = Calls <- read(Dir, Round), is_binary(element(1, Op))]).

read(Dir, Round) ->
    [[{Tried, Op, Answer} || {{Tried, Op}, Answer} <- Calls] || Calls <- warp_crash_load:read_side_files(Dir, Round)].
