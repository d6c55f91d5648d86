%% The decisions of an entity, one by one: no process, no disk.
-module(warp_entity_core_tests).

-include_lib("eunit/include/eunit.hrl").

-define(ACCOUNT, <<"Account">>).

%% A context with one account, on which nothing may be overdrawn.
context() ->
    Account = #{
        name => ?ACCOUNT,
        initial_state => 0,
        apply => fun(Balance, #{payload := #{<<"amount">> := N}}) -> Balance + N end,
        validate => fun
            (Balance, #{payload := #{<<"amount">> := N}}) when Balance + N < 0 -> {error, overdrawn};
            (_, _) -> ok
        end
    },
    #{aggregates => #{?ACCOUNT => Account}, rules => warp_nif:rules([{?ACCOUNT, 1, true}], []),
      clock => warp_clock:new()}.

new() ->
    warp_entity_core:new(context(), <<"alice">>).

amount(N) -> amount(N, #{}).
amount(N, Extra) ->
    {ok, Pack} = warp_entity_pack:pack(context(), <<"alice">>, undefined,
                                [Extra#{type => <<"Moved">>, payload => #{<<"amount">> => N}}]),
    {append, Pack, any}.

from(Name) -> {self(), Name}.

%% Asks for each amount, in order, from callers numbered from 1.
asked(Amounts, Core) ->
    {Asked, _} = lists:foldl(
        fun(N, {Acc, Caller}) ->
            {warp_entity_core:request(amount(N), from(Caller), Acc), Caller + 1}
        end, {Core, 1}, Amounts),
    Asked.

taken(Core) ->
    {append, Rows, Next} = warp_entity_core:take(Core),
    {length(Rows), Next}.

answers(Settled) ->
    [{Caller, Result} || {answer, {_, Caller}, _, Result} <- Settled].

requests_are_judged_ahead_of_the_commit_test() ->
    {1, First} = taken(asked([10], new())),
    %% Not committed yet, but it may be spent.
    Second = warp_entity_core:request(amount(-10), from(2), First),
    ?assertEqual({ok, 0}, warp_entity_core:read(?ACCOUNT, Second)),
    ?assertMatch({nothing, _}, warp_entity_core:take(Second)),
    {Settled, Third} = warp_entity_core:settle({stored, 7}, Second),
    ?assertEqual([{1, {stored, 1, 1}}], answers(Settled)),
    ?assertEqual({ok, 10}, warp_entity_core:read(?ACCOUNT, Third)),
    {1, Fourth} = taken(Third),
    {Rest, Last} = warp_entity_core:settle({stored, 7}, Fourth),
    ?assertEqual([{2, {stored, 2, 2}}], answers(Rest)),
    ?assertEqual({ok, 0}, warp_entity_core:read(?ACCOUNT, Last)),
    ?assert(warp_entity_core:is_quiet(Last)).

what_waits_goes_as_one_submission_test() ->
    {1, First} = taken(asked([10], new())),
    Waiting = asked([1, 2, 3], First),
    {_, Next} = warp_entity_core:settle({stored, 7}, Waiting),
    ?assertMatch({3, _}, taken(Next)).

a_refusal_is_answered_in_its_turn_test() ->
    {1, First} = taken(asked([10], new())),
    Refused = warp_entity_core:request(amount(-50), from(2), First),
    %% Ten were not committed when it was refused: it has to wait for them.
    ?assertMatch({nothing, _}, warp_entity_core:take(Refused)),
    {_, Next} = warp_entity_core:settle({stored, 7}, Refused),
    ?assertMatch({refuse, {answer, {_, 2}, _, {error, {rejected, overdrawn}}}, _},
                 warp_entity_core:take(Next)).

a_failed_commit_fails_all_behind_it_test() ->
    {1, First} = taken(asked([10], new())),
    Waiting = asked([1, 2], First),
    {Settled, Next} = warp_entity_core:settle({failed, disk_full}, Waiting),
    ?assertEqual([{error, disk_full}], lists:usort([R || {_, R} <- answers(Settled)])),
    ?assertEqual(3, length(Settled)),
    ?assertEqual(0, warp_entity_core:base(Next)),
    ?assert(warp_entity_core:is_quiet(Next)),
    ?assertMatch({error, _}, refusal_of(-1, Next)).

what_stands_behind_a_stop_is_judged_again_test() ->
    %% Three at once: the second turns out to be in the log already.
    {1, First} = taken(asked([10], new())),
    {_, Committed} = warp_entity_core:settle({stored, 7}, First),
    Known = warp_entity_core:request(amount(100, #{id => <<"k">>}), from(2),
                                     asked([5], Committed)),
    {3, InFlight} = taken(warp_entity_core:request(amount(-50), from(3), Known)),
    {Settled, Next} = warp_entity_core:settle({stopped, 7, 1, {duplicates, [{0, 1}]}}, InFlight),
    ?assertEqual([{1, {stored, 2, 2}}, {2, {stored_at, [1]}}], answers(Settled)),
    %% Without the hundred there is no money for the third.
    ?assertMatch({refuse, {answer, {_, 3}, _, {error, {rejected, overdrawn}}}, _},
                 warp_entity_core:take(Next)).

a_refused_append_with_an_id_is_looked_up_test() ->
    Refused = warp_entity_core:request(amount(-5, #{id => <<"k">>}), from(1), new()),
    {refuse, {look_up, From, Request, Result}, Core} = warp_entity_core:take(Refused),
    Found = fun(Stop) -> element(1, warp_entity_core:look_up(Stop, {From, Request}, Result, Core)) end,
    ?assertEqual([{1, {stored_at, [4]}}], answers(Found({duplicates, [{0, 4}]}))),
    ?assertEqual([{1, {error, {id_conflict, 4}}}], answers(Found({id_conflict, 4}))),
    ?assertEqual([{1, {error, {rejected, overdrawn}}}], answers(Found(none))).

expected_versions_count_what_is_ahead_test() ->
    {append, Pack, any} = amount(1),
    At = fun(Expected, Core) -> warp_entity_core:request({append, Pack, Expected}, from(9), Core) end,
    {1, One} = taken(asked([1], new())),
    ?assertMatch({append, [_], _}, warp_entity_core:take(At(no_stream, new()))),
    {_, Stored} = warp_entity_core:settle({stored, 7}, At(1, One)),
    ?assertMatch({append, [_], _}, warp_entity_core:take(Stored)),
    {_, Refused} = warp_entity_core:settle({stored, 7}, At(no_stream, One)),
    ?assertMatch({refuse, {answer, _, _, {error, {wrong_expected_seq, 1}}}, _},
                 warp_entity_core:take(Refused)).

a_deletion_waits_for_what_is_before_and_empties_what_is_behind_test() ->
    {1, First} = taken(asked([10], new())),
    Deleting = warp_entity_core:deletion({a_module, argument}, from(2), First),
    Behind = warp_entity_core:request(amount(-1), from(3), Deleting),
    {_, Next} = warp_entity_core:settle({stored, 7}, Behind),
    {erase, {a_module, argument}, Erasing} = warp_entity_core:take(Next),
    ?assert(warp_entity_core:is_erasing(Erasing)),
    {Settled, Empty} = warp_entity_core:settle(erased, Erasing),
    ?assertEqual([{2, {deleted, 1}}], answers(Settled)),
    ?assertEqual({ok, 0}, warp_entity_core:read(?ACCOUNT, Empty)),
    ?assertMatch({refuse, {answer, {_, 3}, _, {error, {rejected, overdrawn}}}, _},
                 warp_entity_core:take(Empty)).

a_decision_that_appends_nothing_is_no_error_test() ->
    Decided = warp_entity_core:request({decide, ?ACCOUNT, fun(0) -> {ok, []} end}, from(1), new()),
    ?assertMatch({refuse, {answer, _, _, {stored_at, []}}, _}, warp_entity_core:take(Decided)).

refusal_of(N, Core) ->
    {refuse, {answer, _, _, Result}, _} =
        warp_entity_core:take(warp_entity_core:request(amount(N), from(1), Core)),
    Result.
