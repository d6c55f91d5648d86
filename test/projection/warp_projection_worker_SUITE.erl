%% The aggregate's code does not return, takes all memory or is killed: nobody waits for it, and only its
%% event is set aside.
-module(warp_projection_worker_SUITE).

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([nobody_waits/1, a_rebuild_can_be_cancelled/1, a_state_that_is_not_found/1, a_long_log_is_no_hang/1,
         memory_has_a_limit/1, one_that_dies_twice/1, one_that_is_killed_once/1, retry_and_skip/1,
         two_retries_at_once/1, retried_piece_by_piece/1, who_halts_it_may_go/1, strays_are_ignored/1,
         no_data_in_reports/1, a_stale_function_waits/1, states_leave_memory/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_projection_test, [rows/2, await/1]).

-define(SECRET, <<"7d1c-very-secret">>).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [nobody_waits, a_rebuild_can_be_cancelled, a_state_that_is_not_found, a_long_log_is_no_hang,
     memory_has_a_limit, one_that_dies_twice, one_that_is_killed_once, retry_and_skip, two_retries_at_once,
     retried_piece_by_piece, who_halts_it_may_go, strays_are_ignored, no_data_in_reports,
     a_stale_function_waits, states_leave_memory].

init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) ->
    _ = persistent_term:erase({?MODULE, applies}),
    warp_test:end_case(Config).

%% ------------------------------------------------------------------ Aggregates

%% Its events say what `project' does; what `apply' does can be said later.
aggregate() ->
    #{name => <<"A">>,
      initial_state => 0,
      apply => fun(N, _) ->
          _ = (persistent_term:get({?MODULE, applies}, fun() -> ok end))(),
          N + 1
      end,
      project => fun(Id, N, #{payload := #{<<"do">> := Do}}) ->
          does(Do),
          [warp_projection:upsert(t, Id, #{n => N}), warp_projection:increment(c, <<"all">>, #{n => 1})]
      end}.

does(<<"hang">>) -> receive never_sent -> ok end;
does(<<"spin">>) -> spin();
does(<<"grow">>) -> grow([]);
does(<<"die">>) -> exit(self(), kill);
does(<<"crash">>) -> error(no_idea);
does(<<"gate">>) ->
    warp_proj_worker_gate ! {self(), at_the_gate},
    receive open -> ok end;
does(_) -> ok.

spin() -> spin().
grow(List) -> grow([List, make_ref() | List]).

start(Config) -> start(Config, #{}).
start(Config, Options) ->
    warp_projection_test:start(Config, [aggregate()], maps:merge(#{shards => 1, projections => embedded}, Options)).

entity(Ctx, Id) -> warp_core:entity(Ctx, Id).

append(Entity, Do) ->
    {ok, _} = warp_core:append(Entity, #{type => <<"T">>, aggregate => <<"A">>, payload => #{do => Do, s => ?SECRET}}),
    Entity.

%% In milliseconds, how long it takes.
took(Fun) ->
    {Micros, Result} = timer:tc(Fun),
    {Micros div 1000, Result}.

soon(Fun) ->
    {Millis, Result} = took(Fun),
    ?assertMatch({M, _} when M < 2000, {Millis, Result}),
    Result.

projector(Ctx) ->
    {ok, Context} = warp_context:find(Ctx),
    {ok, Generation} = warp_projection_table:generation(Context),
    {ok, Pid} = warp_projection_table:projector(Context, {0, Generation}),
    Pid.

worker(Ctx) ->
    {links, Links} = process_info(projector(Ctx), links),
    [Worker] = [Pid || Pid <- Links, is_pid(Pid), {dictionary, D} <- [process_info(Pid, dictionary)],
                       not lists:keymember('$initial_call', 1, D)],
    Worker.

shard(Ctx) ->
    {ok, #{shards := [Shard]}} = warp_projection:status(Ctx),
    Shard.

state(Ctx) -> maps:get(state, shard(Ctx)).

reason(Ctx, Id) ->
    {ok, Entries} = warp_projection:set_aside(Ctx),
    [Reason] = [R || #{entity := E, reason := R} <- Entries, E =:= Id],
    Reason.

contains(Text, Part) -> ?assertNotEqual(nomatch, binary:match(Text, Part)).

%% ------------------------------------------------------------------ Cases

nobody_waits(Config) ->
    Ctx = start(Config),
    [Gone, First, Behind] = [append(entity(Ctx, Id), <<"fine">>) || Id <- [<<"gone">>, <<"first">>, <<"behind">>]],
    warp_projection_test:await_all([Gone, First, Behind]),
    warp_test:wait_until(fun() -> state(Ctx) =:= live end),
    append(First, <<"hang">>),
    append(Behind, <<"fine">>),
    ?assertEqual({error, timeout}, warp_core:await_projection(Behind, 4500)),
    %% It says so, and everybody gets an answer.
    #{state := stalled, why := Why, since := Since, behind_positions := 2, behind_seconds := Seconds} =
        soon(fun() -> shard(Ctx) end),
    ?assertMatch({calling, project, #{position := 4, seq := 2}}, Why),
    ?assert(Since =< os:system_time(microsecond)),
    ?assert(Seconds > 4),
    ?assertMatch(#{projections := #{behind_seconds := S}} when S > 4, soon(fun() -> warp_core:stats(Ctx) end)),
    ?assertEqual(ok, soon(fun() -> warp_core:delete(Gone) end)),
    ?assertMatch({ok, []}, soon(fun() -> warp_projection:set_aside(Ctx) end)),
    ?assertEqual({error, not_set_aside}, soon(fun() -> warp_projection:retry(Ctx, <<"first">>) end)),
    ?assertMatch({ok, #{state := none}}, soon(fun() -> warp_projection:rebuild_progress(Ctx) end)),
    %% The call is ended, and only its event is set aside.
    await(Behind),
    ?assertEqual({error, {set_aside, 2}}, warp_core:await_projection(First, 30000)),
    contains(reason(Ctx, <<"first">>), <<"timeout: project had not returned after 10 seconds">>),
    ?assertEqual([[<<"behind">>, 2], [<<"first">>, 1]], rows(Ctx, "SELECT id, n FROM t ORDER BY id")),
    warp_test:wait_until(fun() -> state(Ctx) =:= live end),
    ?assertMatch(#{behind_seconds := +0.0, behind_positions := 0, why := none}, shard(Ctx)).

a_rebuild_can_be_cancelled(Config) ->
    Ctx = start(Config),
    A = entity(Ctx, <<"a">>),
    [append(A, <<"fine">>) || _ <- lists:seq(1, 3)],
    await(A),
    append(A, <<"spin">>),
    ?assertEqual({error, {set_aside, 4}}, warp_core:await_projection(A, 30000)),
    ok = soon(fun() -> warp_projection:rebuild(Ctx) end),
    timer:sleep(1000),
    ?assertMatch({ok, #{state := running}}, soon(fun() -> warp_projection:rebuild_progress(Ctx) end)),
    ?assertEqual({error, already_running}, soon(fun() -> warp_projection:rebuild(Ctx) end)),
    ?assertMatch({ok, #{rebuild := #{state := running}}}, soon(fun() -> warp_projection:status(Ctx) end)),
    ?assertEqual(ok, soon(fun() -> warp_projection:cancel_rebuild(Ctx) end)),
    ok = warp_projection:rebuild(Ctx),
    %% It is set aside there as well.
    ?assertEqual(ok, warp_projection:await_rebuild(Ctx, 60000)),
    contains(reason(Ctx, <<"a">>), <<"timeout">>),
    ?assertEqual([[3]], rows(Ctx, "SELECT n FROM t")).

%% The state that it needs comes from a fold that hangs.
a_state_that_is_not_found(Config) ->
    Ctx = start(Config),
    [A, B] = [append(entity(Ctx, Id), <<"fine">>) || Id <- [<<"a">>, <<"b">>]],
    warp_projection_test:await_all([A, B]),
    Again = warp_test:restart(Ctx),
    {ok, _} = warp_core:get(entity(Again, <<"a">>), <<"A">>),
    Me = self(),
    persistent_term:put({?MODULE, applies}, fun() ->
        %% In an entity's process it returns.
        case get('$initial_call') of
            undefined -> Me ! hangs, receive never_sent -> ok end;
            _ -> ok
        end
    end),
    append(entity(Again, <<"a">>), <<"fine">>),
    receive hangs -> ok after 5000 -> error(not_called) end,
    ?assertEqual({error, {set_aside, 2}}, warp_core:await_projection(entity(Again, <<"a">>), 30000)),
    contains(reason(Again, <<"a">>), <<"timeout: apply">>),
    persistent_term:erase({?MODULE, applies}),
    await(append(entity(Again, <<"b">>), <<"fine">>)),
    ?assertEqual(ok, warp_projection:retry(Again, <<"a">>)),
    ?assertEqual([[<<"a">>, 2], [<<"b">>, 2]], rows(Again, "SELECT id, n FROM t ORDER BY id")).

a_long_log_is_no_hang(Config) ->
    Ctx = start(Config),
    A = entity(Ctx, <<"a">>),
    [append(A, <<"fine">>) || _ <- lists:seq(1, 65)],
    await(A),
    Again = warp_test:restart(Ctx),
    B = entity(Again, <<"a">>),
    {ok, 65} = warp_core:get(B, <<"A">>),
    persistent_term:put({?MODULE, applies}, fun() ->
        case get('$initial_call') of undefined -> timer:sleep(200); _ -> ok end
    end),
    append(B, <<"fine">>),
    {Millis, ok} = took(fun() -> warp_core:await_projection(B, 60000) end),
    ?assert(Millis > 12000),
    ?assertEqual([[66]], rows(Again, "SELECT n FROM t")).

memory_has_a_limit(Config) ->
    Ctx = start(Config),
    [A, B] = [append(entity(Ctx, Id), Do) || {Id, Do} <- [{<<"a">>, <<"grow">>}, {<<"b">>, <<"fine">>}]],
    ?assertEqual({error, {set_aside, 1}}, warp_core:await_projection(A, 60000)),
    contains(reason(Ctx, <<"a">>), <<"MiB of memory">>),
    await(B),
    ?assertEqual([[<<"b">>, 1]], rows(Ctx, "SELECT id, n FROM t")).

one_that_dies_twice(Config) ->
    Ctx = start(Config),
    Fine = [append(entity(Ctx, <<"f", (integer_to_binary(N))/binary>>), <<"fine">>) || N <- lists:seq(1, 50)],
    A = append(entity(Ctx, <<"a">>), <<"die">>),
    Last = append(entity(Ctx, <<"z">>), <<"fine">>),
    warp_projection_test:await_all([Last | Fine]),
    ?assertEqual({error, {set_aside, 1}}, warp_core:await_projection(A, 60000)),
    contains(reason(Ctx, <<"a">>), <<"was killed, twice">>),
    ?assertEqual([[51]], rows(Ctx, "SELECT n FROM c")),
    ?assertMatch({ok, [_]}, warp_projection:set_aside(Ctx)).

%% A worker that ends once is no proof against the event.
one_that_is_killed_once(Config) ->
    Ctx = start(Config),
    true = register(warp_proj_worker_gate, self()),
    A = append(entity(Ctx, <<"a">>), <<"gate">>),
    First = receive {Pid, at_the_gate} -> Pid end,
    true = exit(First, kill),
    Second = receive {Other, at_the_gate} -> Other end,
    ?assertNotEqual(First, Second),
    Second ! open,
    await(A),
    ?assertEqual({ok, []}, warp_projection:set_aside(Ctx)),
    ?assertEqual([[1]], rows(Ctx, "SELECT n FROM t")),
    %% And when it does nothing.
    Idle = worker(Ctx),
    true = exit(Idle, kill),
    await(append(A, <<"fine">>)),
    ?assertEqual([[2]], rows(Ctx, "SELECT n FROM t")).

retry_and_skip(Config) ->
    Ctx = start(Config),
    A = entity(Ctx, <<"a">>),
    [append(A, Do) || Do <- [<<"fine">>, <<"hang">>, <<"fine">>]],
    ?assertEqual({error, {set_aside, 2}}, warp_core:await_projection(A, 30000)),
    ?assertEqual({error, {set_aside, 2}}, warp_projection:retry(Ctx, <<"a">>)),
    contains(reason(Ctx, <<"a">>), <<"timeout">>),
    %% What is left out is folded, but not projected.
    ?assertEqual(ok, warp_projection:skip(Ctx, <<"a">>)),
    ?assertEqual([[3]], rows(Ctx, "SELECT n FROM t")),
    ?assertEqual([[2]], rows(Ctx, "SELECT n FROM c")),
    ?assertEqual({ok, []}, warp_projection:set_aside(Ctx)).

two_retries_at_once(Config) ->
    Ctx = start(Config),
    A = entity(Ctx, <<"a">>),
    [append(A, Do) || Do <- [<<"crash">>, <<"fine">>, <<"fine">>]],
    ?assertEqual({error, {set_aside, 1}}, warp_core:await_projection(A, 30000)),
    Projector = projector(Ctx),
    ok = sys:suspend(Projector),
    Self = self(),
    [spawn_link(fun() -> Self ! {skipped, warp_projection:skip(Ctx, <<"a">>)} end) || _ <- lists:seq(1, 3)],
    warp_test:wait_until(fun() -> element(2, process_info(Projector, message_queue_len)) >= 3 end),
    ok = sys:resume(Projector),
    Results = [receive {skipped, Result} -> Result end || _ <- lists:seq(1, 3)],
    ?assertEqual([ok, {error, not_set_aside}, {error, not_set_aside}], lists:sort(Results)),
    ?assertEqual([[2]], rows(Ctx, "SELECT n FROM c")).

%% More than one piece waits; the states behind one are there for the next.
retried_piece_by_piece(Config) ->
    Ctx = start(Config),
    A = entity(Ctx, <<"a">>),
    append(A, <<"crash">>),
    ?assertEqual({error, {set_aside, 1}}, warp_core:await_projection(A, 30000)),
    {ok, _} = warp_core:append_batch(A, [#{type => <<"T">>, aggregate => <<"A">>, payload => #{do => <<"fine">>}}
                                         || _ <- lists:seq(1, 999)]),
    Folded = counters:new(1, []),
    persistent_term:put({?MODULE, applies}, fun() -> counters:add(Folded, 1, 1) end),
    ?assertEqual(ok, warp_projection:skip(Ctx, <<"a">>)),
    ?assertEqual([[1000]], rows(Ctx, "SELECT n FROM t")),
    ?assertEqual([[999]], rows(Ctx, "SELECT n FROM c")),
    ?assert(counters:get(Folded, 1) < 2500).

who_halts_it_may_go(Config) ->
    Ctx = start(Config),
    A = append(entity(Ctx, <<"a">>), <<"fine">>),
    await(A),
    Projector = projector(Ctx),
    Self = self(),
    Halting = spawn(fun() ->
        Self ! {halted, warp_projection_projector:pause(Projector, self(), warp_deadline:from(5000))},
        receive go -> ok end
    end),
    receive {halted, Halted} -> ?assertEqual({ok, 1}, Halted) end,
    append(A, <<"fine">>),
    ?assertEqual({error, timeout}, warp_core:await_projection(A, 4500)),
    ?assertMatch(#{state := stalled, why := paused, behind_seconds := S} when S > 4, shard(Ctx)),
    true = exit(Halting, kill),
    await(A),
    ?assertEqual([[2]], rows(Ctx, "SELECT n FROM t")).

strays_are_ignored(Config) ->
    Ctx = start(Config),
    A = append(entity(Ctx, <<"a">>), <<"fine">>),
    await(A),
    Parts = [{Part, Pid} || {Part, Pid} <- warp_test:processes(Ctx),
                            lists:member(Part, [projector, manager, writer])],
    ?assertEqual(3, length(Parts)),
    Strays = [stray, {stray}, {warp_job, make_ref(), nonsense}, {warp_written, make_ref()}, {done, self(), x},
              {'EXIT', self(), boom}, {warp_refused, 1, 2, 3}, {make_ref(), late}, {batch, 1, 2, 3}],
    lists:foreach(
        fun({_, Pid}) ->
            [Pid ! Stray || Stray <- Strays],
            [gen_server:cast(Pid, Stray) || Stray <- [stray, {stray, 1}, {subscribers}]],
            ?assertEqual({error, {unknown_request, {what, 1}}}, gen_server:call(Pid, {what, 1}, 5000)),
            ?assertEqual({error, {unknown_request, what}}, gen_server:call(Pid, what, 5000))
        end,
        Parts),
    worker(Ctx) ! stray,
    await(append(A, <<"fine">>)),
    ok = warp_projection:rebuild(Ctx),
    ok = warp_projection:await_rebuild(Ctx, 60000),
    Now = warp_test:processes(Ctx),
    [?assert(lists:member(Part, Now)) || {Name, _} = Part <- Parts, Name =/= projector],
    ?assertEqual([[2]], rows(Ctx, "SELECT n FROM t")).

no_data_in_reports(Config) ->
    Ctx = start(Config),
    A = entity(Ctx, ?SECRET),
    await(append(A, <<"fine">>)),
    Parts = [{Part, Pid} || {Part, Pid} <- warp_test:processes(Ctx),
                            lists:member(Part, [projector, manager, writer])],
    %% A batch on its way.
    Lock = warp_projection_test:hold(Ctx, [{target, embedded}]),
    append(A, <<"fine">>),
    timer:sleep(300),
    {Manager, Projector} = {proplists:get_value(manager, Parts), proplists:get_value(projector, Parts)},
    Known = [sys:get_status(Pid) || Pid <- [Manager, Projector]],
    warp_projection_test:release(Lock),
    await(A),
    Shown = iolist_to_binary(io_lib:format("~p", [[Known, sys:get_status(proplists:get_value(writer, Parts))]])),
    ?assertEqual(nomatch, binary:match(Shown, ?SECRET)).

%% The module of a function was loaded twice more: no event is to blame.
a_stale_function_waits(Config) ->
    Project = loaded(),
    Aggregate = #{name => <<"A">>, initial_state => none, project => Project},
    Ctx = warp_projection_test:start(Config, [Aggregate], #{shards => 1, projections => embedded}),
    A = entity(Ctx, <<"a">>),
    await(append(A, <<"fine">>)),
    _ = [loaded() || _ <- [1, 2]],
    append(A, <<"fine">>),
    ?assertEqual({error, timeout}, warp_core:await_projection(A, 1000)),
    ?assertMatch(#{state := stalled, behind_positions := 1, behind_seconds := S,
                   why := {stale_function, #{aggregate := <<"A">>, function := project,
                                             module := warp_proj_worker_stale}}} when S > 0.9, shard(Ctx)),
    ?assertEqual({ok, []}, warp_projection:set_aside(Ctx)),
    Again = warp_test:restart(Ctx, #{aggregates => [Aggregate#{project => loaded()}]}),
    await(entity(Again, <<"a">>)),
    ?assertEqual([[2]], rows(Again, "SELECT n FROM c")).

loaded() ->
    %% Another code each time: the same one would take its place.
    Forms = [merl:quote("-module(warp_proj_worker_stale)."), merl:quote("-export([make/0, which/0])."),
             merl:quote("which() -> " ++ integer_to_list(erlang:unique_integer([positive])) ++ "."),
             merl:quote("make() -> fun(_, _, _) -> [warp_projection:increment(c, <<\"all\">>, #{n => 1})] end.")],
    {ok, Module, Code} = compile:forms(Forms),
    _ = code:purge(Module),
    {module, Module} = code:load_binary(Module, "stale", Code),
    Module:make().

%% More entities than memory has room for: their states come back from the disk, and nothing of them can
%% be read there.
states_leave_memory(Config) ->
    Ctx = start(Config, #{snapshot_every => 1000000}),
    Count = 45000,
    Pieces = [lists:seq(N, N + 999) || N <- lists:seq(1, Count, 1000)],
    Id = fun(N) -> <<(?SECRET)/binary, (integer_to_binary(N))/binary>> end,
    Each = fun(P) -> [append(entity(Ctx, Id(N)), <<"fine">>) || N <- lists:nth(P, Pieces)] end,
    _ = [warp_test:parallel(length(Pieces), Each) || _ <- [1, 2]],
    warp_projection_test:even(Ctx),
    Files = states(Ctx),
    ?assertMatch([_ | _], Files),
    Loads = counters:new(1, []),
    persistent_term:put({?MODULE, applies}, fun() ->
        case get('$initial_call') of undefined -> counters:add(Loads, 1, 1); _ -> ok end
    end),
    [append(entity(Ctx, Id(N)), <<"fine">>) || N <- lists:seq(1, 2000)],
    warp_projection_test:even(Ctx),
    ?assertEqual([[Count, 3, 2]], rows(Ctx, "SELECT count(*), max(n), min(n) FROM t")),
    %% Each was applied once, and none folded.
    ?assertEqual(2000, counters:get(Loads, 1)),
    lists:foreach(
        fun(File) ->
            {ok, Bytes} = file:read_file(File),
            ?assertEqual(nomatch, binary:match(Bytes, ?SECRET)),
            {ok, Info} = file:read_file_info(File),
            ?assertEqual(8#600, element(8, Info) band 8#777)
        end,
        Files),
    %% An entity that is deleted begins a new life.
    Deleted = entity(Ctx, Id(3000)),
    ok = warp_core:delete(Deleted),
    append(Deleted, <<"fine">>),
    append(Deleted, <<"fine">>),
    await(append(Deleted, <<"fine">>)),
    ?assertEqual([[3]], rows(Ctx, ["SELECT n FROM t WHERE id = '", Id(3000), "'"])),
    warp_test:stop(Ctx),
    ?assertEqual([], filelib:wildcard(filename:join(filename:dirname(hd(Files)), "states-*"))).

states(Ctx) -> filelib:wildcard(filename:join(warp_test:context_dir(Ctx), "states-*")).
