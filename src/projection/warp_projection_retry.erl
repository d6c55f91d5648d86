%% @private Going on with an entity that was set aside: its events, from the one set aside (or the
%% one behind it) up to where its projector stands, are read from its log and projected, piece by
%% piece. Decides, in the projector's worker; the projector carries it out.
-module(warp_projection_retry).

-export([new/4, next/4, written/1, refused/3, ended/4, entity/1, from/1, skipped/1, note/2]).

-export_type([mend/0, note/0]).

-record(mend, {
    entity :: binary(),
    from :: gen_server:from(),
    %% The next event to be projected, and the last one, when that is known.
    next :: warp_core:seq(),
    last = unknown :: unknown | warp_core:seq(),
    %% The life of the entity that this is about.
    incarnation = 0 :: non_neg_integer(),
    %% Where the projector has to be for that.
    head = 0 :: non_neg_integer(),
    blamed = #{} :: warp_projection_fold:blamed(),
    %% The event that is left out, if it is.
    skip = none :: none | warp_core:seq(),
    %% What is being written: its events, and what follows.
    writing = [] :: [warp_core:seq()],
    then = go_on :: {go_on, warp_core:seq()} | go_on | stop | {stop, warp_core:seq()}
}).

-opaque mend() :: #mend{}.
%% An event that is set aside: its seq, aggregate and type, and why, for people.
-type note() :: {warp_core:seq(), binary(), binary(), binary()}.

-define(PIECE, 200).
-define(MAX_REASON, 4000).

-spec new(retry | skip, binary(), warp_core:seq(), gen_server:from()) -> mend().
new(retry, Entity, Seq, From) -> #mend{entity = Entity, from = From, next = Seq};
new(skip, Entity, Seq, From) -> #mend{entity = Entity, from = From, next = Seq, skip = Seq}.

%% @doc What to do next: write something, read the log on first, or answer. The states behind a piece
%% are there for the next one.
-spec next(mend(), warp_nif:shard(), warp_projection_fold:fold(),
           {Committed :: non_neg_integer(), Seen :: #{binary() => warp_core:seq()},
            Skipped :: #{{binary(), warp_core:seq()} => []}}) ->
    {{write, map(), mend()} | {later, mend()} | {done, binary(), gen_server:from(), term()},
     warp_projection_fold:fold()}.
next(#mend{then = {stop, Seq}} = Mend, _Handle, Fold, _At) ->
    {done({error, {set_aside, Seq}}, Mend), Fold};
next(#mend{then = stop} = Mend, _Handle, Fold, _At) ->
    {done(ok, Mend), Fold};
next(#mend{last = unknown, entity = Entity, head = Head} = Mend, Handle, Fold, {At, Seen, Skipped}) ->
    case warp_nif:place(Handle, Entity) of
        {ok, none} ->
            %% Deleted meanwhile.
            piece(Mend#mend{last = 0}, Handle, Fold, Skipped);
        {ok, {Incarnation, Seq, Position}} when Position =< At ->
            Last = max(Seq, maps:get(Entity, Seen, 0)),
            piece(Mend#mend{last = Last, incarnation = Incarnation}, Handle, Fold, Skipped);
        {ok, {Incarnation, _, _}} when Head > 0, Head =< At, is_map_key(Entity, Seen) ->
            Last = maps:get(Entity, Seen),
            piece(Mend#mend{last = Last, incarnation = Incarnation}, Handle, Fold, Skipped);
        {ok, {_, _, Position}} when Head =:= 0 ->
            {{later, Mend#mend{head = Position}}, Fold};
        {ok, _} ->
            {{later, Mend}, Fold};
        {error, Why} ->
            {done({error, Why}, Mend), Fold}
    end;
next(Mend, Handle, Fold, {_, _, Skipped}) ->
    piece(Mend, Handle, Fold, Skipped).

done(Result, #mend{entity = Entity, from = From}) ->
    {done, Entity, From, Result}.

piece(#mend{next = Next, last = Last} = Mend, _Handle, Fold, _Skipped) when Next > Last ->
    {write([], [], done, Mend#mend{then = stop}), Fold};
piece(#mend{entity = Entity, next = Next, last = Last, blamed = Blamed} = Mend, Handle, Fold,
      Skipped) ->
    Count = min(?PIECE, Last - Next + 1),
    case warp_nif:page(Handle, Entity, Mend#mend.incarnation, Next, Count, forward) of
        {ok, {_, [], _}} ->
            {write([], [], done, Mend#mend{then = stop}), Fold};
        {ok, {_, Page, _}} ->
            #{seq := Read} = lists:last(Page),
            Names = warp_projection_fold:names(Fold),
            All = maps:merge(Skipped, skipped(Mend)),
            Events = [E || #{aggregate := Name} = E <- Page, lists:member(Name, Names)],
            case warp_projection_fold:events(Handle, {Entity, Next, Read}, Events, {Blamed, All}, Fold) of
                {error, Why} -> {done({error, Why}, Mend), Fold};
                {Outcomes, After} -> {outcomes(Outcomes, Read, Mend), After}
            end;
        {error, changed} ->
            %% Deleted meanwhile: it is set aside no more, whatever it is now.
            {done({error, not_set_aside}, Mend), Fold};
        {error, Why} ->
            {done({error, Why}, Mend), Fold}
    end.

outcomes(Outcomes, Read, #mend{entity = Entity} = Mend) ->
    Projected = [P || {ok, P} <- Outcomes],
    case [note(Event, Reason) || {aside, Event, Reason} <- Outcomes] of
        [] ->
            write(Projected, [], Read + 1, Mend#mend{then = {go_on, Read + 1}});
        [{Seq, _, _, _} = Note] ->
            write(Projected, [{Entity, Note}], none, Mend#mend{then = {stop, Seq}})
    end.

write(Projected, Aside, Clear, #mend{entity = Entity, skip = Skip} = Mend) ->
    {write,
     #{work => warp_projection_merge:work(one_by_one, Projected), aside => Aside,
       clear => [{Entity, Clear} || Clear =/= none], skip => [{Entity, Skip} || Skip =/= none]},
     Mend#mend{writing = [Seq || {_, Seq, _} <- Projected]}}.

%% @doc The event that an operator left out with it.
-spec skipped(mend()) -> #{{binary(), warp_core:seq()} => []}.
skipped(#mend{skip = none}) -> #{};
skipped(#mend{skip = Seq, entity = Entity}) -> #{{Entity, Seq} => []}.

%% @doc What was to be written is.
-spec written(mend()) -> mend().
written(#mend{then = {go_on, Next}} = Mend) -> Mend#mend{next = Next, then = go_on};
written(Mend) -> Mend.

%% @doc It was refused: the same again, up to the event that is to blame.
-spec refused(mend(), pos_integer() | unknown, term()) -> mend().
refused(#mend{writing = Projected, blamed = Blamed, entity = Entity, next = Next} = Mend, Index,
        Reason) ->
    Seq =
        case Projected of
            [_ | _] when is_integer(Index) -> lists:nth(Index, Projected);
            [First | _] -> First;
            [] -> Next
        end,
    Mend#mend{blamed = Blamed#{{Entity, Seq} => {refused, Reason}}, then = go_on}.

%% @doc The worker was ended in a call for that event: the same again, without the call.
-spec ended(mend(), warp_core:seq(), warp_projection_user_code:kind(), term()) -> mend().
ended(#mend{blamed = Blamed, entity = Entity} = Mend, Seq, Kind, Reason) ->
    Mend#mend{blamed = Blamed#{{Entity, Seq} => {ended, Kind, Reason}}}.

-spec entity(mend()) -> binary().
entity(#mend{entity = Entity}) -> Entity.

-spec from(mend()) -> gen_server:from().
from(#mend{from = From}) -> From.

%% @doc What is noted of an event that is set aside.
-spec note(warp_core:event(), term()) -> note().
note(#{seq := Seq, aggregate := Aggregate, type := Type}, Reason) ->
    {Seq, Aggregate, Type, reason(Reason)}.

reason({timeout, Kind, Seconds}) ->
    text("timeout: ~ts had not returned after ~b seconds, and was ended", [called(Kind), Seconds]);
reason({killed, Kind, Bytes}) ->
    text("ended: the process that called ~ts was killed, twice; it may take ~b MiB of memory",
         [called(Kind), Bytes div (1024 * 1024)]);
reason({died, Kind, Shape}) ->
    text("ended: the process that called ~ts went away, twice: ~ts", [called(Kind), Shape]);
reason({refused, Message}) when is_binary(Message) ->
    <<"refused: ", Message/binary>>;
reason({Failed, {Class, Reason, Stack}}) when is_list(Stack) ->
    text("~ts: ~ts:~0tp in ~0tp", [Failed, Class, Reason, lists:sublist(Stack, 3)]);
reason(Reason) ->
    text("~0tp", [Reason]).

text(Format, Arguments) ->
    unicode:characters_to_binary(io_lib:format(Format, Arguments, [{chars_limit, ?MAX_REASON}])).

called(project) -> "project";
called(apply) -> "apply (or migrate)";
called(load) -> "apply (or migrate), for an event before it,".
