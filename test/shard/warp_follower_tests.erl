-module(warp_follower_tests).

-include_lib("eunit/include/eunit.hrl").

context() -> #{followers => warp_follower:new(3), owners => warp_context_owners:all_here()}.

%% A process that sleeps at these shards, and says what wakes it.
follower(Context, Shards) ->
    Self = self(),
    Pid = spawn_link(fun() -> follow(Context, Self) end),
    Pid ! {sleep, Shards},
    receive {Pid, asleep} -> Pid end.

follow(Context, Test) ->
    receive
        {sleep, Shards} ->
            [ok = warp_follower:sleep(Context, N) || N <- Shards],
            Test ! {self(), asleep};
        {log_grew, N} ->
            Test ! {self(), woken, N}
    end,
    follow(Context, Test).

woken(Pid) -> receive {Pid, woken, N} -> N after 1000 -> nobody end.

is_quiet(Pid) -> receive {Pid, woken, _} -> false after 20 -> true end.

all_who_sleep_at_the_shard_are_woken_once_test() ->
    Context = context(),
    ok = warp_follower:committed(Context, 1),
    Pids = [follower(Context, [1]) || _ <- lists:seq(1, 20)],
    Other = follower(Context, [2]),
    ok = warp_follower:committed(Context, 0),
    ok = warp_follower:committed(Context, 1),
    ?assertEqual(lists:duplicate(20, 1), [woken(Pid) || Pid <- Pids]),
    ok = warp_follower:committed(Context, 1),
    ?assert(lists:all(fun is_quiet/1, [Other | Pids])),
    ok = warp_follower:committed(Context, 2),
    ?assertEqual(2, woken(Other)).

one_may_follow_several_shards_test() ->
    Context = context(),
    Pid = follower(Context, [0, 2]),
    ok = warp_follower:committed(Context, 2),
    ?assertEqual(2, woken(Pid)),
    ok = warp_follower:committed(Context, 0),
    ?assertEqual(0, woken(Pid)).

those_who_ended_asleep_leave_nothing_test() ->
    #{followers := {Table, _}} = Context = context(),
    _ = [begin
             Pid = follower(Context, [0]),
             Monitor = monitor(process, Pid),
             unlink(Pid),
             exit(Pid, kill),
             receive {'DOWN', Monitor, process, Pid, _} -> ok end
         end || _ <- lists:seq(1, 50)],
    Last = follower(Context, [0]),
    ?assertEqual([{{0, Last}}], ets:tab2list(Table)),
    ok = warp_follower:committed(Context, 0),
    ?assertEqual(0, woken(Last)).

%% NOTE: a follower that looks once more after `sleep' sees every commit, or is woken: whichever way the two
%% meet. Those that sleep behind it in the table have a commit still at work when it sleeps again.
no_commit_is_missed_test_() ->
    {timeout, 60, fun no_commit_is_missed/0}.

no_commit_is_missed() ->
    Context = context(),
    Log = atomics:new(1, []),
    Self = self(),
    Follower = spawn_link(fun() -> read_on(0, Context, Log, Self) end),
    lists:foreach(
        fun(Commit) ->
            Sleepers = [spawn_link(fun() -> sleep_once(Context, Self) end) || _ <- lists:seq(1, 200)],
            [receive {Pid, asleep} -> ok end || Pid <- Sleepers],
            %% The first commit finds all asleep, the second one the follower.
            lists:foreach(
                fun(Next) ->
                    ok = atomics:put(Log, 1, Next),
                    ok = warp_follower:committed(Context, 0),
                    receive {seen, Next} -> ok after 5000 -> error({missed, Next}) end
                end,
                [2 * Commit - 1, 2 * Commit]),
            [begin unlink(Pid), exit(Pid, kill) end || Pid <- Sleepers]
        end,
        lists:seq(1, 200)),
    true = unlink(Follower),
    exit(Follower, kill).

sleep_once(Context, Test) ->
    ok = warp_follower:sleep(Context, 0),
    Test ! {self(), asleep},
    receive never -> ok end.

read_on(Seen, Context, Log, Test) ->
    ok = warp_follower:sleep(Context, 0),
    case atomics:get(Log, 1) of
        Seen ->
            receive {log_grew, 0} -> read_on(Seen, Context, Log, Test) end;
        Next ->
            Test ! {seen, Next},
            read_on(Next, Context, Log, Test)
    end.
