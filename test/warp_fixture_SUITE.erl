%% Files that earlier versions made, under test/fixtures, open, hold what they held, and can be written to.
-module(warp_fixture_SUITE).

-export([all/0, suite/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([every_fixture_is_expected/1, it_holds_what_it_was_made_for/1, it_opens/1, its_format_is_that_of_today/1,
         its_folder_is_checked/1, it_is_written_to/1, what_was_unfinished_goes_on/1, logs_of_sagas_are_removed/1,
         tables_are_rebuilt_alike/1, another_user_opens_it/1, its_keys_are_kept/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() -> [every_fixture_is_expected, {group, v1}, {group, v2}, {group, v3}, {group, v4}].

groups() ->
    Names = [{group, closed}, {group, killed}, {group, half_deleted}],
    Cases = [it_holds_what_it_was_made_for, it_opens, its_format_is_that_of_today, its_folder_is_checked,
             it_is_written_to, another_user_opens_it, its_keys_are_kept],
    [{v1, [], Names},
     {v2, [], Names},
     {v3, [], Names},
     {v4, [], Names},
     {closed, [], [what_was_unfinished_goes_on, logs_of_sagas_are_removed | Cases]},
     {killed, [], [tables_are_rebuilt_alike | Cases]},
     {half_deleted, [], Cases}].

init_per_group(Format, Config) when Format =:= v1; Format =:= v2; Format =:= v3; Format =:= v4 ->
    [{format, atom_to_list(Format)} | Config];
init_per_group(Name, Config) -> [{name, atom_to_list(Name)} | Config].

end_per_group(_, _) -> ok.

init_per_testcase(every_fixture_is_expected, Config) ->
    Config;
init_per_testcase(another_user_opens_it, Config) ->
    %% Root can become another one, who has to be able to read what was built.
    Nif = filename:join(code:priv_dir(warp_core), "warp_nif.so"),
    case os:cmd(lists:join(" ", ["setpriv" | as_nobody()] ++ ["test -r", Nif, "&& echo yes"])) of
        "yes\n" -> with_copy(Config);
        _ -> {skip, "needs root, the program setpriv, and a project that others may read"}
    end;
init_per_testcase(_, Config) ->
    with_copy(Config).

with_copy(Config0) ->
    Config = warp_test:init_case(Config0),
    Fixtures = warp_fixture:dir(?config(format, Config)),
    warp_fixture:copy(Fixtures, ?config(dir, Config), ?config(name, Config)),
    {ok, [Expected]} = file:consult(filename:join(Fixtures, ?config(name, Config) ++ ".term")),
    [{expected, Expected} | Config].

end_per_testcase(every_fixture_is_expected, _Config) -> ok;
end_per_testcase(_, Config) -> warp_test:end_case(Config).

%% ------------------------------------------------------------------------------------------- The files

%% No folder is forgotten by the groups above.
every_fixture_is_expected(_Config) ->
    Groups = groups(),
    [begin
        {_, _, Names} = lists:keyfind(list_to_atom(Format), 1, Groups),
        Folders = [Name || Name <- filelib:wildcard("*", warp_fixture:dir(Format)),
                           filelib:is_dir(filename:join(warp_fixture:dir(Format), Name))],
        ?assertEqual({Format, lists:sort(Folders)},
                     {Format, lists:sort([atom_to_list(Name) || {group, Name} <- Names])})
    end || Format <- filelib:wildcard("v*", filename:dirname(warp_fixture:dir("v1")))].

%% The files are in the state that the opening is to be tested with, and any sqlite3 shell reads the events.
it_holds_what_it_was_made_for(Config) ->
    {_, Name} = Fixture = fixture(Config),
    assert_made_for(Fixture, fun(File) -> filename:join([?config(dir, Config), Name, File]) end),
    ?assertEqual(maps:get(view, ?config(expected, Config)), warp_fixture:view(?config(dir, Config))).

assert_made_for({Format, "closed"}, File) ->
    ?assertEqual([], filelib:wildcard(File("*-wal"))),
    Shards = [File("shard-000" ++ N ++ ".db") || N <- ["0", "1", "2"]],
    Counts = fun(Sql) -> lists:sum([binary_to_integer(N) || Shard <- Shards, N <- warp_test:sqlite(Shard, Sql)]) end,
    ?assert(Counts("SELECT count(*) FROM snapshot_slots WHERE incarnation > 0") >= 2),
    ?assertEqual(length(sagas_under_way(Format)), Counts("SELECT count(*) FROM open_sagas")),
    ?assertEqual(1, Counts("SELECT count(*) FROM marks")),
    ?assert(Counts("SELECT count(*) FROM runs") > 3),
    ?assert(Counts("SELECT count(*) FROM ids") > 70),
    %% Of deleted entities, and of the logs of sagas.
    Erased = case Format of "v1" -> 3; _ -> 3 + 4 end,
    ?assertEqual(Erased, Counts("SELECT count(*) FROM log WHERE typeof(entity) = 'blob'")),
    [begin
         ?assertEqual([], filelib:wildcard(File("journal-*"))),
         ?assertEqual(4, Counts("SELECT count(*) FROM closed_sagas")),
         ?assertEqual(2, Counts("SELECT count(*) FROM log WHERE entity LIKE '$warp/saga/removed%'"))
     end || Format =/= "v1"];
assert_made_for({"v1", "killed"}, File) ->
    ?assertEqual([4152, 28872, 8272, 8272], [filelib:file_size(Wal) || Wal <- filelib:wildcard(File("*-wal"))]),
    assert_half_projected(File);
assert_made_for({_, "killed"}, File) ->
    %% The journal alone has what came last.
    [Segment] = filelib:wildcard(File("journal-*")),
    {ok, Bytes} = file:read_file(Segment),
    ?assertMatch({_, _}, binary:match(Bytes, <<"right before the kill">>)),
    [?assertEqual([<<"0">>], warp_test:sqlite(Shard, "SELECT count(*) FROM log WHERE entity = 'late'"))
     || Shard <- filelib:wildcard(File("shard-*.db"))],
    ?assert(filelib:file_size(File("projections.db-wal")) > 0),
    assert_half_projected(File);
assert_made_for({_, "half_deleted"}, File) ->
    ?assertEqual([<<"1">>], warp_test:sqlite(File("shard-0000.db"), "SELECT count(*) FROM erasing")),
    ?assertEqual([<<"100">>],
                 warp_test:sqlite(File("shard-0000.db"), "SELECT count(*) FROM events WHERE entity = 'victim'")).

assert_half_projected(File) ->
    ?assertEqual([<<"order-2">>], warp_test:sqlite(File("erasures.db"), "SELECT entity FROM notes")),
    ?assertEqual([<<"order-2">>],
                 warp_test:sqlite(File("projections.db"), "SELECT id FROM orders WHERE id = 'order-2'")),
    ?assertEqual([], warp_test:sqlite(File("projections.db"), "SELECT id FROM orders WHERE id = 'order-9'")),
    ?assertEqual([<<"order-5|2">>],
                 warp_test:sqlite(File("projections.db"), "SELECT entity, seq FROM _warp_skipped")).

sagas_under_way("v1") -> [<<"stuck">>, <<"waits">>];
sagas_under_way(_) -> [<<"back">> | sagas_under_way("v1")].

%% ------------------------------------------------------------------------------------------ Opening them

it_opens(Config) ->
    [begin
        Ctx = open(Config, #{mode => Mode}),
        assert_described(Config, Ctx),
        warp_test:stop(Ctx)
    end || Mode <- [actor, read_through, actor]],
    assert_kept(Config, []).

%% Opening upgrades what is of an earlier format, and does not change what is of today's.
its_format_is_that_of_today(Config) ->
    {Format, Name} = fixture(Config),
    Raw = filename:join(?config(dir, Config), "raw"),
    warp_fixture:copy(warp_fixture:dir(Format), Raw, Name),
    warp_test:stop(open(Config, #{})),
    Before = formats(filename:join(Raw, Name)),
    After = formats(filename:join(?config(dir, Config), Name)),
    Shards = fun(Formats) -> [Version || {"shard-" ++ _, [Version | _]} <- Formats] end,
    ?assertEqual([list_to_binary(tl(Format))], lists:usort(Shards(Before))),
    ?assertEqual([case Format of "v4" -> <<"4">>; _ -> <<"3">> end], lists:usort(Shards(After))),
    _ = [?assertEqual({File, Of}, {File, Now -- (added_to(File) -- Of)})
         || Format =:= "v3" orelse Format =:= "v4", {{File, Of}, {File, Now}} <- lists:zip(Before, After)].

%% What files of those formats got since, if they were made before, as docs/upgrading.md says.
added_to("projections.db") ->
    [<<"CREATE TABLE _warp_writers (shard INTEGER NOT NULL PRIMARY KEY, epoch INTEGER NOT NULL, "
       "erasures INTEGER NOT NULL) WITHOUT ROWID">>];
added_to("erasures.db") ->
    [<<"CREATE TABLE elsewhere (n INTEGER PRIMARY KEY, deletion TEXT NOT NULL, step TEXT NOT NULL, "
       "entity TEXT NOT NULL, shard INTEGER NOT NULL, incarnation INTEGER NOT NULL, state TEXT NOT NULL, "
       "noted INTEGER NOT NULL, UNIQUE (deletion, step))">>,
     <<"CREATE TABLE taken (shard INTEGER PRIMARY KEY, given TEXT NOT NULL)">>];
added_to(_) ->
    [].

%% Of each file its version, and the tables.
formats(Dir) ->
    Sql = "PRAGMA user_version; SELECT sql FROM sqlite_schema WHERE sql NOT NULL ORDER BY name",
    [{File, warp_test:sqlite(filename:join(Dir, File), Sql)} || File <- lists:sort(filelib:wildcard("*.db", Dir))].

%% Without that it was opened, and after that. Format 1 had no checksums of pages.
its_folder_is_checked(Config) ->
    {Format, Name} = fixture(Config),
    Folder = filename:join(?config(dir, Config), Name),
    case Format of
        "v1" -> ?assertMatch({error, {corrupt, _}}, warp_core:verify(Folder));
        _ -> ?assertMatch({ok, _}, warp_core:verify(Folder))
    end,
    Ctx = open(Config, #{}),
    ?assertMatch({ok, _}, warp_core:verify(Ctx)),
    warp_test:stop(Ctx),
    ?assertMatch({ok, _}, warp_core:verify(Folder)).

%% Each entity takes an event, and its ids are known; those that are deleted are gone, and one is new.
it_is_written_to(Config) ->
    Ctx = open(Config, #{}),
    Last = [{Id, last(Ctx, Id)} || Id <- warp_fixture:entities(fixture(Config))],
    [?assertEqual({ok, Seq + 1}, warp_core:append(warp_core:entity(Ctx, Id), noted(<<"new-1">>))) || {Id, Seq} <- Last],
    [?assertEqual({ok, Seq}, warp_core:append(warp_core:entity(Ctx, Id), Event))
     || {Id, _} <- Last, #{id := Given, seq := Seq} = Event <- exported(Ctx, Id),
        not lists:prefix(binary_to_list(Id), binary_to_list(Given)), binary:match(Given, <<"/">>) =:= nomatch],
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"new">>), noted(<<"new-1">>)),
    [Deleted | _] = All = to_delete(?config(name, Config)),
    [ok = warp_core:delete(warp_core:entity(Ctx, Id)) || Id <- All],
    warp_test:stop(Ctx),
    ?assertEqual([], warp_test:files_with(?config(dir, Config), Deleted)),
    assert_kept(Config, All),
    Again = open(Config, #{}),
    [?assertEqual({Id, case lists:member(Id, All) of true -> 0; false -> Seq + 1 end}, {Id, last(Again, Id)})
     || {Id, Seq} <- [{<<"new">>, 0} | Last]],
    ?assertEqual({ok, {committed, 1}}, credited(Again)).

%% Files of earlier formats have none, and get none. An entity that is deleted takes its key along.
its_keys_are_kept(Config) ->
    {Format, Name} = fixture(Config),
    Dir = ?config(dir, Config),
    Expected = maps:get(keys, ?config(expected, Config), none),
    Ctx = open(Config, #{}),
    Shards = warp_fixture:keys(filename:join(Dir, Name)),
    case Format of
        "v4" ->
            ?assertEqual(Expected, Shards),
            [Deleted | _] = to_delete(Name),
            {N, Life} = warp_test_keys:life(Ctx, Deleted),
            #{Life := Key} = maps:get(lists:nth(1 + N, lists:sort(maps:keys(Shards))), Shards),
            ?assertMatch([_ | _], warp_test:files_with(Dir, Key)),
            ok = warp_core:delete(warp_core:entity(Ctx, Deleted)),
            ?assertEqual([], warp_test:files_with(Dir, Key));
        _ ->
            ?assertEqual([], [Keys || Keys <- maps:values(Shards), Keys =/= #{}])
    end,
    warp_test:stop(Ctx).

%% Nothing else names the first of them, as the logs of sagas do.
to_delete("closed") -> [<<"large">>, <<"alice">>];
to_delete("killed") -> [<<"order-1">>, <<"alice">>];
to_delete("half_deleted") -> [<<"other">>].

%% What the maker's start lacked is there.
what_was_unfinished_goes_on(Config) ->
    Ctx = open(Config, #{steps => warp_fixture:passing()}),
    ?assertMatch({ok, #{state := committed}}, warp_saga:status(Ctx, <<"waits">>)),
    {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"carl">>), credit(5000)),
    ?assertMatch({ok, {compensated, _}}, warp_saga:retry(Ctx, <<"stuck">>)),
    ?assertEqual({ok, []}, warp_saga:pending(Ctx)).

%% Those that have ended: nothing but how is left of them, and their ids stay used.
logs_of_sagas_are_removed(Config) ->
    Ctx = open(Config, #{keep_sagas => 0}),
    Ended = #{<<"done">> => committed, <<"turned">> => compensated, <<"resolved">> => resolved,
              <<"cleared">> => committed},
    warp_test:wait_until(fun() ->
        #{sagas := #{removed := Removed}} = warp_core:stats(Ctx),
        Removed =:= map_size(Ended) orelse Removed
    end),
    Check = fun(Of) ->
        [?assertMatch({Id, {ok, #{state := State, steps := []}}}, {Id, warp_saga:status(Of, Id)})
         || {Id, State} <- maps:to_list(Ended)],
        [?assertMatch({Id, {ok, #{steps := [_ | _]}}}, {Id, warp_saga:status(Of, Id)})
         || Id <- sagas_under_way(?config(format, Config))],
        ?assertEqual({ok, {committed, #{id => <<"done">>, steps => []}}}, warp_saga:commit(done(20), Of)),
        ?assertEqual({error, {saga_conflict, <<"done">>}}, warp_saga:commit(done(21), Of)),
        ?assertMatch({ok, _}, warp_core:verify(Of))
    end,
    Check(Ctx),
    warp_test:stop(Ctx),
    Again = open(Config, #{keep_sagas => 0}),
    Check(Again),
    ?assertMatch(#{sagas := #{removed := 0}}, warp_core:stats(Again)).

%% What the maker committed under that id, if that is the amount.
done(Amount) ->
    Credit = maps:remove(aggregate, credit(Amount)),
    Debit = Credit#{type := <<"Debited">>},
    warp_saga_test:saga(<<"done">>, [warp_saga_test:step(<<"alice">>, <<"Account">>, Debit, Credit),
                                     warp_saga_test:step(<<"bob">>, <<"Account">>, Credit, Debit)]).

tables_are_rebuilt_alike(Config) ->
    Ctx = open(Config, #{}),
    ok = warp_projection:rebuild(Ctx),
    ok = warp_projection:await_rebuild(Ctx, 60000),
    #{opened := #{tables := Expected}} = ?config(expected, Config),
    #{tables := Rebuilt} = warp_fixture:describe(fixture(Config), Ctx, 0),
    ?assertEqual(maps:remove(set_aside, Expected), maps:remove(set_aside, Rebuilt)),
    %% It has been set aside again, at another time.
    ?assertEqual([{<<"order-4">>, 2}], [{Id, Seq} || #{entity := Id, seq := Seq} <- maps:get(set_aside, Rebuilt)]).

%% The modes of the files are not kept by git: they may be readable for all, and belong to another one.
another_user_opens_it(Config) ->
    Dir = ?config(dir, Config),
    "" = os:cmd(["chmod -R u=rwX,go=rX ", Dir, " && chown -R 65534:65534 ", Dir]),
    Umask = ["sh", "-c", "umask 0077; exec \"$@\"", "sh"],
    Vm = warp_fault_vm:start(#{under => {os:find_executable("setpriv"), as_nobody() ++ Umask}}),
    try
        ok = warp_fault_vm:run(Vm, fun() ->
            "65534\n" = os:cmd("id -u"),
            Ctx = open(Config, #{file_access => umask}),
            assert_described(Config, Ctx),
            {ok, _} = warp_core:append(warp_core:entity(Ctx, <<"new">>), noted(<<"new-1">>)),
            warp_core:stop(Ctx)
        end)
    after
        warp_fault_vm:stop(Vm)
    end,
    assert_kept(Config, []).

as_nobody() -> ["--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=/nonexistent"].

%% ----------------------------------------------------------------------------------------------- Looking

open(Config, Changes) ->
    warp_fixture:open(fixture(Config), ?config(dir, Config), Changes).

fixture(Config) -> {?config(format, Config), ?config(name, Config)}.

assert_described(Config, Ctx) ->
    #{opened := Expected, made_at := MadeAt} = ?config(expected, Config),
    assert_same([], Expected, warp_fixture:describe(fixture(Config), Ctx, MadeAt)).

%% Names the part that differs; all of it would be too much to read.
assert_same(Path, Expected, Found) when is_map(Expected), is_map(Found) ->
    ?assertEqual({Path, lists:sort(maps:keys(Expected))}, {Path, lists:sort(maps:keys(Found))}),
    maps:foreach(fun(Key, Value) -> assert_same([Key | Path], Value, maps:get(Key, Found)) end, Expected);
assert_same(Path, Expected, Found) ->
    ?assertEqual({Path, Expected}, {Path, Found}).

%% Every row that was in the files is there, as it was, but for those of entities that are deleted, and
%% their payloads in the logs of sagas.
assert_kept(Config, Deleted) ->
    Now = warp_fixture:view(?config(dir, Config)),
    Gone = [<<"|", Text/binary, "|">> || Text <- [<<"victim">>, <<"order-2">> | Deleted]
                                                 ++ [Type || Type <- [<<"Forward">>, <<"Reverse">>], Deleted =/= []]],
    ?assertEqual([], [Row || Row <- maps:get(view, ?config(expected, Config)) -- Now,
                             binary:match(Row, Gone) =:= nomatch]).

last(Ctx, Id) ->
    length(exported(Ctx, Id)).

exported(Ctx, Id) ->
    {ok, Events} = warp_core:export(warp_core:entity(Ctx, Id)),
    ?assertEqual(lists:seq(1, length(Events)), [Seq || #{seq := Seq} <- Events]),
    Events.

noted(Id) ->
    #{aggregate => <<"Note">>, type => <<"Noted">>, payload => #{text => <<"new">>}, id => Id}.

credit(Amount) ->
    #{aggregate => <<"Account">>, type => <<"Credited">>, payload => #{amount => Amount}}.

credited(Ctx) ->
    Credit = maps:remove(aggregate, credit(1)),
    Step = warp_saga_test:step(<<"newer">>, <<"Account">>, Credit, Credit#{type => <<"Debited">>}),
    {ok, {Result, #{steps := [#{seq := Seq}]}}} = warp_saga:commit(warp_saga_test:saga(<<"new">>, [Step]), Ctx),
    {ok, {Result, Seq}}.
