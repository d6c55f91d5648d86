%% @private The deletions of a context, as a component.
-module(warp_erasure_component).
-behaviour(warp_component).

-export([new/1, files/1, children/2, await_started/1]).

%% The list's file, with what SQLite keeps beside it.
-define(FILES, 4).

-spec new(warp_component:settings()) -> #{holds := ets:table()}.
new(_Settings) ->
    #{holds => warp_erasure_holds:new()}.

-spec files(warp_component:settings()) -> non_neg_integer().
files(_Settings) ->
    ?FILES.

-spec children(reference(), warp_component:settings()) -> [supervisor:child_spec()].
children(Ref, _Settings) ->
    [#{id => erasure, start => {warp_erasure, start_link, [Ref]}, shutdown => 60000}].

%% @doc Waits for the deletions that a crash left, until their logs are erased: so that nobody appends
%% to a life of an entity that is deleted right after.
-spec await_started(warp_context:context()) -> ok | {error, term()}.
await_started(Context) ->
    warp_erasure:await_left(Context).
