%% @private Reads an entity's log: whole pages of it, or folded into states.
-module(warp_entity_replay).

-export([load/3, state_at/5, history/4, export/2]).

-export_type([loaded/0]).

%% Where an entity stands.
-type loaded() :: #{
    incarnation := non_neg_integer(),
    seq := warp_core:seq(),
    recorded_at := warp_core:micros(),
    states := warp_aggregate:states(),
    %% The seq of the oldest snapshot used; 0 for none.
    snapshot_seq := warp_core:seq()
}.

%% How many events one call into the NIF brings at most.
-define(PAGE, 1000).
%% After how long a fold keeps what it has by then.
-define(KEEP_MS, 1000).
%% How many terms of the states that were read are looked at for binaries to copy.
-define(COMPACT_BUDGET, 1000000).
%% Likewise after each page.
-define(PAGE_COMPACT_BUDGET, 20000).

%% @doc The states of all aggregates of an entity: the snapshots, and the events behind them.
-spec load(warp_context:context(), warp_nif:shard(), binary()) ->
    {ok, loaded()} | {error, warp_nif:reason()}.
load(#{aggregates := Aggregates}, Handle, Id) ->
    fold(Aggregates, Handle, Id, {seq, infinity}).

%% @doc The state of one aggregate as it was at a seq or a time: at a time, behind the last event
%% that was recorded by then.
-spec state_at(warp_context:context(), warp_nif:shard(), binary(), binary(),
               {seq, warp_core:seq() | infinity} | {time, warp_core:micros()}) ->
    {ok, term()} | {error, term()}.
state_at(#{aggregates := Aggregates}, Handle, Id, Name, At) ->
    case fold(maps:with([Name], Aggregates), Handle, Id, At) of
        {ok, #{states := #{Name := Result}}} -> Result;
        {error, _} = Error -> Error
    end.

fold(Aggregates, Handle, Id, At) ->
    Initial = warp_aggregate:initial(Aggregates),
    Folding = maps:filter(fun(_, Aggregate) -> warp_aggregate:folds(Aggregate) end, Aggregates),
    case warp_nif:head(Handle, Id) of
        {ok, none} ->
            {ok, loaded(0, 0, 0, Initial, 0)};
        {ok, {Incarnation, Seq, Time}} when map_size(Folding) =:= 0 ->
            {ok, loaded(Incarnation, Seq, Time, Initial, Seq)};
        {ok, {Incarnation, Seq, Time} = Head} ->
            %% More may be written while we read: what is returned is as of Seq.
            Found =
                case last(At, Handle, Id, Head) of
                    {ok, Last} -> fold_to(Last, Aggregates, Folding, Handle, Id, Incarnation, Initial);
                    {error, _} = NotFound -> NotFound
                end,
            case Found of
                {ok, Oldest, Folded} ->
                    {ok, loaded(Incarnation, Seq, Time, Folded, Oldest)};
                {error, changed} ->
                    %% Deleted, and perhaps created again, meanwhile: read what is there now.
                    fold(Aggregates, Handle, Id, At);
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% The seq of the last event wanted.
last({seq, Last}, _Handle, _Id, {_, Seq, _}) -> {ok, min(Last, Seq)};
last({time, Last}, _Handle, _Id, {_, Seq, Time}) when Time =< Last -> {ok, Seq};
last({time, Last}, Handle, Id, {Incarnation, Seq, _}) ->
    recorded_by(Last, Handle, Id, Incarnation, Seq).

%% From the end, since times may go back: see `warp_clock'.
recorded_by(_Time, _Handle, _Id, _Incarnation, 0) ->
    {ok, 0};
recorded_by(Time, Handle, Id, Incarnation, From) ->
    case warp_nif:page(Handle, Id, Incarnation, From, ?PAGE, backward) of
        {ok, {_, Events, Next}} ->
            case lists:search(fun(#{recorded_at := At}) -> At =< Time end, Events) of
                {value, #{seq := Seq}} -> {ok, Seq};
                false when Next =:= done -> {ok, 0};
                false -> recorded_by(Time, Handle, Id, Incarnation, Next)
            end;
        {error, _} = Error ->
            Error
    end.

fold_to(Last, Aggregates, Folding, Handle, Id, Incarnation, Initial) ->
    Snapshots = snapshots(Folding, Handle, Incarnation, Last),
    From = maps:map(fun(_, {At, _}) -> At end, Snapshots),
    States = maps:fold(
        fun(Name, {_, State}, Acc) -> Acc#{Name => {ok, State}} end, Initial, Snapshots),
    Oldest = lists:min([maps:get(Name, From, 0) || Name <- maps:keys(Folding)]),
    Keep = fun(At, Folded) -> keep(At, Folded, From, Folding, Handle, Id, Incarnation) end,
    Step = fun(Events, Acc0) ->
        Wanted = lists:takewhile(fun(#{seq := Seq}) -> Seq =< Last end, Events),
        #{seq := Seq} = lists:last(Events),
        {Folded, Due} = replay(Wanted, Aggregates, From, Keep, Acc0),
        Acc = {warp_compact:term(Folded, ?PAGE_COMPACT_BUDGET), Due},
        {case Seq < Last of true -> go_on; false -> enough end, Acc}
    end,
    case pages(Handle, Id, Incarnation, Oldest + 1, Step, {States, soon()}) of
        {ok, {Folded, _}} -> {ok, Oldest, Folded};
        {error, _} = Error -> Error
    end.

soon() ->
    erlang:monotonic_time(millisecond) + ?KEEP_MS.

%% What takes long is kept now and then: whoever loses patience, or is killed, has the next one go
%% on from there.
replay([], _Aggregates, _From, _Keep, Acc) ->
    Acc;
replay([#{seq := Seq, recorded_at := Time} = Event | Events], Aggregates, From, Keep, {States0, Due}) ->
    States = warp_aggregate:replay(Aggregates, [Event], From, States0),
    case erlang:monotonic_time(millisecond) of
        Now when Now < Due ->
            replay(Events, Aggregates, From, Keep, {States, Due});
        Now ->
            ok = Keep({Seq, Time}, States),
            %% A large state takes no more than a tenth of the time.
            Took = erlang:monotonic_time(millisecond) - Now,
            replay(Events, Aggregates, From, Keep, {States, soon() + 9 * Took})
    end.

keep({Seq, _} = At, States, From, Folding, Handle, Id, Incarnation) ->
    maps:foreach(
        fun(Name, Aggregate) ->
            case States of
                #{Name := {ok, State}} ->
                    %% What began at a later snapshot is further.
                    _ = [warp_entity_snapshot:save(Handle, Id, Incarnation, Aggregate, At, State)
                         || Seq > maps:get(Name, From, 0)],
                    ok;
                #{} ->
                    ok
            end
        end,
        Folding).

loaded(Incarnation, Seq, Time, States, SnapshotSeq) ->
    %% What `apply' cut out of payloads should not keep those in memory.
    #{incarnation => Incarnation, seq => Seq, recorded_at => Time,
      states => warp_compact:term(States, ?COMPACT_BUDGET), snapshot_seq => SnapshotSeq}.

snapshots(Folding, Handle, Incarnation, Last) ->
    maps:fold(
        fun(Name, Aggregate, Acc) ->
            Version = warp_aggregate:version(Aggregate),
            case warp_nif:snapshot(Handle, Incarnation, Name) of
                {ok, {Version, Seq, _Time, Image}} ->
                    case Seq =< Last andalso warp_term:from_bytes(Image) of
                        {ok, {Name, State}} -> Acc#{Name => {Seq, State}};
                        _ -> Acc
                    end;
                %% Missing, of another version, or unreadable: the events are all there.
                _ ->
                    Acc
            end
        end,
        #{},
        Folding).

%% @doc Calls Step with the events from From on, page by page, until it has enough.
-spec pages(warp_nif:shard(), binary(), non_neg_integer(), warp_core:seq(),
            fun(([warp_core:event()], Acc) -> {go_on | enough, Acc}), Acc) ->
    {ok, Acc} | {error, warp_nif:reason()}.
pages(Handle, Id, Incarnation, From, Step, Acc0) ->
    case warp_nif:page(Handle, Id, Incarnation, From, ?PAGE, forward) of
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

%% @doc A part of the log, migrated.
-spec history(warp_context:context(), warp_nif:shard(), binary(), map()) ->
    {ok, [warp_core:event()]} | {error, term()}.
history(Context, Handle, Id, #{from := From, limit := Limit, direction := Direction} = Range) ->
    case collect(Handle, Id, 0, From, Limit, Direction, []) of
        {ok, Events} -> migrate(Events, Context, []);
        {error, changed} -> history(Context, Handle, Id, Range);
        {error, _} = Error -> Error
    end.

%% @doc The whole log, as it was stored.
-spec export(warp_nif:shard(), binary()) -> {ok, [warp_core:event()]} | {error, warp_nif:reason()}.
export(Handle, Id) ->
    case collect(Handle, Id, 0, 1, infinity, forward, []) of
        {error, changed} -> export(Handle, Id);
        Result -> Result
    end.

collect(Handle, Id, Incarnation, From, Limit, Direction, Pages) ->
    case warp_nif:page(Handle, Id, Incarnation, From, min(Limit, ?PAGE), Direction) of
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

migrate([], _Context, Migrated) ->
    {ok, lists:reverse(Migrated)};
migrate([#{aggregate := Name} = Event | Events], #{aggregates := Aggregates} = Context, Done) ->
    case warp_aggregate:migrate(maps:get(Name, Aggregates, #{}), Event) of
        {ok, Migrated} -> migrate(Events, Context, [Migrated | Done]);
        {error, _} = Error -> Error
    end.
