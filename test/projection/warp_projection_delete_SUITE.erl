%% Deleting entities from projections, against each target.
-module(warp_projection_delete_SUITE).

-export([all/0, suite/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
%% For the entity's process, which erases its log without a step before that.
-export([arrived/2, prepare/3]).
-export([all_rows_go/1, nothing_stays_in_the_files/1, what_lags_writes_nothing/1, a_new_life_is_kept/1,
         a_new_life_while_the_old_one_goes/1, many_at_once/1, the_same_at_once/1, says_what_is_left/1,
         notes_are_taken_up/1, a_deletion_that_never_began/1, both_generations/1, answers_in_time/1,
         what_it_does_not_know/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include_lib("warp_core/src/base/warp_entity.hrl").

-import(warp_projection_test, [start/2, start/3, rows/2, rows/3, await/1, await_all/1, dump/1, even/1]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, embedded}, {group, rqlite}].

groups() ->
    warp_projection_test:groups(
        [all_rows_go, nothing_stays_in_the_files, what_lags_writes_nothing, a_new_life_is_kept,
         a_new_life_while_the_old_one_goes, many_at_once, the_same_at_once, says_what_is_left,
         notes_are_taken_up, a_deletion_that_never_began, both_generations, answers_in_time,
         what_it_does_not_know]).

init_per_group(Group, Config) -> warp_projection_test:init_group(Group, Config).
end_per_group(_Group, Config) -> warp_projection_test:end_group(Config).
init_per_testcase(nothing_stays_in_the_files, Config) ->
    case ?config(target, Config) of
        embedded -> warp_projection_test:init_case(Config);
        rqlite -> {skip, "the files of an rqlite are its own"}
    end;
init_per_testcase(says_what_is_left, Config) ->
    %% It takes long until Warp gives an rqlite up.
    case ?config(target, Config) =:= embedded orelse os:getenv("WARP_LONG") =/= false of
        true -> warp_projection_test:init_case(Config);
        false -> {skip, "long: with WARP_LONG only"}
    end;
init_per_testcase(_Case, Config) -> warp_projection_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_projection_test:end_case(Config).

append(Entity, Event) -> {ok, _} = warp_core:append(Entity, Event).
does(Ctx, Id, Commands) ->
    Entity = warp_core:entity(Ctx, Id),
    append(Entity, warp_projection_test:does(Commands)),
    Entity.

process(Ctx, Part) -> hd([Pid || {P, Pid} <- warp_test:processes(Ctx), P =:= Part]).

%% No deletion is under way, and no note of one is left.
settled(Ctx) ->
    {ok, Context} = warp_context:find(Ctx),
    [] = warp_erasure_holds:all(Context),
    File = filename:join(warp_test:context_dir(Ctx), "erasures.db"),
    ?assertEqual([<<"0">>], warp_test:sqlite(File, "SELECT count(*) FROM notes")).

commands(Id) ->
    [warp_projection:upsert(a, Id, #{x => Id}), warp_projection:upsert(b, <<"other-", Id/binary>>, #{y => 1}),
     warp_projection:upsert(b, erlang:phash2(Id), #{y => 2}), warp_projection:increment(a, <<"all">>, #{n => 1}),
     warp_projection:increment(c, <<"of-", Id/binary>>, #{n => 5, m => 2.5})].

all_rows_go(Config) ->
    Ctx = start(Config, [warp_projection_test:commands()]),
    Ids = [<<"e", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 10)],
    Entities = [does(Ctx, Id, commands(Id)) || Id <- Ids],
    await_all(Entities),
    ?assertEqual([[10]], rows(Ctx, "SELECT n FROM a WHERE id = 'all'")),
    lists:foreach(
        fun({Entity, Left}) ->
            ?assertEqual(ok, warp_core:delete(Entity)),
            N = length(Left),
            ?assertEqual(lists:sort(Left), lists:append(rows(Ctx, "SELECT x FROM a WHERE x IS NOT NULL ORDER BY x"))),
            ?assertEqual([[2 * N]], rows(Ctx, "SELECT count(*) FROM b")),
            ?assertEqual([[N]], rows(Ctx, "SELECT count(*) FROM c")),
            ?assertEqual([[N] || N > 0], rows(Ctx, "SELECT n FROM a WHERE id = 'all'"))
        end,
        [{E, lists:nthtail(N, Ids)} || {N, E} <- lists:zip(lists:seq(1, 10), Entities)]),
    ?assertEqual([[0]], rows(Ctx, "SELECT count(*) FROM _warp_counts")),
    settled(Ctx).

nothing_stays_in_the_files(Config) ->
    Ctx = start(Config, [warp_projection_test:shop(), warp_projection_test:commands()]),
    Secret = <<"s3cr3t-of-mallory">>,
    %% Neighbours come and go around it, so that rows are moved between pages.
    Fill = fun(From, To) ->
        [does(Ctx, <<"n", (integer_to_binary(N))/binary>>,
              [warp_projection:upsert(t, <<"s3cr3", (integer_to_binary(N * 7919))/binary>>,
                                      #{text => binary:copy(<<"x">>, N rem 300)})])
         || N <- lists:seq(From, To)]
    end,
    Before = Fill(1, 300),
    Entity = does(Ctx, Secret,
                  [warp_projection:upsert(t, Secret, #{text => Secret, j => {json, [Secret]}}),
                   warp_projection:increment(counts, Secret, #{n => 1}),
                   warp_projection:upsert(big, <<"b">>, #{text => binary:copy(Secret, 5000)})]),
    After = Fill(301, 600),
    await_all(Before ++ [Entity] ++ After),
    [ok = warp_core:delete(E) || E <- lists:sublist(Before, 20)],
    append(Entity, warp_projection_test:event(<<"Crash">>, #{})),
    {error, {set_aside, 2}} = warp_core:await_projection(Entity, 60000),
    ?assertMatch([_ | _], warp_test:files_with(?config(dir, Config), Secret)),
    ok = warp_core:delete(Entity),
    ?assertEqual([], warp_test:files_with(?config(dir, Config), Secret)),
    warp_test:stop(Ctx),
    ?assertEqual([], warp_test:files_with(?config(dir, Config), Secret)).

%% Nothing that is on its way to the target when its entity is deleted arrives there.
what_lags_writes_nothing(Config) ->
    Ctx = start(Config, [warp_projection_test:commands()], #{shards => 1}),
    %% The tables are there, and empty.
    await(does(Ctx, <<"f">>, [warp_projection:delete(Table, 1) || Table <- [a, b, c]])),
    lists:foreach(
        fun(Part) ->
            Halted = process(Ctx, Part),
            ok = sys:suspend(Halted),
            Entity = warp_core:entity(Ctx, <<"e">>),
            [append(Entity, warp_projection_test:does(commands(<<"e">>))) || _ <- lists:seq(1, 20)],
            Other = does(Ctx, <<"f">>, [warp_projection:upsert(a, <<"f">>, #{x => atom_to_binary(Part)})]),
            Self = self(),
            spawn_link(fun() -> Self ! {deleted, warp_core:delete(Entity)} end),
            warp_test:wait_until(fun() -> warp_core:export(Entity) =:= {ok, []} end),
            ok = sys:resume(Halted),
            ?assertEqual(ok, receive {deleted, Result} -> Result end),
            ?assertEqual({Part, []}, {Part, rows(Ctx, "SELECT id FROM a WHERE id <> 'f'")}),
            await(Other),
            even(Ctx),
            ?assertEqual({Part, []}, {Part, rows(Ctx, "SELECT id FROM a WHERE id <> 'f'")}),
            ?assertEqual([[0]], rows(Ctx, "SELECT count(*) FROM b"))
        end,
        [writer, projector, writer]),
    settled(Ctx).

a_new_life_is_kept(Config) ->
    Ctx = start(Config, [warp_projection_test:shop()]),
    A = warp_core:entity(Ctx, <<"a">>),
    lists:foreach(
        fun(N) ->
            append(A, warp_projection_test:placed(<<"c", (integer_to_binary(N))/binary>>, N)),
            case N rem 2 of 0 -> await(A); 1 -> ok end,
            ?assertEqual(ok, warp_core:delete(A)),
            append(A, warp_projection_test:placed(<<"x">>, 1000 + N)),
            await(A),
            ?assertEqual([[1000 + N]], rows(Ctx, "SELECT total FROM orders")),
            ?assertEqual([[<<"x">>, 1000 + N]], rows(Ctx, "SELECT id, spent FROM customers")),
            ?assertEqual(ok, warp_core:delete(A))
        end,
        lists:seq(1, 10)),
    ?assertEqual([], rows(Ctx, "SELECT id FROM orders UNION SELECT id FROM customers")).

%% Someone appends all the time, while someone else deletes.
a_new_life_while_the_old_one_goes(Config) ->
    Ctx = start(Config, [warp_projection_test:shop()], #{shards => 1}),
    A = warp_core:entity(Ctx, <<"a">>),
    Writer = spawn_link(fun() -> append_on(A) end),
    lists:foreach(
        fun(_) ->
            timer:sleep(rand:uniform(10)),
            ?assertEqual(ok, warp_core:delete(A))
        end,
        lists:seq(1, case ?config(target, Config) of embedded -> 100; rqlite -> 20 end)),
    Writer ! {stop, self()},
    receive stopped -> ok end,
    append(A, warp_projection_test:placed(1)),
    await(A),
    {ok, Events} = warp_core:export(A),
    Count = length(Events),
    ?assertEqual([[Count]], rows(Ctx, "SELECT total FROM orders")),
    ?assertEqual([[Count, Count]], rows(Ctx, "SELECT orders, spent FROM customers")),
    settled(Ctx).

append_on(Entity) ->
    receive
        {stop, From} -> From ! stopped
    after 0 ->
        append(Entity, warp_projection_test:placed(1)),
        append_on(Entity)
    end.

many_at_once(Config) ->
    Ctx = start(Config, [warp_projection_test:commands()]),
    Count = 60,
    Entities = warp_test:parallel(Count, fun(N) ->
        Id = <<"e", (integer_to_binary(N))/binary>>,
        does(Ctx, Id, commands(Id))
    end),
    Kept = does(Ctx, <<"kept">>, commands(<<"kept">>)),
    Results = warp_test:parallel([fun() -> warp_core:delete(E) end || E <- Entities]),
    ?assertEqual(lists:duplicate(Count, ok), Results),
    await(Kept),
    ?assertEqual([[<<"all">>, 1], [<<"kept">>, null]], rows(Ctx, "SELECT id, n FROM a ORDER BY id")),
    settled(Ctx).

the_same_at_once(Config) ->
    Ctx = start(Config, [warp_projection_test:commands()]),
    Entity = does(Ctx, <<"e">>, commands(<<"e">>)),
    await(Entity),
    ?assertEqual(lists:duplicate(10, ok), warp_test:parallel(10, fun(_) -> warp_core:delete(Entity) end)),
    ?assertEqual([[0]], rows(Ctx, "SELECT count(*) FROM b")),
    settled(Ctx).

%% The target does not answer: the caller is told what is left, and Warp erases it later by itself.
says_what_is_left(Config) ->
    Ctx = start(Config, [warp_projection_test:commands()]),
    Entity = does(Ctx, <<"e">>, commands(<<"e">>)),
    await(Entity),
    Away = warp_projection_test:hold(Ctx, Config),
    Target = ?config(target, Config),
    {error, {still_to_erase, Left}} = warp_core:delete(Entity),
    ?assertMatch(#{target := Target, reason := _}, Left),
    ?assertEqual([<<"a">>, <<"b">>, <<"c">>], maps:get(projections, Left)),
    ?assertEqual({ok, []}, warp_core:export(Entity)),
    %% The entity begins a new life meanwhile, and Warp is restarted.
    append(Entity, warp_projection_test:does([warp_projection:upsert(a, <<"new">>, #{x => <<"new">>})])),
    Again = warp_test:restart(Ctx),
    warp_projection_test:release(Away),
    New = warp_core:entity(Again, <<"e">>),
    await(New),
    ?assertEqual([[<<"new">>]], rows(Again, "SELECT id FROM a")),
    ?assertEqual([[0]], rows(Again, "SELECT count(*) FROM b")),
    warp_test:wait_until(fun() ->
        {ok, Context} = warp_context:find(Again),
        warp_erasure_holds:all(Context) =:= []
    end, 60000),
    settled(Again).

%% A crash right after the log was erased: only the note is left.
notes_are_taken_up(Config) ->
    Ctx = start(Config, [warp_projection_test:commands()]),
    Entity = does(Ctx, <<"e">>, commands(<<"e">>)),
    await(Entity),
    {ok, Context} = warp_context:find(Ctx),
    {ok, {Incarnation, _, _}} = place(Context, Entity),
    {deleted, _} = warp_entity_call:call(Entity, {delete, {?MODULE, none}}, 0, infinity, repeatable),
    #warp_entity{shard = N} = Entity,
    warp_test:stop(Ctx),
    {ok, Notes} = warp_erasure_list:open(warp_erasure_list:path(Context), owner),
    ok = warp_erasure_list:add(Notes, #{entity => <<"e">>, shard => N, incarnation => Incarnation}, []),
    ok = warp_erasure_list:close(Notes),
    Again = start(Config, [warp_projection_test:commands()]),
    warp_test:wait_until(fun() -> rows(Again, "SELECT id FROM b") =:= [] end, 60000),
    warp_test:wait_until(fun() ->
        {ok, Now} = warp_context:find(Again),
        warp_erasure_holds:all(Now) =:= []
    end, 60000),
    settled(Again).

%% A crash right before: the entity lives, and stays.
a_deletion_that_never_began(Config) ->
    Ctx = start(Config, [warp_projection_test:commands()]),
    Entity = does(Ctx, <<"e">>, commands(<<"e">>)),
    await(Entity),
    {ok, Context} = warp_context:find(Ctx),
    {ok, {Incarnation, _, _}} = place(Context, Entity),
    #warp_entity{shard = N} = Entity,
    Before = dump(Ctx),
    warp_test:stop(Ctx),
    {ok, Notes} = warp_erasure_list:open(warp_erasure_list:path(Context), owner),
    ok = warp_erasure_list:add(Notes, #{entity => <<"e">>, shard => N, incarnation => Incarnation}, []),
    ok = warp_erasure_list:close(Notes),
    Again = start(Config, [warp_projection_test:commands()]),
    warp_test:wait_until(fun() ->
        {ok, Now} = warp_context:find(Again),
        warp_erasure_holds:all(Now) =:= []
    end, 60000),
    settled(Again),
    ?assertEqual(Before, dump(Again)),
    ?assertMatch({ok, [_]}, warp_core:export(warp_core:entity(Again, <<"e">>))).

%% For the entity's process: nothing has to be done before the log is erased.
arrived(_Context, _Entity) -> ok.
prepare(_Context, _Entity, none) -> ok.

place(Context, #warp_entity{id = Id, shard = N}) ->
    {ok, Handle} = warp_context:shard(Context, N),
    warp_nif:last_row(Handle, Id).

%% During a rebuild there are rows in two sets of tables, and projectors of both on their way.
both_generations(Config) ->
    Ctx = start(Config, [warp_projection_test:commands()], #{shards => 1}),
    Ids = [<<"e", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 30)],
    Entities = [does(Ctx, Id, commands(Id)) || Id <- Ids],
    await_all(Entities),
    ok = warp_projection:rebuild(Ctx),
    {ok, Context} = warp_context:find(Ctx),
    {Now, Later} = lists:split(10, Entities),
    [?assertEqual(ok, warp_core:delete(E)) || E <- Now],
    _ = warp_projection:await_rebuild(Ctx, 60000),
    [?assertEqual(ok, warp_core:delete(E)) || E <- lists:sublist(Later, 10)],
    even(Ctx),
    ?assertEqual({ok, 2}, warp_projection_table:generation(Context)),
    ?assertEqual([[10]], rows(Ctx, "SELECT n FROM a WHERE id = 'all'")),
    ?assertEqual([[20]], rows(Ctx, "SELECT count(*) FROM b")),
    settled(Ctx).

%% Everybody who asks is answered ten seconds after asking, whatever keeps the deletion: a projector that
%% does nothing, or an entity that is busy. And it is carried out all the same.
answers_in_time(Config) ->
    Busy = #{name => <<"Busy">>, initial_state => none, apply => fun(S, _) -> S end,
             validate => fun(_, _) -> timer:sleep(13000), ok end},
    Ctx = start(Config, [warp_projection_test:commands(), Busy], #{shards => 2}),
    [{A, 0}, {B, 1}] = lists:sublist(lists:ukeysort(2,
        [{E, E#warp_entity.shard} || N <- lists:seq(1, 50),
                                     E <- [warp_core:entity(Ctx, <<"e", (integer_to_binary(N))/binary>>)]]), 2),
    await_all([does(Ctx, E#warp_entity.id, commands(E#warp_entity.id)) || E <- [A, B]]),
    {ok, Context} = warp_context:find(Ctx),
    {ok, Projector} = warp_projection_table:projector(Context, {0, 1}),
    ok = sys:suspend(Projector),
    Append = fun() ->
        warp_core:append(B, #{type => <<"T">>, payload => #{}, aggregate => <<"Busy">>}, #{timeout => infinity})
    end,
    Appending = spawn_monitor(fun() -> {ok, 2} = Append() end),
    timer:sleep(100),
    Timed = fun(After, E) ->
        fun() ->
            timer:sleep(After),
            {Micros, Result} = timer:tc(fun() -> warp_core:delete(E) end),
            {Micros div 1000, Result}
        end
    end,
    Answers = warp_test:parallel([Timed(0, A), Timed(500, A), Timed(1500, A), Timed(0, B), Timed(1000, B)]),
    Times = [Ms || {Ms, _} <- Answers],
    ?assert(lists:all(fun(Ms) -> Ms >= 9900 andalso Ms < 12000 end, Times), Times),
    ?assertMatch([{error, {still_to_erase, #{projections := [_, _, _], reason := a_projector_is_busy}}},
                  {error, {still_to_erase, _}}, {error, {still_to_erase, _}},
                  {error, timeout}, {error, timeout}], [Result || {_, Result} <- Answers]),
    ?assertEqual({ok, []}, warp_core:export(A)),
    ok = sys:resume(Projector),
    {Pid, Monitor} = Appending,
    receive {'DOWN', Monitor, process, Pid, Why} -> ?assertEqual(normal, Why) end,
    ?assertEqual([ok, ok], [warp_core:delete(E) || E <- [A, B]]),
    ?assertEqual([[0]], rows(Ctx, "SELECT count(*) FROM a")),
    ?assertEqual([[0]], rows(Ctx, "SELECT count(*) FROM b")),
    settled(Ctx).

what_it_does_not_know(Config) ->
    Ctx = start(Config, [warp_projection_test:commands()]),
    Entity = does(Ctx, <<"e">>, commands(<<"e">>)),
    await(Entity),
    {ok, Context} = warp_context:find(Ctx),
    {ok, Eraser} = warp_context:registered(Context, erasure),
    [Eraser ! Message || Message <- [hello, {deletion, self(), log_erased}, {'EXIT', self(), oops}, {patience, 1, 2},
                                     {'DOWN', make_ref(), process, self(), gone}, {make_ref(), late}]],
    exit(Eraser, oops),
    [ok = gen_server:cast(Eraser, Cast) || Cast <- [hello, {erase, self(), make_ref(), <<"e">>}]],
    [?assertEqual({error, {unknown_request, Call}}, gen_server:call(Eraser, Call))
     || Call <- [hello, {delete, Entity}, {delete, not_an_entity, 1}, {delete, Entity, soon}]],
    %% Handles that nobody was given.
    Forged = [{Id, N} || Id <- [an_atom, 7, <<>>, <<255>>, binary:copy(<<"x">>, 513), {a}, "e", <<1:7>>], N <- [0, 1]]
        ++ [{<<"e">>, 1 - Entity#warp_entity.shard}, {<<"e">>, 99}, {<<"e">>, -1}],
    [?assertMatch({error, {bad_entity_id, _}},
                  warp_erasure:delete(Context, Entity#warp_entity{id = Id, shard = N}, infinity)) || {Id, N} <- Forged],
    ?assertEqual({ok, Eraser}, warp_context:registered(Context, erasure)),
    ?assert(is_process_alive(Eraser)),
    ?assertMatch({ok, [_]}, warp_core:export(Entity)),
    ?assertEqual(ok, warp_core:delete(Entity)),
    settled(Ctx).
