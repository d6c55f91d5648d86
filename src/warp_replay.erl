%% @private Reads an entity's log: whole pages of it, or folded into states.
-module(warp_replay).

-export([load/3, state_at/5, history/4, export/2]).

-include("warp.hrl").

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
%% How many terms of the states that were read are looked at for binaries to copy.
-define(COMPACT_BUDGET, 1000000).

%% @doc The states of all aggregates of an entity: the snapshots, and the events behind them.
-spec load(warp_context:context(), warp_nif:shard(), binary()) ->
    {ok, loaded()} | {error, warp_nif:reason()}.
load(#context{aggregates = Aggregates}, Handle, Id) ->
    fold(Aggregates, Handle, Id, fun(_Seq, _Time) -> true end).

%% @doc The state of one aggregate as it was at a seq or a time.
-spec state_at(warp_context:context(), warp_nif:shard(), binary(), binary(),
               {seq, warp_core:seq()} | {time, warp_core:micros()}) ->
    {ok, term()} | {error, term()}.
state_at(#context{aggregates = Aggregates}, Handle, Id, Name, At) ->
    Until =
        case At of
            {seq, Last} -> fun(Seq, _Time) -> Seq =< Last end;
            {time, Last} -> fun(_Seq, Time) -> Time =< Last end
        end,
    case fold(maps:with([Name], Aggregates), Handle, Id, Until) of
        {ok, #{states := #{Name := Result}}} -> Result;
        {error, _} = Error -> Error
    end.

fold(Aggregates, Handle, Id, Until) ->
    Initial = warp_aggregate:initial(Aggregates),
    Folding = maps:filter(fun(_, Aggregate) -> warp_aggregate:folds(Aggregate) end, Aggregates),
    case warp_nif:head(Handle, Id) of
        {ok, none} ->
            {ok, loaded(0, 0, 0, Initial, 0)};
        {ok, {Incarnation, Seq, Time}} when map_size(Folding) =:= 0 ->
            {ok, loaded(Incarnation, Seq, Time, Initial, Seq)};
        {ok, {Incarnation, Seq, Time}} ->
            %% More may be written while we read: what is returned is as of Seq.
            ByNow = fun(At, Then) -> At =< Seq andalso Until(At, Then) end,
            Snapshots = snapshots(Folding, Handle, Incarnation, ByNow),
            From = maps:map(fun(_, {At, _}) -> At end, Snapshots),
            States = maps:fold(
                fun(Name, {_, State}, Acc) -> Acc#{Name := {ok, State}} end, Initial, Snapshots),
            Oldest = lists:min([maps:get(Name, From, 0) || Name <- maps:keys(Folding)]),
            Step = fun(Events, Acc) ->
                case lists:splitwith(fun(E) -> within(E, ByNow) end, Events) of
                    {All, []} -> {go_on, warp_aggregate:replay(Aggregates, All, From, Acc)};
                    {Some, _} -> {enough, warp_aggregate:replay(Aggregates, Some, From, Acc)}
                end
            end,
            case pages(Handle, Id, Incarnation, Oldest + 1, Step, States) of
                {ok, Folded} ->
                    {ok, loaded(Incarnation, Seq, Time, Folded, Oldest)};
                {error, changed} ->
                    %% Deleted, and perhaps created again, meanwhile: read what is there now.
                    fold(Aggregates, Handle, Id, Until);
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

loaded(Incarnation, Seq, Time, States, SnapshotSeq) ->
    %% What `apply' cut out of payloads should not keep those in memory.
    #{incarnation => Incarnation, seq => Seq, recorded_at => Time,
      states => warp_compact:term(States, ?COMPACT_BUDGET), snapshot_seq => SnapshotSeq}.

within(#{seq := Seq, recorded_at := Time}, Until) ->
    Until(Seq, Time).

snapshots(Folding, Handle, Incarnation, Until) ->
    maps:fold(
        fun(Name, Aggregate, Acc) ->
            Version = warp_aggregate:version(Aggregate),
            case warp_nif:snapshot(Handle, Incarnation, Name) of
                {ok, {Version, Seq, Time, Image}} ->
                    case Until(Seq, Time) andalso warp_term:from_bytes(Image) of
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
migrate([#{aggregate := Name} = Event | Events], #context{aggregates = Aggregates} = Context, Done) ->
    case warp_aggregate:migrate(maps:get(Name, Aggregates, #{}), Event) of
        {ok, Migrated} -> migrate(Events, Context, [Migrated | Done]);
        {error, _} = Error -> Error
    end.
