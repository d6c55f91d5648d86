%% Checking all files of a context: while it is running and being written to, when it is stopped, and after a
%% kill. A check changes no file, and finds what was changed in any of them.
-module(warp_verify_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([what_is_sound_is_counted/1, a_context_in_use_is_sound/1, a_shard_that_is_closed_meanwhile_is_checked_again/1,
         every_changed_byte_of_a_stopped_context_is_found/1, files_of_another_time_are_found/1,
         damage_of_a_killed_context_is_found/1, damage_under_a_running_context_is_found/1,
         what_cannot_be_checked_is_an_error/1]).

suite() -> [{timetrap, {minutes, 10}}].

all() ->
    [what_is_sound_is_counted, a_context_in_use_is_sound, a_shard_that_is_closed_meanwhile_is_checked_again,
     every_changed_byte_of_a_stopped_context_is_found, files_of_another_time_are_found,
     damage_of_a_killed_context_is_found, damage_under_a_running_context_is_found,
     what_cannot_be_checked_is_an_error].

init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

what_is_sound_is_counted(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2, snapshot_every => 20}),
    Dir = warp_test:context_dir(Ctx),
    ?assertMatch({ok, #{shards := 2, entities := 0, events := 0}}, warp_core:verify(Ctx)),
    fill(Ctx),
    warp_test:await_applied(Ctx),
    Self = self(),
    {ok, Report} = warp_core:verify(Ctx, #{progress => fun(Progress) -> Self ! {progress, Progress} end}),
    ?assertMatch(#{shards := 2, entities := 10, rows := 210, events := 410}, Report),
    #{pages := Pages, records := Records} = Report,
    ?assert(Pages > 20),
    ?assert(Records > 0),
    Told = progress(),
    ?assertMatch(#{part := journal, shards := 2, done := 0, total := 1}, lists:last(Told)),
    [begin
         Of = [Progress || Progress = #{shard := S} <- Told, S =:= N],
         ?assertEqual([entities, rows], lists:usort([Part || #{part := Part} <- Of]) -- [pages]),
         Steps = [Done || #{done := Done} <- Of],
         ?assertEqual(lists:sort(Steps), Steps),
         [?assert(Done =< Total) || #{done := Done, total := Total} <- Of]
     end || N <- [0, 1]],
    warp_test:stop(Ctx),
    Before = read_all(Dir),
    {ok, Stopped} = warp_core:verify(Dir),
    ?assertEqual(maps:with([entities, rows, events], Report), maps:with([entities, rows, events], Stopped)),
    #{records := 0, snapshots := Snapshots} = Stopped,
    ?assert(Snapshots > 0),
    ?assertEqual(Before, read_all(Dir)),
    %% What a backup program copies.
    ?assertEqual({ok, Stopped}, warp_core:verify(unicode:characters_to_binary(Dir))).

%% Checked again and again while entities are appended to and deleted.
a_context_in_use_is_sound(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2, snapshot_every => 20}),
    Writers = [spawn_link(fun() -> write(Ctx, N, 0) end) || N <- lists:seq(1, 8)],
    verify_with_events(Ctx, 40),
    [begin unlink(Writer), exit(Writer, kill) end || Writer <- Writers],
    {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"last">>), event()),
    ok = warp_test:await_applied(Ctx),
    {ok, #{events := Events}} = warp_core:verify(Ctx),
    ?assert(Events > 0).

%% So many times that the files had something: the first checks end before a row is in them.
verify_with_events(_Ctx, 0) -> ok;
verify_with_events(Ctx, Left) ->
    {ok, #{events := Events}} = warp_core:verify(Ctx),
    verify_with_events(Ctx, case Events > 0 of true -> Left - 1; false -> Left end).

a_shard_that_is_closed_meanwhile_is_checked_again(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    fill(Ctx),
    warp_test:await_applied(Ctx),
    Kill = fun() -> [exit(Pid, kill) || {shard, Pid} <- warp_test:processes(Ctx)] end,
    Once = counters:new(1, []),
    Progress = fun(#{part := Part}) ->
        counters:get(Once, 1) =:= 0 andalso Part =:= rows andalso begin counters:add(Once, 1, 1), Kill() end
    end,
    ?assertMatch({ok, #{rows := 210, entities := 10}}, warp_core:verify(Ctx, #{progress => Progress})),
    ?assertEqual(1, counters:get(Once, 1)).

%% What a file is stands in its first bytes, and is told before anything else is looked at.
is_found(At, {error, {not_a_shard, _}}) -> At < 16 orelse At div 4 =:= 68 div 4;
is_found(At, {error, {newer_format, _, _}}) -> At div 4 =:= 60 div 4;
is_found(_At, Found) -> element(1, element(2, Found)) =:= corrupt.

%% Of a shard every page is covered whole, and of its sums all that say something.
every_changed_byte_of_a_stopped_context_is_found(Config) ->
    {Dir, Intact} = stopped(Config),
    {ok, Report} = warp_core:verify(Dir),
    SizeOf = fun(Name) -> filelib:file_size(filename:join(Dir, Name)) end,
    Names = ["shard-0000.db", "shard-0001.db"],
    [begin
         flip(filename:join(Dir, Name), At),
         Found = warp_core:verify(Dir),
         ?assert(is_found(At, Found), {Name, At, Found}),
         restore(Dir, Intact)
     end || {Name, At} <- [{"shard-0000.db", At} || At <- lists:seq(0, 99)]
                          ++ [{Name, rand:uniform(SizeOf(Name)) - 1} || _ <- rounds(60), Name <- Names]],
    [begin
         Sums = filename:join(Dir, "shard-0000.sums"),
         Pages = filelib:file_size(filename:join(Dir, "shard-0000.db")) div 4096,
         flip(Sums, At),
         ?assertMatch({_, {error, {corrupt, _}}}, {At, warp_core:verify(Dir)}),
         restore(Dir, Intact),
         true = At < 4096 + 8 * Pages
     %% Behind the first 32 bytes are zeros, which say nothing.
     end || N <- rounds(30), At <- [(N - 1) rem 32, 4096 + 8 * (N rem 10)]],
    %% The end of the last page may be zeros, which SQLite reads where a file is too short.
    [begin
         truncate(filename:join(Dir, Name), SizeOf(Name) - Cut),
         ?assertMatch({_, _, {error, {corrupt, _}}}, {Name, Cut, warp_core:verify(Dir)}),
         restore(Dir, Intact)
     end || Name <- Names, Cut <- [1, 100, 4096]],
    [begin
         Size = filelib:file_size(filename:join(Dir, Name)),
         truncate(filename:join(Dir, Name), rand:uniform(Size) - 1),
         ?assertMatch({_, {error, _}}, {Name, warp_core:verify(Dir)}),
         restore(Dir, Intact),
         ok = file:delete(filename:join(Dir, Name)),
         ?assertMatch({_, {error, _}}, {Name, warp_core:verify(Dir)}),
         restore(Dir, Intact)
     end || _ <- rounds(5), Name <- ["shard-0000.db", "shard-0000.sums", "shard-0001.db"]],
    ?assertEqual({ok, Report}, warp_core:verify(Dir)).

files_of_another_time_are_found(Config) ->
    {Dir, Intact} = stopped(Config),
    Again = warp_test:start(Config, #{shards => 2, snapshot_every => 20}),
    fill(Again),
    warp_test:stop(Again),
    Later = read_all(Dir),
    Older = fun(Names) -> [{File, Bytes} || {File, Bytes} <- Intact, lists:member(filename:basename(File), Names)] end,
    [begin
         [ok = file:write_file(File, Bytes) || {File, Bytes} <- Older(Names)],
         ?assertMatch({_, {error, {corrupt, _}}}, {Names, warp_core:verify(Dir)}),
         restore(Dir, Later)
     end || Names <- [["shard-0000.db"], ["shard-0000.sums"]]],
    %% One under another's name.
    [Zero, One] = [filename:join(Dir, "shard-000" ++ N) || N <- ["0", "1"]],
    [begin
         {ok, _} = file:copy(One ++ End, Zero ++ End)
     end || End <- [".db", ".sums"]],
    ?assertMatch({error, {corrupt, _}}, warp_core:verify(Dir)),
    restore(Dir, Later),
    ?assertMatch({ok, _}, warp_core:verify(Dir)).

%% The journal has what the shards lack.
damage_of_a_killed_context_is_found(Config) ->
    Dir = filename:join(?config(dir, Config), "data"),
    Vm = warp_fault_vm:start(),
    warp_fault_vm:run(Vm, fun() ->
        ok = warp_fault_vm:open(#{data_dir => Dir}),
        fill(warp_fault_vm:ctx())
    end),
    warp_fault_vm:kill(Vm),
    Context = filename:join(Dir, "fault"),
    Killed = read_all(Context),
    {ok, #{records := Records}} = warp_core:verify(Context),
    ?assert(Records > 0),
    %% SQLite makes the index of a WAL anew when it reads it.
    Kept = fun(Files) -> [File || {Name, _} = File <- Files, string:find(Name, "-shm") =:= nomatch] end,
    ?assertEqual(Kept(Killed), Kept(read_all(Context))),
    [Segment | _] = [File || {File, _} <- Killed, string:find(File, "journal-") =/= nomatch],
    Written = written(Segment),
    [begin
         At = rand:uniform(Written) - 1,
         flip(Segment, At),
         %% Bytes between two records, and behind the label, say nothing.
         case warp_core:verify(Context) of
             {error, {corrupt, _}} -> ok;
             %% The label's version.
             {error, {newer_format, _, _}} -> ?assert(At < 16, At);
             {ok, #{records := Records}} -> ok;
             %% The last commit may have been cut off by the crash, for all that anybody knows.
             {ok, #{records := Fewer}} -> ?assert(At > Written - 5000, {At, Written, Fewer, Records})
         end,
         restore(Context, Killed)
     end || _ <- rounds(60)],
    ok = file:delete(Segment),
    ?assertMatch({error, {corrupt, _}}, warp_core:verify(Context)),
    restore(Context, Killed),
    ?assertMatch({ok, _}, warp_core:verify(Context)).

damage_under_a_running_context_is_found(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2}),
    Dir = warp_test:context_dir(Ctx),
    fill(Ctx),
    warp_test:stop(Ctx),
    Again = warp_test:start(Config, #{shards => 2}),
    ?assertMatch({ok, _}, warp_core:verify(Again)),
    flip(filename:join(Dir, "shard-0001.db"), 4096 * 3 + rand:uniform(4096) - 1),
    {error, {corrupt, Page}} = warp_core:verify(Again),
    ?assertNotEqual(nomatch, string:find(Page, "page 4 of shard-0001.db")),
    {ok, _} = warp_core:append(warp_core:entity(Again, <<"in the journal">>), warp_test:incremented()),
    [Segment | _] = filelib:wildcard(filename:join(Dir, "journal-*")),
    {ok, Bytes} = file:read_file(Segment),
    [{At, _} | _] = binary:matches(Bytes, <<"in the journal">>),
    flip(Segment, At),
    {error, {corrupt, Both}} = warp_core:verify(Again),
    ?assertMatch(<<"2 places are damaged: ", _/binary>>, Both),
    ?assertNotEqual(nomatch, string:find(Both, "page 4 of shard-0001.db")),
    ?assertNotEqual(nomatch, string:find(Both, filename:basename(Segment))).

what_cannot_be_checked_is_an_error(Config) ->
    Ctx = warp_test:start(Config, #{shards => 1}),
    Dir = warp_test:context_dir(Ctx),
    ?assertMatch({error, {data_dir_in_use, _}}, warp_core:verify(Dir)),
    ?assertMatch({error, {io_error, _}}, warp_core:verify(filename:dirname(Dir))),
    ?assertMatch({error, {io_error, _}}, warp_core:verify(filename:join(Dir, "nothing"))),
    ?assertEqual({error, {bad_option, data_dir, not_a_path}}, warp_core:verify(<<>>)),
    ?assertEqual({error, {unknown_option, speed}}, warp_core:verify(Ctx, #{speed => 1})),
    ?assertEqual({error, {bad_option, progress, {not_a_function, 1}}}, warp_core:verify(Ctx, #{progress => 1})),
    warp_test:stop(Ctx),
    ?assertEqual({error, context_stopped}, warp_core:verify(Ctx)),
    %% While it is checked nobody can open it.
    Opts = (warp_test:opts(Config))#{context => <<"test">>, shards => 1, aggregates => warp_test:aggregates()},
    Start = fun(_) ->
        ?assertMatch({error, {data_dir_in_use, _}}, warp_core:start(Opts)),
        self() ! tried
    end,
    ?assertMatch({ok, _}, warp_core:verify(Dir, #{progress => Start})),
    receive tried -> ok after 0 -> error(not_tried) end,
    %% And at once when the check has ended, however it did.
    {ok, First} = warp_core:start(Opts),
    warp_test:stop(First),
    ?assertError(enough, warp_core:verify(Dir, #{progress => fun(_) -> error(enough) end})),
    {ok, Second} = warp_core:start(Opts),
    warp_test:stop(Second).

%% -------------------------------------------------------------------- Helpers

%% Ten entities with batches, ids and singles, of which each has 41 events more; and one that is deleted.
fill(Ctx) ->
    [begin
         Entity = warp_core:entity(Ctx, <<"entity-", (integer_to_binary(N))/binary>>),
         [{ok, _} = warp_core:append_batch(Entity, [event(), (event())#{id => make_id()}]) || _ <- lists:seq(1, 20)],
         {ok, _} = warp_core:append(Entity, event())
     end || N <- lists:seq(1, 11)],
    ok = warp_core:delete(warp_core:entity(Ctx, <<"entity-11">>)).

event() -> warp_test:incremented().

make_id() -> integer_to_binary(erlang:unique_integer([positive])).

write(Ctx, N, Round) ->
    Entity = warp_core:entity(Ctx, <<(integer_to_binary(N))/binary, "-", (integer_to_binary(Round rem 20))/binary>>),
    _ = case rand:uniform(20) of
        1 -> ok = warp_core:delete(Entity);
        _ -> {ok, _} = warp_core:append_batch(Entity, [event(), (event())#{id => make_id()}])
    end,
    write(Ctx, N, Round + 1).

progress() ->
    receive {progress, Progress} -> [Progress | progress()] after 0 -> [] end.

stopped(Config) ->
    Ctx = warp_test:start(Config, #{shards => 2, snapshot_every => 20}),
    fill(Ctx),
    Dir = warp_test:context_dir(Ctx),
    warp_test:stop(Ctx),
    {Dir, read_all(Dir)}.

%% Files in order, with what is in them.
read_all(Dir) ->
    [{File, Bytes} || File <- filelib:wildcard(filename:join(Dir, "*")), {ok, Bytes} <- [file:read_file(File)]].

restore(Dir, Files) ->
    [ok = file:delete(File) || File <- filelib:wildcard(filename:join(Dir, "*"))],
    [ok = file:write_file(File, Bytes) || {File, Bytes} <- Files].

flip(File, At) ->
    {ok, Io} = file:open(File, [raw, read, write, binary]),
    {ok, <<Byte>>} = file:pread(Io, At, 1),
    ok = file:pwrite(Io, At, <<(Byte bxor (1 bsl (rand:uniform(8) - 1)))>>),
    ok = file:close(Io).

%% How many bytes there are before the zeros at the end of a file.
written(File) ->
    {ok, Bytes} = file:read_file(File),
    Zeros = [At || {At, _} <- binary:matches(Bytes, binary:copy(<<0>>, 4096))],
    hd([At || At <- Zeros, At > 4096] ++ [byte_size(Bytes)]).

truncate(File, Size) ->
    {ok, Io} = file:open(File, [raw, read, write]),
    {ok, Size} = file:position(Io, Size),
    ok = file:truncate(Io),
    ok = file:close(Io).

rounds(Count) ->
    lists:seq(1, case os:getenv("WARP_LONG") of false -> Count; _ -> Count * 50 end).
