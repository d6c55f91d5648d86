%% @private Which names are to be told of an erasure, where it may be noted twice: early, for a consumer on another node
%% that has heard of it, and by this node's own part of the deletion, which comes later. Pure.
-module(warp_subscription_early).

-export([new/0, to_tell/3, noted/2, done/2, is_full/1]).

-export_type([early/0, to_tell/0]).

%% Lives whose erasure was noted early.
-opaque early() :: #{{Name :: binary(), Entity :: binary()} => Life :: pos_integer()}.
%% An erasure, and the names that are to be told.
-type to_tell() :: {Entity :: binary(), N :: non_neg_integer(), Life :: non_neg_integer(), Names :: [binary()]}.

%% How many are remembered.
-define(MAX, 10000).

-spec new() -> early().
new() -> #{}.

%% @doc Which of these names are to be told of erasures. A name is not if that was noted early, or if it has had events
%% of the entity's next life: to be told behind these would be wrong.
-spec to_tell([warp_subscription_names:erasure()], #{Name :: binary() => warp_subscription_book:name()}, early()) ->
    [to_tell()].
to_tell(Erasures, Names, Early) ->
    [{Entity, N, Life, [Name || {Name, #{prefix := Prefix, marks := Marks}} <- maps:to_list(Names),
                                warp_subscription_filter:concerns(Entity, {prefix, Prefix}),
                                maps:get({Name, Entity}, Early, -1) < Life,
                                not has_passed(maps:get(N, Marks, 0), Next)]}
     || {Entity, N, Life, Next} <- Erasures].

has_passed({Position, _Seq}, Next) -> has_passed(Position, Next);
has_passed(Position, Next) -> is_integer(Next) andalso Position >= Next.

%% @doc These were noted early.
-spec noted([to_tell()], early()) -> early().
noted(Told, Early) ->
    maps:merge(Early, maps:from_list([{{Name, Entity}, Life}
                                      || {Entity, _, Life, Names} <- Told, Life > 0, Name <- Names])).

%% @doc This node has done its part of a deletion of the entity.
-spec done(Entity :: binary(), early()) -> early().
done(Entity, Early) -> maps:filter(fun({_, Of}, _) -> Of =/= Entity end, Early).

%% @doc Whether no more can be remembered.
-spec is_full(early()) -> boolean().
is_full(Early) -> map_size(Early) > ?MAX.
