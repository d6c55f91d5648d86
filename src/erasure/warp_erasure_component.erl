%% @private The component for the deletions of a context.
-module(warp_erasure_component).
-behaviour(warp_component).

-export([new/1, files/1, children/2, await_started/1, stats/1]).

%% The file of the list, and the files that SQLite has open beside it.
-define(FILES, 4).

%% @doc The table of holds.
-spec new(warp_component:settings()) -> #{holds := ets:table()}.
new(_Settings) ->
    #{holds => warp_erasure_holds:new()}.

%% @doc How many files the list has open at most.
-spec files(warp_component:settings()) -> non_neg_integer().
files(_Settings) ->
    ?FILES.

%% @doc The process that deletes entities.
-spec children(reference(), warp_component:settings()) -> [supervisor:child_spec()].
children(Ref, _Settings) ->
    [#{id => erasure, start => {warp_erasure, start_link, [Ref]}, shutdown => 60000}].

%% @doc Waits until the logs of all resumed deletions are erased, so that nobody appends to an entity that is deleted
%% right after. See {@link warp_erasure:await_left/1}.
-spec await_started(warp_context:context()) -> ok | {error, term()}.
await_started(Context) ->
    warp_erasure:await_left(Context).

%% @doc How many deletions are under way, and since when the first of them is.
-spec stats(warp_context:context()) ->
    #{deletions := #{under_way := non_neg_integer(), since := warp_core:micros() | none}}.
stats(Context) ->
    {UnderWay, Since} = warp_erasure_holds:count(Context),
    #{deletions => #{under_way => UnderWay, since => Since}}.
