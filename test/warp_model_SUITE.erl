%% Random calls, kills and restarts against a pure map of entity to its events.
-module(warp_model_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([resident_entities_behave_like_a_map_of_lists/1,
         reading_through_behaves_like_a_map_of_lists/1,
         a_context_may_change_its_mode_at_every_restart/1]).

%% Looking for the shortest calls that fail can take longer than all tests: the log of the case has the first ones.
suite() -> [{timetrap, {minutes, case os:getenv("WARP_LONG") of false -> 15; _ -> 300 end}}].

all() ->
    [resident_entities_behave_like_a_map_of_lists,
     reading_through_behaves_like_a_map_of_lists,
     a_context_may_change_its_mode_at_every_restart].

init_per_suite(Config) -> warp_killer:quiet(Config).
end_per_suite(Config) -> warp_killer:loud(Config).

resident_entities_behave_like_a_map_of_lists(_Config) ->
    check([actor], 250).

reading_through_behaves_like_a_map_of_lists(_Config) ->
    check([read_through], 250).

a_context_may_change_its_mode_at_every_restart(_Config) ->
    check([read_through, actor], 120).

%% A failure tells the shortest calls that still show it; the log of the case has
%% their answers too.
check(Modes, Tests) ->
    NumTests = case os:getenv("WARP_LONG") of
                   false -> Tests;
                   _ -> Tests * 50
               end,
    case proper:quickcheck(warp_model_statem:property(Modes, 50),
                           [{numtests, NumTests}, {max_size, 50}, long_result]) of
        true -> ok;
        Counterexample -> ct:fail({counterexample, Counterexample})
    end.
