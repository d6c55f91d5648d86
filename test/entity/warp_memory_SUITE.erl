%% What is kept in memory is what is needed, not what it was cut from.
-module(warp_memory_SUITE).

-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(PAYLOAD, 1000000).

all() ->
    [ids_are_copied, types_are_copied, states_are_copied_at_once, published_states_are_copied,
     small_pieces_are_copied_when_it_is_quiet, replayed_states_are_copied, many_entities].

init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

%% Its state is what `apply' cuts out of the text of the last event, and that event's type.
start(Config) ->
    warp_test:start(Config, #{aggregates => [#{
        name => <<"Cut">>, initial_state => none,
        apply => fun(_, #{type := Type, payload := #{<<"text">> := <<Head:100/binary, _/binary>>}}) ->
                         {Type, Head};
                    (_, #{type := Type}) ->
                         {Type, none}
                 end}]}).

%% A binary of that many bytes, cut from a large one.
cut(Bytes) ->
    binary:part(large(?PAYLOAD), 7, Bytes).

large(Bytes) ->
    binary:copy(<<"0123456789">>, Bytes div 10).

text(Bytes) ->
    #{type => <<"Said">>, payload => #{text => large(Bytes)}}.

ids_are_copied(Config) ->
    Ctx = start(Config),
    Id = cut(100),
    ?assert(binary:referenced_byte_size(Id) >= ?PAYLOAD),
    Entity = warp_core:entity(Ctx, Id),
    {ok, 1} = warp_core:append(Entity, text(1000)),
    {ok, _} = warp_core:get(Entity, <<"Cut">>),
    {ok, Pid} = warp_core:pid(Entity),
    Id = element(3, Entity),
    assert_small(element(3, Entity)),
    assert_small(sys:get_state(Pid)),
    {ok, Context} = warp_context:find(Ctx),
    assert_small(ets:tab2list(maps:get(registry, Context))),
    [_] = Published = ets:tab2list(maps:get(states, Context)),
    assert_small(Published).

types_are_copied(Config) ->
    Entity = warp_core:entity(start(Config), <<"e">>),
    {ok, 1} = warp_core:append(Entity, #{type => cut(80), payload => #{}}),
    assert_small(element(2, warp_core:get(Entity, <<"Cut">>))).

states_are_copied_at_once(Config) ->
    Entity = warp_core:entity(start(Config), <<"e">>),
    {ok, 1} = warp_core:append(Entity, text(?PAYLOAD)),
    {ok, Pid} = warp_core:pid(Entity),
    garbage_collect(Pid),
    ?assert(held(Pid) < 50000).

published_states_are_copied(Config) ->
    Ctx = start(Config),
    Entity = warp_core:entity(Ctx, <<"e">>),
    {ok, 1} = warp_core:append(Entity, text(3000)),
    {ok, _} = warp_core:get(Entity, <<"Cut">>),
    {ok, {_, Head}} = warp_core:get(Entity, <<"Cut">>),
    ?assertEqual(100, byte_size(Head)),
    ?assert(binary:referenced_byte_size(Head) =< 256).

small_pieces_are_copied_when_it_is_quiet(Config) ->
    Entity = warp_core:entity(start(Config), <<"e">>),
    {ok, 1} = warp_core:append(Entity, text(3000)),
    {ok, Pid} = warp_core:pid(Entity),
    warp_test:wait_until(fun() -> held(Pid) < 1000 end).

replayed_states_are_copied(Config) ->
    Ctx = start(Config),
    Entity = warp_core:entity(Ctx, <<"e">>),
    {ok, 1} = warp_core:append(Entity, text(?PAYLOAD)),
    {ok, {_, Head}} = warp_core:state_at(Entity, <<"Cut">>, {seq, 1}),
    ?assert(binary:referenced_byte_size(Head) =< 256),
    warp_test:passivate(Entity),
    {ok, {_, Again}} = warp_core:get(Entity, <<"Cut">>),
    ?assertEqual(Head, Again),
    {ok, Pid} = warp_core:pid(Entity),
    garbage_collect(Pid),
    ?assert(held(Pid) < 50000).

many_entities(Config) ->
    Ctx = start(Config),
    Before = memory(),
    [{ok, 1} = warp_core:append(warp_core:entity(Ctx, <<"e", N>>), text(?PAYLOAD))
     || N <- lists:seq(1, 100)],
    %% What has just been stored is let go of by threads.
    warp_test:wait_until(fun() ->
        _ = [garbage_collect(Pid) || Pid <- processes()],
        More = memory() - Before,
        More < 20_000_000 orelse {bytes_more, More}
    end).

memory() ->
    erlang:memory(binary).

%% How many bytes of binaries a process keeps alive.
held(Pid) ->
    {binary, Binaries} = process_info(Pid, binary),
    lists:sum([Size || {_, Size, _} <- Binaries]).

assert_small(Term) when is_binary(Term) ->
    ?assert(binary:referenced_byte_size(Term) =< max(256, 2 * byte_size(Term)));
assert_small([Head | Tail]) ->
    assert_small(Head),
    assert_small(Tail);
assert_small(Tuple) when is_tuple(Tuple) ->
    assert_small(tuple_to_list(Tuple));
assert_small(Map) when is_map(Map) ->
    assert_small(maps:to_list(Map));
assert_small(_) ->
    ok.
