%% @private Gives events their times. An entity's times do not go back when somebody sets the clock of the
%% machine back a little. But one wrong reading, years ahead, must not stop the entity's time for years: when the
%% previous event is too far ahead of the clock, the next event gets the time of the clock.
%%
%% A context's counters say how often that happened, see {@link read/1}.
-module(warp_clock).

-export([new/0, stamp/3, read/1]).

-include_lib("kernel/include/logger.hrl").

-export_type([clock/0]).

-type clock() :: atomics:atomics_ref().

%% How far ahead of the clock the time of the previous event may be.
-define(MAX_LEAD_US, 60 * 1000 * 1000).
%% A clock that shows a time before 1974 is wrong. Later times all take eight bytes in the file, so a wrong time
%% can be overwritten in place.
-define(EARLIEST, 1 bsl 47).
%% The shortest pause between two warnings of a context.
-define(QUIET_MS, 60000).

%% The counters: how often a previous event was too far ahead, by how many seconds the last time, and when
%% the last warning was logged.
-define(TIMES, 1).
-define(LEAD, 2).
-define(LOGGED, 3).

%% @doc The counters of a context that is starting.
-spec new() -> clock().
new() ->
    Clock = atomics:new(3, []),
    ok = atomics:put(Clock, ?LOGGED, erlang:monotonic_time(millisecond) - ?QUIET_MS),
    Clock.

%% @doc The time of the next event of an entity, whose previous event has the time given (0 for none).
-spec stamp(clock(), Entity :: binary(), Previous :: warp_core:micros()) -> warp_core:micros().
stamp(Clock, Entity, Previous) ->
    case max(os:system_time(microsecond), ?EARLIEST) of
        Now when Previous =< Now ->
            Now;
        Now when Previous - Now =< ?MAX_LEAD_US ->
            Previous;
        Now ->
            ok = was_ahead(Clock, Entity, Previous - Now),
            Now
    end.

was_ahead(Clock, Entity, Lead) ->
    Seconds = Lead div 1000000,
    ok = atomics:add(Clock, ?TIMES, 1),
    ok = atomics:put(Clock, ?LEAD, Seconds),
    Now = erlang:monotonic_time(millisecond),
    case Now - atomics:get(Clock, ?LOGGED) >= ?QUIET_MS of
        true ->
            ok = atomics:put(Clock, ?LOGGED, Now),
            ?LOG_WARNING("Warp: the last event of entity ~ts was recorded ~b seconds ahead of the clock. Its next "
                         "events get the time of the clock. Check the clock; if it is right, correct the "
                         "event's time with warp_core:correct_time/3.", [Entity, Seconds]);
        false ->
            ok
    end.

%% @doc `ahead' says how often a previous event was too far ahead of the clock, and `lead_seconds' by how many
%% seconds it was the last time.
-spec read(clock()) -> #{ahead := non_neg_integer(), lead_seconds := non_neg_integer()}.
read(Clock) ->
    #{ahead => atomics:get(Clock, ?TIMES), lead_seconds => atomics:get(Clock, ?LEAD)}.
