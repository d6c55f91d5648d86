%% @private Which operation a request by HTTP asks for. Pure.
-module(warp_server_router).

-export([route/2, routes/0]).

-export_type([bound/0]).

%% What stands in the path, by the names of the operation's arguments.
-type bound() :: #{binary() => binary()}.

%% @doc The operation of a method and a path, with what stands in the path. HEAD is GET.
-spec route(binary(), [binary()]) -> {ok, atom(), bound()} | {error, not_found | {method_not_allowed, [binary()]}}.
route(<<"HEAD">>, Path) ->
    route(<<"GET">>, Path);
route(Method, Path) ->
    Found =
        [{Allowed, Operation, Bound} || {Allowed, Shape, Operation} <- routes(), {ok, Bound} <- [bind(Shape, Path)]],
    case lists:keyfind(Method, 1, Found) of
        {_, Operation, Bound} -> {ok, Operation, Bound};
        false when Found =:= [] -> {error, not_found};
        false -> {error, {method_not_allowed, allowed([Allowed || {Allowed, _, _} <- Found])}}
    end.

allowed(Methods) ->
    lists:usort(Methods ++ [<<"HEAD">> || lists:member(<<"GET">>, Methods)]).

bind(Shape, Path) -> bind(Shape, Path, #{}).

bind([], [], Bound) -> {ok, Bound};
bind([Name | Shape], [Segment | Path], Bound) when is_atom(Name), Segment =/= <<>> ->
    bind(Shape, Path, Bound#{atom_to_binary(Name) => Segment});
bind([Text | Shape], [Text | Path], Bound) -> bind(Shape, Path, Bound);
bind(_, _, _) -> no.

%% @doc Every path, with the names of its variables as atoms.
-spec routes() -> [{Method :: binary(), [binary() | atom()], Operation :: atom()}].
routes() ->
    Get = <<"GET">>,
    Post = <<"POST">>,
    Delete = <<"DELETE">>,
    [{Get, [<<"health">>], health},
     {Get, [<<"v1">>, <<"openapi.json">>], openapi},
     {Post, [<<"v1">>, <<"tokens">>], token}]
    ++ [{Method, [<<"v1">>, <<"contexts">>, context | Path], Operation}
        || {Method, Path, Operation} <-
            [{Get, [<<"entities">>], entities},
             {Delete, [<<"entities">>, entity], delete},
             {Get, [<<"entities">>, entity, <<"events">>], history},
             {Post, [<<"entities">>, entity, <<"events">>], append},
             {Get, [<<"entities">>, entity, <<"states">>, aggregate], get},
             {Get, [<<"entities">>, entity, <<"export">>], export},
             {Post, [<<"entities">>, entity, <<"commands">>, name], command},
             {Get, [<<"events">>], events},
             {Post, [<<"query">>], query},
             {Get, [<<"sagas">>], sagas},
             {Post, [<<"sagas">>], saga},
             {Get, [<<"sagas">>, saga], saga_status},
             {Post, [<<"sagas">>, saga, <<"retry">>], saga_retry},
             {Post, [<<"sagas">>, saga, <<"resolve">>], saga_resolve},
             {Post, [<<"sagas">>, saga, <<"cancel">>], saga_cancel},
             {Get, [<<"stats">>], stats},
             {Get, [<<"streams">>, <<"entities">>, entity], entity_stream},
             {Get, [<<"streams">>, <<"shards">>, shard], shard_stream},
             {Delete, [<<"subscriptions">>, name], forget},
             {Get, [<<"subscriptions">>, name, <<"events">>], consume},
             {Post, [<<"subscriptions">>, name, <<"ack">>], acknowledge},
             {Get, [<<"subscriptions">>, name, <<"parked">>], parked},
             {Post, [<<"subscriptions">>, name, <<"retry">>], retry},
             {Post, [<<"subscriptions">>, name, <<"skip">>], skip}]].
