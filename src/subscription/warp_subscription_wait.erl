%% @private Waits: for an event of an entity, and until the subscriptions with names have caught up.
-module(warp_subscription_wait).

-export([entity/5, caught_up/2]).

-define(CREDIT, 10000).
-define(POLL_MS, 10).
%% How long one look at what the subscriptions have may take.
-define(LOOK_MS, 5000).

%% @doc Waits until an entity has the event with that seq, or one for which the function gives true, which sees all
%% events of the entity in order, also those that are stored already. Gives the seq. Errors: those of
%% `warp_core:wait/3'.
-spec entity(warp_context:context(), Entity :: binary(), N :: non_neg_integer(),
             warp_core:seq() | fun((warp_core:placed_event()) -> boolean()), warp_deadline:deadline()) ->
    {ok, warp_core:seq()} | {error, term()}.
entity(#{ref := Ref} = Context, Id, N, Until, Deadline) ->
    %% What is there is found whatever the time is.
    case is_integer(Until) andalso warp_context_owners:is_here(Context, N) andalso has(Context, Id, N, Until) of
        true -> {ok, Until};
        _ -> wait_aside(Ref, Context, Id, N, Until, Deadline)
    end.

wait_aside(Ref, Context, Id, N, Until, Deadline) ->
    case warp_entity_call:aside(fun() -> wait(Context, Id, N, Until, Deadline) end, Deadline) of
        {error, {shard_unavailable, N} = Why} -> warp_entity_call:stopped_or(Ref, Why);
        {error, interrupted} -> warp_entity_call:stopped_or(Ref, interrupted);
        Answer -> Answer
    end.

%% The calling process is one of its own, and the subscription ends with it.
wait(Context, Id, N, Until, Deadline) ->
    From = case is_integer(Until) of true -> now; false -> beginning end,
    Options = #{from => From, credit => ?CREDIT, aggregates => all, types => all},
    case warp_subscription_start:start(Context, {entity, Id}, [N], Options, Deadline) of
        {ok, Pid} ->
            Monitor = erlang:monitor(process, Pid),
            case warp_call:call(Pid, {'begin', {warp_subscription, Monitor}}, Deadline) of
                ok -> is_there(Context, Id, N, Until, Pid, Monitor);
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% NOTE: what is stored is looked at after the subscription began, so that nothing comes between.
is_there(Context, Id, N, Seq, Pid, Monitor) when is_integer(Seq) ->
    case has(Context, Id, N, Seq) of
        true -> {ok, Seq};
        false -> listen(fun(#{seq := Of}) -> Of >= Seq end, Pid, Monitor);
        {error, _} = Error -> Error
    end;
is_there(_Context, _Id, _N, Until, Pid, Monitor) ->
    listen(Until, Pid, Monitor).

has(Context, Id, N, Seq) ->
    case warp_cluster_log:with_moving(Context, N, fun(Log) -> warp_cluster_log:head(Log, Id) end) of
        {ok, {_Life, Last, _}} -> Last >= Seq;
        {ok, none} -> Seq =:= 0;
        {error, _} = Error -> Error
    end.

listen(Until, Pid, Monitor) ->
    receive
        {warp_subscription, Monitor, {events, Events}} ->
            #{shard := N, position := Position, seq := Seq} = lists:last(Events),
            ok = gen_server:cast(Pid, {ack, {N, Position, Seq}}),
            case look(Until, Events) of
                none -> listen(Until, Pid, Monitor);
                Found -> Found
            end;
        {warp_subscription, Monitor, _} ->
            listen(Until, Pid, Monitor);
        {'DOWN', Monitor, process, Pid, _} ->
            {error, interrupted}
    end.

look(_Until, []) ->
    none;
look(Until, [#{seq := Seq} = Event | Events]) ->
    try Until(Event) of
        true -> {ok, Seq};
        false -> look(Until, Events);
        Other -> {error, {bad_return, until, warp_redact:shape(Other)}}
    catch
        Class:Reason:Stack -> {error, {until_failed, warp_function:crash(Class, Reason, Stack)}}
    end.

%% @doc Waits until each subscription with a name has acknowledged everything that is stored, and none holds an entity.
%% Error: `{behind, Names}' at the deadline.
-spec caught_up(warp_context:context(), warp_deadline:deadline()) -> ok | {error, {behind, [binary()]} | term()}.
caught_up(Context, Deadline) ->
    case behind(Context) of
        {ok, []} ->
            ok;
        {ok, Names} ->
            again({error, {behind, Names}}, Context, Deadline);
        %% What keeps the names is being restarted.
        {error, interrupted} = Error ->
            again(Error, Context, Deadline);
        {error, _} = Error ->
            Error
    end.

again(Answer, Context, Deadline) ->
    case warp_deadline:left(Deadline) of
        0 -> Answer;
        Left -> ok = timer:sleep(min(?POLL_MS, Left)), caught_up(Context, Deadline)
    end.

behind(Context) ->
    Look = warp_deadline:from(?LOOK_MS),
    case warp_subscription_names:marks(Context, Look) of
        {ok, All} ->
            %% Those that are consumed may be farther.
            _ = [warp_call:call(Pid, look, Look) || {_, _, _, Pids} <- All, Pid <- Pids],
            case warp_subscription_names:marks(Context, Look) of
                {ok, Now} ->
                    {ok, [Name || {Name, Marks, Waiting, _} <- Now, Waiting > 0 orelse is_behind(Marks, Context)]};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

is_behind(Marks, #{shards := Shards} = Context) ->
    Positions = warp_subscription_core:positions_of(Marks),
    lists:any(fun(N) -> maps:get(N, Positions, 0) < warp_cluster_log:position(Context, N) end,
              lists:seq(0, Shards - 1)).
