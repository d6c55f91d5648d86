%% @private Where a projector's worker is in the user's code: written by the worker before each call,
%% read by its projector, which ends calls that do not return. Nothing waits for it.
-module(warp_proj_call).

-export([new/0, row/2, begins/3, loads/2, again/1, ends/1, where/1]).

-export_type([at/0, kind/0, where/0]).

-opaque at() :: atomics:atomics_ref().
%% `load': `apply' or `migrate' of an event before it, to find the state it needs.
-type kind() :: load | apply | project.
%% The position of the row (0 while an entity is mended), the seq of the event that is being projected,
%% the kind of call, and a number that no other call of this worker has.
-type where() :: {non_neg_integer(), warp_core:seq(), kind(), non_neg_integer()}.

-define(POSITION, 1).
-define(SEQ, 2).
-define(KIND, 3).
-define(CALLS, 4).

-spec new() -> at().
new() -> atomics:new(4, []).

-spec row(at(), non_neg_integer()) -> ok.
row(At, Position) -> atomics:put(At, ?POSITION, Position).

%% @doc A call of the user's code begins.
-spec begins(at(), warp_core:seq(), kind()) -> ok.
begins(At, Seq, Kind) ->
    ok = atomics:put(At, ?SEQ, Seq),
    ok = atomics:add(At, ?CALLS, 1),
    atomics:put(At, ?KIND, number(Kind)).

%% @doc A state is about to be folded from the log; each call of the user's code for it says so again.
-spec loads(at(), warp_core:seq()) -> ok.
loads(At, Seq) -> atomics:put(At, ?SEQ, Seq).

-spec again(at()) -> ok.
again(At) ->
    ok = atomics:add(At, ?CALLS, 1),
    atomics:put(At, ?KIND, number(load)).

-spec ends(at()) -> ok.
ends(At) -> atomics:put(At, ?KIND, 0).

%% @doc The call under way.
-spec where(at()) -> where() | none.
where(At) ->
    case atomics:get(At, ?KIND) of
        0 -> none;
        Kind -> {atomics:get(At, ?POSITION), atomics:get(At, ?SEQ), kind(Kind), atomics:get(At, ?CALLS)}
    end.

number(load) -> 1;
number(apply) -> 2;
number(project) -> 3.

kind(1) -> load;
kind(2) -> apply;
kind(3) -> project.
