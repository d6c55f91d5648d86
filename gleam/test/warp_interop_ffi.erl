%% Warp's Gleam modules called from Erlang, as an Erlang application would.
-module(warp_interop_ffi).

-export([calls/1, start/1, decide/3]).

-include_lib("stdlib/include/assert.hrl").

calls(Ctx) ->
    Alice = warp:entity(Ctx, <<"alice">>),
    Credited = #{type => <<"Credited">>, payload => #{<<"amount">> => 5000}},
    ?assertEqual({ok, 1}, warp:append(Alice, Credited)),
    ?assertEqual({ok, {2, 4}}, warp:append_batch(Alice, [
        #{type => <<"Debited">>, payload => #{amount => 1000}},
        #{type => <<"Debited">>, payload => <<"{\"amount\":500}">>},
        #{type => <<"Credited">>, payload => #{amount => 1}, id => <<"order-17">>}
    ])),
    ?assertEqual({ok, 3501}, warp:get(Alice, <<"Account">>)),
    ?assertEqual({ok, 5000}, warp:state_at(Alice, <<"Account">>, {seq, 1})),
    ?assertEqual({ok, 0}, warp:state_at(Alice, <<"Account">>, {time, 0})),
    ?assertMatch({ok, [#{seq := 1, type := <<"Credited">>, payload := #{<<"amount">> := 5000}},
                       _, _, #{id := <<"order-17">>}]},
                 warp:history(Alice)),
    ?assertEqual(warp_core:export(Alice), warp:export(Alice)),
    ?assertEqual({error, {rejected, {overdraft, 6499}}},
                 warp:append(Alice, #{type => <<"Debited">>, payload => #{amount => 10000}})),
    ?assertEqual({error, {wrong_expected_seq, 4}},
                 warp:append_with(Alice, Credited,
                                  'warp@append':expect('warp@append':options(), {seq, 9}))),
    ?assertEqual({ok, [5]},
                 warp:decide(Alice, <<"Account">>, fun(Balance) ->
                     {ok, [#{type => <<"Debited">>, payload => #{amount => Balance}}]}
                 end)),
    ?assertEqual({error, {refused, empty}},
                 warp:decide(Alice, <<"Account">>, fun(0) -> {error, empty} end)),
    ?assertEqual({error, {bad_event, 1, <<"payload">>, missing}},
                 warp:append(Alice, #{type => <<"Credited">>})),
    {error, Error} = warp:get(Alice, <<"Nobody">>),
    ?assertEqual(<<"The context has no aggregate \"Nobody\". Add it to the option aggregates.">>,
                 'warp@error':to_string(Error)),
    {ok, Stats} = warp:stats(Ctx),
    ?assertEqual(<<"test">>, element(2, Stats)),
    ?assertEqual({ok, nil}, warp:delete(Alice)),
    ?assertEqual({ok, []}, warp:export(Alice)),
    nil.

%% An Erlang application starts contexts with `warp_core', and may use `warp' from there on.
start(Dir) ->
    {ok, Ctx} = warp_core:start(#{
        context => <<"test">>, data_dir => Dir, shards => 1,
        aggregates => [#{name => <<"Log">>, initial_state => none}]}),
    Alice = warp:entity(Ctx, <<"alice">>),
    Events = [#{type => <<"Noted">>, payload => #{n => N}} || N <- lists:seq(1, 500)],
    ?assertEqual({ok, {1, 500}}, warp:append_batch(Alice, Events)),
    ?assertEqual(nil, warp:stop(Ctx)),
    ?assertEqual({error, context_stopped}, warp:append_batch(Alice, Events)),
    nil.

%% As Gleam's `process.send' would send it.
decide(Alice, {subject, Owner, Tag}, Amount) ->
    warp_core:decide(Alice, <<"Account">>, fun(_Balance) ->
        {ok, [#{type => <<"Credited">>, payload => #{amount => Amount}}],
         [{Owner, {Tag, {some, Amount}}}]}
    end, #{}).
