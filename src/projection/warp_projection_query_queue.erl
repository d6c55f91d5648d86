%% @private Queries that wait for a program to run them, in the order in which they came. Pure.
-module(warp_projection_query_queue).

-export([new/0, in/4, out/1, take/2, size/1]).

-export_type([queue/1]).

%% How many queries may wait, and how many bytes they may have in all. A query that waits alone may have any
%% number of bytes.
-define(MAX_WAITING, 256).
-define(MAX_BYTES, (64 * 1024 * 1024)).

-type item(Query) :: {reference(), Bytes :: non_neg_integer(), Query}.
-opaque queue(Query) :: {queue:queue(item(Query)), Count :: non_neg_integer(), Bytes :: non_neg_integer()}.

-spec new() -> queue(_).
new() -> {queue:new(), 0, 0}.

-spec in(reference(), non_neg_integer(), Query, queue(Query)) -> {ok, queue(Query)} | overloaded.
in(Ref, Bytes, Query, {Items, Count, Before})
  when Count =:= 0; Count < ?MAX_WAITING, Before + Bytes =< ?MAX_BYTES ->
    {ok, {queue:in({Ref, Bytes, Query}, Items), Count + 1, Before + Bytes}};
in(_Ref, _Bytes, _Query, _Full) ->
    overloaded.

%% @doc The query that has waited longest.
-spec out(queue(Query)) -> {ok, reference(), Query, queue(Query)} | empty.
out({Items, Count, Before}) ->
    case queue:out(Items) of
        {{value, {Ref, Bytes, Query}}, Rest} -> {ok, Ref, Query, {Rest, Count - 1, Before - Bytes}};
        {empty, _} -> empty
    end.

%% @doc Takes a query out that is not to be run any more.
-spec take(reference(), queue(Query)) -> {ok, Query, queue(Query)} | none.
take(Ref, {Items, Count, Before}) ->
    case lists:keytake(Ref, 1, queue:to_list(Items)) of
        {value, {Ref, Bytes, Query}, Rest} ->
            {ok, Query, {queue:from_list(Rest), Count - 1, Before - Bytes}};
        false ->
            none
    end.

-spec size(queue(_)) -> non_neg_integer().
size({_Items, Count, _Bytes}) -> Count.
