%% @private What a subscription does next. Pure: each function takes what has happened, and gives what is to be done.
%%
%% A subscription follows one shard or several. Each is `behind' at first: pieces of its log are read from the file,
%% one at a time, as long as the subscriber takes them. At the end of the log the shard is `joining': it asks to be sent
%% what each commit adds. From the answer on it is `live', until it is told that it did not keep up, and is `behind'
%% again. One with a name has no shard while it is a standby, until it is assigned some.
%%
%% Everything that is read goes into one buffer, and from there to the subscriber as far as the credit goes. So the
%% events of one shard are in order.
-module(warp_subscription_core).

-export([new/1, start/1, assign/3, unassign/1, read/3, not_read/4, joined/3, live/4, lost/2, again/2]).
-export([ack/2, more/2, erased/3, has_read/3, tick/1]).
-export([cursor/1, marks/1, state/1, positions/1, positions_of/1]).

-export_type([core/0, effect/0, settings/0, place/0, mark/0, state/0]).

%% Up to where a shard was read: a position; or the life of an entity, 0 for none, the seq of its last event, and the
%% position up to which its shard was looked at.
-type place() :: non_neg_integer() | {Life :: non_neg_integer(), warp_core:seq(), Position :: non_neg_integer()}.
%% Likewise, and also in the middle of a row.
-type mark() :: place() | {Position :: pos_integer(), warp_core:seq()}.
-type event() :: warp_core:placed_event().
-type settings() :: #{
    source := warp_subscription_cursor:source(),
    %% How many events may be unacknowledged; or the subscriber asks for each.
    credit := pos_integer() | demand,
    %% By shard, where to begin.
    marks := #{N :: non_neg_integer() => mark()},
    %% Entities that the subscriber has to be told of as erased.
    erased := [binary()]
}.
-type effect() ::
    {read, N :: non_neg_integer(), place()}
    | {join, N :: non_neg_integer(), Position :: non_neg_integer()}
    | {again_in, N :: non_neg_integer(), Millis :: pos_integer()}
    | {send, Message :: term()}
    %% So many live pieces are gone from the buffer: others may come.
    | {taken, pos_integer()}
    %% It ends.
    | {stop, Why :: term()}.
-type state() :: standby | live | catching_up | waiting_for_credit | {stalled, Why :: term()}.

-record(shard, {
    %% Up to where the buffer was filled.
    at :: place(),
    %% Events of the first row that were acknowledged already.
    skip = none :: none | {Position :: pos_integer(), warp_core:seq()},
    is = behind :: behind | reading | joining | {gap, To :: non_neg_integer()} | live | {stalled, Why :: term()},
    %% Live pieces that came while what is before them is being read, the last one first.
    held = [] :: [piece()],
    tries = 0 :: non_neg_integer(),
    %% Up to where the subscriber was given everything, and up to where it acknowledged everything.
    given :: mark(),
    acked :: mark(),
    %% The last event that it was given.
    last = {0, 0} :: {Position :: non_neg_integer(), warp_core:seq()},
    %% The last event that it acknowledged, where it asks for events.
    acked_event = {0, 0} :: {Position :: non_neg_integer(), warp_core:seq()},
    %% What it was given and has not acknowledged, the first one first. None where the subscriber asks for events.
    open = queue:new() :: queue:queue(opened()),
    %% Lives that were erased, and up to where their rows may still come.
    erased = #{} :: #{binary() => {Life :: non_neg_integer(), Until :: non_neg_integer()}}
}).

%% Events that were given together: the last one, how many there are, and all.
-type opened() :: {key(), pos_integer(), [key()]}.
-type key() :: {Position :: pos_integer(), warp_core:seq()}.

%% Events of a shard, and the place behind them.
-type piece() :: {N :: non_neg_integer(), [event()], place(), file | live}.

-record(core, {
    source :: warp_subscription_cursor:source(),
    credit :: non_neg_integer(),
    is_demand :: boolean(),
    shards :: #{non_neg_integer() => #shard{}},
    %% The next one first, and how many of its pieces came from files.
    buffer = queue:new() :: queue:queue(piece() | {erased, binary()}),
    ahead = 0 :: non_neg_integer(),
    %% Shards that are to be read, the next one first; and whether one is being read.
    turn :: [non_neg_integer()],
    is_reading = false :: boolean(),
    is_caught_up = false :: boolean(),
    %% The cursor of the last message that had one.
    told :: none | warp_subscription_cursor:cursor()
}).

-opaque core() :: #core{}.

%% How many pieces are read before the subscriber takes them.
-define(AHEAD, 2).
%% How long to wait before a shard is tried again: the first time, and at most.
-define(PAUSE_MS, 50).
-define(LONGEST_MS, 5000).
%% How many events one message has at most.
-define(MESSAGE, 1000).
%% How many erasures may wait behind events that the subscriber does not take.
-define(ERASURES, 10000).

%% @doc A subscription that begins.
-spec new(settings()) -> core().
new(#{source := Of, credit := Credit, marks := Marks, erased := Erased}) ->
    {First, IsDemand} = case Credit of demand -> {0, true}; _ -> {Credit, false} end,
    #core{source = Of, credit = First, is_demand = IsDemand, told = none,
          buffer = queue:from_list([{erased, Entity} || Entity <- Erased]),
          shards = maps:map(fun(_, Mark) -> shard(Mark) end, Marks), turn = lists:sort(maps:keys(Marks))}.

shard({Position, Seq} = Mark) ->
    #shard{at = Position - 1, skip = {Position, Seq}, given = Mark, acked = Mark};
shard(Place) ->
    #shard{at = Place, given = Place, acked = Place}.

-spec start(core()) -> {[effect()], core()}.
start(Core) -> go_on([], Core).

%% @doc A subscription with a name, which had no shards, gets some. The subscriber is told of them first, then of
%% entities that were erased.
-spec assign(#{N :: non_neg_integer() => mark()}, Erased :: [binary()], core()) -> {[effect()], core()}.
assign(Marks, Erased, #core{shards = Shards} = Core) when map_size(Shards) =:= 0 ->
    Turn = lists:sort(maps:keys(Marks)),
    go_on([{send, {active, Turn}}],
          Core#core{shards = maps:map(fun(_, Mark) -> shard(Mark) end, Marks), turn = Turn,
                    buffer = queue:from_list([{erased, Entity} || Entity <- Erased])}).

%% @doc A subscription with a name has lost its shards. What was not acknowledged comes again to whoever gets them next,
%% and so a subscriber with a number as credit has all of it again.
-spec unassign(core()) -> {[effect()], core()}.
unassign(#core{shards = Shards, buffer = Buffer, credit = Credit} = Core) ->
    All = maps:values(Shards),
    Live = [x || {_, _, _, live} <- queue:to_list(Buffer)] ++ lists:append([Held || #shard{held = Held} <- All]),
    Open = lists:sum([Count || #shard{open = Given} <- All, {_, Count, _} <- queue:to_list(Given)]),
    {[{taken, length(Live)} || Live =/= []],
     Core#core{shards = #{}, turn = [], buffer = queue:new(), ahead = 0, is_reading = false, is_caught_up = false,
               credit = Credit + Open}}.

%% ------------------------------------------------------------------ Reading

%% @doc A piece of a shard's log was read: its events, the place behind them, and whether the log ends there.
-spec read(non_neg_integer(), {[event()], place(), done | more}, core()) -> {[effect()], core()}.
read(N, {Events, Place, Then}, Core) ->
    #shard{is = Is} = Shard = of_shard(N, Core),
    Read = add({N, Events, Place, file}, put_shard(N, Shard#shard{tries = 0}, Core#core{is_reading = false})),
    case {Is, Then} of
        {{gap, To}, _} ->
            case position(Place) >= To of
                true -> go_on([], live_from_here(N, Read));
                false -> go_on([], turned(N, Is, Read))
            end;
        {reading, more} ->
            go_on([], turned(N, behind, Read));
        {reading, done} ->
            go_on([{join, N, position(Place)}], is(N, joining, Read))
    end.

live_from_here(N, Core) ->
    #shard{held = Held} = Shard = of_shard(N, Core),
    lists:foldr(fun add/2, put_shard(N, Shard#shard{is = live, held = []}, Core), Held).

%% @doc A shard could not be read or joined. Events before what is wrong were read, up to that place. It is tried again
%% after a pause.
-spec not_read(non_neg_integer(), {[event()], place()} | none, Why :: term(), core()) -> {[effect()], core()}.
not_read(N, Read, Why, Core) ->
    Added = case Read of
                none -> Core;
                {Events, Place} -> add({N, Events, Place, file}, Core)
            end,
    #shard{tries = Tries} = Shard = of_shard(N, Added),
    {Given, Up} = give_up(Shard#shard{is = {stalled, Why}, tries = Tries + 1}),
    Pause = min(?LONGEST_MS, ?PAUSE_MS bsl min(Tries, 10)),
    go_on([{again_in, N, Pause} | Given], behind_again(put_shard(N, Up, Added#core{is_reading = false}))).

%% @doc The pause is over, or the log may have changed.
-spec again(non_neg_integer(), core()) -> {[effect()], core()}.
again(N, #core{shards = Shards} = Core) ->
    case Shards of
        #{N := #shard{is = {stalled, _}}} -> go_on([], turned(N, behind, Core));
        #{} -> {[], Core}
    end.

%% @doc A shard is sent live what comes behind a position.
-spec joined(non_neg_integer(), Position :: non_neg_integer(), core()) -> {[effect()], core()}.
joined(N, From, Core) ->
    #shard{at = At, is = joining} = of_shard(N, Core),
    case position(At) >= From of
        true -> go_on([], is(N, live, Core));
        false -> go_on([], turned(N, {gap, From}, Core))
    end.

%% @doc Live events of a shard, up to a position.
-spec live(non_neg_integer(), [event()], To :: non_neg_integer(), core()) -> {[effect()], core()}.
live(N, Events, To, Core) ->
    Piece = {N, Events, To, live},
    case of_shard(N, Core) of
        #shard{is = live} -> go_on([], add(Piece, Core));
        #shard{is = {gap, _}, held = Held} = Shard -> {[], put_shard(N, Shard#shard{held = [Piece | Held]}, Core)};
        %% It gave up being live meanwhile.
        _ -> {[{taken, 1}], Core}
    end.

%% @doc No more live events come: the subscription did not keep up, or nobody is there to send them. What is missing is
%% read from the file.
-spec lost(non_neg_integer(), core()) -> {[effect()], core()}.
lost(N, #core{turn = Turn} = Core) ->
    #shard{is = Is} = Shard = of_shard(N, Core),
    {Given, Up} = give_up(Shard),
    Alone = behind_again(put_shard(N, Up, Core)),
    case Is of
        {gap, _} ->
            case lists:member(N, Turn) of
                true -> go_on(Given, is(N, behind, Alone));
                %% A piece is being read, and is taken as any other.
                false -> go_on(Given, is(N, reading, Alone))
            end;
        _ when Is =:= live; Is =:= joining ->
            go_on(Given, turned(N, behind, Alone));
        _ ->
            {[], Core}
    end.

give_up(#shard{held = []} = Shard) -> {[], Shard};
give_up(#shard{held = Held} = Shard) -> {[{taken, length(Held)}], Shard#shard{held = []}}.

behind_again(Core) -> Core#core{is_caught_up = false}.

turned(N, Is, #core{turn = Turn} = Core) ->
    is(N, Is, Core#core{turn = [Other || Other <- Turn, Other =/= N] ++ [N]}).

is(N, Is, Core) ->
    put_shard(N, (of_shard(N, Core))#shard{is = Is}, Core).

of_shard(N, #core{shards = Shards}) -> maps:get(N, Shards).

put_shard(N, Shard, #core{shards = Shards} = Core) -> Core#core{shards = Shards#{N := Shard}}.

position({_Life, _Seq, Position}) -> Position;
position(Position) -> Position.

%% ------------------------------------------------------------------ The buffer

add({N, Events, To, How}, #core{buffer = Buffer, ahead = Ahead} = Core) ->
    #shard{at = At} = Shard = of_shard(N, Core),
    {New, Unskipped} = unerased(unskipped(unseen(How, At, Events), Shard)),
    Place = behind(New, At, To),
    Next = put_shard(N, forget(position(Place), Unskipped#shard{at = Place}), Core),
    Next#core{buffer = queue:in({N, New, Place, How}, Buffer), ahead = Ahead + one(How)}.

one(file) -> 1;
one(live) -> 0.

%% Live events may have been read from the file already.
unseen(file, _At, Events) ->
    Events;
unseen(live, {Life, Seq, At}, Events) ->
    IsSeen = fun(#{position := Position, seq := Of}) ->
        Position =< At orelse Of =< Seq andalso not begins(Of, Position, Life)
    end,
    lists:dropwhile(IsSeen, Events);
unseen(live, At, Events) ->
    lists:dropwhile(fun(#{position := Position}) -> Position =< At end, Events).

%% Whether an event is the first one of another life.
begins(Seq, Position, Life) -> Seq =:= 1 andalso Position > Life.

unskipped(Events, #shard{skip = none} = Shard) ->
    {Events, Shard};
unskipped([], Shard) ->
    {[], Shard};
unskipped(Events, #shard{skip = {At, Upto}} = Shard) ->
    IsAcked = fun(#{position := Position, seq := Seq}) -> Position =:= At andalso Seq =< Upto end,
    {lists:dropwhile(IsAcked, Events), Shard#shard{skip = none}}.

unerased({Events, #shard{erased = Erased} = Shard}) when map_size(Erased) =:= 0 ->
    {Events, Shard};
unerased({Events, #shard{erased = Erased} = Shard}) ->
    {Left, Still} = lists:foldl(
        fun(#{entity := Entity, position := Position, seq := Seq} = Event, {Kept, Marked}) ->
            case Marked of
                #{Entity := {Life, _}} ->
                    case begins(Seq, Position, Life) of
                        true -> {[Event | Kept], maps:remove(Entity, Marked)};
                        false -> {Kept, Marked}
                    end;
                #{} ->
                    {[Event | Kept], Marked}
            end
        end,
        {[], Erased}, Events),
    {lists:reverse(Left), Shard#shard{erased = Still}}.

%% Erased rows that may still come are all before a position.
forget(_Position, #shard{erased = Erased} = Shard) when map_size(Erased) =:= 0 -> Shard;
forget(Position, #shard{erased = Erased} = Shard) ->
    Shard#shard{erased = maps:filter(fun(_, {_, Until}) -> Until > Position end, Erased)}.

%% The place behind events, of which the last one may be where the next piece begins.
behind(_Events, {_, _, _}, {_, _, _} = To) -> To;
behind(Events, {Life, Seq, At}, To) -> in_life(Events, {Life, Seq, max(At, To)});
behind(_Events, At, To) -> max(At, To).

in_life([], Place) -> Place;
in_life([#{seq := 1, position := Position} | Events], {Life, _, To}) when Position > Life ->
    in_life(Events, {Position, 1, To});
in_life([#{seq := Seq} | Events], {Life, _, To}) -> in_life(Events, {Life, Seq, To}).

%% ------------------------------------------------------------------ Handing over

%% Hands over what the credit allows, and has the next piece read.
go_on(Effects, Core) ->
    {Sent, Handed} = hand_over([], 0, [], Core),
    {Told, Next} = caught_up(Handed),
    {Read, Last} = next_read(Next),
    {Effects ++ Sent ++ Told ++ Read, Last}.

%% Events go into one message as long as they can; `Events' is in reverse order.
hand_over(Events, Count, Effects, #core{credit = Credit, buffer = Buffer} = Core) ->
    case queue:out(Buffer) of
        {{value, {erased, Entity}}, Rest} ->
            hand_over([], 0, [{send, {erased, Entity}} | message(Events, Effects)], Core#core{buffer = Rest});
        {{value, {N, [], Place, How}}, Rest} ->
            hand_over(Events, Count, released(How, Effects), emptied(N, Place, How, Core#core{buffer = Rest}));
        {{value, {N, Next, Place, How}}, Rest} when Credit > 0, Count < ?MESSAGE ->
            {Now, Later} = split(min(Credit, ?MESSAGE - Count), Next),
            Given = given(N, Now, Core#core{buffer = queue:in_r({N, Later, Place, How}, Rest)}),
            hand_over([Now | Events], Count + length(Now), Effects, Given);
        {{value, _}, _} when Count >= ?MESSAGE ->
            hand_over([], 0, message(Events, Effects), Core);
        _ ->
            {lists:reverse(message(Events, Effects)), Core}
    end.

message([], Effects) -> Effects;
message(Events, Effects) -> [{send, {events, lists:append(lists:reverse(Events))}} | Effects].

released(live, [{taken, Count} | Effects]) -> [{taken, Count + 1} | Effects];
released(live, Effects) -> [{taken, 1} | Effects];
released(file, Effects) -> Effects.

split(Count, Events) ->
    case Count < length(Events) of
        true -> lists:split(Count, Events);
        false -> {Events, []}
    end.

given(N, Events, #core{credit = Credit, is_demand = IsDemand} = Core) ->
    #shard{open = Open, given = Given} = Shard = of_shard(N, Core),
    #{position := Position, seq := Seq} = lists:last(Events),
    Last = {Position, Seq},
    Count = length(Events),
    Opened =
        case IsDemand of
            true -> Open;
            false -> queue:in({Last, Count, [{P, S} || #{position := P, seq := S} <- Events]}, Open)
        end,
    put_shard(N, Shard#shard{open = Opened, given = mark(Events, Given), last = Last},
              Core#core{credit = Credit - Count}).

%% Where the last of the events stands.
mark(Events, {_, _, _} = Given) -> in_life(Events, Given);
mark(Events, _Given) ->
    #{position := Position, seq := Seq} = lists:last(Events),
    {Position, Seq}.

%% Everything of a piece was handed over. Where nothing is open, it is as good as acknowledged.
emptied(N, Place, How, #core{ahead = Ahead} = Core) ->
    #shard{given = Given, acked = Acked} = Shard = of_shard(N, Core),
    Now = case Acked =:= Given of true -> Place; false -> Acked end,
    put_shard(N, Shard#shard{given = Place, acked = Now}, Core#core{ahead = Ahead - one(How)}).

caught_up(#core{is_caught_up = IsCaughtUp, shards = Shards} = Core) when IsCaughtUp; map_size(Shards) =:= 0 ->
    {[], Core};
caught_up(#core{shards = Shards, buffer = Buffer} = Core) ->
    case queue:is_empty(Buffer) andalso lists:all(fun(#shard{is = Is}) -> Is =:= live end, maps:values(Shards)) of
        true -> told(caught_up, Core#core{is_caught_up = true});
        false -> {[], Core}
    end.

told(What, Core) ->
    Cursor = cursor(Core),
    {[{send, {What, Cursor}}], Core#core{told = Cursor}}.

next_read(#core{turn = [N | Turn], is_reading = false, ahead = Ahead} = Core) when Ahead < ?AHEAD ->
    case takes(Core) of
        true ->
            #shard{at = At, is = Is} = of_shard(N, Core),
            Reading = case Is of behind -> reading; _ -> Is end,
            {[{read, N, At}], is(N, Reading, Core#core{turn = Turn, is_reading = true})};
        false ->
            {[], Core}
    end;
next_read(Core) ->
    {[], Core}.

%% Whether the subscriber takes events, so far as one knows: one that still has to acknowledge some will.
takes(#core{credit = Credit, is_demand = IsDemand, buffer = Buffer}) ->
    Credit > 0 orelse not IsDemand andalso queue:is_empty(Buffer).

%% ------------------------------------------------------------------ The subscriber

%% @doc The subscriber acknowledges an event, and all events of its shard before it. One that it was not given, or has
%% acknowledged before, changes nothing.
-spec ack({N :: non_neg_integer(), Position :: pos_integer(), warp_core:seq()}, core()) -> {[effect()], core()}.
ack({N, Position, Seq}, #core{shards = Shards} = Core) ->
    case Shards of
        #{N := #shard{last = Last} = Shard} when {Position, Seq} =< Last -> ack_upto({Position, Seq}, N, Shard, Core);
        #{} -> {[], Core}
    end.

ack_upto(Upto, N, #shard{acked_event = Before} = Shard, #core{is_demand = true} = Core) ->
    case Upto > Before of
        true -> {[], put_shard(N, acked(Upto, Shard#shard{acked_event = Upto}), Core)};
        false -> {[], Core}
    end;
ack_upto(Upto, N, #shard{open = Open} = Shard, #core{credit = Credit} = Core) ->
    case pop(Upto, Open, 0, none) of
        {_, 0, none} ->
            {[], Core};
        {Left, Count, Last} ->
            go_on([], put_shard(N, acked(Last, Shard#shard{open = Left}), Core#core{credit = Credit + Count}))
    end.

pop(Upto, Open, Popped, Before) ->
    case queue:out(Open) of
        {{value, {Last, Count, _}}, Rest} when Last =< Upto ->
            pop(Upto, Rest, Popped + Count, Last);
        {{value, {Last, Count, [First | _] = Keys}}, Rest} when First =< Upto ->
            {Acked, Left} = lists:splitwith(fun(Key) -> Key =< Upto end, Keys),
            Few = length(Acked),
            {queue:in_r({Last, Count - Few, Left}, Rest), Popped + Few, lists:last(Acked)};
        _ ->
            {Open, Popped, Before}
    end.

%% When that was the last event that was given, so is what followed and was not for the subscriber.
acked(Upto, #shard{last = Last, given = Given, acked = Acked} = Shard) ->
    Shard#shard{acked = case Upto >= Last of true -> Given; false -> mark_of(Upto, Acked, Given) end}.

%% An event of a life before says nothing of the one now.
mark_of({Position, Seq}, _Acked, {Life, _, _}) when Position >= Life -> {Life, Seq, Position};
mark_of(_Upto, Acked, {_, _, _}) -> Acked;
mark_of(Upto, _Acked, _Given) -> Upto.

%% @doc The subscriber can take so many more events.
-spec more(pos_integer(), core()) -> {[effect()], core()}.
more(Count, #core{credit = Credit} = Core) ->
    go_on([], Core#core{credit = Credit + Count}).

%% @doc Whether the row at a position of a shard was read; `none' is a row that is not there yet.
-spec has_read(N :: non_neg_integer(), pos_integer() | none, core()) -> boolean().
has_read(N, Position, #core{shards = Shards} = Core) when is_integer(Position), is_map_key(N, Shards) ->
    #shard{at = At} = of_shard(N, Core),
    position(At) >= Position;
has_read(_N, _Position, _Core) ->
    false.

%% @doc A life of an entity was erased from the log of a shard, which ends at that position or before it. Nothing of it
%% is handed over any more. Where the subscriber takes nothing and too many erasures wait, the subscription ends.
-spec erased(binary(), {N :: non_neg_integer(), Life :: non_neg_integer(), Until :: non_neg_integer()}, core()) ->
    {[effect()], core()}.
erased(_Entity, {N, _, _}, #core{shards = Shards} = Core) when not is_map_key(N, Shards) ->
    {[], Core};
erased(Entity, {N, Life, Until}, #core{buffer = Buffer} = Core) ->
    Others = fun(Piece) -> [without(Entity, Piece)] end,
    #shard{held = Held, erased = Erased, at = At} = Shard = of_shard(N, Core),
    Marked = case position(At) < Until of true -> Erased#{Entity => {Life, Until}}; false -> Erased end,
    Purged = put_shard(N, Shard#shard{held = lists:flatmap(Others, Held), erased = Marked}, Core),
    Next = queue:in({erased, Entity}, queue:filter(Others, Buffer)),
    case length([Of || {erased, Of} <- queue:to_list(Next)]) > ?ERASURES of
        true -> {[{stop, erasures_not_taken}], Core};
        false -> go_on([], Purged#core{buffer = Next})
    end.

without(Entity, {N, Events, Place, How}) ->
    {N, [Event || #{entity := Of} = Event <- Events, Of =/= Entity], Place, How};
without(_Entity, {erased, _} = Other) ->
    Other.

%% @doc Some time has passed: the subscriber is told of the cursor, if that moved.
-spec tick(core()) -> {[effect()], core()}.
tick(#core{shards = Shards} = Core) when map_size(Shards) =:= 0 ->
    {[], Core};
tick(#core{told = Told} = Core) ->
    case cursor(Core) of
        Told -> {[], Core};
        _ -> told(checkpoint, Core)
    end.

%% @doc Up to where everything was acknowledged.
-spec cursor(core()) -> warp_subscription_cursor:cursor().
cursor(#core{source = Of, shards = Shards} = Core) ->
    case {Of, maps:values(Shards)} of
        {{entity, _}, [#shard{acked = {Life, Seq, _}}]} -> warp_subscription_cursor:encode(Of, {Life, Seq});
        {{shards, _}, _} -> warp_subscription_cursor:encode(Of, marks(Core))
    end.

%% @doc By shard, up to where everything was acknowledged.
-spec marks(core()) -> #{N :: non_neg_integer() => mark()}.
marks(#core{shards = Shards}) ->
    maps:map(fun(_, #shard{acked = Acked}) -> Acked end, Shards).

%% @doc How it is.
-spec state(core()) -> state().
state(#core{shards = Shards}) when map_size(Shards) =:= 0 ->
    standby;
state(#core{shards = Shards, buffer = Buffer, credit = Credit} = Core) ->
    All = [Is || #shard{is = Is} <- maps:values(Shards)],
    case [Why || {stalled, Why} <- All] of
        [Why | _] ->
            {stalled, Why};
        [] ->
            IsLive = lists:all(fun(Is) -> Is =:= live end, All),
            case Credit =:= 0 andalso (not queue:is_empty(Buffer) orelse not IsLive andalso not takes(Core)) of
                true -> waiting_for_credit;
                false when IsLive -> live;
                false -> catching_up
            end
    end.

%% @doc By shard, up to which position everything was acknowledged. A shard that is live, and of which nothing waits for
%% an acknowledgement, is not behind, however far its log goes on with what is not for this subscription.
-spec positions(core()) -> #{N :: non_neg_integer() => non_neg_integer()}.
positions(#core{shards = Shards}) ->
    IsBehind = fun(_, #shard{is = Is, given = Given, acked = Acked}) -> Is =/= live orelse Given =/= Acked end,
    maps:map(fun(_, #shard{acked = Acked}) -> acked_position(Acked) end, maps:filter(IsBehind, Shards)).

%% @doc The positions of marks.
-spec positions_of(#{N :: non_neg_integer() => mark()}) -> #{N :: non_neg_integer() => non_neg_integer()}.
positions_of(Marks) -> maps:map(fun(_, Mark) -> acked_position(Mark) end, Marks).

acked_position({Position, _Seq}) -> Position - 1;
acked_position(Place) -> position(Place).
