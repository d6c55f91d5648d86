%% A shard that is handed from node to node, while messages are lost, doubled, late and out of order, and nodes end at
%% any moment: there is never a second one that serves, and nothing that was acknowledged is missing.
-module(warp_cluster_handoff_tests).

-include_lib("eunit/include/eunit.hrl").

-define(MODEL, warp_cluster_model).

%% How many states are looked at where they are not to end.
-define(MOST, 1000000).

%% ------------------------------------------------------------------ Random schedules

random_schedules_test_() ->
    {timeout, 3600, fun() ->
        ?assert(proper:quickcheck(
            proper:forall(proper_types:list(command()), fun(Commands) ->
                %% NOTE: PropEr asks for the stack of a crash in a way that newer OTPs do not know.
                try lists:foldl(fun run/2, {[], ?MODEL:new([a, b, c], #{})}, Commands) of
                    {Done, Model} -> is_right(Done, Model)
                catch
                    Class:Reason:Stack -> failed({Class, Reason, Stack})
                end
            end),
            [{numtests, long(5000, 200000)}, {max_size, 1500}, {to_file, user}]))
    end}.

command() ->
    proper_types:frequency([{Weight, {Kind, proper_types:range(0, 60)}}
                            || {Kind, Weight} <- [{done, 120}, {deliver, 100}, {timer, 30}, {append, 20},
                                                  {restart, 20}, {give, 10}, {double, 10}, {join, 20}, {drop, 5},
                                                  {crash, 5}, {reboot, 2}, {late, 4}, {part, 3}, {fail, 3}, {lie, 3},
                                                  {cancel, 1}]]).

%% One of the things of this kind that can happen.
run({Kind, Number}, {Done, Model}) ->
    case [Action || Action <- ?MODEL:actions(Model), element(1, Action) =:= Kind] of
        [] ->
            {Done, Model};
        Actions ->
            Action = lists:nth(Number rem length(Actions) + 1, Actions),
            {[Action | Done], ?MODEL:do(Action, Model)}
    end.

is_right(Done, Model) ->
    case ?MODEL:problems(Model) of
        [] ->
            case ?MODEL:problems(?MODEL:heal(Model)) of
                [] -> true;
                Problems -> failed({after_healing, Problems, lists:reverse(Done)})
            end;
        Problems ->
            failed({Problems, lists:reverse(Done)})
    end.

%% Wherever the shard is on its way when a node is lost for good and is forgotten: it has one owner in the end, and
%% nothing is missing that one of the others had.
a_node_is_forgotten_test_() ->
    {timeout, 3600, fun() ->
        ?assert(proper:quickcheck(
            proper:forall({proper_types:list(command()), proper_types:elements([a, b, c])}, fun({Commands, Gone}) ->
                try
                    {Done, Model} = lists:foldl(fun run/2, {[], ?MODEL:new([a, b, c], #{})}, Commands),
                    #{acked := Acked} = Model,
                    #{had := Had} = Forgotten = ?MODEL:forget(Gone, Model),
                    #{acked := Left} = Healed = ?MODEL:heal(Forgotten),
                    case {?MODEL:problems(Healed), Had =:= [] orelse Left =:= Acked} of
                        {[], true} -> true;
                        {Problems, _} -> failed({Gone, Problems, Had, Left, Acked, lists:reverse(Done)})
                    end
                catch
                    Class:Reason:Stack -> failed({Class, Reason, Stack})
                end
            end),
            [{numtests, long(5000, 300000)}, {max_size, 1500}, {to_file, user}]))
    end}.

%% ------------------------------------------------------------------ All schedules of a few hand-offs

%% What may happen, and how often; and whether all there is was seen. A message can come again and again once it
%% was sent, so that the worlds in which it is lost, doubled or late are among these.
all_schedules_test_() ->
    [{lists:flatten(io_lib:format("~p", [Budget])),
      {timeout, 3600, fun() ->
          {Seen, Result} = searched(?MODEL:new(Names, maps:merge(none(), Budget)), ?MOST),
          ?assert(Result =:= all orelse Result =:= Expected, Result),
          ?assert(Seen > 1000, Seen)
      end}}
     || {Names, Budget, Expected} <- searches()].

searches() ->
    [{[a, b], #{give => 1, append => 2, reboot => always}, all},
     {[a, b], #{give => 1, append => 1, reboot => 1, late => 1, cancel => 1}, all},
     {[a, b], #{give => 1, append => 1, reboot => 1, fail => 1, lie => 1}, all},
     {[a, b], #{give => 1, append => 1, reboot => 2, lose => 1}, all},
     {[a, b], #{give => 2, append => 1, reboot => 1}, all},
     {[a, b], #{give => 3}, all},
     {[a, b, c], #{give => 2, append => 1}, all}
     | long([], [{[a, b], #{give => 2, append => 1, reboot => always}, all},
                 {[a, b], #{give => 1, append => 1, reboot => 1, late => always, fail => 1, lie => 1}, all},
                 {[a, b], #{give => 2, append => 1, reboot => 1, late => 1}, some},
                 {[a, b], #{give => 3, append => 2, reboot => 1}, some},
                 {[a, b, c], #{give => 2, append => 1, reboot => 1}, all},
                 {[a, b, c], #{give => 3, append => 1}, some}])].

none() ->
    #{search => true, deliver => 0, drop => 0, crash => 0, part => 0, join => 0, give => 0, append => 0, reboot => 0,
      cancel => 0, fail => 0, lie => 0, late => 0, lose => 0}.

%% Breadth first, until all states were seen, or so many.
searched(First, Most) ->
    Key = key(First),
    searched([{Key, First}], [], #{Key => none}, Most).

searched([], [], Seen, _Most) ->
    {map_size(Seen), all};
searched([], Next, Seen, Most) ->
    searched(lists:reverse(Next), [], Seen, Most);
searched(_, _, Seen, Most) when map_size(Seen) >= Most ->
    {map_size(Seen), some};
searched([{Key, Model} | Rest], Next, Seen, Most) ->
    case wrong(Key, Model) of
        [] ->
            {More, SeenMore} = lists:foldl(
                fun(Action, {Acc, Known}) ->
                    Behind = ?MODEL:do(Action, Model),
                    case key(Behind) of
                        Other when is_map_key(Other, Known) -> {Acc, Known};
                        Other -> {[{Other, Behind} | Acc], Known#{Other => {Key, Action}}}
                    end
                end, {Next, Seen}, ?MODEL:actions(Model)),
            searched(Rest, More, SeenMore, Most);
        Problems ->
            {map_size(Seen), {Problems, path(Key, Seen, [])}}
    end.

key(Model) -> erlang:md5(term_to_binary(Model)).

path(Key, Seen, Path) ->
    case Seen of
        #{Key := none} -> Path;
        #{Key := {Before, Action}} -> path(Before, Seen, [Action | Path])
    end.

%% Of some states, chosen by their keys, also what becomes of them; with all messages once more, or without any.
wrong(<<Some, _/binary>>, Model) ->
    case ?MODEL:problems(Model) of
        [] when Some =:= 0 -> ?MODEL:problems(?MODEL:heal(Model));
        [] when Some =:= 1 -> ?MODEL:problems(?MODEL:heal(Model#{net := []}));
        Problems -> Problems
    end.

%% ------------------------------------------------------------------ Single cases

-define(X, <<"first attempt">>).
-define(Y, <<"second attempt">>).

%% What is sent, of all effects.
sent(Effects) -> [{To, Message} || {send, To, Message} <- Effects].

inputs(Inputs, Start) ->
    lists:foldl(fun(Input, {_, Handoff}) -> warp_cluster_handoff:input(Input, Handoff) end, Start, Inputs).

owner(Epoch) -> warp_cluster_handoff:start(#{held => {own, Epoch}, stage => none}).

given(Cleaned) ->
    warp_cluster_handoff:start(#{held => {given, 5, b, ?X, <<"digest">>, Cleaned}, stage => none}).

staged() ->
    warp_cluster_handoff:start(#{held => none, stage => {staged, 5, a, ?X, <<"digest">>}}).

frozen() ->
    inputs([{give, b, ?X}, {message, b, {copied, 5, ?X}}, {closed, ?X, {ok, <<"digest">>, extras}}], owner(4)).

staged_counts_only_while_the_shard_is_frozen_test() ->
    {[{write, #{held := {given, 5, b, ?X, <<"digest">>, false}}}], _} =
        inputs([{message, b, {staged, 5, ?X, <<"digest">>}}], frozen()),
    {Late, Handoff} = inputs([{timer, {patience, ?X}}, {message, b, {staged, 5, ?X, <<"digest">>}}], frozen()),
    ?assertEqual([{send, b, {void, 5, ?X}}], Late),
    ?assertEqual({serving, none}, warp_cluster_handoff:info(Handoff)).

a_receiver_that_staged_something_else_does_not_get_it_test() ->
    {Effects, Handoff} = inputs([{message, b, {staged, 5, ?X, <<"other">>}}], frozen()),
    ?assertMatch([{alarm, {other_digest, b, 5}}, {unfreeze, ?X}, {send, b, {void, 5, ?X}}, {ended, b, ?X, _}], Effects),
    ?assertEqual({serving, none}, warp_cluster_handoff:info(Handoff)).

%% The answer `staged' of another node than the one that it was offered to.
another_node_does_not_get_it_test() ->
    ?assertMatch({[{send, c, {void, 5, ?X}}], _}, inputs([{message, c, {staged, 5, ?X, <<"digest">>}}], frozen())).

a_receiver_that_is_no_member_any_more_does_not_get_it_test() ->
    ?assertMatch({[{unfreeze, ?X}, {send, b, {void, 5, ?X}}, {ended, b, ?X, cancelled}], _},
                 inputs([cancel], frozen())),
    {[], Committing} = inputs([{message, b, {staged, 5, ?X, <<"digest">>}}, cancel], frozen()),
    ?assertEqual({committing, {5, b, ?X}}, warp_cluster_handoff:info(Committing)).

one_shard_is_given_to_one_node_at_a_time_test() ->
    ?assertMatch({[{ended, c, ?Y, busy}], _}, inputs([{give, c, ?Y}], frozen())),
    ?assertMatch({[{ended, c, ?Y, not_owner}], _}, inputs([{give, c, ?Y}], given(true))).

whoever_gave_answers_so_for_ever_test() ->
    Given = [{send, b, {given, 5, ?X, <<"digest">>}}],
    [?assertMatch({Given, _}, inputs([{message, b, Message}], given(Cleaned)))
     || Cleaned <- [false, true], Message <- [{staged, 5, ?X, <<"digest">>}, {abandon, 5, ?X}]],
    %% And to another attempt, or another node, that it is over.
    [?assertMatch({[{send, From, {void, 5, Attempt}}], _},
                  inputs([{message, From, {staged, 5, Attempt, <<"digest">>}}], given(Cleaned)))
     || Cleaned <- [false, true], {From, Attempt} <- [{b, ?Y}, {c, ?X}]].

a_node_that_knows_less_says_nothing_test() ->
    Asked = {message, b, {staged, 5, ?X, <<"digest">>}},
    [?assertMatch({[], _}, inputs([Asked], Start))
     || Start <- [warp_cluster_handoff:start(warp_cluster_record:new(joiner)), owner(3),
                  warp_cluster_handoff:start(#{held => {given, 4, c, ?Y, <<>>, true}, stage => none})]].

also_when_it_is_to_get_the_shard_back_test() ->
    {Effects, _} = inputs([{message, c, {offer, 7, ?Y}}, {message, c, {frozen, 7, ?Y, <<"later">>, extras}},
                           {sealed, ?Y, ok}], given(true)),
    ?assertEqual([{write, #{held => {given, 5, b, ?X, <<"digest">>, true},
                            stage => {staged, 7, c, ?Y, <<"later">>}}}], Effects).

owned_is_taken_once_test() ->
    {[clean], Cleaning} = inputs([{message, b, {owned, 5, ?X}}], given(false)),
    ?assertMatch({[], Cleaning}, warp_cluster_handoff:input({message, b, {owned, 5, ?X}}, Cleaning)),
    {[{write, #{held := {given, 5, b, ?X, _, true}}}], Recording} = warp_cluster_handoff:input({cleaned, ok}, Cleaning),
    {_, Idle} = warp_cluster_handoff:input({written, ok}, Recording),
    ?assertMatch({[], Idle}, warp_cluster_handoff:input({message, b, {owned, 5, ?X}}, Idle)),
    %% Nor by a node that has it again.
    ?assertMatch({[], _}, inputs([{message, b, {owned, 5, ?X}}], owner(6))).

%% It comes from one to whom the shard was given later.
an_offer_with_a_higher_epoch_is_as_good_as_owned_test() ->
    ?assertMatch({[clean], _}, inputs([{message, c, {offer, 7, ?Y}}], given(false))),
    {[{write, #{stage := none}}], _} = inputs([{checked, ?X, ok}, {message, c, {offer, 6, ?Y}}], staged()).

%% An offer that is late must not cost the copy that may be the only one.
what_is_staged_stays_until_its_giver_says_that_it_is_over_test() ->
    Staged = [{a, {staged, 5, ?X, <<"digest">>}}],
    {Effects, Handoff} = inputs([{checked, ?X, ok}, {message, a, {offer, 5, ?Y}}], staged()),
    ?assertEqual(Staged, sent(Effects)),
    ?assertMatch({[], Handoff}, warp_cluster_handoff:input({message, a, {void, 5, ?Y}}, Handoff)),
    ?assertMatch({[], Handoff}, warp_cluster_handoff:input({message, c, {void, 5, ?X}}, Handoff)),
    ?assertMatch({[], Handoff}, warp_cluster_handoff:input(cancel, Handoff)),
    ?assertMatch({[{write, #{held := none, stage := none}}], _},
                 warp_cluster_handoff:input({message, a, {void, 5, ?X}}, Handoff)).

what_was_given_has_to_be_what_is_staged_test() ->
    [?assertMatch({[{alarm, {given_and_not_staged, a, 5}}], _},
                  inputs([{checked, ?X, ok}, {message, a, {given, 5, Attempt, Digest}}], staged()))
     || {Attempt, Digest} <- [{?Y, <<"digest">>}, {?X, <<"other">>}]],
    ?assertMatch({[{alarm, {given_and_not_staged, a, 5}}], _},
                 inputs([{message, a, {given, 5, ?X, <<"digest">>}}],
                        warp_cluster_handoff:start(warp_cluster_record:new(joiner)))).

%% The node asks without saying that it has the shard; and if it was given to it, it serves nothing else.
a_stage_that_is_lost_is_said_loudly_test() ->
    {Asked, Unsure} = inputs([{checked, ?X, {error, enoent}}], staged()),
    ?assertMatch([{alarm, {not_staged, enoent}}, {send, a, {abandon, 5, ?X}}, {timer, _, _}], Asked),
    ?assertMatch({[{write, #{stage := none}}], _}, warp_cluster_handoff:input({message, a, {void, 5, ?X}}, Unsure)),
    {Said, Lost} = warp_cluster_handoff:input({message, a, {given, 5, ?X, <<"digest">>}}, Unsure),
    ?assertEqual([{alarm, {lost, a, 5}}], Said),
    ?assertEqual({lost, {5, a, ?X}}, warp_cluster_handoff:info(Lost)),
    ?assertMatch({[], Lost}, warp_cluster_handoff:input({message, a, {given, 5, ?X, <<"digest">>}}, Lost)).

a_shard_that_cannot_be_adopted_is_tried_again_test() ->
    Start = {[{adopt, ?X, <<"digest">>}], _} =
        warp_cluster_handoff:start(#{held => none, stage => {taken, 5, a, ?X, <<"digest">>}}),
    {[{alarm, {not_adopted, eio}}, {timer, _, Tag}], Failed} = inputs([{adopted, ?X, {error, eio}}], Start),
    ?assertMatch({[{adopt, ?X, <<"digest">>}], _}, warp_cluster_handoff:input({timer, Tag}, Failed)).

%% A node whose folder was restored from an older copy.
an_owner_that_is_out_of_date_is_told_so_test() ->
    {Refused, _} = inputs([{message, a, {offer, 5, ?Y}}], given(true)),
    ?assertEqual([{a, {refuse, 5, ?Y, {old_epoch, 5}}}], sent(Refused)),
    {Said, _} = inputs([{give, b, ?Y}, {message, b, {refuse, 5, ?Y, {old_epoch, 7}}}], owner(4)),
    ?assertMatch([{alarm, {contradicted, b, 7}} | _], Said),
    ?assertMatch({[{alarm, {contradicted, b, 5}}], _}, inputs([{message, b, {offer, 5, ?Y}}], owner(4))).

a_receiver_that_says_nothing_is_left_test() ->
    Silence = {timer, {silence, ?X}},
    {[{timer, _, {silence, ?X}}], _} = inputs([{give, b, ?X}, {message, b, {accept, 5, ?X}}, Silence], owner(4)),
    ?assertMatch({[{send, b, {void, 5, ?X}}, {ended, b, ?X, silent}], _},
                 inputs([{give, b, ?X}, {message, b, {accept, 5, ?X}}, Silence, Silence], owner(4))).

what_was_copied_does_not_stay_for_ever_test() ->
    Begun = inputs([{message, a, {offer, 5, ?X}}], warp_cluster_handoff:start(warp_cluster_record:new(joiner))),
    {Dropped, _} = Idle = inputs([{timer, {silence, ?X}}, {timer, {silence, ?X}}], Begun),
    ?assertMatch([{send, a, {abandon, 5, ?X}}, {stop, ?X}, {timer, _, {leftover, ?X}}], Dropped),
    ?assertMatch({[discard], _}, inputs([{timer, {leftover, ?X}}], Idle)),
    %% But what another attempt goes on with does.
    ?assertMatch({[], _}, inputs([{message, a, {offer, 5, ?Y}}, {timer, {leftover, ?X}}], Idle)).

take_over(Lost) -> {take_over, 1000, 77, Lost}.

what_is_staged_is_taken_over_test() ->
    {[{write, #{held := none, stage := {taken, 1000, a, ?X, <<"digest">>}}}], Taking} =
        inputs([{checked, ?X, ok}, take_over([a])], staged()),
    {[{adopt, ?X, <<"digest">>}], Adopting} = warp_cluster_handoff:input({written, ok}, Taking),
    %% It may come again.
    ?assertMatch({[], Adopting}, warp_cluster_handoff:input(take_over([a]), Adopting)),
    ?assertMatch({[{write, #{held := {own, 1000}, stage := none}}], _},
                 warp_cluster_handoff:input({adopted, ?X, ok}, Adopting)),
    %% Not while it is looked at, nor what another one has staged.
    ?assertMatch({[], _}, inputs([take_over([a])], staged())),
    ?assertMatch({[], _}, inputs([{checked, ?X, ok}, take_over([b])], staged())).

what_was_given_and_is_here_is_taken_over_test() ->
    {[{verify, <<"digest">>}], _} = Verifying = inputs([take_over([b])], given(false)),
    {[{write, #{held := {own, 1000}, stage := none}}], Reclaiming} = inputs([{verified, ok}], Verifying),
    %% It had begun to remove it.
    {[clean], Cleaning} = inputs([{verified, {error, not_whole}}], Verifying),
    {[{alarm, {not_verified, eio}}, {timer, _, Tag}], Failed} = inputs([{verified, {error, eio}}], Verifying),
    ?assertMatch({[{verify, <<"digest">>}], _}, warp_cluster_handoff:input({timer, Tag}, Failed)),
    ?assertMatch({[{write, #{held := {given, 5, b, ?X, <<"digest">>, true}}}], _},
                 warp_cluster_handoff:input({cleaned, ok}, Cleaning)),
    ?assertMatch({[{serve, 1000}], _}, warp_cluster_handoff:input({written, ok}, Reclaiming)),
    ?assertMatch({[], _}, inputs([take_over([a])], given(false))).

an_empty_shard_takes_the_place_of_what_is_lost_test() ->
    Empty = {empty, 1000, 77},
    Lost = inputs([{checked, ?X, {error, enoent}}, {message, a, {given, 5, ?X, <<"digest">>}}], staged()),
    Copying = inputs([{message, a, {offer, 5, ?X}}], warp_cluster_handoff:start(warp_cluster_record:new(joiner))),
    [begin
         {Effects, Replacing} = inputs([take_over([a])], Start),
         ?assertMatch([{write, #{stage := Empty}}], [Write || {write, _} = Write <- Effects]),
         ?assertMatch({[{create, 77}], _}, warp_cluster_handoff:input({written, ok}, Replacing))
     end || Start <- [Lost, Copying, given(true), warp_cluster_handoff:start(warp_cluster_record:new(joiner))]],
    %% What was decided is done after a crash, and until it works.
    {[{create, 77}], _} = Created = warp_cluster_handoff:start(#{held => none, stage => Empty}),
    {[{alarm, {not_created, eio}}, {timer, _, Tag}], Failed} = inputs([{created, {error, eio}}], Created),
    {[{create, 77}], Again} = warp_cluster_handoff:input({timer, Tag}, Failed),
    {[{write, #{held := {own, 1000}, stage := none}}], Owning} = warp_cluster_handoff:input({created, ok}, Again),
    ?assertMatch({[{serve, 1000}], _}, warp_cluster_handoff:input({written, ok}, Owning)).

%% Another node owns it, and what is under way comes to nothing.
what_others_own_is_handed_over_no_more_test() ->
    ?assertMatch({[clean], _}, inputs([{owner, 6}], given(false))),
    ?assertMatch({[], _}, inputs([{owner, 5}], given(false))),
    %% The giver may have given the same epoch to another node.
    [?assertMatch({[{write, #{stage := none}}], _}, inputs([{checked, ?X, ok}, {owner, Since}], staged()))
     || Since <- [5, 6]],
    ?assertMatch({[], _}, inputs([{checked, ?X, ok}, {owner, 4}], staged())).

failed(What) ->
    io:format("~p~n", [What]),
    false.

long(Usual, Long) ->
    case os:getenv("WARP_LONG") of false -> Usual; _ -> Long end.
