%% @private The options that concern sagas: those of `warp_core:start/1', and those of a commit.
-module(warp_saga_options).

-export([start/0, commit/1, wait/1]).

-define(MAX_NAME_BYTES, 512).
%% How long the log of a saga that has ended is kept: 30 days, and a thousand years at most.
-define(KEEP_MS, (30 * 24 * 3600 * 1000)).
-define(MAX_KEEP_MS, (1000 * 365 * 24 * 3600 * 1000)).
-define(RETRIES, 10).
-define(MAX_RETRIES, 1000000).

%% @doc What a context can be started with.
-spec start() -> [warp_check:option()].
start() ->
    [{steps, #{}, fun steps/1},
     {keep_sagas, ?KEEP_MS, fun keep/1}].

keep(infinity) -> {ok, infinity};
keep(Millis) -> warp_check:integer(Millis, 0, ?MAX_KEEP_MS).

%% @doc The options of a saga.
-spec commit(term()) ->
    {ok, #{timeout := timeout(), retries := non_neg_integer(), wait := timeout()}}
    | {error, warp_check:wrong()}.
commit(Given) ->
    warp_check:options(Given, [
        {timeout, infinity, fun warp_check:timeout/1},
        {retries, ?RETRIES, fun(N) -> warp_check:integer(N, 0, ?MAX_RETRIES) end},
        {wait, infinity, fun warp_check:timeout/1}
    ]).

%% @doc The options of what waits for the result of a saga.
-spec wait(term()) -> {ok, #{wait := timeout()}} | {error, warp_check:wrong()}.
wait(Given) ->
    warp_check:options(Given, [{wait, infinity, fun warp_check:timeout/1}]).

%% Functions that steps of sagas name.
steps(ByName) when is_map(ByName) ->
    Wrong = [{Name, step(Name, Fun)} || {Name, Fun} <- maps:to_list(ByName), step(Name, Fun) =/= ok],
    case Wrong of
        [] -> {ok, maps:map(fun(_Name, Fun) -> warp_function:lasting(Fun) end, ByName)};
        [Why | _] -> {error, Why}
    end;
steps(_) ->
    {error, not_a_map}.

step(Name, Fun) ->
    case warp_text:check(Name, ?MAX_NAME_BYTES) of
        ok when is_function(Fun, 2); is_function(Fun, 3) -> ok;
        ok -> {not_a_function, 2, 3};
        {error, empty} -> name_is_empty;
        {error, not_a_binary} -> name_is_not_a_binary;
        {error, not_utf8} -> name_is_not_utf8;
        {error, {too_long, _, _}} -> name_is_too_long
    end.
