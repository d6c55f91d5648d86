%% @private Callers that wait until a projector has written up to a position. Pure.
-module(warp_projection_waiters).

-export([new/0, add/3, reached/2, all/1, size/1]).

-export_type([waiters/0, waiter/0]).

%% The position, and when the caller gives up, in milliseconds of the VM's monotonic time.
-type waiter() :: {Position :: non_neg_integer(), Deadline :: integer() | infinity, Entity :: binary(),
                   gen_server:from()}.
-opaque waiters() :: [waiter()].

-spec new() -> waiters().
new() -> [].

%% @doc Adds one, and drops those that have given up by now.
-spec add(waiter(), Now :: integer(), waiters()) -> waiters().
add(Waiter, Now, Waiters) ->
    [Waiter | [Other || {_, Deadline, _, _} = Other <- Waiters, Deadline =:= infinity orelse Deadline > Now]].

%% @doc Those whose position was reached, and those that wait on.
-spec reached(Position :: non_neg_integer(), waiters()) -> {[waiter()], waiters()}.
reached(Position, Waiters) ->
    lists:partition(fun({Wanted, _, _, _}) -> Wanted =< Position end, Waiters).

-spec all(waiters()) -> [waiter()].
all(Waiters) -> Waiters.

-spec size(waiters()) -> non_neg_integer().
size(Waiters) -> length(Waiters).
