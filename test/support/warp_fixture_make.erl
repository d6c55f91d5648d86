%% Made test/fixtures/v4, and may serve as the pattern for the fixtures of the next format; those that are
%% there are never made again. Earlier states of this module made v1 to v3, the first two with a Warp that wrote these:
%% the Warp of today upgrades them and cannot write them. It runs in a VM that has the tests on its code path, after
%% `make nif-fault':
%%
%%   erl -noinput -pa "$PWD"/_build/test/lib/warp_core/{ebin,test} -s warp_fixture_make main -extra FOLDER
-module(warp_fixture_make).

-export([main/0]).
%% Inside the VM
-export([wait/2]).

-define(FORMAT, "v4").

main() ->
    [Into] = init:get_plain_arguments(),
    Dir = warp_test:new_dir(),
    lists:foreach(fun({Name, Make}) ->
        Vm = warp_fault_vm:start(),
        unlink(Vm),
        Make(Vm, Name, Dir, fun() -> warp_fixture:copy(Dir, Into, Name) end),
        expect(Into, Name, filename:join(Dir, "seen"))
    end, [{"closed", fun closed/4}, {"killed", fun killed/4}, {"half_deleted", fun half_deleted/4}]),
    warp_test:remove_dir(Dir),
    halt().

%% Writes down what is in the files, as the sqlite3 shell sees it, and what this version makes of them.
expect(Into, Name, Seen) ->
    MadeAt = os:system_time(microsecond),
    warp_fixture:copy(Into, filename:join(Seen, "raw"), Name),
    View = warp_fixture:view(filename:join([Seen, "raw", Name])),
    Keys = warp_fixture:keys(filename:join([Seen, "raw", Name])),
    warp_fixture:copy(Into, Seen, Name),
    Ctx = warp_fixture:open({?FORMAT, Name}, Seen, #{}),
    Opened = warp_fixture:describe({?FORMAT, Name}, Ctx, MadeAt),
    warp_test:stop(Ctx),
    Expected = #{made_at => MadeAt, view => View, keys => Keys, opened => Opened},
    Text = io_lib:format("%% coding: utf-8~n~tp.~n", [Expected]),
    ok = file:write_file(filename:join(Into, Name ++ ".term"), unicode:characters_to_binary(Text)).

%% ------------------------------------------------------------------------- Stopped as it should be

closed(Vm, Name, Dir, Copy) ->
    Opts = opts(Name, Dir),
    removed_sagas(Vm, Opts, [saga(<<"removed">>, [transfer(<<"gate">>, 1)]),
                             saga(<<"removed and turned">>, [transfer(<<"never">>, -9)])]),
    ok = warp_fault_vm:run(Vm, fun() -> ok = warp_fault_vm:open(Opts), logs(), warp_fault_vm:close() end),
    ok = warp_fault_vm:run(Vm, fun() ->
        ok = warp_fault_vm:open(Opts#{steps => waiting()}),
        sagas(),
        warp_fault_vm:close()
    end),
    warp_fault_vm:stop(Vm),
    Copy().

opts(Name, Dir) ->
    (warp_fixture:opts({?FORMAT, Name}, Dir, <<"maker">>))#{snapshot_every => 5, keep_sagas => infinity}.

%% Commits sagas, and has their logs removed.
removed_sagas(Vm, Opts, Sagas) ->
    ok = warp_fault_vm:run(Vm, fun() ->
        ok = warp_fault_vm:open(Opts#{keep_sagas => 0}),
        [{ok, _} = warp_saga:commit(Saga, warp_fault_vm:ctx()) || Saga <- Sagas],
        ok = warp_test:wait_until(fun() ->
            #{sagas := #{removed := Removed}} = warp_core:stats(warp_fault_vm:ctx()),
            Removed =:= length(Sagas)
        end),
        warp_fault_vm:close()
    end).

logs() ->
    Alice = entity(<<"alice">>),
    [append(Alice, old_credited(N * 100)) || N <- lists:seq(1, 4)],
    {ok, {5, 7}} = warp_core:append_batch(Alice, [credited(5), (debited(3))#{id => <<"debit-1">>},
                                                  noted(<<"in a batch">>)]),
    append(Alice, (credited(11))#{id => <<"credit-1">>, metadata => #{by => <<"ann">>, trace => [1, 2.5, null]}}),
    append(Alice, #{aggregate => <<"Account">>, type => <<"Credited">>,
                    payload => <<"{ \"amount\" : 7,\"f\":0.10, \"big\":123456789012345678901234567890,"
                                 "\"deep\":[{\"a\":[null,true]}],\"text\":\"\\u017c\\n\\\"\"}">>}),
    Bob = entity(<<"bob">>),
    {ok, {1, 3}} = warp_core:append_batch(Bob, [counted(), credited(100), counted()]),
    [append(Bob, counted()) || _ <- lists:seq(1, 6)],
    %% A row of its own for each, so that the log gets marks.
    [append(entity(<<"many">>), (noted(<<"n">>))#{id => <<"many-", (integer_to_binary(N))/binary>>})
     || N <- lists:seq(1, 70)],
    append(entity(<<"large">>), noted(<<"small">>)),
    append(entity(<<"large">>), noted(binary:copy(<<"0123456789abcdef">>, 1250))),
    append(entity(<<"large">>), noted(<<"small again">>)),
    append(entity(<<"za\x{c5}\x{bc}\x{c3}\x{b3}\x{c5}\x{82}\x{c4}\x{87}">>),
           noted(<<"id and text of UTF-8: \x{e2}\x{82}\x{ac}"/utf8>>)),
    [append(entity(Id), (noted(<<"first life of ", Id/binary>>))#{id => <<"life-1">>})
     || Id <- [<<"gone">>, <<"reborn">>], _ <- [once, twice]],
    ok = warp_test_keys:make(warp_fault_vm:ctx()),
    [ok = warp_core:delete(entity(Id)) || Id <- [<<"gone">>, <<"reborn">>]],
    append(entity(<<"reborn">>), (noted(<<"second life">>))#{id => <<"life-1">>}).

sagas() ->
    Ctx = warp_fault_vm:ctx(),
    {ok, {committed, _}} = commit(Ctx, <<"done">>, [transfer(<<"alice">>, -20), transfer(<<"bob">>, 20)]),
    {ok, {compensated, _}} = commit(Ctx, <<"turned">>, [transfer(<<"bob">>, 5), transfer(<<"carl">>, -1)]),
    {ok, {committed, _}} = commit(Ctx, <<"cleared">>, [transfer(<<"bob">>, 1), transfer(<<"dora">>, 9)]),
    ok = warp_test_keys:make(Ctx),
    ok = warp_core:delete(entity(<<"dora">>)),
    [{ok, {stuck, _}} = commit(Ctx, Id, [sticky(<<"carl">>), transfer(<<"never">>, -9)])
     || Id <- [<<"stuck">>, <<"resolved">>]],
    {ok, {stuck, _}} = warp_saga:resolve(Ctx, <<"resolved">>, <<"paid by hand">>),
    begun(Ctx, <<"back">>, [goes_back(<<"bob">>), transfer(<<"never">>, -9)]),
    begun(Ctx, <<"waits">>, [transfer(<<"alice">>, -1), waits(), transfer(<<"carl">>, 1)]),
    append(entity(<<"alice">>), counted()).

%% ------------------------------------------- A VM killed while sagas, projections, a deletion are under way

killed(Vm, Name, Dir, Copy) ->
    Opts = opts(Name, Dir),
    removed_sagas(Vm, Opts, [saga(<<"removed">>, [transfer(<<"carl">>, 5)])]),
    ok = warp_fault_vm:run(Vm, fun() -> ok = warp_fault_vm:open(Opts), orders(), warp_fault_vm:close() end),
    Hold = fun(File) -> warp_shell:writes(filename:join([Dir, Name, File])) end,
    warp_fault_vm:run(Vm, fun() ->
        ok = warp_fault_vm:open(Opts#{steps => waiting()}),
        {ok, {1, 3}} = warp_core:append_batch(order(8), [placed(<<"carl">>, 80) || _ <- [1, 2, 3]]),
        ok = warp_core:await_projection(order(8), 60000)
    end),
    Tables = Hold("projections.db"),
    warp_fault_vm:run(Vm, fun() ->
        append(order(9), placed(<<"ann">>, 90)),
        ok = warp_test_keys:make(warp_fault_vm:ctx()),
        {error, {still_to_erase, _}} = warp_core:delete(order(2)),
        {ok, []} = warp_core:export(order(2))
    end),
    %% What comes now stays in the journal.
    Shards = [Hold(File) || File <- ["shard-0000.db", "shard-0001.db"]],
    warp_fault_vm:run(Vm, fun under_way/0),
    %% Nothing is written now.
    Copy(),
    warp_fault_vm:kill(Vm),
    [warp_shell:release(Shell) || Shell <- [Tables | Shards]].

under_way() ->
    append(order(9), placed(<<"ann">>, 91)),
    Ctx = warp_fault_vm:ctx(),
    {ok, {committed, _}} = commit(Ctx, <<"done">>, [transfer(<<"alice">>, -10), transfer(<<"bob">>, 10)]),
    {ok, {compensated, _}} = commit(Ctx, <<"turned">>, [transfer(<<"bob">>, 5), transfer(<<"never">>, -9)]),
    {ok, {stuck, _}} = commit(Ctx, <<"stuck">>, [sticky(<<"carl">>), transfer(<<"never">>, -9)]),
    begun(Ctx, <<"back">>, [goes_back(<<"carl">>), transfer(<<"never">>, -9)]),
    begun(Ctx, <<"waits">>, [transfer(<<"alice">>, -30), waits(), transfer(<<"bob">>, 30)]),
    append(entity(<<"late">>), (noted(<<"right before the kill">>))#{id => <<"late-1">>}).

orders() ->
    append(entity(<<"alice">>), credited(100)),
    [append(order(N), placed(lists:nth(1 + N rem 3, [<<"ann">>, <<"bob">>, <<"carl">>]), N)) || N <- lists:seq(1, 7)],
    append(order(1), placed(<<"ann">>, 100)),
    append(order(3), #{aggregate => <<"Order">>, type => <<"Cancelled">>, payload => #{}}),
    Unreadable = #{aggregate => <<"Order">>, type => <<"Unreadable">>, payload => #{}},
    [append(order(N), Unreadable) || N <- [4, 5]],
    [append(order(N), placed(<<"ann">>, 1000)) || N <- [4, 5]],
    [{error, {set_aside, 2}} = warp_core:await_projection(order(N), 60000) || N <- [4, 5]],
    ok = warp_projection:skip(warp_fault_vm:ctx(), <<"order-5">>),
    [ok = warp_core:await_projection(order(N), 60000) || N <- [1, 2, 3, 5, 6, 7]].

%% ------------------------------------------------- A VM killed between two transactions of one deletion

half_deleted(Vm, Name, Dir, Copy) ->
    Opts = warp_fixture:opts({?FORMAT, Name}, Dir, <<"maker">>),
    ok = warp_fault_vm:run(Vm, fun() ->
        ok = warp_fault_vm:open(Opts#{durability => normal}),
        append(entity(<<"other">>), credited(1)),
        [append(entity(<<"victim">>), #{aggregate => <<"Note">>, type => <<"N">>, payload => #{}})
         || _ <- lists:seq(1, 2100)],
        append(entity(<<"other">>), credited(2)),
        ok = warp_test_keys:make(warp_fault_vm:ctx()),
        warp_fault_vm:close()
    end),
    warp_fault_vm:stop(Vm),
    crashed = warp_fault_vm:crash(fun() ->
        ok = warp_fault_vm:open(Opts),
        %% Three commits of the list of deletions, one of the journal, and one that erases the first rows.
        warp_fault_vm:fault({abort_after, 5}),
        ok = warp_core:delete(entity(<<"victim">>))
    end),
    Copy().

%% ---------------------------------------------------------------------------------------------- Events

entity(Id) -> warp_fault_vm:entity(Id).
order(N) -> entity(<<"order-", (integer_to_binary(N))/binary>>).
append(Entity, Event) -> {ok, _} = warp_core:append(Entity, Event).

old_credited(Cents) ->
    #{aggregate => <<"Account">>, type => <<"Credited">>, schema_vsn => 1, payload => #{cents => Cents}}.
credited(Amount) -> #{aggregate => <<"Account">>, type => <<"Credited">>, payload => #{amount => Amount}}.
debited(Amount) -> #{aggregate => <<"Account">>, type => <<"Debited">>, payload => #{amount => Amount}}.
counted() -> #{aggregate => <<"Tally">>, type => <<"Counted">>, payload => #{}}.
noted(Text) -> #{aggregate => <<"Note">>, type => <<"Noted">>, payload => #{text => Text}}.
placed(Customer, Amount) ->
    #{aggregate => <<"Order">>, type => <<"Placed">>, payload => #{customer => Customer, amount => Amount}}.

transfer(Entity, Amount) when Amount > 0 -> step(Entity, credited(Amount), debited(Amount));
transfer(Entity, Amount) -> step(Entity, debited(-Amount), credited(-Amount)).

step(Entity, #{aggregate := Aggregate} = Forward, Compensate) ->
    warp_saga_test:step(Entity, Aggregate, maps:remove(aggregate, Forward), maps:remove(aggregate, Compensate)).

%% What was credited is gone before it can be taken back.
sticky(Entity) -> step(Entity, credited(1), debited(1000)).

waits() ->
    warp_saga_test:step(<<"gate">>, <<"Note">>, #{run => <<"wait">>, args => #{for => <<"ever">>}},
                        #{type => <<"Noted">>, payload => #{}}).

goes_back(Entity) ->
    warp_saga_test:step(Entity, <<"Account">>, maps:remove(aggregate, credited(1)), #{run => <<"back">>}).

waiting() -> #{<<"wait">> => fun ?MODULE:wait/2, <<"back">> => fun ?MODULE:wait/2}.

wait(_State, _Args) ->
    at_gate ! here,
    receive after infinity -> ok end.

saga(Id, Steps) -> warp_saga_test:saga(Id, Steps).

commit(Ctx, Id, Steps) -> warp_saga:commit(saga(Id, Steps), Ctx).

%% It is at the step that waits.
begun(Ctx, Id, Steps) ->
    true = register(at_gate, self()),
    {error, timeout} = warp_saga:commit(saga(Id, Steps), Ctx, #{wait => 0}),
    receive here -> ok end,
    true = unregister(at_gate).
