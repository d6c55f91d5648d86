%% The second start of a context: aggregates that were renamed or left out, and events that nobody can fold any more.
-module(warp_rename_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(warp_test, [credited/1, debited/1, incremented/0]).

suite() -> [{timetrap, {seconds, 60}}].
all() -> warp_test:both_modes().
groups() -> warp_test:both_modes(cases()).
init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_, _) -> ok.

init_per_testcase(_, Config) ->
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => #{to => self()}, level => warning}),
    warp_test:init_case(Config).

end_per_testcase(_, Config) ->
    ok = logger:remove_handler(?MODULE),
    warp_test:end_case(Config).

cases() ->
    [an_alias_reads_what_the_old_name_stored, an_alias_is_projected_too, an_append_that_is_repeated_is_stored_once,
     aliases_that_are_taken_are_refused, others_are_told_with_their_numbers, failures_are_told_once].

%% ------------------------------------------------------------------ Aliases

an_alias_reads_what_the_old_name_stored(Config) ->
    Ctx = warp_test:start(Config, #{snapshot_every => 2}),
    [{ok, _} = warp_core:append_batch(warp_core:entity(Ctx, Id), [credited(5), incremented(), credited(2)])
     || Id <- [<<"a">>, <<"b">>]],
    Again = warp_test:restart(Ctx, #{aggregates => [wallet(), warp_test:counter()]}),
    A = warp_core:entity(Again, <<"a">>),
    ?assertEqual({ok, 7}, warp_core:get(A, <<"Wallet">>)),
    ?assertEqual({ok, 5}, warp_core:state_at(A, <<"Wallet">>, {seq, 2})),
    ?assertEqual({error, {unknown_aggregate, <<"Account">>}}, warp_core:get(A, <<"Account">>)),
    Renamed = maps:get(aggregate, credited(1)),
    ?assertEqual({error, {unknown_aggregate, Renamed}}, warp_core:append(A, credited(1))),
    ?assertMatch({error, {rejected, {overdraft, 7, 8}}}, warp_core:append(A, (debited(8))#{aggregate := <<"Wallet">>})),
    ?assertEqual({ok, 4}, warp_core:append(A, (debited(6))#{aggregate := <<"Wallet">>})),
    ?assertEqual({ok, 1}, warp_core:get(A, <<"Wallet">>)),
    {ok, History} = warp_core:history(A),
    ?assertEqual([<<"Wallet">>, <<"Counter">>, <<"Wallet">>, <<"Wallet">>], [Name || #{aggregate := Name} <- History]),
    {ok, Stored} = warp_core:export(A),
    ?assertEqual([<<"Account">>, <<"Counter">>, <<"Account">>, <<"Wallet">>], [Name || #{aggregate := Name} <- Stored]),
    {ok, 1} = warp_core:append(warp_core:entity(Again, <<"c">>), (credited(1))#{aggregate := <<"Wallet">>}),
    List = fun(Name) ->
        {ok, #{entities := Found, next := done}} = warp_core:entities(Again, #{aggregate => Name}),
        lists:sort([Id || #{id := Id} <- Found])
    end,
    ?assertEqual([<<"a">>, <<"b">>, <<"c">>], List(<<"Wallet">>)),
    ?assertEqual([<<"a">>, <<"b">>], List(<<"Account">>)),
    ?assertEqual([], logged()),
    Once = warp_test:restart(Again),
    ?assertEqual({ok, 1}, warp_core:get(warp_core:entity(Once, <<"a">>), <<"Wallet">>)),
    ?assertEqual({ok, 7}, warp_core:get(warp_core:entity(Once, <<"b">>), <<"Wallet">>)).

an_alias_is_projected_too(Config) ->
    Ctx = warp_test:start(Config),
    A = warp_core:entity(Ctx, <<"a">>),
    {ok, _} = warp_core:append_batch(A, [credited(5), credited(2)]),
    Project = fun(Id, Balance, #{aggregate := <<"Wallet">>}) ->
        [warp_projection:upsert(balances, Id, #{balance => Balance})]
    end,
    Again = warp_test:restart(Ctx, #{aggregates => [(wallet())#{project => Project}], projections => embedded}),
    Now = warp_core:entity(Again, <<"a">>),
    {ok, 3} = warp_core:append(Now, (credited(1))#{aggregate := <<"Wallet">>}),
    ok = warp_core:await_projection(Now, 10000),
    ?assertMatch({ok, #{rows := [[<<"a">>, 8]]}}, warp_core:query(Again, "SELECT id, balance FROM balances", [])).

an_append_that_is_repeated_is_stored_once(Config) ->
    Ctx = warp_test:start(Config),
    Id = <<"payment">>,
    {ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"a">>), (credited(5))#{id => Id}),
    Again = warp_test:restart(Ctx, #{aggregates => [wallet(), warp_test:counter()]}),
    A = warp_core:entity(Again, <<"a">>),
    Paid = fun(Amount) -> (credited(Amount))#{id => Id, aggregate := <<"Wallet">>} end,
    ?assertEqual({ok, 1}, warp_core:append(A, Paid(5))),
    ?assertEqual({error, {id_conflict, 1}}, warp_core:append(A, Paid(6))),
    ?assertEqual({error, {id_conflict, 1}}, warp_core:append(A, (incremented())#{id => Id})),
    ?assertEqual({ok, 5}, warp_core:get(A, <<"Wallet">>)).

aliases_that_are_taken_are_refused(Config) ->
    Try = fun(Aggregates) -> warp_test:try_start((warp_test:opts(Config))#{aggregates => Aggregates}) end,
    ?assertEqual({error, {bad_option, aggregates, {<<"Wallet">>, aliases, {duplicate_name, <<"Account">>}}}},
                 Try([wallet(), warp_test:account()])),
    ?assertEqual({error, {bad_option, aggregates, {<<"Wallet">>, aliases, {duplicate_name, <<"Wallet">>}}}},
                 Try([(wallet())#{aliases => [<<"Wallet">>]}])),
    Twice = [wallet(), (warp_test:counter())#{aliases => [<<"Account">>]}],
    ?assertMatch({error, {bad_option, aggregates, {_, aliases, {duplicate_name, <<"Account">>}}}}, Try(Twice)),
    [?assertEqual({error, {bad_option, aggregates, {<<"Wallet">>, aliases, Why}}}, Try([(wallet())#{aliases => Wrong}]))
     || {Wrong, Why} <- [{<<"Account">>, not_a_list}, {[account], not_a_binary}, {[<<>>], empty},
                         {[<<"a">> | <<"b">>], not_a_list}, {[<<"$warp/saga">>], reserved}]].

%% ------------------------------------------------------------------ Warnings

others_are_told_with_their_numbers(Config) ->
    Ctx = warp_test:start(Config, #{shards => 3}),
    [{ok, _} = warp_core:append(warp_core:entity(Ctx, integer_to_binary(N)), credited(1)) || N <- lists:seq(1, 12)],
    {ok, _} = warp_core:append_batch(warp_core:entity(Ctx, <<"1">>), [credited(1), incremented()]),
    ?assertEqual([], logged()),
    Again = warp_test:restart(Ctx, #{aggregates => [#{name => <<"Todo">>, initial_state => []}]}),
    ok = warp_test:wait_until(fun() -> told("Account (12 entities), Counter (1 entity)") end),
    %% Nobody is told of those that are gone.
    [ok = warp_core:delete(warp_core:entity(Again, integer_to_binary(N))) || N <- lists:seq(1, 12)],
    _ = warp_test:restart(Again),
    timer:sleep(200),
    ?assertEqual([], logged()).

failures_are_told_once(Config) ->
    Ctx = warp_test:start(Config),
    Ids = [integer_to_binary(N) || N <- lists:seq(1, 5)],
    [{ok, _} = warp_core:append(warp_core:entity(Ctx, Id), credited(4711)) || Id <- Ids],
    Apply = fun(_, #{type := <<"Paid">>}) -> 1 end,
    Again = warp_test:restart(Ctx, #{aggregates => [(warp_test:account())#{apply => Apply}]}),
    [?assertMatch({error, {apply_failed, _}}, warp_core:append(warp_core:entity(Again, Id), credited(1))) || Id <- Ids],
    ok = warp_test:wait_until(fun() -> told("Account of context test cannot be folded any more: apply_failed") end),
    ?assertEqual([], logged()).

%% ------------------------------------------------------------------ Logged

told(Text) ->
    receive
        {logged, Logged} ->
            ?assertNotEqual(nomatch, string:find(Logged, Text), Logged),
            ?assertEqual(nomatch, string:find(Logged, "4711")),
            true
    after 0 -> false
    end.

logged() ->
    receive {logged, Text} -> [Text | logged()] after 0 -> [] end.

log(#{msg := {Format, Args}}, #{config := #{to := Pid}}) ->
    Pid ! {logged, unicode:characters_to_list(io_lib:format(Format, Args))};
log(_Event, _Config) ->
    ok.

wallet() ->
    (warp_test:account())#{name := <<"Wallet">>, aliases => [<<"Account">>]}.
