%% The checker of chaos: what is right passes, and each rule refuses a story that breaks it.
-module(warp_chaos_checker_tests).

-include_lib("eunit/include/eunit.hrl").

-define(E, <<"log-1">>).
-define(M, <<"mortal-n1-1">>).

%% Two events appended one after the other, which all see.
story() ->
    #{calls => [append(1, 2, [<<"a">>], {ok, 1}), append(3, 4, [<<"b">>], {ok, 2})],
      seen => #{"n1-001-unnamed" => [subscribed, {event, ?E, 1, <<"a">>}, {event, ?E, 2, <<"b">>}]},
      watchers => ["n1-001-unnamed"],
      logs => #{n1 => log(), n2 => log()},
      sagas => #{}, balances => #{}, funds => 1000}.

log() -> #{?E => [{1, <<"a">>}, {2, <<"b">>}]}.

append(Began, Ended, Ids, Result) -> call(Began, Ended, {append, ?E, Ids}, Result).

call(Began, Ended, Call, Result) -> {"n1-001-worker", Began, Ended, Call, Result}.

with(Call, #{calls := Calls} = Story) -> Story#{calls := Calls ++ [Call]}.

%% With this log on both nodes, of which nobody is told.
logged(Log, Story) -> Story#{logs := #{n1 => Log, n2 => Log}, seen := #{}, watchers := []}.

kinds(Story) -> lists:usort([element(1, Wrong) || Wrong <- warp_chaos_checker:wrong(Story)]).

what_is_right_passes_test() ->
    ?assertEqual([], kinds(story())),
    Right = [call(5, 6, {get, ?E}, {ok, chain([<<"a">>, <<"b">>])}),
             call(5, 6, {history, ?E}, {ok, [<<"a">>, <<"b">>]}),
             append(5, 6, [<<"c">>], {error, overloaded}),
             append(5, 6, [<<"d">>], {error, timeout}),
             append(5, never, [<<"e">>], unknown),
             %% What is tried again gets the seq that it had.
             append(5, 6, [<<"a">>], {ok, 1})],
    ?assertEqual([], kinds(lists:foldl(fun with/2, story(), Right))).

chain(Ids) -> lists:foldl(fun warp_chaos_load:fold/2, {0, 0}, Ids).

what_is_lost_is_refused_test() ->
    ?assertEqual([lost], kinds(logged(#{?E => [{1, <<"a">>}]}, story()))),
    ?assertEqual([lost], kinds(with(append(5, 6, [<<"c">>], {ok, 3}), story()))),
    ?assertEqual([lost], kinds(logged(#{?E => [{1, <<"b">>}, {2, <<"a">>}]}, story()))).

what_is_doubled_is_refused_test() ->
    ?assertEqual([doubled], kinds(logged(#{?E => [{1, <<"a">>}, {2, <<"b">>}, {3, <<"a">>}]},
                                         (story())#{calls := [append(1, 2, [<<"b">>], {ok, 2}),
                                                              append(1, never, [<<"a">>], unknown)]}))).

a_gap_is_refused_test() ->
    Calls = [append(1, never, [Id], unknown) || Id <- [<<"a">>, <<"b">>]],
    ?assertEqual([gap], kinds(logged(#{?E => [{1, <<"a">>}, {3, <<"b">>}]}, (story())#{calls := Calls}))).

what_was_refused_and_is_there_is_refused_test() ->
    ?assertEqual([refused_is_there],
                 kinds((story())#{calls := [append(1, 2, [<<"a">>], {ok, 1}),
                                            append(3, 4, [<<"b">>], {error, {node_unavailable, n}})]})).

what_nobody_asked_for_is_refused_test() ->
    ?assertEqual([unasked], kinds((story())#{calls := [append(1, 2, [<<"a">>], {ok, 1})]})).

half_a_batch_is_refused_test() ->
    Batch = append(1, never, [<<"a">>, <<"x">>], unknown),
    ?assertEqual([torn], kinds((story())#{calls := [Batch, append(3, 4, [<<"b">>], {ok, 2})]})).

a_read_that_is_behind_is_refused_test() ->
    ?assertEqual([stale], kinds(with(call(5, 6, {get, ?E}, {ok, chain([<<"a">>])}), story()))),
    ?assertEqual([stale], kinds(with(call(5, 6, {history, ?E}, {ok, [<<"a">>]}), story()))),
    %% Not while the append is under way.
    ?assertEqual([], kinds(with(call(3, 6, {get, ?E}, {ok, chain([<<"a">>])}), story()))).

a_seq_that_was_given_before_is_refused_test() ->
    ?assert(lists:member(stale, kinds(with(append(5, 6, [<<"c">>], {ok, 2}), story())))).

a_state_that_the_history_never_had_is_refused_test() ->
    ?assertEqual([other_state], kinds(with(call(5, 6, {get, ?E}, {ok, chain([<<"b">>, <<"a">>])}), story()))).

another_history_is_refused_test() ->
    ?assertEqual([other_history], kinds(with(call(5, 6, {history, ?E}, {ok, [<<"b">>, <<"a">>]}), story()))).

nodes_that_differ_are_refused_test() ->
    ?assertEqual([nodes_differ], kinds((story())#{logs := #{n1 => log(), n2 => #{?E => [{1, <<"a">>}]}}})).

an_error_that_no_fault_explains_is_refused_test() ->
    ?assertEqual([unexpected], kinds(with(append(5, 6, [<<"c">>], {error, {corrupt, <<"shard">>}}), story()))).

%% ------------------------------------------------------------------ Entities that end

mortal(Calls, Log) ->
    logged(#{?M => Log}, (story())#{calls := [call(Began, Ended, Call, Result)
                                              || {Began, Ended, Call, Result} <- Calls]}).

deleted(Began, Result) -> {Began, Began + 1, {delete, ?M}, Result}.
born(Began, Id, Seq) -> {Began, Began + 1, {append, ?M, [Id]}, {ok, Seq}}.

what_was_deleted_and_is_there_is_refused_test() ->
    Calls = [born(1, <<"a">>, 1), deleted(3, ok)],
    ?assertEqual([], kinds(mortal(Calls, []))),
    ?assertEqual([undead], kinds(mortal(Calls, [{1, <<"a">>}]))),
    ?assertEqual([undead], kinds(mortal(Calls ++ [{5, 6, {history, ?M}, {ok, [<<"a">>]}}], []))).

what_was_appended_after_a_deletion_and_is_lost_is_refused_test() ->
    Calls = [born(1, <<"a">>, 1), deleted(3, ok), born(5, <<"b">>, 1)],
    ?assertEqual([], kinds(mortal(Calls, [{1, <<"b">>}]))),
    ?assertEqual([lost], kinds(mortal(Calls, []))).

a_deletion_that_was_refused_deletes_nothing_test() ->
    Refused = [born(1, <<"a">>, 1), deleted(3, {error, {node_unavailable, n}})],
    ?assertEqual([lost], kinds(mortal(Refused, []))),
    ?assertEqual([], kinds(mortal([born(1, <<"a">>, 1), deleted(3, {error, timeout})], []))).

%% ------------------------------------------------------------------ Money

transfer(Result, Status, Balances) ->
    [A, B] = [<<"account-1">>, <<"account-2">>],
    logged(#{}, (story())#{calls := [call(1, 2, {commit, <<"t">>, A, B, 5}, Result)], sagas := #{<<"t">> => Status},
                           balances := maps:from_list(lists:zip([A, B], Balances))}).

money_that_is_lost_or_made_is_refused_test() ->
    ?assertEqual([], kinds(transfer({ok, committed}, committed, [995, 1005]))),
    ?assertEqual([], kinds(transfer({error, timeout}, compensated, [1000, 1000]))),
    ?assertEqual([money], kinds(transfer({ok, committed}, committed, [995, 1000]))),
    ?assertEqual([money], kinds(transfer({error, timeout}, compensated, [995, 1005]))).

a_saga_that_ended_otherwise_is_refused_test() ->
    ?assertEqual([other_end], kinds(transfer({ok, committed}, compensated, [1000, 1000]))),
    ?assertEqual([saga_goes_on], kinds(transfer({error, timeout}, running, [1000, 1000]))).

%% ------------------------------------------------------------------ Subscriptions

seen(Watcher, Seen) -> (story())#{seen := #{Watcher => Seen}, watchers := [Watcher]}.

a_subscription_that_misses_something_is_refused_test() ->
    A = {event, ?E, 1, <<"a">>},
    B = {event, ?E, 2, <<"b">>},
    ?assertEqual([not_seen], kinds(seen("n1-001-unnamed", [subscribed, A]))),
    ?assertEqual([skipped], kinds(seen("n1-001-unnamed", [subscribed, B]))),
    ?assertEqual([sent_twice], kinds(seen("n1-001-unnamed", [subscribed, A, A, B]))),
    ?assertEqual([other_event], kinds(seen("n1-001-unnamed", [subscribed, {event, ?E, 1, <<"x">>}, B]))),
    ?assertEqual([not_seen], kinds(seen("n1-001-unnamed", []))),
    %% It begins anew when it subscribes again, and with a name it does not.
    ?assertEqual([], kinds(seen("n1-001-unnamed", [subscribed, A, subscribed, A, B]))),
    ?assertEqual([], kinds(seen("n1-001-named", [subscribed, A, A, subscribed, A, B]))),
    ?assertEqual([skipped], kinds(seen("n1-001-named", [subscribed, B]))).
