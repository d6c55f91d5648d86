%% @private Reads all events of an entity as they were stored, piece by piece, for an answer that is a stream.
-module(warp_server_export).

-export([first/2, next/1]).

-export_type([export/0]).

-record(export, {
    entity :: warp_core:entity(),
    left :: pos_integer(),
    %% The last event that was read.
    last :: warp_core:event()
}).
-opaque export() :: #export{}.

-define(ALL, (1 bsl 62)).
%% How many events one piece has: no more than a few MiB, where each is of the usual size.
-define(PIECE, 256).
%% How long one piece may take.
-define(TIMEOUT_MS, 30000).

%% @doc The first piece, as lines of JSON, and how to go on.
-spec first(warp_core:entity(), #{from => warp_core:seq(), limit => pos_integer(), atom() => term()}) ->
    {ok, iodata(), export() | done} | {error, term()}.
first(Entity, Args) ->
    Limit = maps:get(limit, Args, ?ALL),
    case read(Entity, maps:get(from, Args, 1), min(Limit, ?PIECE)) of
        {ok, Events} -> piece(Events, Entity, Limit, min(Limit, ?PIECE));
        {error, _} = Error -> Error
    end.

%% @doc The next piece. `{error, changed}': the entity was deleted meanwhile, and what follows is not what was asked
%% for.
-spec next(export()) -> {ok, iodata(), export() | done} | {error, term()}.
next(#export{entity = Entity, left = Left, last = #{seq := Seq} = Last}) ->
    %% NOTE: the last event is read again. It is the same as long as the entity lives.
    Wanted = min(Left, ?PIECE),
    case read(Entity, Seq, Wanted + 1) of
        {ok, [Last | Events]} -> piece(Events, Entity, Left, Wanted);
        {ok, _} -> {error, changed};
        {error, _} = Error -> Error
    end.

read(Entity, From, Limit) ->
    warp_core:history(Entity, #{from => From, limit => Limit, migrate => false, timeout => ?TIMEOUT_MS}).

piece(Events, Entity, Left, Wanted) ->
    Lines = [[warp_server_json:encode(Event), $\n] || Event <- Events],
    case Left - length(Events) of
        Rest when Rest > 0, length(Events) =:= Wanted ->
            {ok, Lines, #export{entity = Entity, left = Rest, last = lists:last(Events)}};
        _ ->
            {ok, Lines, done}
    end.
