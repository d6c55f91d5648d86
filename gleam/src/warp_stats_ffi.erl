%% The engine's statistics as the types of `warp/stats'. This module reshapes terms and decides
%% nothing.
-module(warp_stats_ffi).

-export([context/1]).

-spec context(warp_core:ctx()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
context(Ctx) ->
    case warp_core:stats(Ctx) of
        #{context := Context, resident_entities := Resident, shards := Shards} = All ->
            %% The sums are missing while no shard is open.
            [Appends, Events, Commits, Failed, Erased, Depth, Bytes] =
                [maps:get(Key, All, 0)
                 || Key <- [appends, events, commits, failed_commits, erased_entities, queue_depth,
                            file_bytes]],
            {ok, {stats, Context, Resident, Appends, Events, Commits, Failed, Erased, Depth, Bytes,
                  [shard(Shard) || Shard <- Shards],
                  [subscription(Subscription) || Subscription <- maps:get(subscriptions, All)],
                  [backup(Backup) || Backup <- maps:get(backups, All)], All}};
        {error, Reason} ->
            {error, warp_error_ffi:reason(Reason)}
    end.

shard(#{shard := N, unavailable := true} = Shard) ->
    Why = case Shard of
              #{error := Reason} -> {some, warp_error_ffi:reason(Reason)};
              #{} -> none
          end,
    {unavailable, N, Why};
shard(#{shard := N, queue_depth := Depth, queue_limit := Limit, commits := Commits,
        failed_commits := Failed, appends := Appends, events := Events, bytes := Bytes,
        erased_entities := Erased, file_bytes := FileBytes, commit_us := Commit, sync_us := Sync,
        background := Background}) ->
    {open, N, Depth, Limit, Appends, Events, Bytes, Commits, Failed, Erased, FileBytes, Commit, Sync,
     [failing(Task) || Task <- Background]}.

subscription(#{name := Name, of_entity := Entity, state := State, since := Since, why := Why,
               behind_positions := Positions, behind_seconds := Seconds, retrying := Retrying, parked := Parked}) ->
    {subscription, option(Name), option(Entity), State, Since, option(why(Why)), Positions, Seconds, Retrying, Parked}.

backup(#{to := To, every := Every, running := IsRunning, cut := Cut, at := At, failing := Failing,
         unmerged := Unmerged}) ->
    {backup, To, every(Every), IsRunning, option(Cut), option(At), backup_failing(Failing), backup_failing(Unmerged)}.

every(Millis) when is_integer(Millis) -> {every, Millis};
every(Other) -> Other.

backup_failing(none) -> none;
backup_failing(#{why := Why, since := Since}) -> {some, {backup_failing, warp_error_ffi:reason(Why), Since}}.

%% What a subscriber in Gleam failed with is text.
why({init_failed, Why}) when is_binary(Why) -> Why;
why({handle_erased_failed, Why}) when is_binary(Why) -> Why;
why(none) -> none;
why(Why) -> warp_error:format_error(Why).

option(none) -> none;
option(Value) -> {some, Value}.

failing(#{task := Task, since := Since, error := Reason, meaning := Meaning}) ->
    {failing, atom_to_binary(Task), Meaning, warp_error_ffi:reason(Reason), Since}.
