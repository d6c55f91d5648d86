%% Clusters under load to which faults happen, one random schedule after the other, and a check of what was answered.
-module(warp_chaos).

-export([main/0]).

%% A cluster lives through so many schedules.
-define(LIFE, 10).
-define(SEEN_MS, 15000).

%% Arguments: --schedules N, --minutes M: ends with the first of them; --seed S; --nodes N: of each cluster; --clusters
%% N: side by side. The last line says how many schedules passed. Ends with status 1 if one failed.
main() ->
    Options = options(init:get_plain_arguments(), #{schedules => 50, minutes => 24 * 60, nodes => 0, clusters => 2,
                                                    seed => erlang:system_time(microsecond) rem 1000000000}),
    #{clusters := Clusters, seed := Seed, schedules := Count, minutes := Minutes} = Options,
    io:format("chaos: ~b schedules, the first one with the seed ~b~n", [Count, Seed]),
    Until = erlang:monotonic_time(second) + 60 * Minutes,
    Todo = counters:new(1, []),
    Results = lists:append(warp_test:parallel(Clusters, fun(Lane) -> lane(Lane, 1, Todo, Until, Options) end)),
    Failed = length([failed || failed <- Results]),
    Passed = length(Results) - Failed,
    io:format("~b passed, ~b failed~n", [Passed, Failed]),
    halt(min(Failed, 1)).

options(["--" ++ Name, Value | Rest], Options) ->
    case [Key || Key <- maps:keys(Options), atom_to_list(Key) =:= Name] of
        [Key] -> options(Rest, Options#{Key := list_to_integer(Value)});
        [] -> usage()
    end;
options([], Options) -> Options;
options(_, _) -> usage().

usage() ->
    io:format(standard_error, "options: --schedules N --seed S --minutes M --nodes N --clusters N~n", []),
    halt(2).

%% One cluster after the other, of 3, 4 and 5 nodes.
lane(Lane, Nth, Todo, Until, Options) ->
    case next(Todo, Until, Options) of
        none -> [];
        Seed ->
            Nodes = case Options of #{nodes := 0} -> 3 + Seed rem 3; #{nodes := Given} -> Given end,
            Prefix = lists:concat([Lane, "x", Nth]),
            Dir = filename:join(os:getenv("WARP_CHAOS_DIR"), Prefix),
            Cluster = warp_chaos_cluster:start(Prefix, Dir, Nodes),
            Results = life(Cluster, Dir, Nodes, Seed, ?LIFE, Todo, Until, Options),
            Results ++ lane(Lane, Nth + 1, Todo, Until, Options)
    end.

life(Cluster, Dir, Nodes, Seed, Left, Todo, Until, Options) ->
    case schedule(Cluster, Dir, Nodes, Seed) of
        ok ->
            Next = case Left of 1 -> none; _ -> next(Todo, Until, Options) end,
            case Next of
                none -> warp_chaos_cluster:stop(Cluster), [ok];
                _ -> [ok | life(Cluster, Dir, Nodes, Next, Left - 1, Todo, Until, Options)]
            end;
        failed ->
            ok = keep(Cluster, Dir, Seed),
            _ = catch warp_chaos_cluster:stop(Cluster),
            [failed]
    end.

%% The seed of the next schedule.
next(Todo, Until, #{schedules := Count, seed := Seed}) ->
    ok = counters:add(Todo, 1, 1),
    N = counters:get(Todo, 1),
    case N > Count orelse erlang:monotonic_time(second) > Until of
        true -> none;
        false -> Seed + N - 1
    end.

keep(Cluster, Dir, Seed) ->
    Kept = filename:join(os:getenv("WARP_CHAOS_KEEP"), "seed-" ++ integer_to_list(Seed)),
    States = try warp_chaos_cluster:each(Cluster, fun state/0) catch _:Why -> Why end,
    ok = file:write_file(filename:join([Dir, "logs", "states"]), io_lib:format("~p~n", [States])),
    _ = os:cmd("rm -rf " ++ Kept ++ "; mkdir -p " ++ Kept ++ "; cp -a " ++ Dir ++ "/logs " ++ Dir ++ "/s* " ++ Kept),
    io:format("    what was recorded, and the logs of the nodes, are in ~ts~n", [Kept]).

%% What a node says of itself.
state() ->
    Ctx = warp_cluster_vm:ctx(),
    {warp_cluster:status(Ctx), warp_core:stats(Ctx)}.

%% ------------------------------------------------------------------ One schedule

schedule(Cluster, Dir, Nodes, Seed) ->
    Schedule = warp_chaos_schedule:from(Seed, warp_chaos_cluster:names(Cluster)),
    Began = erlang:monotonic_time(millisecond),
    {Wrong, Calls} =
        try run(Cluster, Dir, Seed, Schedule)
        catch Class:Why:Stack -> {[{Class, Why, Stack}], 0}
        end,
    Took = erlang:monotonic_time(millisecond) - Began,
    Result = case Wrong of [] -> ok; _ -> failed end,
    io:format("~ts schedule ~b, ~b nodes, ~b calls, ~b ms~n~ts", [text(Result), Seed, Nodes, Calls, Took,
                                                                 warp_chaos_schedule:text(Schedule)]),
    _ = [io:format("    again: make chaos ARGS=\"--schedules 1 --clusters 1 --nodes ~b --seed ~b\"~n", [Nodes, Seed])
         || Result =:= failed],
    _ = [io:format("    wrong: ~P~n", [What, 60]) || What <- lists:sublist(Wrong, 20)],
    Result.

text(ok) -> "ok";
text(failed) -> "FAILED".

%% What does not heal is not looked at: what is wrong there follows from that.
run(Cluster, Dir, Seed, Schedule) ->
    Prefix = <<"s", (integer_to_binary(Seed))/binary, "-">>,
    Records = filename:join(Dir, "s" ++ integer_to_list(Seed)),
    ok = filelib:ensure_path(Records),
    ok = fund(Cluster, Prefix),
    Nodes = warp_chaos_cluster:names(Cluster),
    ok = warp_chaos_cluster:begin_load(Cluster, #{prefix => Prefix, dir => Records, seed => Seed,
                                                  watch => #{hd(Nodes) => [unnamed], lists:last(Nodes) => [named]}}),
    Faults = warp_chaos_cluster:suffer(Cluster, Schedule),
    case Faults ++ warp_chaos_cluster:heal(Cluster) of
        [] ->
            _ = warp_chaos_cluster:each(Cluster, fun warp_chaos_load:stop/0),
            {Story, Late} = story(Cluster, Prefix, Records),
            {Late ++ warp_chaos_checker:wrong(Story), length(maps:get(calls, Story))};
        Wrong ->
            {Wrong, 0}
    end.

fund(Cluster, Prefix) ->
    warp_chaos_cluster:on(Cluster, warp_chaos_cluster:first(Cluster), fun() ->
        lists:foreach(fun(Account) ->
            {ok, _} = warp_core:append(warp_cluster_vm:entity(Account), warp_test:credited(warp_chaos_load:funds()))
        end, warp_chaos_load:accounts(Prefix))
    end).

%% Everything that the checker wants to know, and what is wrong by itself: sagas and subscriptions that do not end.
story(Cluster, Prefix, Records) ->
    On = warp_chaos_cluster:first(Cluster),
    Pending = warp_chaos_cluster:on(Cluster, On, fun() ->
        warp_saga:recover_pending(warp_cluster_vm:ctx(), #{wait => ?SEEN_MS})
    end),
    {Calls, _} = warp_chaos_record:read(Records),
    Entities = lists:usort(warp_chaos_load:accounts(Prefix) ++ warp_chaos_load:entities(Prefix)
                           ++ [element(2, Call) || {_, _, _, Call, _} <- Calls, element(1, Call) =/= commit]),
    Sagas = lists:usort([Id || {_, _, _, {commit, Id, _, _, _}, _} <- Calls]),
    Logs = warp_chaos_cluster:each(Cluster, fun() -> maps:from_list([{Id, log(Id)} || Id <- Entities]) end),
    #{On := Log} = Logs,
    Lasts = maps:map(fun(_, Of) -> length(Of) end, Log),
    _ = warp_chaos_cluster:each(Cluster, fun() -> warp_chaos_load:reached({Lasts, ?SEEN_MS}) end),
    {Statuses, Balances} = warp_chaos_cluster:on(Cluster, On, fun() ->
        Ctx = warp_cluster_vm:ctx(),
        Accounts = warp_chaos_load:accounts(Prefix),
        {[{Id, warp_saga:status(Ctx, Id)} || Id <- Sagas],
         maps:from_list(lists:zip(Accounts, warp_saga_test:balances(Ctx, Accounts)))}
    end),
    {_, Seen} = warp_chaos_record:read(Records),
    {#{calls => Calls, seen => Seen, watchers => watchers(Seen), logs => Logs, balances => Balances,
       sagas => maps:from_list([{Id, status(Status)} || {Id, Status} <- Statuses]), funds => warp_chaos_load:funds()},
     [{sagas_go_on, Pending} || element(1, Pending) =/= ok]}.

status({ok, #{state := State}}) -> State;
status({error, Why}) -> Why.

log(Id) ->
    {ok, Events} = warp_core:export(warp_cluster_vm:entity(Id), #{timeout => ?SEEN_MS}),
    [{Seq, Event} || #{seq := Seq, id := Event} <- Events].

%% Of each kind the last one that was started.
watchers(Seen) ->
    Each = [[Watcher || Watcher <- maps:keys(Seen), lists:suffix(Kind, Watcher)] || Kind <- ["-named", "-unnamed"]],
    [lists:max(Watchers) || [_ | _] = Watchers <- Each].
