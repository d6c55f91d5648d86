%% A shard that goes from one journal to another in this VM and comes back, with the functions of the library that nodes
%% use for that.
-module(warp_handoff_tests).

-include_lib("eunit/include/eunit.hrl").

-define(MICROS, 1700000000000000).

handoff_test_() ->
    {timeout, 60, fun there_and_back/0}.

refusals_test_() ->
    {timeout, 60, fun refusals/0}.

lost_test_() ->
    {timeout, 60, fun lost/0}.

entity_count_test_() ->
    {timeout, 60, fun entity_count/0}.

there_and_back() ->
    with_dirs(fun(DirA, DirB) ->
        A0 = journal(DirA),
        [S0, S1] = [open(A0, DirA, N) || N <- [0, 1]],
        append(S0, <<"stays">>, 0, 10),
        append(S1, <<"goes">>, 0, 200),
        {ok, Stage} = warp_nif:stage_open(file(DirB, 1), owner),
        %% Rounds while it is open. The last one finds nothing, since nobody writes.
        ok = warp_nif:move_wal(S1),
        _ = round(S1, Stage),
        append(S1, <<"goes">>, 200, 100),
        ?assertNot(is_in_file(S1, <<"secret of goes300x">>)),
        ok = warp_nif:move_wal(S1),
        ?assert(is_in_file(S1, <<"secret of goes300x">>)),
        ?assertEqual(0, round(S1, Stage)),
        append(S1, <<"goes">>, 300, 1),
        Log = log(S1),
        ?assertEqual(301, length(Log)),
        ok = warp_nif:close(S1),
        hand_over(A0, DirA, DirB, Stage),

        B = journal(DirB),
        ok = warp_nif:forget(B, 0),
        [ok = warp_nif:adopt(B, file(DirB, 1), {<<"bank">>, 1, 2}) || _ <- [1, 2]],
        T1 = open(B, DirB, 1),
        ?assertEqual(Log, log(T1)),
        ok = warp_nif:leave(A0, 1),
        ok = warp_nif:discard(file(DirA, 1)),
        ok = warp_nif:discard(file(DirA, 1)),
        ?assertNot(holds(DirA, <<"secret of goes">>)),
        ?assert(holds(DirA, <<"secret of stays">>)),
        append(S0, <<"stays">>, 10, 1),
        append(T1, <<"goes">>, 301, 50),
        Longer = log(T1),
        ok = warp_nif:close(T1),

        {ok, Back} = warp_nif:stage_open(file(DirA, 1), owner),
        hand_over(B, DirB, DirA, Back),
        ok = warp_nif:adopt(A0, file(DirA, 1), {<<"bank">>, 1, 2}),
        ok = warp_nif:leave(B, 1),
        ok = warp_nif:discard(file(DirB, 1)),
        ok = warp_nif:close_journal(B),
        R1 = open(A0, DirA, 1),
        ?assertEqual(Longer, log(R1)),
        append(R1, <<"goes">>, 351, 1),
        ?assertEqual(352, length(log(R1))),
        ok = warp_nif:close_journal(A0),
        ?assertMatch({ok, #{shards := 2, events := 363}}, verify(DirA, all)),
        ?assertMatch({ok, #{shards := 1, events := 352}}, verify(DirA, [1])),
        ?assertMatch({error, {corrupt, _}}, verify(DirA, [0, 1, 2])),
        ?assertMatch({ok, #{shards := 0}}, verify(DirB, [])),
        ?assertMatch({error, {corrupt, _}}, verify(DirB, [1])),
        ok = warp_nif:discard(file(DirA, 0)),
        ?assertMatch({ok, #{shards := 1, events := 352}}, verify(DirA, [1])),
        ?assertMatch({error, {corrupt, _}}, verify(DirA, all))
    end).

refusals() ->
    with_dirs(fun(DirA, DirB) ->
        A = journal(DirA),
        S = open(A, DirA, 1),
        append(S, <<"goes">>, 0, 3),
        File = file(DirA, 1),
        [?assertEqual({error, claimed}, Refused)
         || Refused <- [warp_nif:outline(File), warp_nif:pages(File, [1]), warp_nif:digest(File),
                        warp_nif:digest_of(A, File, 1), warp_nif:discard(File), warp_nif:leave(A, 1),
                        warp_nif:forget(A, 1), warp_nif:adopt(A, File, {<<"bank">>, 1, 2})]],
        [?assertMatch({error, {internal, _}}, warp_nif:pages(S, Pages)) || Pages <- [[0], lists:seq(1, 1025)]],
        ?assertError(badarg, warp_nif:pages(S, [-1])),
        ?assertError(badarg, warp_nif:outline(not_a_source)),
        ?assertEqual({ok, binary:copy(<<0>>, 4096)}, warp_nif:pages(S, [4000000000])),
        ok = warp_nif:close(S),
        [?assertEqual({error, closed}, Closed) || Closed <- [warp_nif:outline(S), warp_nif:pages(S, [1]),
                                                             warp_nif:digest(S), warp_nif:move_wal(S)]],
        {ok, {Id, Pages, Sums} = Outline} = warp_nif:outline(File),
        ?assertEqual(8 * Pages, byte_size(Sums)),
        {ok, Digest} = warp_nif:digest(File),
        ?assertEqual({16, {ok, Digest}}, {byte_size(Digest), warp_nif:digest_of(A, File, 1)}),

        There = file(DirB, 1),
        {ok, none} = warp_nif:staged_digest(There),
        {ok, Stage} = warp_nif:stage_open(There, owner),
        ?assertEqual({error, claimed}, warp_nif:stage_open(There, owner)),
        ?assertEqual({error, claimed}, warp_nif:discard(There)),
        ?assertMatch({error, {internal, _}}, warp_nif:stage_aim(Stage, {Id, Pages + 1, Sums})),
        ?assertMatch({error, {internal, _}}, warp_nif:stage_aim(Stage, {Id, Pages, <<Sums/binary, 0>>})),
        {ok, Missing} = warp_nif:stage_aim(Stage, Outline),
        ?assertEqual({error, {incomplete, Missing}}, warp_nif:stage_seal(Stage, Digest)),
        ?assertEqual({ok, 0}, warp_nif:stage_write(Stage, [1], binary:copy(<<1>>, 4096))),
        ?assertMatch({error, {internal, _}}, warp_nif:stage_write(Stage, [Pages + 1], binary:copy(<<1>>, 4096))),
        0 = round(File, Stage),
        ?assertEqual({error, other_digest}, warp_nif:stage_seal(Stage, <<0:128>>)),
        B = journal(DirB),
        ?assertEqual({error, claimed}, warp_nif:adopt(B, There, {<<"bank">>, 1, 2})),
        ok = warp_nif:stage_close(Stage),
        ?assertEqual({error, closed}, warp_nif:stage_missing(Stage)),
        ?assertMatch({error, {corrupt, _}}, warp_nif:adopt(B, There, {<<"bank">>, 1, 2})),
        {ok, Again} = warp_nif:stage_open(There, owner),
        ?assertEqual({ok, 0}, warp_nif:stage_aim(Again, Outline)),
        ok = warp_nif:stage_seal(Again, Digest),
        ok = warp_nif:stage_close(Again),
        {ok, Digest} = warp_nif:staged_digest(There),
        ?assertMatch({error, {wrong_identity, _, _}}, warp_nif:adopt(B, There, {<<"shop">>, 1, 2})),
        ?assertEqual({error, {shard_count_mismatch, 2, 3}}, warp_nif:adopt(B, There, {<<"bank">>, 1, 3})),
        ok = warp_nif:discard(There),
        {ok, none} = warp_nif:staged_digest(There),
        ?assertMatch({error, {corrupt, _}}, warp_nif:adopt(B, There, {<<"bank">>, 1, 2})),
        ok = warp_nif:close_journal(B),
        [?assertEqual({error, closed}, Closed)
         || Closed <- [warp_nif:leave(B, 1), warp_nif:forget(B, 1), warp_nif:digest_of(B, File, 1),
                       warp_nif:adopt(B, There, {<<"bank">>, 1, 2})]]
    end).

lost() ->
    with_dirs(fun(Dir, _) ->
        Journal = journal(Dir),
        S0 = open(Journal, Dir, 0),
        append(S0, <<"stays">>, 0, 3),
        File = file(Dir, 1),
        Create = fun(Of, Position) -> warp_nif:create(Journal, File, Of, Position) end,
        Of = {<<"bank">>, 1, 2},
        ?assertError(badarg, Create(Of, -1)),
        ?assertMatch({error, {internal, _}}, Create(Of, 1 bsl 63)),
        ?assertNot(filelib:is_regular(File)),
        [ok = Create(Of, 300) || _ <- [1, 2]],
        ?assertMatch({error, {io_error, _}}, Create(Of, 301)),
        ?assertMatch({error, {wrong_identity, _, _}}, Create({<<"shop">>, 1, 2}, 300)),
        ?assertEqual({error, {shard_count_mismatch, 2, 3}}, Create({<<"bank">>, 1, 3}, 300)),
        S1 = open(Journal, Dir, 1),
        ?assertEqual({error, claimed}, Create(Of, 300)),
        ?assertEqual({ok, {[], 300, done}}, warp_nif:follow(S1, 300, 1000, users, all)),
        append(S1, <<"new">>, 0, 2),
        ?assertMatch([{301, <<"new">>, 1, 1, _}, {302, <<"new">>, 2, 2, _}], log(S1)),
        ok = warp_nif:close(S1),
        ?assertMatch({error, {io_error, _}}, Create(Of, 300)),
        ok = warp_nif:close_journal(Journal),
        ?assertEqual({error, closed}, Create(Of, 300)),
        ?assertMatch({ok, #{shards := 2, events := 5}}, verify(Dir, all))
    end).

entity_count() ->
    with_dirs(fun(Dir, _) ->
        Journal = journal(Dir),
        Shard = open(Journal, Dir, 0),
        ?assertEqual({ok, 0}, warp_nif:entity_count(Shard)),
        [append(Shard, integer_to_binary(N), 0, 1) || N <- lists:seq(1, 5)],
        ok = warp_nif:move_wal(Shard),
        ?assertEqual({ok, 5}, warp_nif:entity_count(Shard)),
        ok = warp_nif:close_journal(Journal),
        ?assertEqual({error, closed}, warp_nif:entity_count(Shard))
    end).

%% The last round of a shard that is closed, and what its journal says of it.
hand_over(Journal, From, To, Stage) ->
    File = file(From, 1),
    {ok, Digest} = warp_nif:digest_of(Journal, File, 1),
    0 = round(File, Stage),
    {ok, 0} = warp_nif:stage_missing(Stage),
    ok = warp_nif:stage_sync(Stage),
    ok = warp_nif:stage_seal(Stage, Digest),
    ok = warp_nif:stage_close(Stage),
    {ok, Given} = file:read_file(File),
    {ok, Staged} = file:read_file(iolist_to_binary([filename:rootname(file(To, 1)), ".staged"])),
    ?assert(Given =:= Staged).

round(Source, Stage) ->
    {ok, Outline} = warp_nif:outline(Source),
    {ok, _} = warp_nif:stage_aim(Stage, Outline),
    ask(Source, Stage),
    {ok, Missing} = warp_nif:stage_missing(Stage),
    Missing.

ask(Source, Stage) ->
    case warp_nif:stage_next(Stage, 7) of
        {ok, []} ->
            ok;
        {ok, Pages} ->
            {ok, Bytes} = warp_nif:pages(Source, Pages),
            {ok, _} = warp_nif:stage_write(Stage, Pages, Bytes),
            ask(Source, Stage)
    end.

with_dirs(Fun) ->
    Dirs = [A, B] = [warp_test:new_dir() || _ <- [1, 2]],
    try
        Fun(iolist_to_binary(A), iolist_to_binary(B))
    after
        [warp_test:remove_dir(Dir) || Dir <- Dirs]
    end.

journal(Dir) ->
    {ok, Lock} = warp_nif:lock(Dir, 0, owner),
    {ok, Journal} = warp_nif:open_journal(Lock, normal),
    ok = warp_nif:unlock(Lock),
    Journal.

open(Journal, Dir, N) ->
    {ok, Shard} = warp_nif:open(Journal, file(Dir, N), {<<"bank">>, N, 2}, 100, []),
    Shard.

file(Dir, N) ->
    iolist_to_binary(filename:join(Dir, io_lib:format("shard-~4..0b.db", [N]))).

append(Shard, Entity, Base, Count) ->
    Rules = warp_nif:rules([{<<"A">>, 1, false}], []),
    Seqs = lists:seq(Base + 1, Base + Count),
    Packed = [element(2, warp_nif:pack(Rules, Entity, <<"A">>, [event(Entity, Seq)])) || Seq <- Seqs],
    ok = warp_nif:submit(Shard, Entity, Base, [{Each, ?MICROS} || Each <- Packed], none),
    receive {warp_replies, [{_, Answer}], _} -> ?assertMatch({stored, _}, Answer) end.

event(Entity, Seq) ->
    Text = [<<"secret of ">>, Entity, integer_to_binary(Seq), binary:copy(<<"x">>, Seq)],
    #{type => <<"T">>, payload => #{<<"text">> => iolist_to_binary(Text)}}.

log(Shard) ->
    {ok, {Rows, _, done}} = warp_nif:follow(Shard, 0, 10000000, users, all),
    Rows.

%% In the database's file, past its write-ahead log.
is_in_file(Shard, Text) ->
    {ok, {_, Pages, _}} = warp_nif:outline(Shard),
    {ok, Bytes} = warp_nif:pages(Shard, lists:seq(1, Pages)),
    binary:match(Bytes, Text) =/= nomatch.

holds(Dir, Text) ->
    {ok, Names} = file:list_dir(Dir),
    lists:any(fun(Name) ->
                  {ok, Bytes} = file:read_file(filename:join(Dir, Name)),
                  binary:match(Bytes, Text) =/= nomatch
              end, Names).

verify(Dir, Shards) ->
    warp_verify:folder(Dir, [], Shards, fun(_) -> ok end).
