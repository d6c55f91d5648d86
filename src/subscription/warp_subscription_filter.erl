%% @private Which events a subscription gets. Pure.
%%
%% A filter is what was subscribed to: a `route', which says whose rows to look at, and the aggregates and types that
%% it lets through. The names of aggregates are the current ones, and the types those after `migrate'.
-module(warp_subscription_filter).

-export([options/0, new/2, everything/0, of_entity/2, route/1, stored_names/2, select/2, concerns/2]).

-export_type([filter/0, route/0]).

%% Rows of one entity, or of all entities whose ids begin so.
-type route() :: {entity, binary()} | {prefix, binary()}.
-opaque filter() :: #{
    route := route(),
    aggregates := all | #{binary() => []},
    types := all | #{binary() => []}
}.

%% @doc The options of a filter. `prefix' has no meaning for a single entity.
-spec options() -> [warp_check:option()].
options() ->
    [{aggregates, all, fun names/1}, {types, all, fun names/1}, {prefix, <<>>, fun prefix/1}].

names(all) ->
    {ok, all};
names([_ | _] = Names) ->
    case are_names(Names) of
        true -> {ok, Names};
        false -> {error, not_a_list_of_names}
    end;
names(_) ->
    {error, not_a_list_of_names}.

are_names([]) -> true;
are_names([Name | Names]) when is_binary(Name), Name =/= <<>> -> are_names(Names);
are_names(_) -> false.

prefix(Prefix) when is_binary(Prefix) -> {ok, Prefix};
prefix(_) -> {error, not_a_binary}.

%% @doc The filter of checked options, for one entity or for a context.
-spec new(warp_subscription_cursor:source(), #{atom() => term()}) -> filter().
new({shards, _}, #{prefix := Prefix} = Options) -> made({prefix, Prefix}, Options);
new({entity, _} = Route, Options) -> made(Route, Options).

made(Route, #{aggregates := Aggregates, types := Types}) ->
    #{route => Route, aggregates => set(Aggregates), types => set(Types)}.

set(all) -> all;
set(Names) -> maps:from_list([{Name, []} || Name <- Names]).

%% @doc The filter that lets everything through.
-spec everything() -> filter().
everything() -> made({prefix, <<>>}, #{aggregates => all, types => all}).

%% @doc The same filter for one entity.
-spec of_entity(binary(), filter()) -> filter().
of_entity(Entity, Filter) -> Filter#{route := {entity, Entity}}.

%% @doc Whose rows it looks at.
-spec route(filter()) -> route().
route(#{route := Route}) -> Route.

%% @doc Under which names the events of its aggregates are stored.
-spec stored_names(warp_aggregate:aliases(), filter()) -> all | [binary()].
stored_names(_Aliases, #{aggregates := all}) -> all;
stored_names(Aliases, #{aggregates := Names}) -> warp_aggregate:stored_names(maps:keys(Names), Aliases).

%% @doc Whether a route has the rows of an entity.
-spec concerns(binary(), route()) -> boolean().
concerns(Entity, {entity, Id}) ->
    Entity =:= Id;
concerns(Entity, {prefix, Prefix}) ->
    Size = byte_size(Prefix),
    case Entity of
        <<Prefix:Size/binary, _/binary>> -> true;
        _ -> false
    end.

%% @doc The events that it lets through, in order.
-spec select([warp_core:placed_event()], filter()) -> [warp_core:placed_event()].
select(Events, #{route := {prefix, <<>>}, aggregates := all, types := all}) ->
    Events;
select(Events, #{route := Route, aggregates := Aggregates, types := Types}) ->
    [Event || #{entity := Entity, aggregate := Aggregate, type := Type} = Event <- Events,
              concerns(Entity, Route), has(Aggregate, Aggregates), has(Type, Types)].

has(_Name, all) -> true;
has(Name, Names) -> is_map_key(Name, Names).
