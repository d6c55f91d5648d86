%% @private Reads an entity's log from the file: as events, or folded into states.
-module(warp_entity_replay).

-export([load/3, state_at/5, recorded_before/3, history/4, export/2, migrate/2, placed/3]).

-export_type([loaded/0]).

%% The state of an entity as the file has it.
-type loaded() :: #{
    incarnation := non_neg_integer(),
    seq := warp_core:seq(),
    recorded_at := warp_core:micros(),
    states := warp_aggregate:states(),
    %% The seq of the oldest snapshot that was used, 0 for none.
    snapshot_seq := warp_core:seq()
}.

%% How many events one page has at most.
-define(PAGE, 1000).
%% How often a fold that takes long stores a snapshot.
-define(KEEP_MS, 1000).
%% How many terms of the states are searched for binaries to copy when a fold has ended.
-define(COMPACT_BUDGET, 1000000).
%% How many after each page.
-define(PAGE_COMPACT_BUDGET, 20000).

%% @doc The states of all aggregates of an entity: folds the events behind the latest snapshots.
-spec load(warp_context:context(), warp_cluster_log:log(), binary()) ->
    {ok, loaded()} | {error, warp_nif:reason()}.
load(#{aggregates := Aggregates, aliases := Aliases}, Handle, Id) ->
    fold({Aggregates, Aliases}, Handle, Id, {seq, infinity}).

%% @doc The state of one aggregate as it was at a seq, or at a time: after the last event that was recorded by then.
%% Errors are those of `warp_core:state_at/4' that concern the log and the aggregate's functions.
-spec state_at(warp_context:context(), warp_cluster_log:log(), binary(), binary(),
               {seq, warp_core:seq() | infinity} | {time, warp_core:micros()}) ->
    {ok, term()} | {error, term()}.
state_at(#{aggregates := Aggregates, aliases := Aliases}, Handle, Id, Name, At) ->
    case fold({maps:with([Name], Aggregates), Aliases}, Handle, Id, At) of
        {ok, #{states := #{Name := Result}}} -> Result;
        {error, _} = Error -> Error
    end.

fold({Aggregates, Aliases} = Names, Handle, Id, At) ->
    Initial = warp_aggregate:initial(Aggregates),
    Folding = maps:filter(fun(_, Aggregate) -> warp_aggregate:folds(Aggregate) end, Aggregates),
    case warp_cluster_log:head(Handle, Id) of
        {ok, none} ->
            {ok, loaded(0, 0, 0, Initial, 0)};
        {ok, {Incarnation, Seq, Time}} when map_size(Folding) =:= 0 ->
            {ok, loaded(Incarnation, Seq, Time, Initial, Seq)};
        {ok, {Incarnation, Seq, Time} = Head} ->
            %% NOTE: others may append while this process reads. The result is the state at Seq.
            Found =
                case last(At, Handle, Id, Head) of
                    {ok, Last} ->
                        fold_to(Last, {Aggregates, Aliases, Folding}, Handle, Id, Incarnation, Initial);
                    {error, _} = NotFound -> NotFound
                end,
            case Found of
                {ok, Oldest, Folded} ->
                    {ok, loaded(Incarnation, Seq, Time, Folded, Oldest)};
                {error, changed} ->
                    %% NOTE: the entity was deleted meanwhile, and may have begun a new life. This reads it again.
                    fold(Names, Handle, Id, At);
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% The seq of the last event to fold.
last({seq, Last}, _Handle, _Id, {_, Seq, _}) -> {ok, min(Last, Seq)};
last({time, Last}, _Handle, _Id, {_, Seq, Time}) when Time =< Last -> {ok, Seq};
last({time, Last}, Handle, Id, {Incarnation, Seq, _}) ->
    recorded_by(Last, Handle, Id, Incarnation, Seq).

%% @doc The life of an entity, 0 for none, and the seq of the last event that was recorded before a time.
-spec recorded_before(warp_cluster_log:log(), binary(), warp_core:micros()) ->
    {ok, {non_neg_integer(), warp_core:seq()}} | {error, warp_nif:reason()}.
recorded_before(Handle, Id, Time) ->
    case warp_cluster_log:head(Handle, Id) of
        {ok, none} ->
            {ok, {0, 0}};
        {ok, {Incarnation, Seq, _}} ->
            case recorded_by(Time - 1, Handle, Id, Incarnation, Seq) of
                {ok, Last} -> {ok, {Incarnation, Last}};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% Searches from the end of the log, since times can go back: see {@link warp_clock}.
recorded_by(_Time, _Handle, _Id, _Incarnation, 0) ->
    {ok, 0};
recorded_by(Time, Handle, Id, Incarnation, From) ->
    case warp_cluster_log:page(Handle, Id, Incarnation, From, ?PAGE, backward) of
        {ok, {_, Events, Next}} ->
            case lists:search(fun(#{recorded_at := At}) -> At =< Time end, Events) of
                {value, #{seq := Seq}} -> {ok, Seq};
                false when Next =:= done -> {ok, 0};
                false -> recorded_by(Time, Handle, Id, Incarnation, Next)
            end;
        {error, _} = Error ->
            Error
    end.

fold_to(Last, {Aggregates, Aliases, Folding}, Handle, Id, Incarnation, Initial) ->
    Snapshots = snapshots(Folding, Handle, Incarnation, Last),
    From = maps:map(fun(_, {At, _}) -> At end, Snapshots),
    States = maps:fold(
        fun(Name, {_, State}, Acc) -> Acc#{Name => {ok, State}} end, Initial, Snapshots),
    Oldest = lists:min([maps:get(Name, From, 0) || Name <- maps:keys(Folding)]),
    Keep = fun(At, Folded) -> keep(At, Folded, From, Folding, Handle, Id, Incarnation) end,
    Step = fun(Events, Acc0) ->
        Wanted = lists:takewhile(fun(#{seq := Seq}) -> Seq =< Last end, Events),
        #{seq := Seq} = lists:last(Events),
        {Folded, Due} = replay(warp_aggregate:current(Wanted, Aliases), Aggregates, From, Keep, Acc0),
        Acc = {warp_compact:term(Folded, ?PAGE_COMPACT_BUDGET), Due},
        {case Seq < Last of true -> go_on; false -> enough end, Acc}
    end,
    case pages(Handle, Id, Incarnation, Oldest + 1, Step, {States, soon()}) of
        {ok, {Folded, _}} -> {ok, Oldest, Folded};
        {error, _} = Error -> Error
    end.

soon() ->
    erlang:monotonic_time(millisecond) + ?KEEP_MS.

%% A fold that takes long stores snapshots from time to time. If its caller stops waiting or it is killed, the next
%% read goes on from the last snapshot.
replay([], _Aggregates, _From, _Keep, Acc) ->
    Acc;
replay([#{seq := Seq, recorded_at := Time} = Event | Events], Aggregates, From, Keep, {States0, Due}) ->
    States = warp_aggregate:replay(Aggregates, [Event], From, States0),
    case erlang:monotonic_time(millisecond) of
        Now when Now < Due ->
            replay(Events, Aggregates, From, Keep, {States, Due});
        Now ->
            ok = Keep({Seq, Time}, States),
            %% Storing snapshots takes at most a tenth of the time, also when the states are large.
            Took = erlang:monotonic_time(millisecond) - Now,
            replay(Events, Aggregates, From, Keep, {States, soon() + 9 * Took})
    end.

keep({Seq, _} = At, States, From, Folding, Handle, Id, Incarnation) ->
    maps:foreach(
        fun(Name, Aggregate) ->
            case States of
                #{Name := {ok, State}} ->
                    %% An aggregate whose fold began at a later snapshot needs no older one.
                    _ = [warp_entity_snapshot:save(Handle, Id, Incarnation, Aggregate, At, State)
                         || Seq > maps:get(Name, From, 0)],
                    ok;
                #{} ->
                    ok
            end
        end,
        Folding).

loaded(Incarnation, Seq, Time, States, SnapshotSeq) ->
    %% Parts that `apply' cut out of payloads must not keep these payloads in memory.
    #{incarnation => Incarnation, seq => Seq, recorded_at => Time,
      states => warp_compact:term(States, ?COMPACT_BUDGET), snapshot_seq => SnapshotSeq}.

snapshots(Folding, Handle, Incarnation, Last) ->
    maps:fold(
        fun(Name, Aggregate, Acc) ->
            Version = warp_aggregate:version(Aggregate),
            case warp_cluster_log:snapshot(Handle, Incarnation, Name) of
                {ok, {Version, Seq, _Time, Image}} ->
                    case Seq =< Last andalso warp_term:from_bytes(Image) of
                        {ok, {Name, State}} -> Acc#{Name => {Seq, State}};
                        _ -> Acc
                    end;
                %% Without a readable snapshot of this version all events are folded.
                _ ->
                    Acc
            end
        end,
        #{},
        Folding).

%% @doc Calls Step with the events from seq From on, page by page, until Step gives `enough' or the log ends.
-spec pages(warp_cluster_log:log(), binary(), non_neg_integer(), warp_core:seq(),
            fun(([warp_core:event()], Acc) -> {go_on | enough, Acc}), Acc) ->
    {ok, Acc} | {error, warp_nif:reason()}.
pages(Handle, Id, Incarnation, From, Step, Acc0) ->
    case warp_cluster_log:page(Handle, Id, Incarnation, From, ?PAGE, forward) of
        {ok, {_, [], done}} ->
            {ok, Acc0};
        {ok, {Found, Events, Next}} ->
            case Step(Events, Acc0) of
                {go_on, Acc} when is_integer(Next) -> pages(Handle, Id, Found, Next, Step, Acc);
                {_, Acc} -> {ok, Acc}
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc The events of a part of the log, migrated to the current schema unless `migrate' is false. Errors are those of
%% `warp_core:history/2' that concern the log and `migrate'.
-spec history(warp_context:context(), warp_cluster_log:log(), binary(), map()) ->
    {ok, [warp_core:event()]} | {error, term()}.
history(Context, Handle, Id, #{from := From, limit := Limit, direction := Direction} = Range) ->
    case collect(Handle, Id, 0, From, Limit, Direction, []) of
        {ok, Events} ->
            case Range of
                #{migrate := false} -> {ok, Events};
                #{} -> migrate(Events, Context)
            end;
        {error, changed} -> history(Context, Handle, Id, Range);
        {error, _} = Error -> Error
    end.

%% @doc All events of the log, as they were stored.
-spec export(warp_cluster_log:log(), binary()) -> {ok, [warp_core:event()]} | {error, warp_nif:reason()}.
export(Handle, Id) ->
    case collect(Handle, Id, 0, 1, infinity, forward, []) of
        {error, changed} -> export(Handle, Id);
        Result -> Result
    end.

collect(Handle, Id, Incarnation, From, Limit, Direction, Pages) ->
    case warp_cluster_log:page(Handle, Id, Incarnation, From, min(Limit, ?PAGE), Direction) of
        {ok, {Found, Events, Next}} ->
            Left = left(Limit, length(Events)),
            case is_integer(Next) andalso Left > 0 of
                true -> collect(Handle, Id, Found, Next, Left, Direction, [Events | Pages]);
                false -> {ok, lists:append(lists:reverse([Events | Pages]))}
            end;
        {error, _} = Error ->
            Error
    end.

left(infinity, _Count) -> infinity;
left(Limit, Count) -> Limit - Count.

%% @doc Events as the current aggregates have them. Errors are those of `migrate'.
-spec migrate([warp_core:event()], warp_context:context()) -> {ok, [warp_core:event()]} | {error, term()}.
migrate(Events, #{aliases := Aliases} = Context) ->
    migrate(warp_aggregate:current(Events, Aliases), Context, []).

migrate([], _Context, Migrated) ->
    {ok, lists:reverse(Migrated)};
migrate([#{aggregate := Name} = Event | Events], #{aggregates := Aggregates} = Context, Done) ->
    case warp_aggregate:migrate(maps:get(Name, Aggregates, #{}), Event) of
        {ok, Migrated} -> migrate(Events, Context, [Migrated | Done]);
        {error, _} = Error -> Error
    end.

%% @doc The events of a row as the current aggregates have them, each with its entity, its shard and its position.
-spec placed([warp_core:event()], {Entity :: binary(), N :: non_neg_integer(), Position :: pos_integer()},
             warp_context:context()) -> {ok, [warp_core:placed_event()]} | {error, term()}.
placed(Events, {Entity, N, Position}, Context) ->
    case migrate(Events, Context) of
        {ok, Migrated} -> {ok, [Event#{entity => Entity, shard => N, position => Position} || Event <- Migrated]};
        {error, _} = Error -> Error
    end.
