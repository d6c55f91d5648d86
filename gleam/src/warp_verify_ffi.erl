%% Checks of all files of a context, for `warp/verify'.
-module(warp_verify_ffi).

-export([context/2, folder/2]).

-spec context(warp_core:ctx(), fun((tuple()) -> nil)) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
context(Context, Progress) ->
    result(warp_core:verify(Context, told(Progress))).

-spec folder(binary(), fun((tuple()) -> nil)) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
folder(Path, Progress) ->
    result(warp_core:verify(Path, told(Progress))).

told(Progress) ->
    #{progress => fun(#{shards := Shards, part := Part, done := Done, total := Total} = Told) ->
        Shard = case Told of #{shard := N} -> {some, N}; #{} -> none end,
        Progress({progress, Shard, Shards, Part, Done, Total})
    end}.

result({ok, #{shards := Shards, pages := Pages, entities := Entities, rows := Rows, events := Events,
              snapshots := Snapshots, records := Records}}) ->
    {ok, {report, Shards, Pages, Entities, Rows, Events, Snapshots, Records}};
result({error, Reason}) ->
    {error, warp_error_ffi:reason(Reason)}.
