%% @private How many subscriptions each token has, over all of its sockets. What a socket has counts until it ends.
-module(warp_server_quota).

-export([new/0, take/4, give_back/3, ended/2]).

-export_type([quota/0]).

-opaque quota() :: ets:table().

-spec new() -> quota().
new() -> ets:new(?MODULE, [public, {write_concurrency, true}]).

%% @doc Counts one more for a token and a socket; or `full', where the token has as many as it may have.
-spec take(quota(), Token :: binary(), Socket :: pid(), Max :: non_neg_integer()) -> ok | full.
take(Quota, Token, Socket, Max) ->
    case add(Quota, Token, 1) of
        Count when Count > Max ->
            _ = add(Quota, Token, -1),
            full;
        _ ->
            _ = add(Quota, {Socket, Token}, 1),
            ok
    end.

%% @doc Counts one less.
-spec give_back(quota(), Token :: binary(), Socket :: pid()) -> ok.
give_back(Quota, Token, Socket) ->
    _ = add(Quota, {Socket, Token}, -1),
    _ = add(Quota, Token, -1),
    ok.

%% @doc A socket of a token has ended, in whatever way.
-spec ended(quota(), {Token :: binary(), Socket :: pid()}) -> ok.
ended(Quota, {Token, Socket}) ->
    _ = [add(Quota, Token, -Count) || {_, Count} <- ets:take(Quota, {Socket, Token})],
    ok.

add(Quota, Key, Change) -> ets:update_counter(Quota, Key, Change, {Key, 0}).
