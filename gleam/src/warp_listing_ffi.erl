%% Pages of entities and of events, as `warp/listing' has them.
-module(warp_listing_ffi).

-export([entities/3, events/3]).

-spec entities(warp_core:ctx(), map(), none | {some, warp_core:place()}) ->
    {ok, {entities, [{listed, binary(), warp_core:seq()}], none | {some, warp_core:place()}}}
    | {error, warp_error_ffi:error()}.
entities(Ctx, Options, After) ->
    case warp_core:entities(Ctx, behind(After, Options)) of
        {ok, #{entities := Entities, next := Next}} ->
            Listed = [{listed, Id, Seq} || #{id := Id, seq := Seq} <- Entities],
            {ok, {entities, Listed, case Next of done -> none; _ -> {some, Next} end}};
        {error, Reason} ->
            {error, warp_error_ffi:reason(Reason)}
    end.

-spec events(warp_core:ctx(), map(), none | {some, warp_core:positions()}) ->
    {ok, {events, [{placed, binary(), non_neg_integer(), pos_integer(), warp_core:event()}], warp_core:positions(),
          boolean()}}
    | {error, warp_error_ffi:error()}.
events(Ctx, Options, After) ->
    case warp_core:events(Ctx, behind(After, Options)) of
        {ok, #{events := Events, next := Next, more := More}} ->
            Placed = [{placed, Entity, Shard, Position, maps:without([entity, shard, position], Event)}
                      || #{entity := Entity, shard := Shard, position := Position} = Event <- Events],
            {ok, {events, Placed, Next, More}};
        {error, Reason} ->
            {error, warp_error_ffi:reason(Reason)}
    end.

behind(none, Options) -> Options;
behind({some, After}, Options) -> Options#{'after' => After}.
