%% The engine's projections for the Gleam modules. This module reshapes terms and decides nothing.
-module(warp_projection_ffi).

-export([query/3, query/4, await/2, json/1]).
-export([set_aside/2, retry/2, retry_all/1, skip/2]).
-export([rebuild/1, await_rebuild/2, cancel_rebuild/1, rebuild_progress/1, status/1]).

-spec json(term()) -> {json, term()}.
json(Json) -> {json, Json}.

-spec query(warp_core:ctx(), binary(), [term()]) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
query(Ctx, Sql, Parameters) ->
    query(Ctx, Sql, Parameters, #{}).

-spec query(warp_core:ctx(), binary(), [term()], map()) ->
    {ok, tuple()} | {error, warp_error_ffi:error()}.
query(Ctx, Sql, Parameters, Options) ->
    map(fun(#{columns := Columns, rows := Rows}) -> {rows, Columns, Rows} end,
        warp_core:query(Ctx, Sql, Parameters, Options)).

-spec await(warp_core:entity(), timeout()) -> {ok, nil} | {error, warp_error_ffi:error()}.
await(Entity, Timeout) ->
    nil(warp_core:await_projection(Entity, Timeout)).

-spec set_aside(warp_core:ctx(), pos_integer()) -> {ok, [tuple()]} | {error, warp_error_ffi:error()}.
set_aside(Ctx, Limit) ->
    map(fun(Entries) -> [entry(Entry) || Entry <- Entries] end,
        warp_projection:set_aside(Ctx, Limit)).

entry(#{entity := Entity, seq := Seq, aggregate := Aggregate, type := Type, reason := Reason,
        at := At, waiting := Waiting, event := Event}) ->
    {set_aside, Entity, Seq, Aggregate, Type, Reason, At, Waiting, option(Event)}.

option(undefined) -> none;
option(unknown) -> none;
option(Value) -> {some, Value}.

-spec retry(warp_core:ctx(), binary()) -> {ok, nil} | {error, warp_error_ffi:error()}.
retry(Ctx, Entity) ->
    nil(warp_projection:retry(Ctx, Entity)).

-spec retry_all(warp_core:ctx()) -> {ok, nil} | {error, warp_error_ffi:error()}.
retry_all(Ctx) ->
    nil(warp_projection:retry(Ctx, all)).

-spec skip(warp_core:ctx(), binary()) -> {ok, nil} | {error, warp_error_ffi:error()}.
skip(Ctx, Entity) ->
    nil(warp_projection:skip(Ctx, Entity)).

-spec rebuild(warp_core:ctx()) -> {ok, nil} | {error, warp_error_ffi:error()}.
rebuild(Ctx) ->
    nil(warp_projection:rebuild(Ctx)).

-spec await_rebuild(warp_core:ctx(), timeout()) -> {ok, nil} | {error, warp_error_ffi:error()}.
await_rebuild(Ctx, Timeout) ->
    nil(warp_projection:await_rebuild(Ctx, Timeout)).

-spec cancel_rebuild(warp_core:ctx()) -> {ok, nil} | {error, warp_error_ffi:error()}.
cancel_rebuild(Ctx) ->
    nil(warp_projection:cancel_rebuild(Ctx)).

-spec rebuild_progress(warp_core:ctx()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
rebuild_progress(Ctx) ->
    map(fun progress/1, warp_projection:rebuild_progress(Ctx)).

progress(#{state := State, due := Due, done := Done, total := Total, rate := Rate,
           seconds_left := Left}) ->
    {progress, rebuild_state(State), Due, Done, Total, float(Rate), option(Left)}.

rebuild_state(none) -> idle;
rebuild_state(cancelled) -> paused;
rebuild_state(State) -> State.

-spec status(warp_core:ctx()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
status(Ctx) ->
    map(fun status_of/1, warp_projection:status(Ctx)).

status_of(#{state := State, behind_positions := Positions, behind_seconds := Seconds,
            set_aside := SetAside, events := Events, shards := Shards} = All) ->
    {status, target(State), Positions, float(Seconds), SetAside, Events,
     [shard(Shard) || Shard <- Shards], All}.

shard(#{shard := N, state := State, since := Since, why := Why, behind_positions := Positions,
        behind_seconds := Seconds, set_aside := SetAside, events := Events}) ->
    {shard_status, N, projector(State, Why), Since, Positions, float(Seconds), SetAside, Events}.

projector(stalled, Why) -> {is_stalled, warp_error_ffi:text(Why)};
projector(State, _Why) -> State.

target(up) -> up;
target({away, Why}) -> {away, warp_error_ffi:text(Why)};
target({error, Why}) -> {away, warp_error_ffi:text(Why)}.

map(Fun, {ok, Value}) -> {ok, Fun(Value)};
map(_Fun, {error, Reason}) -> {error, warp_error_ffi:reason(Reason)}.

nil(ok) -> {ok, nil};
nil({error, Reason}) -> {error, warp_error_ffi:reason(Reason)}.
