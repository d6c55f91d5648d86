%% What a subscription hands over, against a log: whatever comes in between, each event once and in order, nothing of
%% what was erased, and after a new beginning nothing that was acknowledged.
-module(warp_subscription_core_tests).

-include_lib("eunit/include/eunit.hrl").

-define(SHARDS, 3).
-define(ENTITIES, 4).

random_histories_test_() ->
    {timeout, 600, fun() ->
        [?assert(proper:quickcheck(prop(Source), [{numtests, tests()}, {max_size, 150}, {to_file, user}]))
         || Source <- [{shards, ?SHARDS}, {entity, <<"1">>}]]
    end}.

tests() ->
    case os:getenv("WARP_LONG") of false -> 3000; _ -> 100000 end.

prop(Source) ->
    proper:forall(
        {proper_types:oneof([demand, 1, 2, 5, 100]), proper_types:boolean(), proper_types:list(command())},
        fun({Credit, Skip, Commands}) ->
            %% NOTE: PropEr asks for the stack of a crash in a way that newer OTPs do not know.
            try drained(lists:foldl(fun run/2, begun(Source, Credit, Skip), Commands)) of
                End -> is_right(End) orelse failed(maps:without([core], End))
            catch
                Class:Reason:Stack -> failed({Class, Reason, Stack})
            end
        end).

failed(What) ->
    io:format("~p~n", [What]),
    false.

command() ->
    Range = fun proper_types:range/2,
    proper_types:frequency([
        {10, {append, Range(1, ?ENTITIES), Range(1, 4)}},
        {2, {append, Range(1, ?ENTITIES), Range(10, 40)}},
        {20, step},
        {8, {publish, Range(0, ?SHARDS - 1)}},
        {6, {ack, Range(1, 10)}},
        {4, {more, Range(1, 20)}},
        {2, {leave, Range(0, ?SHARDS - 1)}},
        {2, {erase, Range(1, ?ENTITIES)}},
        {1, fail},
        {1, restart},
        {1, lose}
    ]).

%% A subscriber that takes nothing leaves erasures lying behind its events.
erasures_that_are_not_taken_have_a_limit_test_() ->
    %% Each looks at all that wait.
    {timeout, 120, fun erasures_that_are_not_taken_have_a_limit/0}.

erasures_that_are_not_taken_have_a_limit() ->
    Event = fun(Position) -> #{entity => <<"kept">>, shard => 0, position => Position, seq => Position} end,
    New = warp_subscription_core:new(#{source => {shards, 1}, credit => 1, marks => #{0 => 0}, erased => []}),
    {[{read, 0, 0}], Begun} = warp_subscription_core:start(New),
    {[{send, {events, [_]}} | _], Read} = warp_subscription_core:read(0, {[Event(1), Event(2)], 2, more}, Begun),
    Erase = fun(N, Core) ->
        {[], Next} = warp_subscription_core:erased(integer_to_binary(N), {0, 0, 2}, Core),
        Next
    end,
    Full = lists:foldl(Erase, Read, lists:seq(1, 10000)),
    ?assertMatch({[{stop, erasures_not_taken}], _}, warp_subscription_core:erased(<<"a">>, {0, 0, 2}, Full)),
    {[{send, {events, [_]}} | Sent], _} = warp_subscription_core:ack({0, 1, 1}, Full),
    ?assertEqual(10000, length([Entity || {send, {erased, Entity}} <- Sent])).

%% ------------------------------------------------------------------ The world around the core

%% `log': rows by shard, the last one first; `mail': what the process of the subscription has still to take;
%% `live': up to where each joined shard was sent; `sent': what the subscriber was given, the last one first; `acked':
%% events that it acknowledged, which it was given since the last beginning in `open'.
begun(Source, Credit, Skip) ->
    World = #{source => Source, credit => Credit, log => maps:from_list([{N, []} || N <- lists:seq(0, ?SHARDS - 1)]),
              lives => #{}, mail => queue:new(), live => #{}, tags => #{}, sent => [], open => [], acked => [],
              gone => [],
              fails => false, at => 0},
    Some = case Skip of true -> run({append, 1, 7}, World); false -> World end,
    start(marks(Source), Some).

shards({shards, Shards}) -> lists:seq(0, Shards - 1);
shards({entity, Id}) -> [shard(binary_to_integer(Id))].

marks({entity, _} = Source) -> maps:from_list([{N, {0, 0, 0}} || N <- shards(Source)]);
marks(Source) -> maps:from_list([{N, 0} || N <- shards(Source)]).

shard(Entity) -> Entity rem ?SHARDS.

start(Marks, #{source := Source, credit := Credit} = World) ->
    Core = warp_subscription_core:new(#{source => Source, credit => Credit, marks => Marks, erased => []}),
    next(fun warp_subscription_core:start/1,
         World#{core => Core, live := #{}, tags := #{}, mail := queue:new(), open := []}).

next(Decide, #{core := Core} = World) ->
    {Effects, Next} = Decide(Core),
    lists:foldl(fun perform/2, World#{core := Next}, Effects).

perform({send, {events, Events}}, #{sent := Sent, open := Open, acked := Acked} = World) ->
    Ids = [{Entity, Life, Seq, N, Position}
           || #{entity := Entity, life := Life, seq := Seq, shard := N, position := Position} <- Events],
    ?assertEqual([], [Id || Id <- Ids, lists:member(Id, Acked)]),
    World#{sent := lists:reverse(Ids, Sent), open := Open ++ Ids};
perform({send, {erased, Entity}}, #{sent := Sent} = World) ->
    World#{sent := [{erased, Entity} | Sent]};
perform({send, {_, Cursor}}, World) when is_binary(Cursor) ->
    World;
perform({send, {active, [_ | _]}}, World) ->
    World;
perform({taken, _}, World) ->
    World;
perform({join, N, From}, #{mail := Mail, tags := Tags} = World) ->
    Tag = make_ref(),
    World#{mail := queue:in({join, N, From, Tag}, Mail), tags := Tags#{N => Tag}};
perform(Effect, #{mail := Mail} = World) ->
    World#{mail := queue:in(Effect, Mail)}.

run({append, Number, Count}, #{log := Log, lives := Lives, at := At} = World) ->
    Entity = integer_to_binary(Number),
    N = shard(Number),
    #{N := Rows} = Log,
    Position = At + 1,
    {Life, Seq} = maps:get(Entity, Lives, {Position, 0}),
    Events = [#{entity => Entity, life => Life, seq => Seq + I, shard => N, position => Position}
              || I <- lists:seq(1, Count)],
    World#{log := Log#{N := [{Position, Events} | Rows]}, lives := Lives#{Entity => {Life, Seq + Count}},
           at := Position};
run(step, #{mail := Mail} = World) ->
    case queue:out(Mail) of
        {{value, Message}, Rest} -> take(Message, World#{mail := Rest});
        {empty, _} -> World
    end;
run({publish, N}, #{live := Live, mail := Mail} = World) ->
    case Live of
        #{N := {From, Tag}} ->
            {Events, To} = events(N, From, World),
            case wanted(Events, World) of
                [] -> World#{live := Live#{N := {To, Tag}}};
                Wanted -> World#{live := Live#{N := {To, Tag}}, mail := queue:in({live, N, Tag, Wanted, To}, Mail)}
            end;
        #{} ->
            World
    end;
run({leave, N}, #{live := Live, mail := Mail} = World) ->
    case Live of
        #{N := {_, Tag}} -> World#{live := maps:remove(N, Live), mail := queue:in({lost, N, Tag}, Mail)};
        #{} -> World
    end;
run({ack, Count}, #{open := Open, acked := Acked} = World) ->
    case lists:sublist(Open, Count) of
        [] ->
            World;
        Some ->
            {_, _, Seq, N, Position} = lists:last(Some),
            IsDone = fun({_, _, Of, Shard, At}) -> Shard =:= N andalso {At, Of} =< {Position, Seq} end,
            {Done, Left} = lists:partition(IsDone, Open),
            next(fun(Core) -> warp_subscription_core:ack({N, Position, Seq}, Core) end,
                 World#{open := Left, acked := Done ++ Acked})
    end;
run({more, Count}, #{credit := demand} = World) ->
    next(fun(Core) -> warp_subscription_core:more(Count, Core) end, World);
run({more, _}, World) ->
    World;
run({erase, Number}, #{source := Source, lives := Lives, log := Log, gone := Gone} = World) ->
    Entity = integer_to_binary(Number),
    N = shard(Number),
    case Lives of
        #{Entity := {Life, _}} ->
            #{N := Rows} = Log,
            Others = fun(Events) -> [Event || #{entity := Of} = Event <- Events, Of =/= Entity] end,
            Left = [{Position, Others(Events)} || {Position, Events} <- Rows],
            Erased = World#{log := Log#{N := Left}, lives := maps:remove(Entity, Lives),
                            gone := [{Entity, Life} | Gone]},
            Until = case Rows of [{Last, _} | _] -> Last; [] -> 0 end,
            case Source of
                {entity, Other} when Other =/= Entity -> Erased;
                _ -> told({erased, Entity, N, Life, Until}, Erased)
            end;
        #{} ->
            World
    end;
run(fail, World) ->
    World#{fails := true};
%% What it was still to be told of as erased is lost with it.
%% What it was given and has not acknowledged has to come again.
run(restart, World) ->
    again(fun start/2, World);
%% One with a name loses its shards, and gets them again.
run(lose, #{source := {entity, _}} = World) ->
    World;
run(lose, #{core := Core} = World) ->
    Assign = fun(Marks, Ended) ->
        {Effects, Without} = warp_subscription_core:unassign(Core),
        ?assertEqual([], [Effect || Effect <- Effects, element(1, Effect) =/= taken]),
        next(fun(Of) -> warp_subscription_core:assign(Marks, [], Of) end,
             Ended#{core := Without, live := #{}, tags := #{}, mail := queue:new(), open := []})
    end,
    again(Assign, World).

again(Begin, #{source := Source, core := Core, sent := Sent, open := Open, gone := Gone} = World) ->
    Told = [Entity || {erased, Entity} <- Sent],
    Left = lists:foldl(fun(Entity, Acc) -> lists:keydelete(Entity, 1, Acc) end, lists:reverse(Gone), Told),
    {ok, Places} = warp_subscription_cursor:decode(Source, warp_subscription_core:cursor(Core)),
    Begin(case Places of
              {Life, Seq} -> maps:map(fun(_, _) -> standing(Life, Seq, World) end, marks(Source));
              _ -> maps:merge(marks(Source), Places)
          end, World#{gone := Gone -- Left, sent := Sent -- Open}).

%% As `warp_subscription_start' does it: another life begins anew.
standing(Life, Seq, #{source := {entity, Id}, lives := Lives}) ->
    case Lives of
        #{Id := {Life, _}} -> {Life, Seq, 0};
        #{} -> {0, 0, 0}
    end.

%% Whoever deletes waits for that. What was sent before may come later, since it comes from another process.
told(Message, #{mail := Mail, at := At} = World) ->
    Put = case At rem 2 of 0 -> queue:in(Message, Mail); 1 -> queue:in_r(Message, Mail) end,
    until_empty(World#{mail := Put}, queue:len(Put)).

until_empty(World, 0) -> World;
until_empty(World, Left) -> until_empty(run(step, World), Left - 1).

take({read, N, _}, #{fails := true} = World) ->
    next(fun(Core) -> warp_subscription_core:not_read(N, none, failed, Core) end, World#{fails := false});
take({read, N, Place}, World) ->
    Read = piece(N, Place, World),
    next(fun(Core) -> warp_subscription_core:read(N, Read, Core) end, World);
take({join, N, From, Tag}, #{live := Live, at := At} = World) ->
    %% The process for the shard may be further, or not as far.
    Joined = case At rem 3 of 0 -> From; 1 -> max(0, From - 2); _ -> last(N, World) end,
    next(fun(Core) -> warp_subscription_core:joined(N, Joined, Core) end, World#{live := Live#{N => {Joined, Tag}}});
take({again_in, N, _}, World) ->
    next(fun(Core) -> warp_subscription_core:again(N, Core) end, World);
take({live, N, Tag, Events, To}, #{tags := Tags} = World) ->
    case Tags of
        #{N := Tag} -> next(fun(Core) -> warp_subscription_core:live(N, Events, To, Core) end, World);
        #{} -> World
    end;
take({lost, N, Tag}, #{tags := Tags} = World) ->
    case Tags of
        #{N := Tag} -> next(fun(Core) -> warp_subscription_core:lost(N, Core) end, World);
        #{} -> World
    end;
take({erased, Entity, N, Life, Until}, World) ->
    next(fun(Core) -> warp_subscription_core:erased(Entity, {N, Life, Until}, Core) end, World).

events(N, From, #{log := Log} = World) ->
    #{N := Rows} = Log,
    {lists:append(lists:reverse([Events || {Position, Events} <- Rows, Position > From])), max(From, last(N, World))}.

last(N, #{log := Log}) ->
    case Log of
        #{N := [{Last, _} | _]} -> Last;
        #{N := []} -> 0
    end.

wanted(Events, #{source := {entity, Id}}) -> [Event || #{entity := Of} = Event <- Events, Of =:= Id];
wanted(Events, _World) -> Events.

%% Two rows at a time, or a few events of an entity.
piece(N, {Life, Seq, Before}, #{source := {entity, Id}} = World) ->
    {Events, End} = events(N, 0, World),
    Own = wanted(Events, World),
    %% The last row may have come after the end of the log was looked at.
    Last = case maps:get(at, World) rem 2 of
               1 when Before < End - 1 -> End - 1;
               _ -> End
           end,
    case Own of
        [] ->
            {[], {0, 0, Last}, done};
        [#{life := Life} | _] ->
            of_life(Own, Life, Seq, Before, Last);
        [#{life := Other} | _] ->
            true = is_binary(Id),
            of_life(Own, Other, 0, Before, Last)
    end;
piece(N, Position, #{log := Log}) ->
    #{N := Rows} = Log,
    case lists:reverse([Row || {At, _} = Row <- Rows, At > Position]) of
        [] -> {[], Position, done};
        [{At, Events}] -> {Events, At, done};
        [{_, First}, {At, Second} | Rest] -> {First ++ Second, At, case Rest of [] -> done; _ -> more end}
    end.

of_life(Own, Life, Seq, Before, Last) ->
    Left = [Event || #{seq := Of} = Event <- Own, Of > Seq],
    case length(Left) > 5 of
        true -> {lists:sublist(Left, 5), {Life, Seq + 5, Before}, more};
        false -> {Left, {Life, Seq + length(Left), Last}, done}
    end.

%% ------------------------------------------------------------------ What has to be right

%% Until nothing happens any more.
drained(World) ->
    Each = lists:foldl(fun(N, Acc) -> run({publish, N}, Acc) end, World, lists:seq(0, ?SHARDS - 1)),
    Next = run({more, 100}, run({ack, 1000}, run({ack, 1000}, run({ack, 1000}, run(step, Each))))),
    case maps:with([mail, sent, live, open, acked], Next) =:= maps:with([mail, sent, live, open, acked], World)
         andalso queue:is_empty(maps:get(mail, Next)) of
        true -> Next;
        false -> drained(Next)
    end.

is_right(#{sent := Reversed, core := Core} = World) ->
    Sent = lists:reverse(Reversed),
    live =:= warp_subscription_core:state(Core)
        andalso is_once(Sent)
        andalso is_in_order(Sent)
        andalso is_complete(Sent, World)
        andalso is_erased(Sent, World).

is_once(Sent) ->
    Events = [Event || {_, _, _, _, _} = Event <- Sent],
    length(Events) =:= length(lists:usort(Events)).

is_in_order(Sent) ->
    lists:all(
        fun(N) ->
            Places = [{Position, Seq} || {_, _, Seq, Of, Position} <- Sent, Of =:= N],
            Places =:= lists:sort(Places)
        end,
        lists:seq(0, ?SHARDS - 1)).

is_complete(Sent, #{log := Log} = World) ->
    All = [{Entity, Life, Seq, N, Position}
           || {_, Rows} <- maps:to_list(Log), {_, Events} <- Rows,
              #{entity := Entity, life := Life, seq := Seq, shard := N, position := Position} <- wanted(Events, World)],
    All -- Sent =:= [].

%% Behind `erased' nothing of that life comes, unless the subscription began anew.
is_erased(Sent, #{gone := Gone, source := Source}) ->
    Told = lists:sort([Entity || {erased, Entity} <- Sent]),
    Concerned = lists:sort([Entity || {Entity, _} <- Gone,
                                      Source =:= {entity, Entity} orelse element(1, Source) =:= shards]),
    Told =:= Concerned andalso none_behind(Sent, lists:reverse(Gone), #{}).

none_behind([], _Gone, _Over) ->
    true;
none_behind([{erased, Entity} | Sent], Gone, Over) ->
    {Entity, Life} = lists:keyfind(Entity, 1, Gone),
    none_behind(Sent, Gone -- [{Entity, Life}], Over#{{Entity, Life} => []});
none_behind([{Entity, Life, _, _, _} | Sent], Gone, Over) ->
    not is_map_key({Entity, Life}, Over) andalso none_behind(Sent, Gone, Over).
