%% Callers append at the same time while processes of the context are killed under
%% them: what was acknowledged is there once, in order, and nothing is there that
%% nobody sent.
-module(warp_kill_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_group/2, end_per_group/2,
         init_per_testcase/2, end_per_testcase/2]).
-export([the_log_is_what_was_acknowledged_and_perhaps_what_was_interrupted/1,
         a_number_handed_out_by_decide_is_handed_out_once/1,
         every_process_of_a_context_may_be_killed_in_its_turn/1,
         a_context_heals_from_kills_in_quick_succession/1]).

-define(CALLERS, 12).

suite() -> [{timetrap, {minutes, 30}}].

all() -> warp_test:both_modes().

groups() ->
    warp_test:both_modes(
      [the_log_is_what_was_acknowledged_and_perhaps_what_was_interrupted,
       a_number_handed_out_by_decide_is_handed_out_once,
       every_process_of_a_context_may_be_killed_in_its_turn,
       a_context_heals_from_kills_in_quick_succession]).

init_per_suite(Config) -> warp_killer:quiet(Config).
end_per_suite(Config) -> warp_killer:loud(Config).
init_per_group(Mode, Config) -> warp_test:init_group(Mode, Config).
end_per_group(_Mode, _Config) -> ok.
init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

%% Callers that were interrupted either send the same ids again until they are
%% acknowledged, or leave it at that.
the_log_is_what_was_acknowledged_and_perhaps_what_was_interrupted(Config) ->
    Ctx = warp_test:start(Config, #{snapshot_every => 5}),
    Names = [<<"a">>, <<"b">>, <<"c">>, <<"d">>],
    Entities = [warp_core:entity(Ctx, Name) || Name <- Names],
    Calls = under_killing(Ctx, Entities, fun(Caller, Until) ->
        append_until(Until, Ctx, Names, Caller, 1, [])
    end),
    settle(Ctx),
    lists:foreach(fun(Name) -> check_log(Ctx, Name, Calls) end, Names),
    Restarted = warp_test:restart(Ctx),
    lists:foreach(fun(Name) -> check_log(Restarted, Name, Calls) end, Names).

append_until(Until, Ctx, Names, Caller, N, Calls) ->
    case erlang:monotonic_time(millisecond) > Until of
        true ->
            lists:reverse(Calls);
        false ->
            Name = lists:nth(rand:uniform(length(Names)), Names),
            Size = lists:nth(rand:uniform(4), [1, 1, 1, 1 + rand:uniform(20)]),
            Ids = [iolist_to_binary(io_lib:format("~b-~b-~b", [Caller, N, I]))
                   || I <- lists:seq(1, Size)],
            Answer = append(warp_core:entity(Ctx, Name), Ids, rand:uniform(4) > 1),
            append_until(Until, Ctx, Names, Caller, N + 1,
                         [#{entity => Name, caller => Caller, ids => Ids, answer => Answer} | Calls])
    end.

append(Entity, Ids, Retry) ->
    Events = [(warp_test:incremented())#{id => Id} || Id <- Ids],
    Answer = case Events of
                 [Event] -> warp_core:append(Entity, Event);
                 _ -> warp_core:append_batch(Entity, Events)
             end,
    case Answer of
        {ok, {First, Last}} -> read_back(Entity, Last, Ids), {First, Last};
        {ok, Seq} -> read_back(Entity, Seq, Ids), {Seq, Seq};
        {error, Reason} ->
            ?assert(warp_killer:is_transient(Reason), Reason),
            case Retry of
                true -> timer:sleep(rand:uniform(5)), append(Entity, Ids, Retry);
                false -> interrupted
            end
    end.

%% Read your writes, also when the process that answered is dead by now.
read_back(Entity, Seq, Ids) ->
    [#{id := Id}] = ok_again(fun() -> warp_core:history(Entity, #{from => Seq, limit => 1}) end),
    ?assertEqual(lists:last(Ids), Id),
    Count = ok_again(fun() -> warp_core:get(Entity, <<"Counter">>) end),
    ?assert(Count >= Seq, {Count, Seq}).

check_log(Ctx, Name, AllCalls) ->
    Log = ok_again(fun() -> warp_core:export(warp_core:entity(Ctx, Name)) end),
    Calls = [Call || Call = #{entity := Entity} <- AllCalls, Entity =:= Name],
    assert_seqs(Log),
    Seqs = maps:from_list([{Id, Seq} || #{id := Id, seq := Seq} <- Log]),
    ?assertEqual(length(Log), maps:size(Seqs), "an id is there twice"),
    Places = [{Call, [maps:get(Id, Seqs, absent) || Id <- Ids]} || Call = #{ids := Ids} <- Calls],
    lists:foreach(fun check_call/1, Places),
    ?assertEqual([], maps:keys(maps:without(lists:append([Ids || #{ids := Ids} <- Calls]), Seqs))),
    lists:foreach(fun(Caller) -> check_order(Caller, Places) end, lists:seq(1, ?CALLERS)),
    Count = ok_again(fun() -> warp_core:get(warp_core:entity(Ctx, Name), <<"Counter">>) end),
    ?assertEqual(length(Log), Count).

check_call({#{answer := {First, Last}}, Seqs}) ->
    ?assertEqual(lists:seq(First, Last), Seqs);
check_call({#{answer := interrupted}, [absent | _] = Seqs}) ->
    ?assertEqual([absent], lists:usort(Seqs));
check_call({#{answer := interrupted}, [First | _] = Seqs}) ->
    ?assertEqual(lists:seq(First, First + length(Seqs) - 1), Seqs).

%% A caller waits for its answer before its next call, and the log shows that.
check_order(Caller, Places) ->
    Firsts = [First || {#{caller := C, answer := {_, _}}, [First | _]} <- Places, C =:= Caller],
    ?assert(lists:sort(Firsts) =:= Firsts, {out_of_order, Caller}).

%% A call that was interrupted may have taken its number: no number twice, and no
%% number that was answered to two callers.
a_number_handed_out_by_decide_is_handed_out_once(Config) ->
    Ctx = warp_test:start(Config, #{snapshot_every => 5}),
    Entity = warp_core:entity(Ctx, <<"tickets">>),
    Take = fun(Last) -> {ok, [(warp_test:incremented())#{metadata => #{number => Last + 1}}]} end,
    Taken = under_killing(Ctx, [Entity], fun(_Caller, Until) -> take_until(Until, Entity, Take, []) end),
    settle(Ctx),
    Log = ok_again(fun() -> warp_core:export(Entity) end),
    assert_seqs(Log),
    ?assertEqual([], [Event || Event = #{seq := Seq, metadata := #{<<"number">> := Number}} <- Log,
                               Number =/= Seq]),
    ?assertEqual(length(Taken), length(lists:usort(Taken)), "answered twice"),
    ?assert(lists:max(Taken) =< length(Log)).

take_until(Until, Entity, Take, Taken) ->
    case erlang:monotonic_time(millisecond) > Until of
        true ->
            Taken;
        false ->
            case warp_core:decide(Entity, <<"Counter">>, Take) of
                {ok, [Seq]} -> take_until(Until, Entity, Take, [Seq | Taken]);
                {error, Reason} ->
                    ?assert(warp_killer:is_transient(Reason), Reason),
                    take_until(Until, Entity, Take, Taken)
            end
    end.

%% One after the other, each time with an append before and after.
every_process_of_a_context_may_be_killed_in_its_turn(Config) ->
    Ctx = warp_test:start(Config),
    Entity = warp_core:entity(Ctx, <<"a">>),
    {ok, 1} = warp_core:append(Entity, warp_test:incremented()),
    Count = length(warp_test:processes(Ctx)),
    ?assert(Count > 0),
    lists:foreach(
      fun(N) ->
              Role = warp_killer:kill_process(Ctx, N),
              settle(Ctx),
              ?assertEqual({Role, {ok, N}}, {Role, warp_core:get(Entity, <<"Counter">>)}),
              ?assertEqual({Role, {ok, N + 1}},
                           {Role, warp_core:append(Entity, warp_test:incremented())})
      end, lists:seq(1, Count)),
    warp_test:assert_whole(Entity, Count + 1),
    warp_test:wait_until(fun() -> length(warp_test:processes(Ctx)) >= Count end).

%% What is being started is killed as well, before it is up.
a_context_heals_from_kills_in_quick_succession(Config) ->
    Ctx = warp_test:start(Config),
    Entity = warp_core:entity(Ctx, <<"a">>),
    Times = case os:getenv("WARP_LONG") of false -> 250; _ -> 5000 end,
    Acknowledged =
        [begin
             [begin
                  warp_killer:kill_process(Ctx, rand:uniform(1000)),
                  timer:sleep(rand:uniform(4) - 1)
              end || _ <- lists:seq(1, 3)],
             append_when_healed(Entity, N)
         end || N <- lists:seq(1, Times)],
    Log = ok_again(fun() -> warp_core:export(Entity) end),
    assert_seqs(Log),
    Ids = maps:from_list([{Seq, Id} || #{seq := Seq, id := Id} <- Log]),
    [?assertEqual(Id, maps:get(Seq, Ids)) || {Seq, Id} <- Acknowledged],
    {Micros, ok} = timer:tc(fun() -> warp_core:stop(Ctx) end),
    ?assert(Micros < 10_000_000, Micros).

append_when_healed(Entity, N) ->
    Id = integer_to_binary(N),
    Append = fun() -> warp_core:append(Entity, (warp_test:incremented())#{id => Id}) end,
    warp_killer:settle(Append),
    %% What a kill began may still be going on when the first answer came.
    {ok_again(Append), Id}.

%% -------------------------------------------------------------------- Helpers

under_killing(Ctx, Entities, Caller) ->
    Millis = case os:getenv("WARP_LONG") of false -> 3000; _ -> 60000 end,
    Until = erlang:monotonic_time(millisecond) + Millis,
    Killer = warp_killer:start(Ctx, Entities),
    Results = warp_test:parallel(?CALLERS, fun(N) -> Caller(N, Until) end),
    Killed = warp_killer:stop(Killer),
    ct:log("Calls: ~b, killed: ~p", [length(lists:append(Results)), Killed]),
    ?assert(lists:sum(maps:values(Killed)) > 5),
    lists:append(Results).

assert_seqs(Log) ->
    Numbered = lists:zip(lists:seq(1, length(Log)), Log),
    ?assertEqual([], [Event || {N, Event = #{seq := Seq}} <- Numbered, N =/= Seq]).

settle(Ctx) ->
    lists:foreach(fun(N) ->
        Probe = warp_core:entity(Ctx, <<"probe-", (integer_to_binary(N))/binary>>),
        warp_killer:settle(fun() -> warp_core:append(Probe, warp_test:incremented()) end)
    end, lists:seq(1, 8)).

%% Calls until nothing that passes is in the way.
ok_again(Fun) ->
    case Fun() of
        {ok, Value} -> Value;
        {error, Reason} ->
            ?assert(warp_killer:is_transient(Reason), Reason),
            timer:sleep(1),
            ok_again(Fun)
    end.
