%% @private Stores snapshots: with the state of an aggregate on disk, a later read need not fold the events before it.
-module(warp_entity_snapshot).

-export([save_all/5, save/6]).

%% @doc Hands the states of all aggregates of an entity to the shard's writer, as `save/6' does. A pure log has no
%% state, nor has an aggregate whose fold failed.
-spec save_all(warp_context:context(), warp_nif:shard(), binary(), non_neg_integer(),
               {warp_core:seq(), warp_core:micros(), warp_aggregate:states()}) -> ok.
save_all(#{aggregates := Aggregates}, Handle, Id, Incarnation, {Seq, Time, States}) ->
    lists:foreach(
        fun({Aggregate, Value}) -> save(Handle, Id, Incarnation, Aggregate, {Seq, Time}, Value) end,
        [{Aggregate, Value} || {Name, #{apply := _} = Aggregate} <- maps:to_list(Aggregates),
                               {ok, Value} <- [maps:get(Name, States, none)]]).

%% @doc Hands a state to the shard's writer, which replaces the older snapshot with it. Nobody waits for that. If the
%% writer's queue is full the snapshot is dropped; a later one will do.
-spec save(warp_nif:shard(), binary(), non_neg_integer(), warp_aggregate:aggregate(),
           {warp_core:seq(), warp_core:micros()}, State :: term()) -> ok.
save(Handle, Id, Incarnation, #{name := Name} = Aggregate, {Seq, Time}, State) ->
    Of = {Name, warp_aggregate:version(Aggregate), Seq, Time},
    _ = warp_nif:save_snapshot(Handle, Id, Incarnation, Of, warp_term:to_bytes({Name, State})),
    ok.
