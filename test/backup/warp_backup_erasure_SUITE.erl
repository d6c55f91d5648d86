%% A deleted entity is dead data in every backup: none of its bytes is in any file, and no cut gives it back, with
%% whatever keys it is restored; all others come back byte for byte.
-module(warp_backup_erasure_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_backup_test, [run/2, restore/3, restored/3, rows/1, logs/2, names/1, target/1, copied/2]).
-import(warp_saga_test, [saga/2, step/3, step/4, balance/2, fund/3, saga_log/2, types/2, waits_for_gate/1, at_gate/0]).

-define(SECRET, <<"Q7-secret-of-alice">>).
%% Its id is nowhere but in its own events, so that it goes with them.
-define(CAROL, <<"carol-9b1d77">>).
-define(NAMES, [<<"entity/", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 60)]).

suite() -> [{timetrap, {minutes, 10}}].

all() ->
    [a_deleted_entity_is_dead_in_all_cuts, a_new_life_lives_and_the_old_one_does_not,
     corrected_times_and_cleared_payloads_come_back_as_they_stand, a_deletion_between_the_parts_of_a_run_is_whole,
     sagas_of_a_cut_go_on_and_conserve_money].

init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

%% ------------------------------------------------------------------ Dead data

a_deleted_entity_is_dead_in_all_cuts(Config) ->
    Opts = opts(),
    Ctx = warp_test:start(Config, Opts),
    ok = others(Ctx, 1),
    ok = alice(Ctx, 1),
    ok = carol(Ctx),
    ok = committed_and_compensated(Ctx),
    One = cut(Ctx, Config),
    ok = others(Ctx, 2),
    ok = alice(Ctx, 2),
    %% It has done a step on alice, and is to do another one.
    {error, timeout} = warp_saga:commit(under_way(), Ctx, #{wait => 0}),
    _ = at_gate(),
    Two = cut(Ctx, Config),
    ok = others(Ctx, 3),
    Three = cut(Ctx, Config),
    has_snapshots_and_tables(Ctx),
    ?assertNotEqual([], files_with(Config, ?SECRET)),
    ?assertNotEqual([], files_with(Config, ?CAROL)),
    ok = copied(filename:join(target(Config), "keys"), filename:join(dir(Config), "keys-of-before")),
    [ok = warp_core:delete(warp_core:entity(Ctx, Name)) || Name <- [<<"alice">>, ?CAROL]],
    gone(dir(Config)),
    ok = others(Ctx, 4),
    Four = cut(Ctx, Config),
    gone(dir(Config)),
    Now = rows(warp_test:context_dir(Ctx)),
    Again = warp_test:restart(Ctx),
    turned_back(Again),
    ok = warp_test:stop(Again),
    Cuts = [One, Two, Three, Four],
    {ok, #{cuts := Count}} = verified(Config),
    %% Each deletion has made a cut of its own.
    ?assertEqual(6, Count),
    [as_it_was(Config, "restored", Cut, Now, Opts) || Cut <- Cuts],
    %% Someone has kept the key pages of before.
    ok = copied(filename:join(dir(Config), "keys-of-before"), filename:join(target(Config), "keys")),
    [as_it_was(Config, "with-old-keys", Cut, Now, Opts) || Cut <- [One, Two, Three]].

%% A cut, and what was there: which rows, and the logs of all others. Nothing is under way but what waits at the gate.
cut(Ctx, Config) ->
    warp_test:await_applied(Ctx),
    Rows = rows(warp_test:context_dir(Ctx)),
    {ok, #{cut := Cut}} = run(Ctx, Config),
    {Cut, maps:keys(Rows), logs(Ctx, names(Ctx) -- [<<"alice">>, ?CAROL])}.

as_it_was(Config, Kind, {Cut, Positions, Logs}, Now, Opts) ->
    Name = lists:concat([Kind, "-", Cut]),
    {DataDir, Report} = restore(Config, Name, #{until => {cut, Cut}}),
    gone(DataDir),
    %% Not a row more, and each as it stands now.
    same(maps:with(Positions, Now), rows(DataDir)),
    Ctx = warp_test:start(maps:merge(Opts, warp_backup_test:opts(DataDir, Report))),
    {ok, _} = warp_core:verify(Ctx),
    ?assertEqual(lists:sort(maps:keys(Logs)), names(Ctx)),
    %% His goes on with the saga.
    same(maps:remove(<<"bob">>, Logs), logs(Ctx, maps:keys(Logs) -- [<<"bob">>])),
    [begin
         Entity = warp_core:entity(Ctx, Gone),
         ?assertEqual({ok, []}, warp_core:export(Entity)),
         ?assertEqual({ok, 0}, warp_core:get(Entity, <<"Account">>))
     end || Gone <- [<<"alice">>, ?CAROL]],
    saga_goes_on(Ctx, maps:get(<<"bob">>, Logs)),
    warp_projection_test:even(Ctx),
    Shops = [Id || Id <- maps:keys(Logs), lists:any(fun(#{type := Type}) -> Type =:= <<"Placed">> end,
                                                    maps:get(Id, Logs))],
    ?assertEqual(lists:sort(Shops), lists:append(warp_projection_test:rows(Ctx, "SELECT id FROM orders ORDER BY id"))),
    gone(DataDir),
    ok = warp_test:stop(Ctx),
    gone(DataDir),
    ok = file:del_dir_r(DataDir).

%% Nobody knows any more what of it was done with alice, so that it turns back, as after a restart where alice was
%% deleted.
saga_goes_on(Ctx, OfBob) ->
    case [Event || #{id := <<"under-way/", _/binary>>} = Event <- OfBob] of
        [] -> ?assertEqual({error, not_found}, warp_saga:status(Ctx, <<"under-way">>));
        _ -> turned_back(Ctx)
    end,
    ?assertMatch({ok, #{state := committed}}, warp_saga:status(Ctx, <<"committed">>)),
    ?assertMatch({ok, #{state := compensated}}, warp_saga:status(Ctx, <<"compensated">>)),
    ?assertEqual([<<"Planned">>, <<"Cleared">>, <<"Cleared">>, <<"Forward">>, <<"Reverse">>, <<"Committed">>],
                 types(Ctx, <<"committed">>)).

turned_back(Ctx) ->
    {ok, {compensated, Map}} = warp_saga:commit(under_way(), Ctx),
    ?assertMatch(#{failed := #{step := 1, entity := <<"alice">>, reason := entity_deleted}}, Map),
    ?assertEqual(<<"under-way/comp/0">>, lists:last(warp_saga_test:ids(Ctx, <<"bob">>))).

%% Neither its payloads nor, where nothing else had it, its id.
gone(Dir) ->
    [?assertEqual([], warp_test:files_with(Dir, Needle)) || Needle <- [?SECRET, ?CAROL]].

has_snapshots_and_tables(Ctx) ->
    warp_test:wait_until(fun() ->
        [] =/= [Row || File <- warp_test:shard_files(warp_test:context_dir(Ctx)),
                       Row <- warp_test:sqlite(File, "SELECT 1 FROM snapshots WHERE instr(image, 'Q7-secret') > 0")]
    end),
    ok = warp_core:await_projection(warp_core:entity(Ctx, <<"alice">>), 60000),
    [[1]] = warp_projection_test:rows(Ctx, "SELECT count(*) FROM customers WHERE id = ?", [?SECRET]).

%% ------------------------------------------------------------------ Lives

%% The name is alive again, before the last cut, and then deleted again.
a_new_life_lives_and_the_old_one_does_not(Config) ->
    Ctx = warp_test:start(Config, opts()),
    Alice = warp_core:entity(Ctx, <<"alice">>),
    Lives = [begin
                 {ok, 1} = warp_core:append(Alice, (warp_test:noted(text(N)))#{id => <<"first">>}),
                 {ok, _} = warp_core:append_batch(Alice, [warp_test:noted(text(N)) || _ <- lists:seq(1, N)]),
                 {ok, #{cut := Cut}} = run(Ctx, Config),
                 _ = [ok = warp_core:delete(Alice) || N < 4],
                 {N, Cut}
             end || N <- lists:seq(1, 4)],
    [?assertEqual([], files_with(Config, text(N))) || N <- [1, 2, 3]],
    {ok, Events} = warp_core:export(Alice),
    ok = warp_test:stop(Ctx),
    [begin
         {Again, _} = restored(Config, integer_to_list(Cut), {#{until => {cut, Cut}}, opts()}),
         Expected = case N of 4 -> Events; _ -> [] end,
         ?assertEqual({ok, Expected}, warp_core:export(warp_core:entity(Again, <<"alice">>))),
         ok = warp_test:stop(Again),
         [?assertEqual([], warp_test:files_with(filename:join(dir(Config), integer_to_list(Cut)), text(Life)))
          || Life <- [1, 2, 3]]
     end || {N, Cut} <- Lives].

text(N) -> <<"life-of-alice-", (integer_to_binary(N))/binary, "!">>.

%% ------------------------------------------------------------------ Corrections

corrected_times_and_cleared_payloads_come_back_as_they_stand(Config) ->
    Ctx = warp_test:start(Config, opts()),
    ok = others(Ctx, 1),
    ok = committed_and_compensated(Ctx),
    One = cut_now(Ctx, Config),
    [First, Second, Third | _] = ?NAMES,
    ok = warp_core:correct_time(warp_core:entity(Ctx, First), 1, 1600000000000001),
    ok = warp_core:correct_time(warp_core:entity(Ctx, Second), 2, 1600000000000002),
    Two = cut_now(Ctx, Config),
    %% In one cut: what is new to it, and what was corrected before, anew.
    ok = others(Ctx, 2),
    ok = warp_core:correct_time(warp_core:entity(Ctx, Third), 5, 1600000000000005),
    ok = warp_core:correct_time(warp_core:entity(Ctx, First), 1, 1600000000000003),
    Three = cut_now(Ctx, Config),
    ok = warp_core:delete(warp_core:entity(Ctx, <<"alice">>)),
    ok = warp_core:correct_time(warp_core:entity(Ctx, Second), 1, 1600000000000004),
    Four = cut_now(Ctx, Config),
    Now = rows(warp_test:context_dir(Ctx)),
    ?assert(lists:any(fun(#{recorded_at := At}) -> At =:= 1600000000000003 end,
                      element(2, warp_core:export(warp_core:entity(Ctx, First))))),
    ok = warp_test:stop(Ctx),
    Cleared = lists:filter(fun(Place) -> has_cleared(maps:get(Place, Now)) end, maps:keys(Now)),
    ?assertMatch([_, _ | _], Cleared),
    [begin
         {DataDir, _} = restore(Config, integer_to_list(Cut), #{until => {cut, Cut}}),
         %% Times as they stood at the cut; of alice what stands now.
         Expected = maps:merge(maps:with(maps:keys(Now), Rows), maps:with(Cleared, Now)),
         same(maps:with(maps:keys(Rows), Expected), rows(DataDir))
     end || {Cut, Rows} <- [One, Two, Three, Four]].

has_cleared(Row) -> binary:match(Row, binary:encode_hex(<<"\"Cleared\"">>)) =/= nomatch.

cut_now(Ctx, Config) ->
    warp_test:await_applied(Ctx),
    Rows = rows(warp_test:context_dir(Ctx)),
    {ok, #{cut := Cut}} = run(Ctx, Config),
    {Cut, Rows}.

%% ------------------------------------------------------------------ While a run is under way

%% The run has stored key pages, and waits; then alice goes, and it goes on.
a_deletion_between_the_parts_of_a_run_is_whole(Config) ->
    Ctx = warp_test:start(Config, opts()),
    ok = others(Ctx, 1),
    ok = alice(Ctx, 1),
    Self = self(),
    Once = atomics:new(1, []),
    Wait = fun(_) ->
        atomics:add_get(Once, 1, 1) =:= 1 andalso begin Self ! {stored, self()}, receive go -> ok end end
    end,
    spawn_link(fun() ->
        Self ! {run, warp_backup:run(Ctx, target(Config), #{master_key => warp_backup_test:master(Config),
                                                            progress => Wait})}
    end),
    Run = receive {stored, Pid} -> Pid end,
    Alice = warp_core:entity(Ctx, <<"alice">>),
    spawn_link(fun() -> Self ! {deleted, warp_core:delete(Alice, #{timeout => 60000})} end),
    %% It waits for the run behind this one.
    warp_test:wait_until(fun() -> {ok, []} =:= warp_core:export(Alice) end),
    Run ! go,
    {ok, #{cut := 1}} = receive {run, Ran} -> Ran end,
    ok = receive {deleted, Deleted} -> Deleted end,
    gone(dir(Config)),
    Now = rows(warp_test:context_dir(Ctx)),
    ok = warp_test:stop(Ctx),
    {ok, Cuts} = warp_backup:list(target(Config)),
    [begin
         {DataDir, _} = restore(Config, integer_to_list(Cut), #{until => {cut, Cut}}),
         gone(DataDir),
         same(Now, rows(DataDir))
     end || #{cut := Cut} <- Cuts].

%% ------------------------------------------------------------------ Sagas

%% Accounts and transfers between them; each cut is made while many are under way.
sagas_of_a_cut_go_on_and_conserve_money(Config) ->
    Opts = #{aggregates => [warp_saga_load:aggregate()], shards => 3},
    Ctx = warp_test:start(Config, Opts),
    Names = [<<"account-", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 30)],
    [{ok, 1} = warp_core:append(warp_core:entity(Ctx, Name), #{type => <<"Credited">>, payload => #{amount => 100}})
     || Name <- Names],
    {ok, #{cut := 1}} = run(Ctx, Config),
    Stop = atomics:new(1, []),
    Self = self(),
    Callers = [spawn_link(fun() -> Self ! {self(), transfers(Ctx, {Caller, list_to_tuple(Names), Stop}, 1)} end)
               || Caller <- lists:seq(1, 40)],
    Cuts = [begin timer:sleep(150), {ok, #{cut := Cut}} = run(Ctx, Config), Cut end || _ <- lists:seq(1, 8)],
    ok = atomics:put(Stop, 1, 1),
    Made = lists:sum([receive {Caller, Count} -> Count end || Caller <- Callers]),
    ok = warp_test:stop(Ctx),
    {ok, _} = verified(Config),
    UnderWay = [begin
        {DataDir, Report} = restore(Config, integer_to_list(Cut), #{until => {cut, Cut}}),
        %% As many as the file says are not ended; each of them goes on with the start.
        Open = length(lists:append([warp_test:sqlite(File, "SELECT 1 FROM open_sagas")
                                    || File <- warp_test:shard_files(DataDir)])),
        Restored = warp_test:start(maps:merge(Opts, warp_backup_test:opts(DataDir, Report))),
        {ok, _} = warp_saga:recover_pending(Restored),
        warp_test:wait_until(fun() -> {ok, []} =:= warp_saga:pending(Restored) end, 60000),
        ?assertEqual(100 * length(Names), lists:sum([balance(Restored, Name) || Name <- Names])),
        {ok, _} = warp_core:verify(Restored),
        ok = warp_test:stop(Restored),
        Open
    end || Cut <- Cuts],
    ct:log("~b transfers; under way in the cuts: ~w", [Made, UnderWay]),
    ?assert(lists:sum(UnderWay) > 10).

transfers(Ctx, {Caller, Names, Stop} = By, N) ->
    case atomics:get(Stop, 1) of
        1 ->
            N;
        0 ->
            Any = fun() -> element(rand:uniform(tuple_size(Names)), Names) end,
            Id = iolist_to_binary(io_lib:format("~b-~b", [Caller, N])),
            {ok, {How, _}} = warp_saga:commit(
                warp_saga_load:transfer({Id, Any(), Any(), rand:uniform(60), rand:uniform(4)}), Ctx),
            true = How =:= committed orelse How =:= compensated,
            transfers(Ctx, By, N + 1)
    end.

%% ------------------------------------------------------------------ Helpers

opts() ->
    Gate = self(),
    Wait = fun(_State, _Args) ->
        Gate ! {at_gate, self()},
        receive go -> {ok, #{type => <<"Noted">>, payload => #{}}} end
    end,
    #{shards => 3, snapshot_every => 5, steps => #{<<"wait">> => Wait}, projections => {embedded, #{}},
      aggregates => [warp_projection_test:shop() | warp_test:aggregates()]}.

%% Batches, ids, metadata, other aggregates.
others(Ctx, Round) ->
    lists:foreach(
        fun({N, Name}) ->
            Entity = warp_core:entity(Ctx, Name),
            Id = <<"id-", (integer_to_binary(Round))/binary>>,
            Metadata = #{round => Round, by => <<"tester ", 195, 164>>},
            {ok, _} = warp_core:append_batch(Entity, [(warp_test:credited(N))#{id => Id, metadata => Metadata},
                                                      warp_test:credited(Round)]),
            {ok, _} = warp_core:append(Entity, warp_test:added(Name)),
            _ = [{ok, _} = warp_core:append(Entity, warp_projection_test:placed(Name, N)) || N rem 3 =:= 0]
        end,
        lists:enumerate(?NAMES)).

alice(Ctx, Round) ->
    Alice = warp_core:entity(Ctx, <<"alice">>),
    [{ok, _} = warp_core:append(Alice, warp_test:added(?SECRET)) || _ <- lists:seq(1, 12)],
    {ok, [_ | _]} = warp_core:get(Alice, <<"Todo">>),
    {ok, _} = warp_core:append_batch(Alice, [(warp_test:noted(<<?SECRET/binary, (integer_to_binary(N))/binary>>))
                                             #{metadata => #{secret => ?SECRET}} || N <- lists:seq(1, 30)]),
    {ok, _} = warp_core:append(Alice, warp_projection_test:placed(?SECRET, Round)),
    ok.

carol(Ctx) ->
    Carol = warp_core:entity(Ctx, ?CAROL),
    {ok, _} = warp_core:append_batch(Carol, [warp_test:credited(N) || N <- lists:seq(1, 20)]),
    {ok, _} = warp_core:append(Carol, (warp_test:noted(?CAROL))#{id => ?CAROL}),
    ok.

committed_and_compensated(Ctx) ->
    {ok, {committed, _}} = warp_saga:commit(
        saga(<<"committed">>, [noted(<<"alice">>, ?SECRET), noted(<<"bob">>, <<"bob's">>)]), Ctx),
    {ok, {compensated, _}} = warp_saga:commit(
        saga(<<"compensated">>, [noted(<<"bob">>, <<"bob's">>), noted(<<"alice">>, ?SECRET),
                                 step(<<"dave">>, <<"Debited">>, 5)]), Ctx),
    ok.

under_way() ->
    saga(<<"under-way">>, [noted(<<"bob">>, <<"bob's">>), noted(<<"alice">>, ?SECRET), waits_for_gate(<<"gate">>),
                           noted(<<"alice">>, ?SECRET)]).

noted(Name, Text) ->
    step(Name, <<"Log">>, #{type => <<"Noted">>, payload => #{text => Text}},
         #{type => <<"Unnoted">>, payload => #{text => Text}}).

%% Two maps are equal; says only where they are not.
same(Expected, Found) ->
    Keys = lists:usort(maps:keys(Expected) ++ maps:keys(Found)),
    ?assertEqual([], [{Key, maps:find(Key, Expected), maps:find(Key, Found)}
                      || Key <- Keys, maps:find(Key, Expected) =/= maps:find(Key, Found)]).

verified(Config) ->
    {ok, _} = warp_backup:verify(target(Config)),
    warp_backup:verify(target(Config), #{master_key => warp_backup_test:master(Config)}).

dir(Config) -> ?config(dir, Config).

files_with(Config, Needle) -> warp_test:files_with(dir(Config), Needle).
