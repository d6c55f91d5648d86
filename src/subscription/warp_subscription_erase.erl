%% @private The subscriptions' step of a deletion: nothing of the entity is handed over any more, and each subscription
%% that may have had events of it is told.
-module(warp_subscription_erase).

-export([tell/2]).

%% How long what is being sent may take.
-define(SETTLE_MS, 15000).

%% @doc Takes the step. A new life of the entity is shown only afterwards. Error: what reads the end of the log does
%% not answer.
-spec tell(warp_context:context(), warp_component:deletion()) -> ok | {error, term()}.
tell(Context, #{entity := Entity, shard := N, incarnation := Life}) ->
    %% NOTE: first what was read from the log before it was erased has to be with the subscriptions.
    Deadline = warp_deadline:from(?SETTLE_MS),
    case warp_subscription_live:settle(Context, N, Deadline) of
        ok ->
            case warp_subscription_names:next_life(Context, N, Entity, Life) of
                {ok, Next} ->
                    Erasure = {Entity, N, Life, Next},
                    %% NOTE: what is noted on disk comes first, so that a name is told also if this ends here.
                    noted(warp_subscription_names:erase(Context, Erasure, Deadline), Context, Erasure);
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

noted({error, _} = Error, _Context, _Erasure) ->
    Error;
noted(ok, Context, {Entity, N, _Life, _Next} = Erasure) ->
    case warp_context:with_log(Context, N, fun warp_cluster_log:position/1) of
        {ok, Until} ->
            Pids = warp_subscription_table:concerned(Context, Entity),
            Each = [spawn_monitor(fun() -> warp_subscription_process:erased(Pid, Erasure, Until) end) || Pid <- Pids],
            lists:foreach(fun({_, Monitor}) -> receive {'DOWN', Monitor, process, _, _} -> ok end end, Each);
        {error, _} = Error ->
            Error
    end.
