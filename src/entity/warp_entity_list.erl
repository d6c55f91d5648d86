%% @private Lists the entities of a context, shard by shard, and reads the events of a context by position.
-module(warp_entity_list).

-export([entities/3, events/3, place/1, positions/1]).

-export_type([place/0, positions/0]).

%% Behind which entity to go on: its shard, and its place in the list of the shard.
-type place() :: {Shard :: non_neg_integer(), warp_nif:place() | first}.
%% Behind which position of each shard to go on; 0 for a shard that is not named.
-type positions() :: #{Shard :: non_neg_integer() => Position :: non_neg_integer()}.

%% How many bytes of a shard's log one look reads.
-define(LOOK_BYTES, 256 * 1024).

%% @doc A check of an option: a place that a list gave.
-spec place(term()) -> {ok, place()} | {error, not_a_place}.
place({N, {Hash, Incarnation}} = Place)
  when is_integer(N), N >= 0, is_integer(Hash), Hash >= -1 bsl 63, Hash < 1 bsl 63,
       is_integer(Incarnation), Incarnation >= -1 bsl 63, Incarnation < 1 bsl 63 -> {ok, Place};
place({N, first} = Place) when is_integer(N), N >= 0 -> {ok, Place};
place(_) -> {error, not_a_place}.

%% @doc A check of an option: positions that a read of events gave.
-spec positions(term()) -> {ok, positions()} | {error, not_positions}.
positions(Positions) when is_map(Positions) ->
    IsPosition = fun({N, Position}) ->
        is_integer(N) andalso N >= 0 andalso is_integer(Position) andalso Position >= 0 andalso Position < 1 bsl 62
    end,
    case lists:all(IsPosition, maps:to_list(Positions)) of
        true -> {ok, Positions};
        false -> {error, not_positions}
    end;
positions(_) ->
    {error, not_positions}.

%% @doc A page of the context's entities, in no order that means anything. Where looking takes longer than the deadline
%% the page has what was found by then.
-spec entities(warp_context:context(), map(), warp_deadline:deadline()) ->
    {ok, #{entities := [#{id := binary(), seq := warp_core:seq()}], next := place() | done}} | {error, term()}.
entities(#{aliases := Aliases} = Context, #{'after' := Place, limit := Limit, aggregate := Name} = Wanted, Deadline) ->
    Names =
        case Name of
            undefined -> undefined;
            _ -> warp_aggregate:stored_names([Name], Aliases)
        end,
    entities(Place, Limit, Context, Wanted#{aggregates => Names}, Deadline, []).

entities({N, _}, _Left, #{shards := Shards}, _Wanted, _Deadline, Found) when N >= Shards ->
    listed(Found, done);
entities(Place, 0, _Context, _Wanted, _Deadline, Found) ->
    listed(Found, Place);
entities({N, After} = Place, Left, Context, #{prefix := Prefix, aggregates := Names} = Wanted, Deadline, Found) ->
    case warp_deadline:left(Deadline) of
        0 when Place =/= map_get('after', Wanted) ->
            listed(Found, Place);
        _ ->
            Look = fun(Handle) -> warp_cluster_log:entities(Handle, After, Prefix, Names, Left) end,
            case warp_context:with_log(Context, N, Look) of
                {ok, {Piece, Next}} ->
                    Then = case Next of done -> {N + 1, first}; _ -> {N, Next} end,
                    entities(Then, Left - length(Piece), Context, Wanted, Deadline, [Piece | Found]);
                {error, _} = Error ->
                    Error
            end
    end.

listed(Found, Next) ->
    Entities = [#{id => Id, seq => Seq} || {Id, Seq} <- lists:append(lists:reverse(Found))],
    {ok, #{entities => Entities, next => Next}}.

%% @doc Events behind positions, shard after shard, migrated. A page ends where an append ends: it has at least so many
%% events, unless there are no more, and not much more than the last append has.
-spec events(warp_context:context(), map(), warp_deadline:deadline()) ->
    {ok, #{events := [map()], next := positions(), more := boolean()}} | {error, term()}.
events(#{shards := Shards} = Context, #{shard := Shard, 'after' := After, limit := Limit}, Deadline) ->
    Ns = case Shard of all -> lists:seq(0, Shards - 1); _ -> [Shard] end,
    Begun = maps:merge(maps:from_list([{N, 0} || N <- Ns]), maps:with(Ns, After)),
    events(Ns, Limit, Context, Begun, Deadline, []).

events([], _Left, _Context, Positions, _Deadline, Found) ->
    read(Found, Positions, false);
events(_Ns, Left, _Context, Positions, _Deadline, Found) when Left =< 0 ->
    read(Found, Positions, true);
events([N | Ns] = All, Left, Context, Positions, Deadline, Found) ->
    case warp_deadline:left(Deadline) of
        0 when Found =/= [] ->
            read(Found, Positions, true);
        _ ->
            #{N := After} = Positions,
            Look = fun(Handle) -> warp_cluster_log:follow(Handle, After, ?LOOK_BYTES, users, all) end,
            case warp_context:with_log(Context, N, Look) of
                {ok, {Rows, Last, End}} ->
                    case take(Rows, Left, N, Context, []) of
                        {all, Taken, Count} ->
                            Then = case End of done -> Ns; more -> All end,
                            events(Then, Left - Count, Context, Positions#{N := Last}, Deadline, [Taken | Found]);
                        {upto, Position, Taken} ->
                            read([Taken | Found], Positions#{N := Position}, true);
                        {error, _} = Error ->
                            Error
                    end;
                {error, _} = Error ->
                    Error
            end
    end.

%% The rows until there are enough events.
take(Rows, Left, N, Context, Taken) ->
    take(Rows, Left, Left, N, Context, Taken).

take([], Limit, Left, _N, _Context, Taken) ->
    {all, lists:append(lists:reverse(Taken)), Limit - Left};
take([{Position, Entity, _, _, Events} | Rows], Limit, Left, N, Context, Taken) ->
    case warp_entity_replay:placed(Events, {Entity, N, Position}, Context) of
        {ok, Each} ->
            case Left - length(Each) of
                Now when Now > 0; Rows =:= [] -> take(Rows, Limit, Now, N, Context, [Each | Taken]);
                _ -> {upto, Position, lists:append(lists:reverse([Each | Taken]))}
            end;
        {error, _} = Error ->
            Error
    end.

read(Found, Positions, More) ->
    {ok, #{events => lists:append(lists:reverse(Found)), next => Positions, more => More}}.
