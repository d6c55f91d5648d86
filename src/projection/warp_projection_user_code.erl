%% @private Tells a projector where its worker is in the user's code. The worker writes that before each call,
%% and the projector, which ends calls that do not return, reads it. Neither waits for the other.
-module(warp_projection_user_code).

-export([new/0, row/2, begins/3, loads/2, ends/1, where/1]).

-export_type([at/0, kind/0, where/0]).

-opaque at() :: atomics:atomics_ref().
%% `load': `apply' or `migrate' of an earlier event, to find the state that the event needs.
-type kind() :: load | apply | project.
%% The position of the row (0 while an entity is tried again), the seq of the event that is being projected,
%% the kind of call, and a number by which it is told from the same call at another time.
-type where() :: {non_neg_integer(), warp_core:seq(), kind(), non_neg_integer()}.

-define(POSITION, 1).
%% Four times the seq plus a number for the kind; 0 for no call.
-define(CALL, 2).
-define(TIMES, 3).

-spec new() -> at().
new() -> atomics:new(3, []).

%% @doc The next calls are for the row at that position.
-spec row(at(), non_neg_integer()) -> ok.
row(At, Position) ->
    ok = atomics:put(At, ?POSITION, Position),
    atomics:add(At, ?TIMES, 1).

%% @doc A call begins, for that event.
-spec begins(at(), warp_core:seq(), apply | project) -> ok.
begins(At, Seq, apply) -> atomics:put(At, ?CALL, 4 * Seq + 2);
begins(At, Seq, project) -> atomics:put(At, ?CALL, 4 * Seq + 3).

%% @doc A call begins to fold the state that is needed for that event.
-spec loads(at(), warp_core:seq()) -> ok.
loads(At, Seq) ->
    ok = atomics:add(At, ?TIMES, 1),
    atomics:put(At, ?CALL, 4 * Seq + 1).

-spec ends(at()) -> ok.
ends(At) -> atomics:put(At, ?CALL, 0).

%% @doc The call that the worker is in.
-spec where(at()) -> where() | none.
where(At) ->
    case atomics:get(At, ?CALL) of
        0 -> none;
        Call -> {atomics:get(At, ?POSITION), Call div 4, kind(Call rem 4), atomics:get(At, ?TIMES)}
    end.

kind(1) -> load;
kind(2) -> apply;
kind(3) -> project.
