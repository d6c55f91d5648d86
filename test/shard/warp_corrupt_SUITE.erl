%% Files that were cut off or written over, while the context was stopped or under
%% its feet. A read gives what was stored or says that the file is corrupt; it
%% never gives anything else, and what other shards hold is not touched by it.
-module(warp_corrupt_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([random_bytes_in_a_stopped_file_are_never_read_as_data/1,
         random_bytes_in_the_index_harm_no_other_shard/1,
         one_changed_letter_is_found_out/1,
         a_file_that_was_cut_off_is_never_read_as_whole/1,
         random_bytes_under_a_running_context_are_never_read_as_data/1,
         a_file_cut_off_under_a_running_context_does_not_take_the_vm_down/1,
         a_broken_header_is_a_clear_error_at_start/1,
         a_wal_cut_off_or_changed_after_a_kill_loses_nothing/1]).

-import(warp_fault_vm, [run/2, open/1, entity/1]).

suite() -> [{timetrap, {minutes, 30}}].

all() ->
    [random_bytes_in_a_stopped_file_are_never_read_as_data,
     random_bytes_in_the_index_harm_no_other_shard,
     one_changed_letter_is_found_out,
     a_file_that_was_cut_off_is_never_read_as_whole,
     random_bytes_under_a_running_context_are_never_read_as_data,
     a_file_cut_off_under_a_running_context_does_not_take_the_vm_down,
     a_broken_header_is_a_clear_error_at_start,
     a_wal_cut_off_or_changed_after_a_kill_loses_nothing].

init_per_testcase(_Case, Config) ->
    [{vm, warp_fault_vm:start()} | warp_test:init_case(Config)].

end_per_testcase(_Case, Config) ->
    catch warp_fault_vm:stop(?config(vm, Config)),
    warp_test:end_case(Config).

%% ------------------------------------------------------------- While it is stopped

random_bytes_in_a_stopped_file_are_never_read_as_data(Config) ->
    with_intact(Config, fun(Dir, Intact) ->
        [begin
             File = restore(Dir, Intact),
             At = harm(File, ["log"]),
             check_context(Dir, {random, At})
         end || _ <- rounds(40)]
    end).

%% What finds the rows: the VM lives on, and the other shards are right.
random_bytes_in_the_index_harm_no_other_shard(Config) ->
    with_intact(Config, fun(Dir, Intact) ->
        [begin
             File = restore(Dir, Intact),
             At = harm(File, ["entities", "marks", "ids"]),
             case open(#{data_dir => Dir}) of
                 ok ->
                     [begin
                          Answer = warp_core:export(entity(Name)),
                          ?assertMatch({_, _}, Answer, {At, Name}),
                          warp_test:shard_of(entity(Name)) =:= 0
                              orelse check_entity(entity(Name), Name, {index, At})
                      end || Name <- names()],
                     ok = warp_fault_vm:close();
                 {error, Reason} ->
                     ?assert(is_corrupt_file(Reason), {At, Reason})
             end
         end || _ <- rounds(20)]
    end).

%% Valid JSON still, in a row that still looks like one. (The letter may also be
%% one of a snapshot, which is thrown away then.)
one_changed_letter_is_found_out(Config) ->
    with_intact(Config, fun(Dir, Intact) ->
        Found =
          [begin
             File = restore(Dir, Intact),
             {ok, Bytes} = file:read_file(File),
             Places = binary:matches(Bytes, <<"letters-">>),
             {At, Size} = lists:nth(rand:uniform(length(Places)), Places),
             overwrite(File, At + Size, <<"Z">>),
             check_context(Dir, {letter, At})
           end || _ <- rounds(20)],
        ?assertMatch([_ | _], lists:append(Found))
    end).

a_file_that_was_cut_off_is_never_read_as_whole(Config) ->
    with_intact(Config, fun(Dir, Intact) ->
        Size = filelib:file_size(restore(Dir, Intact)),
        Lengths = [0, 1, 50, 100, 4096, 8192, Size div 2, Size - 4096, Size - 1]
            ++ [rand:uniform(Size) || _ <- rounds(10)],
        [begin
             File = restore(Dir, Intact),
             cut_off(File, Length),
             Corrupt = check_context(Dir, {cut_off, Length}),
             ?assert(Corrupt =/= [] orelse Length > Size div 2, Length)
         end || Length <- Lengths]
    end).

a_broken_header_is_a_clear_error_at_start(Config) ->
    with_intact(Config, fun(Dir, Intact) ->
        [begin
             File = restore(Dir, Intact),
             overwrite(File, 0, Bytes),
             Before = file:read_file(File),
             ?assertEqual(Refused, refused(open(#{data_dir => Dir}))),
             ?assertEqual(Before, file:read_file(File)),
             restore(Dir, Intact),
             [] = check_context(Dir, restored)
         end || {Bytes, Refused} <- [{<<"This is a letter to my aunt.">>, not_a_shard},
                                     {binary:copy(<<0>>, 100), not_a_shard},
                                     {binary:copy(<<255>>, 4096), not_a_shard}]]
    end).

refused({error, {not_a_shard, Path}}) when is_binary(Path); is_list(Path) -> not_a_shard;
refused(Other) -> Other.

%% ------------------------------------------------------- Under a running context

random_bytes_under_a_running_context_are_never_read_as_data(Config) ->
    with_intact(Config, fun(Dir, Intact) ->
        [begin
             File = restore(Dir, Intact),
             ok = open(#{data_dir => Dir}),
             check_entities({before, all}),
             At = harm(File, ["log"]),
             check_entities({under_it, At}),
             ok = warp_fault_vm:close()
         end || _ <- rounds(15)]
    end).

a_file_cut_off_under_a_running_context_does_not_take_the_vm_down(Config) ->
    with_intact(Config, fun(Dir, Intact) ->
        [begin
             File = restore(Dir, Intact),
             ok = open(#{data_dir => Dir}),
             Size = filelib:file_size(File),
             Anywhere = [rand:uniform(Size) || _ <- rounds(10)],
             cut_off(File, lists:nth(Round, [0, 100, 4096, Size div 2, Size div 3 | Anywhere])),
             check_entities({cut_off_under_it, Round}),
             ok = warp_fault_vm:close()
         end || Round <- lists:seq(1, 15)]
    end).

%% ------------------------------------------------------------------------ The WAL

%% SQLite takes a WAL up to the first frame that does not fit, as after a crash in
%% the middle of a write. What is lost with the rest of it is in the journal.
a_wal_cut_off_or_changed_after_a_kill_loses_nothing(Config) ->
    Dir = filename:join(?config(dir, Config), "data"),
    run(?config(vm, Config), fun() ->
        ok = open(#{data_dir => Dir}),
        store(),
        warp_test:await_applied(warp_fault_vm:ctx())
    end),
    warp_fault_vm:kill(?config(vm, Config)),
    Vm = warp_fault_vm:start(),
    run(Vm, fun() ->
        Killed = read_all(Dir),
        [begin
             restore(Dir, Killed),
             Wal = first_shard(Dir) ++ "-wal",
             Size = filelib:file_size(Wal),
             ?assert(Size > 0),
             At = rand:uniform(Size) - 1,
             case Round rem 2 of
                 0 -> cut_off(Wal, At);
                 1 -> overwrite(Wal, At, rand:bytes(min(Size - At, 100)))
             end,
             ok = open(#{data_dir => Dir}),
             [begin
                  {ok, Log} = warp_core:export(entity(Name)),
                  ?assertEqual(expected(), [seen(E) || E <- Log]),
                  ?assertEqual({ok, length(Log) + 1}, warp_core:append(entity(Name), event(<<"new">>)))
              end || Name <- names()],
             ok = warp_fault_vm:close()
         end || Round <- rounds(20)]
    end),
    warp_fault_vm:stop(Vm).

%% ----------------------------------------------------------------- The fixture

with_intact(Config, Fun) ->
    Dir = filename:join(?config(dir, Config), "data"),
    run(?config(vm, Config), fun() ->
        ok = open(#{data_dir => Dir}),
        store(),
        ok = warp_fault_vm:close(),
        Fun(Dir, read_all(Dir))
    end),
    warp_fault_vm:assert_alive(?config(vm, Config)).

%% Singles among each other, batches, one that is larger than a page, and ids.
store() ->
    [{ok, _} = warp_core:append(entity(Name), (event(single(N)))#{id => single(N)})
     || N <- lists:seq(1, 30), Name <- names()],
    [{ok, _} = warp_core:append_batch(entity(Name), [event(batched(N)) || N <- lists:seq(1, 60)])
     || Name <- names()],
    ok.

names() -> [<<"entity-", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 12)].

%% The texts of an entity's log. Seen, the aggregate, keeps every event as state.
expected() ->
    [single(N) || N <- lists:seq(1, 30)] ++ [batched(N) || N <- lists:seq(1, 60)].

single(N) -> <<"letters-A-", (integer_to_binary(N))/binary>>.
batched(N) -> <<"letters-B-", (integer_to_binary(N))/binary, (binary:copy(<<"b">>, N))/binary>>.

event(Text) -> warp_test:saw(#{text => Text}).

seen(#{payload := #{<<"text">> := Text}}) -> Text.

first_shard(Dir) -> hd(warp_test:shard_files(Dir)).

read_all(Dir) ->
    [{File, Bytes} || File <- files(Dir), {ok, Bytes} <- [file:read_file(File)]].

files(Dir) -> [File || File <- filelib:wildcard(filename:join(Dir, "**")), filelib:is_regular(File)].

%% Puts the files back as they were: the path of the first shard's.
restore(Dir, Intact) ->
    [ok = file:delete(File) || File <- files(Dir)],
    [ok = file:write_file(File, Bytes) || {File, Bytes} <- Intact],
    first_shard(Dir).

%% Random bytes, up to the end of the page, somewhere in a page of one of the tables.
harm(File, Tables) ->
    Names = lists:join(",", [["'", Table, "'"] || Table <- Tables]),
    Found = os:cmd(lists:flatten(["sqlite3 -readonly '", File, "' \"select pageno from dbstat where name in (",
                                  Names, ")\""])),
    Pages = [list_to_integer(Page) || Page <- string:lexemes(Found, "\n")],
    Within = rand:uniform(4096) - 1,
    At = (lists:nth(rand:uniform(length(Pages)), Pages) - 1) * 4096 + Within,
    overwrite(File, At, rand:bytes(rand:uniform(4096 - Within))),
    At.

overwrite(File, At, Bytes) ->
    {ok, Io} = file:open(File, [raw, read, write]),
    ok = file:pwrite(Io, At, Bytes),
    ok = file:close(Io).

cut_off(File, Length) ->
    {ok, Io} = file:open(File, [raw, read, write]),
    {ok, Length} = file:position(Io, Length),
    ok = file:truncate(Io),
    ok = file:close(Io).

rounds(Count) ->
    lists:seq(1, case os:getenv("WARP_LONG") of false -> Count; _ -> Count * 50 end).

%% ---------------------------------------------------------------- Comparing

%% What was found to be corrupt, start included. Everything else is right.
check_context(Dir, Harm) ->
    case open(#{data_dir => Dir}) of
        ok ->
            Corrupt = check_entities(Harm),
            ok = warp_fault_vm:close(),
            Corrupt;
        {error, Reason} ->
            ?assert(is_corrupt_file(Reason), {Harm, Reason}),
            [Reason]
    end.

is_corrupt_file({corrupt, _}) -> true;
is_corrupt_file({not_a_shard, _}) -> true;
is_corrupt_file(_) -> false.

check_entities(Harm) ->
    lists:append([check_entity(entity(Name), Name, Harm) || Name <- names()]).

check_entity(Entity, Name, Harm) ->
    Right = expected(),
    Last = length(Right),
    warp_test:passivate(Entity),
    Answers =
        [{export, Right, texts(warp_core:export(Entity))},
         {first, lists:sublist(Right, 3), texts(warp_core:history(Entity, #{limit => 3}))},
         {last, lists:reverse(lists:nthtail(Last - 3, Right)),
          texts(warp_core:history(Entity, #{limit => 3, direction => backward}))},
         {state, lists:reverse(Right), states(warp_core:get(Entity, <<"Seen">>))},
         {state_at, lists:reverse(lists:sublist(Right, 25)),
          states(warp_core:state_at(Entity, <<"Seen">>, {seq, 25}))},
         {known, [1], known(warp_core:append(Entity, (event(single(1)))#{id => single(1)}))}],
    Corrupt = [What || {What, _, {error, {corrupt, _}}} <- Answers],
    Wrong = [{What, Answer} || {What, Expected, Answer} <- Answers,
                               Answer =/= Expected, not lists:member(What, Corrupt)],
    ?assertEqual({Harm, Name, []}, {Harm, Name, Wrong}),
    warp_test:shard_of(Entity) =:= 0 orelse ?assertEqual({Harm, Name, []}, {Harm, Name, Corrupt}),
    Corrupt.

texts({ok, Events}) -> [seen(Event) || Event <- Events];
texts(Error) -> Error.

states({ok, Events}) -> [seen(Event) || Event <- Events];
states(Error) -> Error.

known({ok, Seq}) -> [Seq];
known(Error) -> Error.
