%% @private Makes signed tokens for callers.
-module(warp_server_mint).

-export([token/2]).

%% @doc A token with a part of the caller's permissions, or all of them, which lasts no longer than his own.
-spec token(map(), warp_server_access:caller()) -> {ok, iodata()} | {error, scopes_too_wide}.
token(Args, #{server := Server, token := Id, claims := Claims} = Caller) ->
    #{keys := [Key | _], server := Audience} = warp_server_settings:read(Server),
    [Own | _] = All = warp_server_access:scopes(Caller),
    Scopes = maps:get(scopes, Args, Own),
    case lists:all(fun(Wide) -> warp_server_scope:within(Scopes, Wide) end, All) of
        true ->
            Wanted = os:system_time(second) + maps:get(seconds, Args, warp_server_args:default(token, seconds)),
            Expires = case Claims of none -> Wanted; #{expires := Last} -> min(Wanted, Last) end,
            Text = warp_server_token:mint(#{token => Id, server => Audience, expires => Expires, scopes => Scopes}, Key,
                                          fun warp_server_config:sign/2),
            {ok, warp_server_json:encode(#{token => Text, expires => Expires})};
        false ->
            {error, scopes_too_wide}
    end.
