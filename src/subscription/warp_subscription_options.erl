%% @private Checks the options of subscriptions.
-module(warp_subscription_options).

-export([subscribe/2]).

-define(CREDIT, 1000).
-define(MAX_CREDIT, 100000).

%% @doc Checks the options of `warp_subscription:subscribe/2'. Errors: those of {@link warp_check:options/2}.
-spec subscribe(warp_subscription_cursor:source(), term()) -> {ok, map()} | {error, warp_check:error()}.
subscribe(Source, Options) ->
    Filter = [Option || {Key, _, _} = Option <- warp_subscription_filter:options(), is_option(Key, Source)],
    warp_check:options(Options, [{from, now, fun from/1}, {credit, ?CREDIT, fun credit/1} | Filter]).

is_option(prefix, {entity, _}) -> false;
is_option(_Key, _Source) -> true.

from(From) when From =:= beginning; From =:= now -> {ok, From};
from({cursor, _} = From) -> {ok, From};
from({time, Time} = From) when is_integer(Time), abs(Time) < 1 bsl 63 -> {ok, From};
from(_) -> {error, not_a_beginning}.

credit(demand) -> {ok, demand};
credit(Credit) -> warp_check:integer(Credit, 1, ?MAX_CREDIT).
