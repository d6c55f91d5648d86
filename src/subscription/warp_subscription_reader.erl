%% @private Reads pieces of a shard's log for subscriptions: migrated events that a filter lets through.
-module(warp_subscription_reader).

-export([new/2, filter/1, piece/3, place/3, of_entity/5, life/4, age/3]).

-export_type([reader/0, read/0]).

-opaque reader() :: #{
    context := warp_context:context(),
    filter := warp_subscription_filter:filter(),
    %% Names and aliases of the aggregates that the filter lets through.
    names := all | [binary()],
    %% Some aggregate has a `migrate', which may not return.
    migrates := boolean()
}.
%% Events with the place behind them, and whether the log ends there. `stopped': what comes next cannot be read now.
-type read() ::
    {ok, {[warp_core:placed_event()], warp_subscription_core:place(), done | more}}
    | {stopped, {[warp_core:placed_event()], warp_subscription_core:place()}, Why :: term()}
    | {error, Why :: term()}.

%% How many bytes of the log a piece has, or how many events of an entity.
-define(BYTES, 128 * 1024).
-define(EVENTS, 500).
%% How long `migrate' may take for all events of a piece.
-define(MIGRATE_MS, 10000).

%% @doc What reads events that a filter lets through.
-spec new(warp_context:context(), warp_subscription_filter:filter()) -> reader().
new(#{aggregates := Aggregates, aliases := Aliases} = Context, Filter) ->
    #{context => Context,
      filter => Filter,
      names => warp_subscription_filter:stored_names(Aliases, Filter),
      migrates => lists:any(fun(Aggregate) -> is_map_key(migrate, Aggregate) end, maps:values(Aggregates))}.

%% @doc What its events are let through by.
-spec filter(reader()) -> warp_subscription_filter:filter().
filter(#{filter := Filter}) -> Filter.

%% @doc The piece of a shard's log behind a place.
-spec piece(reader(), non_neg_integer(), warp_subscription_core:place()) -> read().
piece(#{migrates := false} = Reader, N, Place) ->
    read(Reader, N, Place);
piece(Reader, N, Place) ->
    case warp_entity_call:aside(fun() -> read(Reader, N, Place) end, warp_deadline:from(?MIGRATE_MS)) of
        {error, timeout} -> {error, {migrate_failed, timeout}};
        Read -> Read
    end.

read(#{context := Context, names := Names} = Reader, N, Place) ->
    warp_context:with_log(Context, N, fun(Handle) ->
        case Place of
            {_, _, _} -> entity(Reader, N, Handle, Place);
            Position -> rows(warp_cluster_log:follow(Handle, Position, ?BYTES, users, Names), Reader, N)
        end
    end).

rows({ok, {Rows, Last, Then}}, Reader, N) ->
    taken(Rows, Reader, N, {Last, Then}, []);
rows({error, _} = Error, _Reader, _N) ->
    Error.

%% NOTE: also a row without an event for this subscription may begin a new life, of which later rows are for it.
taken([], _Reader, _N, {Last, Then}, Taken) ->
    {ok, {in_order(Taken), Last, Then}};
taken([{Position, Entity, First, _, Events} | Rows], #{context := Context, filter := Filter} = Reader, N, End, Taken) ->
    case warp_subscription_filter:concerns(Entity, warp_subscription_filter:route(Filter)) of
        false ->
            taken(Rows, Reader, N, End, Taken);
        true ->
            case is_held(Context, Entity, {Position, First})
                     orelse warp_entity_replay:placed(Events, {Entity, N, Position}, Context) of
                {ok, Placed} ->
                    taken(Rows, Reader, N, End, [warp_subscription_filter:select(Placed, Filter) | Taken]);
                true ->
                    {stopped, {in_order(Taken), Position - 1}, being_deleted};
                {error, Why} ->
                    {stopped, {in_order(Taken), Position - 1}, Why}
            end
    end.

in_order(Taken) -> lists:append(lists:reverse(Taken)).

%% A new life of an entity is shown only after all subscriptions were told that the life before was erased.
is_held(Context, Entity, Row) ->
    warp_erasure_holds:is_held(Context, Entity, Row, <<"subscriptions">>).

%% NOTE: the end of the shard's log is looked at first, so that each row of the entity up to there is among those that
%% are read until there are no more.
entity(#{filter := Filter, names := Names} = Reader, N, Handle, Place) ->
    {entity, Id} = warp_subscription_filter:route(Filter),
    case warp_cluster_log:position(Handle) of
        {ok, End} -> entity(Reader, N, Handle, Place, Id, End, Names);
        {error, _} = Error -> Error
    end.

entity(#{context := Context} = Reader, N, Handle, {Life, Seq, Before} = Place, Id, End, Names) ->
    case warp_cluster_log:follow_entity(Handle, Id, Life, Seq + 1, ?EVENTS, Names) of
        {ok, {0, [], done}} ->
            {ok, {[], {0, 0, End}, done}};
        {ok, {Found, Rows, Next}} ->
            case is_held(Context, Id, {Found, 1}) of
                true ->
                    {stopped, {[], Place}, being_deleted};
                false ->
                    {Upto, Then} = case Next of done -> {End, done}; _ -> {Before, more} end,
                    of_entity(taken(Rows, Reader, N, {Upto, Then}, []), Rows, {Found, Seq, Before})
            end;
        {error, changed} ->
            entity(Reader, N, Handle, {0, 0, 0});
        {error, _} = Error ->
            Error
    end.

of_entity({ok, {Events, Upto, Then}}, Rows, {Life, Seq, _}) ->
    Last = case Rows of [] -> Seq; _ -> element(4, lists:last(Rows)) end,
    {ok, {Events, {Life, Last, Upto}, Then}};
of_entity({stopped, {Events, Position}, Why}, Rows, {Life, Seq, Before}) ->
    Last = lists:max([Seq | [Of || {At, _, _, Of, _} <- Rows, At =< Position]]),
    {stopped, {Events, {Life, Last, Before}}, Why}.

%% @doc Events of one entity in that life that a filter lets through, from that seq on: so many that they take little
%% time, with the seq of the next one, `none' where there is none yet. `gone': that life was erased.
-spec of_entity(warp_context:context(), warp_subscription_filter:filter(), Entity :: binary(), non_neg_integer(),
                {Life :: pos_integer(), From :: warp_core:seq()}) ->
    {ok, [warp_core:placed_event()], Next :: warp_core:seq() | none} | gone | {error, term()}.
of_entity(Context, Filter, Entity, N, {Life, From}) ->
    Reader = new(Context, warp_subscription_filter:of_entity(Entity, Filter)),
    case piece(Reader, N, {Life, From - 1, 0}) of
        {ok, {Events, {Life, _, _}, done}} -> {ok, Events, none};
        {ok, {Events, {Life, Last, _}, more}} -> {ok, Events, Last + 1};
        {stopped, {[_ | _] = Events, {Life, Last, _}}, _Why} -> {ok, Events, Last + 1};
        {stopped, _, Why} -> {error, Why};
        {error, _} = Error -> Error;
        _ -> gone
    end.

%% @doc The life of an entity that an event at that position belongs to; `gone': that life was erased.
-spec life(warp_context:context(), Entity :: binary(), non_neg_integer(), Position :: pos_integer()) ->
    {ok, Life :: pos_integer()} | gone | {error, term()}.
life(Context, Entity, N, Position) ->
    warp_context:with_log(Context, N, fun(Handle) ->
        case warp_cluster_log:head(Handle, Entity) of
            {ok, {Life, _, _}} when Life =< Position -> {ok, Life};
            {ok, _} -> gone;
            {error, _} = Error -> Error
        end
    end).

%% @doc For how many seconds the first row behind a position has been there; 0.0 where that cannot be read.
-spec age(warp_context:context(), non_neg_integer(), Position :: non_neg_integer()) -> float().
age(Context, N, Position) ->
    First = fun(Log) -> warp_cluster_log:follow(Log, Position, 1, users, all) end,
    case warp_context:with_log(Context, N, First) of
        {ok, {[{_, _, _, _, [#{recorded_at := Time} | _]} | _], _, _}} ->
            max(0, os:system_time(microsecond) - Time) / 1000000;
        _ ->
            0.0
    end.

%% @doc Where a subscription begins, in a shard's log: at its beginning or its end, or at a time. Of an entity it is
%% the place of the entity.
-spec place(reader(), non_neg_integer(), beginning | now | {time, warp_core:micros()}) ->
    {ok, warp_subscription_core:place()} | {error, term()}.
place(#{context := Context, filter := Filter}, N, From) ->
    case {warp_subscription_filter:route(Filter), From} of
        {{entity, _}, beginning} -> {ok, {0, 0, 0}};
        {{prefix, _}, beginning} -> {ok, 0};
        {{entity, Id}, _} -> warp_cluster_log:with_moving(Context, N, fun(Log) -> place_of_entity(Log, Id, From) end);
        {{prefix, _}, _} -> warp_cluster_log:with_moving(Context, N, fun(Log) -> position(Log, From) end)
    end.

position(Handle, now) ->
    warp_cluster_log:position(Handle);
position(Handle, {time, Time}) ->
    warp_cluster_log:position_before(Handle, Time).

place_of_entity(Handle, Id, now) ->
    %% NOTE: the end of the log first, so that what is appended meanwhile comes behind it.
    case {warp_cluster_log:position(Handle), warp_cluster_log:head(Handle, Id)} of
        {{ok, End}, {ok, none}} -> {ok, {0, 0, End}};
        {{ok, End}, {ok, {Life, Seq, _}}} -> {ok, {Life, Seq, End}};
        {{error, _} = Error, _} -> Error;
        {_, {error, _} = Error} -> Error
    end;
place_of_entity(Handle, Id, {time, Time}) ->
    case warp_entity_replay:recorded_before(Handle, Id, Time) of
        {ok, {Life, Seq}} -> {ok, {Life, Seq, 0}};
        {error, changed} -> place_of_entity(Handle, Id, {time, Time});
        {error, _} = Error -> Error
    end.
