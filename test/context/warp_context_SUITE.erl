%% The life of a context: who may own its files, what it refuses to open, and
%% that nothing of it is left once it has stopped or failed to start.
-module(warp_context_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {seconds, 60}}].
all() -> warp_test:both_modes().
groups() -> warp_test:both_modes(cases()).
init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_, _) -> ok.
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

cases() ->
    [what_another_one_is_just_letting_go_is_waited_for,
     contexts_in_one_vm_are_apart,
     contexts_of_one_name_in_two_directories_are_apart,
     a_context_may_be_used_after_its_starter_is_gone,
     an_owned_directory_is_refused,
     a_directory_owned_by_another_vm_is_refused,
     of_many_starts_one_wins,
     the_lock_goes_with_the_context,
     stopping_again_is_ok,
     stopping_the_application_stops_its_contexts,
     idle_entities_are_passivated,
     a_busy_entity_is_not_passivated,
     stopping_leaves_nothing_behind,
     stopping_under_load_leaves_nothing_behind,
     a_stopped_context_leaves_only_its_shards,
     failing_to_start_leaves_nothing_behind,
     another_shard_count_is_refused,
     a_foreign_sqlite_file_is_refused,
     a_text_file_is_refused,
     a_newer_format_is_refused,
     shards_that_were_swapped_are_refused,
     a_shard_of_another_context_is_refused,
     every_shard_is_used].

contexts_in_one_vm_are_apart(Config) ->
    Names = [<<"one">>, <<"two">>, <<"three">>],
    Entities = [{warp_core:entity(warp_test:start(Config, #{context => Name}), <<"alice">>), Name}
                || Name <- Names],
    [{ok, 1} = warp_core:append(Alice, warp_test:added(Name)) || {Alice, Name} <- Entities],
    [?assertEqual({ok, [Name]}, warp_core:get(Alice, <<"Todo">>)) || {Alice, Name} <- Entities].

contexts_of_one_name_in_two_directories_are_apart(Config) ->
    Dirs = [filename:join(dir(Config), Name) || Name <- ["left", "right"]],
    Contexts = [Left, _Right] = [warp_test:start(Config, #{data_dir => Dir}) || Dir <- Dirs],
    Alices = [L, R] = [warp_core:entity(Ctx, <<"alice">>) || Ctx <- Contexts],
    [{ok, 1} = warp_core:append(Alice, warp_test:incremented(By))
     || {By, Alice} <- lists:zip([10, 20], Alices)],
    ?assertEqual({ok, 10}, warp_core:get(L, <<"Counter">>)),
    warp_test:stop(Left),
    ?assertEqual({ok, 20}, warp_core:get(R, <<"Counter">>)),
    ?assertEqual({ok, 2}, warp_core:append(R, warp_test:incremented())),
    ?assertEqual({error, context_stopped}, warp_core:get(L, <<"Counter">>)).

a_context_may_be_used_after_its_starter_is_gone(Config) ->
    [Ctx] = warp_test:parallel(1, fun(_) -> warp_test:start(Config) end),
    ?assertEqual({ok, 1}, warp_core:append(warp_core:entity(Ctx, <<"alice">>), warp_test:incremented())).

an_owned_directory_is_refused(Config) ->
    Ctx = warp_test:start(Config),
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"alice">>), warp_test:incremented()),
    [?assertMatch({error, {data_dir_in_use, _}}, warp_test:try_start(warp_test:opts(Config)))
     || _ <- [once, twice]],
    ?assertEqual({ok, 2}, warp_core:append(warp_core:entity(Ctx, <<"alice">>), warp_test:incremented())).

a_directory_owned_by_another_vm_is_refused(Config) ->
    {ok, Peer, _} = peer:start_link(#{connection => standard_io,
                                      args => ["-pa" | code:get_path()]}),
    Opts = #{data_dir => dir(Config), context => <<"test">>, shards => 2,
             aggregates => [warp_test:log()]},
    {ok, _} = peer:call(Peer, warp_core, start, [Opts]),
    ?assertMatch({error, {data_dir_in_use, _}}, warp_test:try_start(Opts)),
    peer:stop(Peer),
    warp_test:wait_until(fun() -> element(1, warp_test:try_start(Opts)) =:= ok end).

of_many_starts_one_wins(Config) ->
    Results = warp_test:parallel(3, fun(_) -> warp_test:try_start(warp_test:opts(Config)) end),
    ?assertMatch([{error, {data_dir_in_use, _}}, {error, {data_dir_in_use, _}}, {ok, _}],
                 lists:sort(Results)).

stopping_again_is_ok(Config) ->
    [begin
         Ctx = warp_test:start(Config),
         ?assertEqual(lists:duplicate(6, ok), warp_test:parallel(6, fun(_) -> warp_core:stop(Ctx) end)),
         ?assertEqual(ok, warp_core:stop(Ctx))
     end || _ <- lists:seq(1, 20)].

stopping_the_application_stops_its_contexts(Config) ->
    Ctx = warp_test:start(Config),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    {ok, 1} = warp_core:append(Alice, warp_test:incremented()),
    ok = application:stop(warp_core),
    ?assertEqual({error, context_stopped}, warp_core:get(Alice, <<"Counter">>)),
    ?assertEqual({error, context_stopped}, warp_core:append(Alice, warp_test:incremented())),
    Again = warp_core:entity(warp_test:start(Config), <<"alice">>),
    ?assertEqual({ok, 1}, warp_core:get(Again, <<"Counter">>)).

the_lock_goes_with_the_context(Config) ->
    Ctx = warp_test:start(Config),
    {error, {shard_count_mismatch, 2, 3}} = start_fails_once_stopped(Ctx, Config, #{shards => 3}),
    Again = warp_test:start(Config),
    ?assertEqual({ok, 1}, warp_core:append(warp_core:entity(Again, <<"alice">>), warp_test:incremented())).

start_fails_once_stopped(Ctx, Config, Changes) ->
    warp_test:stop(Ctx),
    warp_test:try_start(maps:merge(warp_test:opts(Config), Changes)).

idle_entities_are_passivated(Config) ->
    Ctx = warp_test:start(Config, #{idle_timeout => 30}),
    Entities = [warp_core:entity(Ctx, <<"entity ", N>>) || N <- lists:seq($a, $z)],
    [{ok, 1} = warp_core:append(Entity, warp_test:incremented()) || Entity <- Entities],
    warp_test:wait_until(fun() -> lists:all(fun is_cold/1, Entities) end),
    [?assertEqual({ok, 1}, warp_core:get(Entity, <<"Counter">>)) || Entity <- Entities],
    [?assertEqual({ok, 2}, warp_core:append(Entity, warp_test:incremented())) || Entity <- Entities],
    warp_test:wait_until(fun() -> lists:all(fun is_cold/1, Entities) end).

a_busy_entity_is_not_passivated(Config) ->
    Alice = warp_core:entity(warp_test:start(Config), <<"alice">>),
    Passivator = spawn_link(fun() -> passivate_for_ever(Alice) end),
    Results = warp_test:parallel(20, fun(_) ->
        [element(1, warp_core:append(Alice, warp_test:incremented())) || _ <- lists:seq(1, 50)]
    end),
    unlink(Passivator),
    exit(Passivator, kill),
    ?assertEqual([ok], lists:usort(lists:append(Results))),
    ?assertEqual({ok, 1000}, warp_core:get(Alice, <<"Counter">>)),
    warp_test:assert_whole(Alice, 1000).

passivate_for_ever(Entity) ->
    case warp_entity_registry:lookup(Entity) of
        {ok, Pid} -> Pid ! passivate;
        none -> ok
    end,
    timer:sleep(1),
    passivate_for_ever(Entity).

stopping_leaves_nothing_behind(Config) ->
    assert_nothing_left(Config, fun() ->
        Ctx = warp_test:start(Config, #{snapshot_every => 5}),
        Entities = [warp_core:entity(Ctx, <<"entity ", N>>) || N <- lists:seq($a, $z)],
        [begin
             [{ok, _} = warp_core:append(E, warp_test:incremented()) || _ <- lists:seq(1, 12)],
             {ok, _} = warp_core:get(E, <<"Counter">>),
             {ok, _} = warp_core:history(E, #{direction => backward})
         end || E <- Entities],
        ok = warp_core:delete(hd(Entities)),
        warp_test:stop(Ctx)
    end).

stopping_under_load_leaves_nothing_behind(Config) ->
    assert_nothing_left(Config, fun() ->
        Ctx = warp_test:start(Config),
        Callers = [spawn_monitor(fun() -> append_until_stopped(warp_core:entity(Ctx, <<"e", N>>)) end)
                   || N <- lists:seq(1, 20)],
        First = warp_core:entity(Ctx, <<"e", 1>>),
        warp_test:wait_until(fun() -> {ok, N} = warp_core:get(First, <<"Counter">>), N > 20 end),
        warp_test:stop(Ctx),
        [receive {'DOWN', Ref, process, Pid, Reason} -> ?assertEqual(normal, Reason) end
         || {Pid, Ref} <- Callers]
    end).

a_stopped_context_leaves_only_its_shards(Config) ->
    [begin
         Ctx = warp_test:start(Config),
         [{ok, _} = warp_core:append(warp_core:entity(Ctx, <<"entity ", N>>), warp_test:incremented())
          || N <- lists:seq($a, $j)],
         Dir = warp_test:context_dir(Ctx),
         warp_test:stop(Ctx),
         {ok, Files} = file:list_dir(Dir),
         ?assertEqual(["lock", "shard-0000.db", "shard-0000.sums", "shard-0001.db", "shard-0001.sums"],
                      lists:sort(Files))
     end || _ <- lists:seq(1, 20)].

append_until_stopped(Entity) ->
    case warp_core:append(Entity, warp_test:incremented()) of
        {ok, _} -> append_until_stopped(Entity);
        {error, context_stopped} -> ok;
        {error, interrupted} -> append_until_stopped(Entity)
    end.

failing_to_start_leaves_nothing_behind(Config) ->
    warp_test:stop(warp_test:start(Config)),
    [_, Last] = warp_test:shard_files(dir(Config)),
    assert_nothing_left(Config, fun() ->
        {error, {shard_count_mismatch, 2, 7}} =
            warp_test:try_start((warp_test:opts(Config))#{shards => 7}),
        ok = file:write_file(Last, "not a shard"),
        {error, {not_a_shard, _}} = warp_test:try_start(warp_test:opts(Config)),
        {error, {bad_option, _, _}} = warp_test:try_start((warp_test:opts(Config))#{mode => none})
    end).

another_shard_count_is_refused(Config) ->
    refused(Config, fun(_) -> ok end, #{shards => 4}, fun(_) -> {shard_count_mismatch, 2, 4} end),
    refused(Config, fun(_) -> ok end, #{shards => 1}, fun(_) -> {shard_count_mismatch, 2, 1} end).

a_foreign_sqlite_file_is_refused(Config) ->
    Foreign = fun(File) ->
        ok = file:delete(File),
        warp_test:sqlite(File, "create table log (mine text); insert into log values ('precious')")
    end,
    refused(Config, Foreign, #{}, fun(File) -> {not_a_shard, File} end).

a_text_file_is_refused(Config) ->
    Text = fun(File) -> ok = file:write_file(File, lists:duplicate(1000, "Dear diary. ")) end,
    refused(Config, Text, #{}, fun(File) -> {not_a_shard, File} end).

a_newer_format_is_refused(Config) ->
    Newer = fun(File) -> warp_test:sqlite(File, "pragma user_version = 99") end,
    refused(Config, Newer, #{}, fun(File) -> {newer_format, File, 99} end).

shards_that_were_swapped_are_refused(Config) ->
    with_closed_shards(Config, fun([First, Second]) ->
        Swap = fun(A, B) ->
            [ok = file:rename(From, To) || {From, To} <- [{A, A ++ ".x"}, {B, A}, {A ++ ".x", B}]]
        end,
        Swap(First, Second),
        ?assertMatch({error, {corrupt, _}}, warp_test:try_start(warp_test:opts(Config))),
        Swap(sums(First), sums(Second)),
        ?assertMatch({error, {wrong_identity, _, <<"shard 1 of context test">>}},
                     warp_test:try_start(warp_test:opts(Config)))
    end).

a_shard_of_another_context_is_refused(Config) ->
    warp_test:stop(warp_test:start(Config, #{context => <<"other">>})),
    with_closed_shards(Config, fun([First, _]) ->
        Other = filename:join([dir(Config), "other", "shard-0000.db"]),
        [{ok, _} = file:copy(From, To) || {From, To} <- [{Other, First}, {sums(Other), sums(First)}]],
        ?assertMatch({error, {wrong_identity, _, <<"shard 0 of context other">>}},
                     warp_test:try_start(warp_test:opts(Config)))
    end).

every_shard_is_used(Config) ->
    Ctx = warp_test:start(Config, #{shards => 4}),
    Entities = [warp_core:entity(Ctx, integer_to_binary(N)) || N <- lists:seq(1, 400)],
    Counts = [length([E || E <- Entities, warp_test:shard_of(E) =:= S]) || S <- [0, 1, 2, 3]],
    [?assert(Count > 60) || Count <- Counts],
    [{ok, 1} = warp_core:append(E, warp_test:incremented()) || E <- Entities],
    ok = warp_test:await_applied(Ctx),
    ?assertEqual(Counts, [length(warp_test:sqlite(File, "select entity from events"))
                          || File <- warp_test:shard_files(dir(Config))]).

%% ---------------------------------------------------------------- helpers

dir(Config) -> proplists:get_value(dir, Config).

sums(Shard) -> filename:rootname(Shard) ++ ".sums".

is_cold(Entity) -> warp_entity_registry:lookup(Entity) =:= none.

with_closed_shards(Config, Fun) ->
    Ctx = warp_test:start(Config),
    [{ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"entity ", N>>), warp_test:incremented())
     || N <- lists:seq($a, $j)],
    Dir = warp_test:context_dir(Ctx),
    warp_test:stop(Ctx),
    Fun(warp_test:shard_files(Dir)).

%% What Spoil did to the first shard is refused by name, both shards stay as
%% they were, and with the first shard put back the context opens again.
refused(Config, Spoil, Changes, Reason) ->
    with_closed_shards(Config, fun([First, _] = Shards) ->
        {ok, Good} = file:read_file(First),
        Spoil(First),
        Before = bytes(Shards),
        {error, Actual} = warp_test:try_start(maps:merge(warp_test:opts(Config), Changes)),
        ?assertEqual(normal(Reason(First)), normal(Actual)),
        ?assertEqual([], [Shard || {Shard, _} = Now <- bytes(Shards), not lists:member(Now, Before)]),
        ok = file:write_file(First, Good),
        warp_test:stop(warp_test:start(Config)),
        warp_test:remove_dir(dir(Config))
    end).

bytes(Files) ->
    [{File, file:read_file(File)} || File <- Files].

%% A path is the same path as a list and as a binary.
normal(Reason) ->
    list_to_tuple([case is_list(E) of true -> list_to_binary(E); false -> E end
                   || E <- tuple_to_list(Reason)]).

assert_nothing_left(Config, Fun) ->
    {ok, _} = application:ensure_all_started(warp_core),
    Before = census(Config),
    Fun(),
    %% A thread of the engine ends after ten seconds without work.
    warp_test:wait_until(fun() ->
        case [New || {B, A} <- lists:zip(Before, census(Config)), New <- A -- B] of
            [] -> true;
            New -> New
        end
    end, 30000).

%% Processes, ETS tables, open files of the case, threads, terms: what a leak would add to.
census(Config) ->
    {ok, Threads} = file:list_dir("/proc/self/task"),
    {ok, Fds} = file:list_dir("/proc/self/fd"),
    Dir = dir(Config),
    Files = [Target || Fd <- Fds,
                       {ok, Target} <- [file:read_link(filename:join("/proc/self/fd", Fd))],
                       lists:prefix(Dir, Target)],
    Terms = [Key || {Key, _} <- persistent_term:get(), element(1, Key) =:= warp_context],
    [processes(), ets:all(), Files, Threads, Terms].

what_another_one_is_just_letting_go_is_waited_for(Config) ->
    Dir = unicode:characters_to_binary(proplists:get_value(dir, Config)),
    {ok, Lock} = warp_nif:lock(Dir, 0, owner),
    ?assertMatch({error, {data_dir_in_use, _}}, warp_nif:lock(Dir, 0, owner)),
    _ = spawn(fun() -> timer:sleep(300), warp_nif:unlock(Lock) end),
    ?assertMatch({ok, _}, warp_nif:lock(Dir, 10000, owner)),
    File = filename:join(Dir, <<"claimed.db">>),
    {ok, Projection} = warp_nif:projection_open(File, false, owner),
    _ = spawn(fun() -> timer:sleep(300), warp_nif:projection_close(Projection) end),
    ?assertMatch({ok, _}, warp_nif:projection_open(File, false, owner)).
