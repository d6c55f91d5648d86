-module(warp_erasure_moves_tests).

-include_lib("eunit/include/eunit.hrl").

-define(LOCAL, [<<"subscriptions">>, <<"embedded">>]).

leave(Given) -> warp_erasure_moves:leaving(Given, {'a@x', ?LOCAL}, fun() -> <<"new">> end).
arrive(Given) -> arrive(Given, fun(_) -> false end).
arrive(Given, IsDone) -> warp_erasure_moves:arriving(Given, {'b@x', ?LOCAL}, 3, IsDone).

entry() -> #{entity => <<"e">>, shard => 3, incarnation => 7}.

row(Node, State, Noted) ->
    (entry())#{deletion => <<"d">>, step => <<"node:", Node/binary>>, state => State, noted => Noted}.

nothing_stays_nothing_test() ->
    ?assertEqual({[], []}, leave({[], []})),
    ?assertEqual({[], []}, arrive({[], []})).

%% The log may still be there: the new node carries the deletion out, and tells the old one as any other.
an_open_deletion_begins_anew_test() ->
    All = [<<"sagas">>, <<"log">> | ?LOCAL] ++ [<<"copies">>],
    Left = {[{entry(), [<<"sagas">>, <<"log">>, <<"copies">>]}],
            [row(<<"b@x">>, open, false), row(<<"c@x">>, open, false), row(<<"a@x">>, open, false)]},
    ?assertEqual(Left, leave({[{entry(), All}], [row(<<"b@x">>, open, false), row(<<"c@x">>, open, false)]})),
    ?assertEqual({[{entry(), All}], [row(<<"c@x">>, open, false), row(<<"a@x">>, open, false)]}, arrive(Left)).

a_deletion_that_may_be_kept_test() ->
    Left = leave({[{entry(), [<<"unless kept">> | ?LOCAL]}], []}),
    ?assertMatch({[{_, [<<"unless kept">>]}], [#{deletion := <<"new">>, step := <<"node:a@x">>, state := open}]}, Left),
    ?assertMatch({[{_, [<<"unless kept">>, <<"subscriptions">>, <<"embedded">>]}], [#{step := <<"node:a@x">>}]},
                 arrive(Left)).

%% What the old node has not done becomes its part, and the new node's part its own steps.
what_is_left_behind_the_log_test() ->
    Left = leave({[{entry(), [<<"embedded">>]}], [row(<<"b@x">>, erased, true)]}),
    ?assertMatch({[], [#{step := <<"node:b@x">>}, #{step := <<"node:a@x">>, deletion := <<"new">>, state := erased,
                                                    noted := true, incarnation := 7}]}, Left),
    ?assertMatch({[{#{entity := <<"e">>, shard := 3, incarnation := 7}, ?LOCAL}], [#{step := <<"node:a@x">>}]},
                 arrive(Left)),
    ?assertMatch({[], [#{step := <<"node:a@x">>}]}, arrive(Left, fun(Id) -> Id =:= <<"d">> end)).

%% What the shard's node alone does stays one step, wherever that is.
steps_of_the_owner_go_along_test() ->
    Left = leave({[{entry(), [<<"embedded">>, <<"rqlite">>]}], [row(<<"b@x">>, erased, true)]}),
    ?assertMatch({[{_, [<<"rqlite">>]}], [_, #{step := <<"node:a@x">>}]}, Left),
    ?assertMatch({[{_, [<<"subscriptions">>, <<"embedded">>, <<"rqlite">>]}], _}, arrive(Left)),
    ?assertMatch({[{_, [<<"rqlite">>]}], _}, arrive(Left, fun(_) -> true end)).

%% A node that was told to forget the deletion, and gets the shard, has nothing to do.
a_kept_entity_test() ->
    [Own, Others] = [row(Node, kept, true) || Node <- [<<"b@x">>, <<"c@x">>]],
    ?assertEqual({[], [Others]}, arrive({[], [Own, Others]})).
