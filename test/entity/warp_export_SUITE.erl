%% What export gives, append takes: under the same name, under another, and in another context.
-module(warp_export_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 5}}].
all() ->
    [entities_of_the_longest_names_are_appended_again,
     text_that_grows_when_written_anew_is_appended_again,
     random_events_are_appended_again].
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

entities_of_the_longest_names_are_appended_again(Config) ->
    {Here, There} = contexts(Config),
    [begin
         Name = binary:copy(<<"n">>, Bytes),
         Entity = warp_core:entity(Here, Name),
         {ok, {1, 12}} = warp_core:append_batch(Entity, lists:duplicate(12, warp_test:noted(<<"x">>))),
         assert_again(Entity, Name, There)
     end || Bytes <- [1, 490, 510, 511, 512]],
    %% The longest id there can be, and one that is longer.
    Alice = warp_core:entity(Here, <<"alice">>),
    Longest = <<(binary:copy(<<"n">>, 512))/binary, "#", (integer_to_binary(1 bsl 64 - 1))/binary>>,
    ?assertEqual(533, byte_size(Longest)),
    ?assertEqual({ok, 1}, warp_core:append(Alice, warp_test:noted(<<"x">>, Longest))),
    ?assertEqual({ok, 1}, warp_core:append(Alice, warp_test:noted(<<"x">>, Longest))),
    ?assertEqual({error, {bad_event, 1, id, {too_long, 534, 533}}},
                 warp_core:append(Alice, warp_test:noted(<<"x">>, <<Longest/binary, "0">>))).

text_that_grows_when_written_anew_is_appended_again(Config) ->
    {Here, There} = contexts(Config),
    Entity = warp_core:entity(Here, <<"alice">>),
    Max = 1048576,
    Texts = [filled(Item, Max) || Item <- [<<"1e15">>, <<"-0">>, <<"1e1">>, <<"15e14">>, <<"1e-3">>, <<"0.5">>,
                                           <<"1e5">>, <<"\"\\u0001\"">>, <<"36893488147419103232">>]],
    [begin
         ?assert(byte_size(Text) > Max - 64),
         {ok, _} = warp_core:append(Entity, (warp_test:saw(Text))#{metadata => Text})
     end || Text <- Texts],
    assert_again(Entity, <<"alice">>, There).

random_events_are_appended_again(Config) ->
    warp_hostile:seed(),
    {Here, There} = contexts(Config),
    Rounds = case os:getenv("WARP_LONG") of false -> 30; _ -> 3000 end,
    [begin
         Name = <<"entity ", (integer_to_binary(N))/binary>>,
         Entity = warp_core:entity(Here, Name),
         _ = [warp_core:append_batch(Entity, [event() || _ <- lists:seq(1, rand:uniform(20))])
              || _ <- lists:seq(1, 10)],
         assert_again(Entity, Name, There)
     end || N <- lists:seq(1, Rounds)].

%% ---------------------------------------------------------------- helpers

contexts(Config) ->
    {warp_test:start(Config), warp_test:start(Config, #{context => <<"there">>})}.

assert_again(Entity, Name, There) ->
    {ok, Events} = warp_core:export(Entity),
    %% Onto itself, nothing is new.
    [append_all(Entity, Events) || Events =/= []],
    ?assertEqual({ok, Events}, warp_core:export(Entity)),
    [begin
         Copy = warp_core:entity(There, Other),
         [append_all(Copy, Events) || Events =/= []],
         {ok, Copied} = warp_core:export(Copy),
         ?assertEqual(same(Events), same(Copied))
     end || Other <- [Name, <<"another ", (integer_to_binary(erlang:phash2(Name)))/binary>>]].

%% In batches that are not too large.
append_all(_Entity, []) ->
    ok;
append_all(Entity, Events) ->
    {Now, Later} = lists:split(min(5, length(Events)), Events),
    ?assertMatch({ok, _}, warp_core:append_batch(Entity, Now, #{timeout => 60000})),
    append_all(Entity, Later).

%% Without the time, which is assigned anew; to the bit.
same(Events) ->
    [term_to_binary(maps:remove(recorded_at, Event), [deterministic]) || Event <- Events].

filled(Item, Max) ->
    Count = (Max - 8) div (byte_size(Item) + 1),
    iolist_to_binary(["{\"a\":[", lists:join($,, lists:duplicate(Count, Item)), "]}"]).

event() ->
    Value = #{<<"v">> => warp_hostile:json(3)},
    Given = case warp_hostile:text_of(Value) of
                none -> Value;
                Text -> warp_hostile:one_of([Value, Text])
            end,
    lists:foldl(fun(Add, Event) -> Add(Event) end, warp_test:saw(Given),
                [Add || Add <- [fun(E) -> E#{id => integer_to_binary(rand:uniform(1 bsl 60))} end,
                                fun(E) -> E#{metadata => #{by => rand:uniform()}} end,
                                fun(E) -> E#{schema_vsn => rand:uniform(5)} end,
                                fun(E) -> E#{aggregate => <<"Log">>} end],
                        rand:uniform(3) =:= 1]).
