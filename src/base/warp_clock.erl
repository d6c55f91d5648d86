%% @private The times of events. An entity's times do not go back when the clock of the machine is
%% put back a little. But one wrong reading, years ahead, must not stop the entity's time until
%% then: when the event before is further ahead of the clock than a bound, the clock is believed.
%%
%% What it counts stands in counters of the context, see `read/1'.
-module(warp_clock).

-export([new/0, stamp/3, read/1]).

-include_lib("kernel/include/logger.hrl").

-export_type([clock/0]).

-type clock() :: atomics:atomics_ref().

%% How far ahead of the clock the time of the event before may be.
-define(MAX_LEAD_US, 60 * 1000 * 1000).
%% Earlier than in 1974 no clock is right. So times have eight bytes in the file, and one that is
%% wrong can be overwritten where it stands.
-define(EARLIEST, 1 bsl 47).
%% How often a context says so, at most.
-define(QUIET_MS, 60000).

%% How often the clock was believed instead, by how much last, and when that was last logged.
-define(TIMES, 1).
-define(LEAD, 2).
-define(LOGGED, 3).

-spec new() -> clock().
new() ->
    Clock = atomics:new(3, []),
    ok = atomics:put(Clock, ?LOGGED, erlang:monotonic_time(millisecond) - ?QUIET_MS),
    Clock.

%% @doc The time of an event of that entity, when the one before it has the time given.
-spec stamp(clock(), binary(), warp_core:micros()) -> warp_core:micros().
stamp(Clock, Entity, Before) ->
    case max(os:system_time(microsecond), ?EARLIEST) of
        Now when Before =< Now ->
            Now;
        Now when Before - Now =< ?MAX_LEAD_US ->
            Before;
        Now ->
            ok = was_ahead(Clock, Entity, Before - Now),
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
            ?LOG_WARNING("Warp: the last event of entity ~ts was recorded ~b seconds ahead of the clock, "
                         "which is believed from here on. Is the clock right? If it is, correct the event's "
                         "time with warp_core:correct_time/3.", [Entity, Seconds]);
        false ->
            ok
    end.

%% @doc How often an event before was found too far ahead of the clock, and by how many seconds the
%% last time.
-spec read(clock()) -> #{ahead := non_neg_integer(), lead_seconds := non_neg_integer()}.
read(Clock) ->
    #{ahead => atomics:get(Clock, ?TIMES), lead_seconds => atomics:get(Clock, ?LEAD)}.
