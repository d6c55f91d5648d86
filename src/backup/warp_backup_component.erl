%% @private The component for the backups of a context.
-module(warp_backup_component).
-behaviour(warp_component).

-export([check_folder/2, new/1, children/2, stats/1]).

%% @doc The list of the targets must be readable: a deletion would not wait for those that nobody knows of.
-spec check_folder(warp_component:settings(), Dir :: binary()) -> ok | {error, term()}.
check_folder(_Settings, Dir) ->
    case warp_backup_server:remembered(Dir) of
        {ok, _} -> ok;
        {error, _} = Error -> Error
    end.

%% @doc The table of what is known of each target.
-spec new(warp_component:settings()) -> #{backups := ets:table()}.
new(_Settings) ->
    #{backups => warp_backup_server:new()}.

%% @doc The process that makes runs. The plans are the supervisor's, which calls this, and outlive the keeper's tables.
-spec children(warp_context:ref(), warp_component:settings()) -> [supervisor:child_spec()].
children(Ref, _Settings) ->
    Plans = warp_backup_server:plans(),
    [#{id => backup, start => {warp_backup_server, start_link, [Ref, Plans]}, shutdown => brutal_kill}].

%% @doc What is known of each target.
-spec stats(warp_context:context()) -> #{backups := [map()]}.
stats(Context) -> warp_backup_server:stats(Context).
