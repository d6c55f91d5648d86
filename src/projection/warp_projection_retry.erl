%% @private Tries an entity that was set aside again: its events, from the one set aside (or the one behind
%% it) up to where its projector stands, are read from its log and projected, piece by piece. This module
%% decides, in the projector's worker, and the projector carries it out.
-module(warp_projection_retry).

-export([new/4, next/4, written/1, refused/3, ended/4, entity/1, from/1, skipped/1]).

-export_type([retry/0]).

-record(retry, {
    entity :: binary(),
    from :: gen_server:from(),
    %% The next event to be projected, and the last one, when that is known.
    next :: warp_core:seq(),
    last = unknown :: unknown | warp_core:seq(),
    %% The life of the entity whose events these are.
    incarnation = 0 :: non_neg_integer(),
    %% The position that the projector has to reach before the last event is known.
    head = 0 :: non_neg_integer(),
    blamed = #{} :: warp_projection_fold:blamed(),
    %% The event that is left out, if it is.
    skip = none :: none | warp_core:seq(),
    %% The events that are being written, and what comes after that.
    writing = [] :: [warp_core:seq()],
    then = go_on :: {go_on, warp_core:seq()} | go_on | stop | {stop, warp_core:seq()}
}).

-opaque retry() :: #retry{}.

-define(PIECE, 200).

-spec new(retry | skip, binary(), warp_core:seq(), gen_server:from()) -> retry().
new(retry, Entity, Seq, From) -> #retry{entity = Entity, from = From, next = Seq};
new(skip, Entity, Seq, From) -> #retry{entity = Entity, from = From, next = Seq, skip = Seq}.

%% @doc What to do next: write a piece, read the log on first, or answer. The fold has the states behind a
%% piece for the next one.
-spec next(retry(), warp_cluster_log:log(), warp_projection_fold:fold(),
           {Committed :: non_neg_integer(), Seen :: #{binary() => warp_core:seq()},
            Skipped :: #{{binary(), warp_core:seq()} => []}}) ->
    {{write, map(), retry()} | {later, retry()} | {done, binary(), gen_server:from(), term()},
     warp_projection_fold:fold()}.
next(#retry{then = {stop, Seq}} = Retry, _Handle, Fold, _At) ->
    {done({error, {set_aside, Seq}}, Retry), Fold};
next(#retry{then = stop} = Retry, _Handle, Fold, _At) ->
    {done(ok, Retry), Fold};
next(#retry{last = unknown, entity = Entity, head = Head} = Retry, Handle, Fold, {At, Seen, Skipped}) ->
    case warp_cluster_log:last_row(Handle, Entity) of
        {ok, none} ->
            %% The entity was deleted meanwhile.
            piece(Retry#retry{last = 0}, Handle, Fold, Skipped);
        {ok, {Incarnation, Seq, Position}} when Position =< At ->
            Last = max(Seq, maps:get(Entity, Seen, 0)),
            piece(Retry#retry{last = Last, incarnation = Incarnation}, Handle, Fold, Skipped);
        {ok, {Incarnation, _, _}} when Head > 0, Head =< At, is_map_key(Entity, Seen) ->
            Last = maps:get(Entity, Seen),
            piece(Retry#retry{last = Last, incarnation = Incarnation}, Handle, Fold, Skipped);
        {ok, {_, _, Position}} when Head =:= 0 ->
            {{later, Retry#retry{head = Position}}, Fold};
        {ok, _} ->
            {{later, Retry}, Fold};
        {error, Why} ->
            {done({error, Why}, Retry), Fold}
    end;
next(Retry, Handle, Fold, {_, _, Skipped}) ->
    piece(Retry, Handle, Fold, Skipped).

done(Result, #retry{entity = Entity, from = From}) ->
    {done, Entity, From, Result}.

piece(#retry{next = Next, last = Last} = Retry, _Handle, Fold, _Skipped) when Next > Last ->
    {write([], [], done, Retry#retry{then = stop}), Fold};
piece(#retry{entity = Entity, next = Next, last = Last, blamed = Blamed} = Retry, Handle, Fold,
      Skipped) ->
    Count = min(?PIECE, Last - Next + 1),
    case warp_cluster_log:page(Handle, Entity, Retry#retry.incarnation, Next, Count, forward) of
        {ok, {_, [], _}} ->
            {write([], [], done, Retry#retry{then = stop}), Fold};
        {ok, {_, Page, _}} ->
            #{seq := Read} = lists:last(Page),
            Names = warp_projection_fold:names(Fold),
            All = maps:merge(Skipped, skipped(Retry)),
            Events = [E || #{aggregate := Name} = E <- Page, lists:member(Name, Names)],
            case warp_projection_fold:events(Handle, {Entity, Next, Read}, Events, {Blamed, All}, Fold) of
                {error, Why} -> {done({error, Why}, Retry), Fold};
                {Outcomes, After} -> {outcomes(Outcomes, Read, Retry), After}
            end;
        {error, changed} ->
            %% The entity was deleted meanwhile. Nothing of it is set aside now, also if it has a new life.
            {done({error, not_set_aside}, Retry), Fold};
        {error, Why} ->
            {done({error, Why}, Retry), Fold}
    end.

outcomes(Outcomes, Read, #retry{entity = Entity} = Retry) ->
    Projected = [P || {ok, P} <- Outcomes],
    case [warp_projection_aside:note(Event, Reason) || {aside, Event, Reason} <- Outcomes] of
        [] ->
            write(Projected, [], Read + 1, Retry#retry{then = {go_on, Read + 1}});
        [{Seq, _, _, _} = Note] ->
            write(Projected, [{Entity, Note}], none, Retry#retry{then = {stop, Seq}})
    end.

write(Projected, Aside, Clear, #retry{entity = Entity, skip = Skip} = Retry) ->
    {write,
     #{work => warp_projection_merge:work(one_by_one, Projected), aside => Aside,
       clear => [{Entity, Clear} || Clear =/= none], skip => [{Entity, Skip} || Skip =/= none]},
     Retry#retry{writing = [Seq || {_, Seq, _} <- Projected]}}.

%% @doc The event that an operator leaves out with it.
-spec skipped(retry()) -> #{{binary(), warp_core:seq()} => []}.
skipped(#retry{skip = none}) -> #{};
skipped(#retry{skip = Seq, entity = Entity}) -> #{{Entity, Seq} => []}.

%% @doc The piece was written.
-spec written(retry()) -> retry().
written(#retry{then = {go_on, Next}} = Retry) -> Retry#retry{next = Next, then = go_on};
written(Retry) -> Retry.

%% @doc The piece was refused: it is tried again, up to the event that is to blame.
-spec refused(retry(), pos_integer() | unknown, term()) -> retry().
refused(#retry{writing = Projected, blamed = Blamed, entity = Entity, next = Next} = Retry, Index,
        Reason) ->
    Seq =
        case Projected of
            [_ | _] when is_integer(Index) -> lists:nth(Index, Projected);
            [First | _] -> First;
            [] -> Next
        end,
    Retry#retry{blamed = Blamed#{{Entity, Seq} => {refused, Reason}}, then = go_on}.

%% @doc The worker was ended in a call for that event: the piece is tried again, without the call.
-spec ended(retry(), warp_core:seq(), warp_projection_user_code:kind(), term()) -> retry().
ended(#retry{blamed = Blamed, entity = Entity} = Retry, Seq, Kind, Reason) ->
    Retry#retry{blamed = Blamed#{{Entity, Seq} => {ended, Kind, Reason}}}.

-spec entity(retry()) -> binary().
entity(#retry{entity = Entity}) -> Entity.

-spec from(retry()) -> gen_server:from().
from(#retry{from = From}) -> From.
