%% @private `warp sagas': those under way and those that are stuck.
-module(warp_cli_sagas).
-behaviour(warp_cli_command).

-export([commands/0]).

-import(warp_cli_units, [text/1, time/1]).

-spec commands() -> [warp_cli_command:command(), ...].
commands() ->
    Saga = #{name => saga, value => <<"ID">>, required => true, about => <<"the id of the saga">>},
    [#{words => [<<"sagas">>, <<"list">>],
       about => <<"List sagas that have not come to an end">>,
       opens => true,
       examples => [<<"warp sagas list data/bank">>, <<"warp sagas list data/bank --json">>],
       run => fun(Args) -> list(Args, all) end},
     #{words => [<<"sagas">>, <<"stuck">>],
       about => <<"Show sagas that wait for an operator, with what was refused">>,
       text => <<"The status is 1 where there is one.">>,
       opens => true,
       examples => [<<"warp sagas stuck data/bank || echo 'somebody has to look'">>],
       run => fun(Args) -> list(Args, stuck) end},
     #{words => [<<"sagas">>, <<"retry">>],
       about => <<"Try the compensations of a stuck saga again">>,
       text => <<"In a running context, which has the functions for it.">>,
       options => [Saga],
       examples => [<<"warp sagas retry data/bank --saga xfr-001 || echo 'it is still stuck'">>],
       run => fun retry/1},
     #{words => [<<"sagas">>, <<"resolve">>],
       about => <<"Close a stuck saga as it is">>,
       opens => true,
       asks => true,
       options => [Saga, #{name => note, value => <<"TEXT">>, required => true,
                           about => <<"why; the saga's log keeps it">>}],
       examples => [<<"warp sagas resolve data/bank --saga xfr-001 --note 'paid back by hand, ticket 17' --yes">>],
       run => fun resolve/1}].

list(Args, Only) ->
    #{<<"sagas">> := Sagas} = warp_cli_context:with(Args, open, fun(Ask, _Hello) ->
        warp_cli_context:ask(Ask, #{op => sagas, only => Only})
    end),
    Show = case Only of stuck -> fun stuck/1; all -> fun table/1 end,
    ok = warp_cli_result:print(Args, Sagas, Show),
    _ = [warp_cli_fail:bad() || Only =:= stuck, Sagas =/= []],
    ok.

table(Sagas) ->
    warp_cli_table:format(
        [{left, "saga"}, {left, "state"}, {left, "since"}, {left, "why"}],
        [[Id, maps:get(<<"state">>, Saga, <<>>), time(maps:get(<<"started_at">>, Saga, null)), why(Saga)]
         || #{<<"id">> := Id} = Saga <- Sagas]).

why(#{<<"waiting">> := #{<<"step">> := Step, <<"entity">> := Entity, <<"reason">> := Reason}}) ->
    ["step ", text(Step), " on ", text(Entity), ": ", text(Reason)];
why(#{<<"blocked">> := Blocked}) -> failure(Blocked);
why(_) -> "-".

failure(#{<<"step">> := Step, <<"entity">> := Entity, <<"reason">> := Reason}) ->
    ["step ", text(Step), " on ", text(Entity), ": ", text(Reason)].

stuck([]) ->
    "No saga is stuck.\n";
stuck(Sagas) ->
    lists:join($\n, [one(Saga) || Saga <- Sagas]).

one(#{<<"id">> := Id, <<"steps">> := Steps} = Saga) ->
    [warp_cli_table:pairs(
        [{"saga", Id}]
        ++ [{Name, failure(Failure)} || {Name, Key} <- [{"failed", <<"failed">>}, {"not reversed", <<"blocked">>}],
                                        #{Key := #{} = Failure} <- [Saga]]
        ++ [{Name, time(At)} || {Name, Key} <- [{"started", <<"started_at">>}, {"stuck since", <<"updated_at">>}],
                                #{Key := At} <- [Saga]]
        ++ [{"state", State} || #{<<"state">> := State} <- [Saga]]),
     warp_cli_table:format(
        [{right, "step"}, {left, "entity"}, {left, "aggregate"}, {left, "status"}, {right, "seq"}, {left, "reason"}],
        [[text(Step), Entity, Aggregate, Status, text(maps:get(<<"seq">>, Of, null)),
          text(maps:get(<<"reason">>, Of, null))]
         || #{<<"step">> := Step, <<"entity">> := Entity, <<"aggregate">> := Aggregate,
              <<"status">> := Status} = Of <- Steps])].

retry(#{saga := Id} = Args) ->
    Saga = warp_cli_context:with(Args, refuse, fun(Ask, _Hello) ->
        warp_cli_context:ask(Ask, #{op => saga_retry, saga => Id})
    end),
    ok = warp_cli_result:print(Args, Saga, fun one/1),
    _ = [warp_cli_fail:bad() || #{<<"state">> := <<"stuck">>} <- [Saga]],
    ok.

resolve(#{saga := Id, note := Note} = Args) ->
    warp_cli_context:with(Args, open, fun(Ask, #{<<"context">> := Name}) ->
        Saga = warp_cli_context:ask(Ask, #{op => saga, saga => Id}),
        Left = length([S || #{<<"status">> := S} <- maps:get(<<"steps">>, Saga),
                            S =:= <<"applied">> orelse S =:= <<"not_reversed">>]),
        ok = warp_cli_terminal:confirm(
            ["The saga ", Id, " of the context ", Name, " (", maps:get(<<"state">>, Saga), ") will be closed as it "
             "is: ", warp_cli_units:many(Left, "step"), " of it will stay applied."], Args),
        Closed = warp_cli_context:ask(Ask, #{op => saga_resolve, saga => Id, note => Note}),
        warp_cli_result:print(Args, Closed, fun one/1)
    end).
