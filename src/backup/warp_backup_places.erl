%% @private Where the parts of a backup are: its segments, and its keys, which may be elsewhere.
-module(warp_backup_places).

-export([with/3]).

-export_type([places/0]).

-type places() :: #{segments := warp_backup_target:open(), keys := warp_backup_target:open()}.

%% @doc What the fun makes of both, which are open for the calling process as long as the fun runs. `none' for the keys:
%% they are with the segments. Errors are those of {@link warp_backup_target:open/1}.
-spec with(warp_backup_target:target(), Keys :: warp_backup_target:target() | none, fun((places()) -> Result)) ->
    Result | {error, warp_backup_target:error()}.
with(Target, none, Fun) ->
    opened(Target, fun(Open) -> Fun(#{segments => Open, keys => Open}) end);
with(Target, Keys, Fun) ->
    opened(Target, fun(Segments) -> opened(Keys, fun(Of) -> Fun(#{segments => Segments, keys => Of}) end) end).

opened(Target, Fun) ->
    case warp_backup_target:open(Target) of
        {ok, Open} ->
            try
                Fun(Open)
            after
                ok = warp_backup_target:close(Open)
            end;
        {error, _} = Error ->
            Error
    end.
