%% An aggregate with a read model of every kind of command, the load for it, and the same read
%% model folded from the logs.
-module(warp_read_model).

-export([aggregate/0, entity/1, load/3, append/3, assert_equal/2, actual/1]).

-include_lib("stdlib/include/assert.hrl").

-define(ENTITIES, 20).

aggregate() ->
    #{name => <<"Parcel">>,
      initial_state => #{count => 0, weight => 0, last => null},
      apply => fun(#{count := N, weight := Weight}, #{payload := #{<<"weight">> := W, <<"text">> := Text}}) ->
                       #{count => N + 1, weight => Weight + W, last => Text}
               end,
      project => fun project/3}.

%% The state as one row; each event as a row that goes with the tenth after it; and two sums that
%% many entities share.
project(Id, #{count := N, weight := Weight, last := Last}, #{seq := Seq, payload := Payload}) ->
    #{<<"weight">> := W} = Payload,
    [warp_projection:upsert(<<"parcels">>, Id,
                            #{<<"count">> => N, <<"weight">> => Weight, <<"last">> => Last}),
     warp_projection:upsert(<<"moves">>, move(Id, Seq),
                            #{<<"weight">> => W / 4, <<"even">> => W rem 2 =:= 0,
                              <<"what">> => {json, Payload}}),
     warp_projection:increment(<<"totals">>, <<"all">>, #{<<"moves">> => 1, <<"weight">> => W}),
     warp_projection:increment(<<"totals">>, W rem 3, #{<<"moves">> => 1})]
        ++ [warp_projection:delete(<<"moves">>, move(Id, Seq - 10)) || Seq > 10].

move(Id, Seq) -> <<Id/binary, "/", (integer_to_binary(Seq))/binary>>.

entity(N) -> <<"x'", (binary:encode_hex(<<N>>))/binary, "'; \"parcel\" ", (integer_to_binary(N))/binary, 0>>.

%% Appends the events From to To, some of them in batches, to many entities at once.
load(Ctx, From, To) ->
    _ = warp_test:parallel(8, fun(Lane) ->
        [append(Ctx, entity(1 + N rem ?ENTITIES), N) || N <- lists:seq(From, To), N rem 8 =:= Lane - 1]
    end),
    ok.

append(Ctx, Id, N) ->
    Events = [event(N, I) || I <- lists:seq(1, 1 + N rem 3)],
    {ok, _} = warp_core:append_batch(warp_core:entity(Ctx, Id), Events, #{timeout => 60000}),
    ok.

event(N, I) ->
    Text = lists:nth(1 + N rem 6, [<<"plain">>, <<"it's; DROP TABLE parcels; --">>, <<"x'00ff'">>, <<"a", 0, "b">>,
                                   <<"\x{f0}\x{9f}\x{93}\x{a6}">>, <<>>]),
    #{aggregate => <<"Parcel">>, type => <<"Moved">>, payload => #{weight => N * 3 + I, text => Text}}.

%% Waits until the read model shows the whole log, and compares each row.
assert_equal(Ctx, Timeout) ->
    [?assertEqual({N, ok}, {N, warp_core:await_projection(warp_core:entity(Ctx, entity(N)), Timeout)})
     || N <- lists:seq(1, ?ENTITIES)],
    ?assertEqual({ok, []}, warp_projection:set_aside(Ctx)),
    Actual = actual(Ctx),
    maps:foreach(fun(Table, Rows) -> same(Table, Rows, maps:get(Table, Actual)) end, expected(Ctx)).

same(_Table, Rows, Rows) -> ok;
same(Table, Expected, Actual) when is_list(Actual) ->
    error({Table, {missing, lists:sublist(Expected -- Actual, 5)}, {unexpected, lists:sublist(Actual -- Expected, 5)},
           {rows, length(Expected), length(Actual)}});
same(Table, _Expected, Actual) ->
    error({Table, Actual}).

actual(Ctx) ->
    Rows = fun(Sql) ->
        case warp_core:query(Ctx, Sql, [], #{max_rows => 1000000, timeout => 60000, level => strong}) of
            {ok, #{rows := Found}} -> lists:sort(Found);
            %% Tables come with the first command.
            {error, {sql_error, <<"no such table", _/binary>>}} -> [];
            Error -> Error
        end
    end,
    #{parcels => Rows(<<"SELECT id, count, weight, last FROM parcels">>),
      moves => Rows(<<"SELECT id, weight, even, what FROM moves">>),
      totals => Rows(<<"SELECT id, moves, weight FROM totals">>)}.

expected(Ctx) ->
    Logs = [{Id, Events} || N <- lists:seq(1, ?ENTITIES), Id <- [entity(N)],
                            {ok, [_ | _] = Events} <- [warp_core:export(warp_core:entity(Ctx, Id))]],
    All = lists:append([weights(Events) || {_, Events} <- Logs]),
    Thirds = [{K, [W || W <- All, W rem 3 =:= K]} || K <- [0, 1, 2]],
    #{parcels => lists:sort([[Id, length(Events), lists:sum(weights(Events)), text(lists:last(Events))]
                             || {Id, Events} <- Logs]),
      moves => lists:sort([moved(Id, Event) || {Id, Events} <- Logs,
                                               #{seq := Seq} = Event <- Events, Seq > length(Events) - 10]),
      totals => lists:sort([[<<"all">>, length(All), lists:sum(All)] || All =/= []]
                           ++ [[K, length(Some), null] || {K, [_ | _] = Some} <- Thirds])}.

moved(Id, #{seq := Seq, payload := #{<<"weight">> := W} = Payload}) ->
    {ok, Json} = warp_json:encode_long(Payload),
    [move(Id, Seq), W / 4, W rem 2 =:= 0, Json].

weights(Events) -> [W || #{payload := #{<<"weight">> := W}} <- Events].

text(#{payload := #{<<"text">> := Text}}) -> Text.
