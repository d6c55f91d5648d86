%% @private Keeping the state of an aggregate, to spare a later read the events before it.
-module(warp_entity_snapshot).

-export([save/6]).

%% @doc Hands a state to the shard's writer, to be kept in place of an older one. Nobody waits for
%% it, and a writer that has no room for it now gets one again later.
-spec save(warp_nif:shard(), binary(), non_neg_integer(), warp_aggregate:aggregate(),
           {warp_core:seq(), warp_core:micros()}, State :: term()) -> ok.
save(Handle, Id, Incarnation, #{name := Name} = Aggregate, {Seq, Time}, State) ->
    Of = {Name, warp_aggregate:version(Aggregate), Seq, Time},
    _ = warp_nif:save_snapshot(Handle, Id, Incarnation, Of, warp_term:to_bytes({Name, State})),
    ok.
