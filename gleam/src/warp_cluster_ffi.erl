%% The engine's clusters as the types of `warp/cluster'. This module reshapes terms and decides nothing.
-module(warp_cluster_ffi).

-export([members/1, owner/1, ring/1, status/1, progress/1, migrate/2, pause/1, resume/1, leave/2, forget/3]).
-export([adopt/1]).

-import(warp_error_ffi, [text/1]).

-spec members(warp_core:ctx()) -> {ok, [tuple()]} | {error, warp_error_ffi:error()}.
members(Ctx) ->
    map(fun each_member/1, warp_cluster:members(Ctx)).

each_member(Members) ->
    [{member, text(Node), State, IsLinked, Incarnation, Shards}
     || #{node := Node, state := State, is_linked := IsLinked, incarnation := Incarnation,
          shards := Shards} <- Members].

-spec owner(warp_core:entity()) -> {ok, none | {some, binary()}} | {error, warp_error_ffi:error()}.
owner(Entity) ->
    map(fun(unknown) -> none; (Node) -> {some, text(Node)} end, warp_cluster:owner(Entity)).

-spec ring(warp_core:ctx()) -> {ok, #{non_neg_integer() => binary()}} | {error, warp_error_ffi:error()}.
ring(Ctx) ->
    map(fun(Ring) -> maps:map(fun(_N, Node) -> text(Node) end, Ring) end, warp_cluster:ring(Ctx)).

-spec status(warp_core:ctx()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
status(Ctx) ->
    map(fun(#{node := Node, phase := Phase, why := Why, members := Members, shards := Shards}) ->
        Known = maps:from_list([{text(Of), Ns} || {Of, Ns} <- maps:to_list(Shards), Of =/= unknown]),
        {status, text(Node), phase(Phase, Why), each_member(Members), Known, maps:get(unknown, Shards, [])}
    end, warp_cluster:status(Ctx)).

phase(joining, _Why) -> joining;
phase(member, _Why) -> joined;
phase(doubt, Why) -> {doubtful, warp_error:format_error(Why)}.

-spec progress(warp_core:ctx()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
progress(Ctx) ->
    map(fun(#{is_paused := IsPaused, to_move := ToMove, entities_to_move := EntitiesToMove, moved := Moved,
              entities := Entities, bytes := Bytes, copied_bytes := Copied, of_bytes := Of, bytes_per_second := Rate,
              entities_per_second := EntityRate, seconds_left := Left, under_way := UnderWay, alarms := Alarms,
              pauses_ms := #{count := Count, median := Median, longest := Longest}, unreachable := Unreachable,
              text := Text}) ->
        {progress, IsPaused, ToMove, known(EntitiesToMove), Moved, Entities, Bytes, Copied, Of, Rate, EntityRate,
         known(Left), {pauses, Count, Median, Longest}, [hand_off(HandOff) || HandOff <- UnderWay],
         [{alarm, N, text(Node), text(Why)} || {N, Node, Why} <- Alarms],
         [text(Node) || Node <- Unreachable], Text}
    end, warp_cluster:progress(Ctx)).

known(unknown) -> none;
known(Number) -> {some, Number}.

hand_off(#{shard := N, from := From, to := To, phase := Phase, entities := Entities, bytes := Bytes,
           of_bytes := Of}) ->
    {hand_off, N, text(From), text(To), step(Phase), Entities, Bytes, Of}.

step(offered) -> copying;
step(Phase) when Phase =:= cleaning; Phase =:= recording -> cleaning;
step(_Phase) -> handing_over.

-spec migrate(warp_core:ctx(), map()) -> {ok, nil} | {error, warp_error_ffi:error()}.
migrate(Ctx, Options) ->
    nil(warp_cluster:migrate(Ctx, Options)).

-spec pause(warp_core:ctx()) -> {ok, nil} | {error, warp_error_ffi:error()}.
pause(Ctx) ->
    nil(warp_cluster:pause(Ctx)).

-spec resume(warp_core:ctx()) -> {ok, nil} | {error, warp_error_ffi:error()}.
resume(Ctx) ->
    nil(warp_cluster:resume(Ctx)).

-spec leave(warp_core:ctx(), map()) -> {ok, nil} | {error, warp_error_ffi:error()}.
leave(Ctx, Options) ->
    nil(warp_cluster:leave(Ctx, Options)).

-spec forget(warp_core:ctx(), [binary()], map()) -> {ok, nil} | {error, warp_error_ffi:error()}.
forget(Ctx, Nodes, Options) ->
    nil(warp_cluster:forget(Ctx, Nodes, Options)).

-spec adopt(binary()) -> {ok, nil} | {error, warp_error_ffi:error()}.
adopt(Context) ->
    nil(warp_cluster:adopt(Context)).

map(Fun, {ok, Value}) -> {ok, Fun(Value)};
map(_Fun, {error, Reason}) -> {error, warp_error_ffi:reason(Reason)}.

nil(ok) -> {ok, nil};
nil({error, Reason}) -> {error, warp_error_ffi:reason(Reason)}.
