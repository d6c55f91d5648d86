%% @private What is moving in a cluster, gathered from its members, for `warp_cluster:progress/1'.
-module(warp_cluster_progress).

-export([gather/3, sum/3]).

-type of_node() :: {node(), warp_cluster_mover:progress()}.

%% @doc Asks all members that can be reached, side by side.
-spec gather(warp_context:context(), warp_cluster_member:info(), warp_deadline:deadline()) -> map().
gather(#{ref := Ref} = Context, #{members := Members, linked := Linked}, Deadline) ->
    Others = [Node || Node <- maps:keys(Members), Node =/= node(), warp_cluster_view:is_taking_part(Node, Members)],
    Asked = [spawn_ask(Node, Ref, Context, Deadline) || Node <- Others, lists:member(Node, Linked)],
    Answers = [receive {Alias, Answer} -> {Node, Answer} end || {Node, Alias} <- Asked],
    Own = case warp_cluster_mover:progress(Context, Deadline) of #{} = Progress -> [{node(), Progress}]; _ -> [] end,
    Known = Own ++ [{Node, Progress} || {Node, {ok, Progress}} <- Answers],
    sum(Known, [node() | Others] -- [Node || {Node, _} <- Known], os:system_time(microsecond)).

spawn_ask(Node, Ref, Context, Deadline) ->
    Self = self(),
    Alias = make_ref(),
    _ = spawn(fun() ->
        Answer =
            case warp_cluster_member:server(Context, Node, 0) of
                {ok, Server} -> warp_cluster_call:ask(Server, {warp_cluster_mover, progress_here, [Ref]}, Deadline);
                {error, _} = Error -> Error
            end,
        Self ! {Alias, Answer}
    end),
    {Node, Alias}.

%% @doc What nodes say, put together. `Now' is in microseconds.
-spec sum([of_node()], Unreachable :: [node()], Now :: integer()) -> map().
sum(Known, Unreachable, Now) ->
    Each = fun(Key) -> [maps:get(Key, Progress) || {_, Progress} <- Known] end,
    UnderWay = [of_giver(Node, Entry, Known) || {Node, #{under_way := Entries}} <- Known,
                                                #{direction := gives} = Entry <- Entries],
    Copying = [Entry || {_, #{under_way := Entries}} <- Known, #{direction := gets} = Entry <- Entries],
    OfAll = fun(Key) -> lists:sum([maps:get(Key, Entry) || Entry <- Copying]) end,
    {Copied, Of} = {OfAll(bytes), OfAll(of_bytes)},
    PerSecond = fun(Done) -> lists:sum([Done(Entry) * 1000000 div max(1, Now - Since)
                                        || #{since := Since} = Entry <- Copying]) end,
    Rate = PerSecond(fun(#{bytes := Bytes}) -> Bytes end),
    ToMove = lists:sum(Each(to_give)),
    Pauses = lists:sort(lists:append(Each(pauses_ms))),
    Sum = #{is_paused => lists:any(fun(Is) -> Is end, Each(is_paused)),
            to_move => ToMove,
            entities_to_move => entities_to_move(ToMove, length(UnderWay), OfAll(entities)),
            moved => lists:sum(Each(got)),
            entities => lists:sum(Each(entities)),
            bytes => lists:sum(Each(bytes)),
            copied_bytes => Copied,
            of_bytes => Of,
            bytes_per_second => Rate,
            entities_per_second => PerSecond(fun copied_entities/1),
            seconds_left => seconds_left(ToMove, length(UnderWay), Of, Copied, Rate),
            pauses_ms => #{count => length(Pauses), median => median(Pauses), longest => lists:max([0 | Pauses])},
            under_way => UnderWay,
            alarms => [{N, Node, Why} || {Node, #{alarms := Alarms}} <- Known, {N, Why} <- maps:to_list(Alarms)],
            unreachable => Unreachable},
    Sum#{text => unicode:characters_to_binary(text(Sum))}.

%% The receiver knows how much is copied.
of_giver(Node, #{shard := N, phase := Phase, node := To}, Known) ->
    Copied =
        case [Entry || {Receiver, #{under_way := Entries}} <- Known, Receiver =:= To,
                       #{shard := Same, direction := gets} = Entry <- Entries, Same =:= N] of
            [Entry] -> maps:with([bytes, of_bytes, entities], Entry);
            [] -> #{bytes => 0, of_bytes => 0, entities => 0}
        end,
    Copied#{shard => N, from => Node, to => To, phase => Phase}.

%% Entities are spread evenly over the file.
copied_entities(#{of_bytes := 0}) -> 0;
copied_entities(#{entities := Entities, bytes := Bytes, of_bytes := Of}) -> Entities * Bytes div Of.

entities_to_move(0, _, _) -> 0;
entities_to_move(_, _, 0) -> unknown;
entities_to_move(ToMove, UnderWay, Entities) -> Entities + waiting(ToMove, UnderWay, Entities).

seconds_left(0, _, _, _, _) -> 0;
seconds_left(_, _, 0, _, _) -> unknown;
seconds_left(_, _, _, _, 0) -> unknown;
seconds_left(ToMove, UnderWay, Of, Copied, Rate) ->
    (Of - Copied + waiting(ToMove, UnderWay, Of)) div Rate.

%% The shards that wait are taken to be as large as those under way.
waiting(ToMove, UnderWay, Of) -> max(0, ToMove - UnderWay) * Of div max(1, UnderWay).

median([]) -> 0;
median(Sorted) -> lists:nth((length(Sorted) + 1) div 2, Sorted).

text(#{to_move := 0, under_way := [], moved := Moved, entities := Entities, bytes := Bytes} = Sum) ->
    [io_lib:format("Every shard is where it should be. ~b were moved since the start, with about ~b entities and ~ts.",
                   [Moved, Entities, in_bytes(Bytes)]),
     notes(Sum)];
text(#{to_move := ToMove, under_way := UnderWay, copied_bytes := Copied, of_bytes := Of, bytes_per_second := Rate,
       entities_to_move := Entities, entities_per_second := EntityRate, seconds_left := Left} = Sum) ->
    [io_lib:format("~b shards with ~ts entities to move, ~b of them now: ~ts of ~ts copied, ~ts/s, ~b entities/s, "
                   "~ts left.",
                   [ToMove, about(Entities), length(UnderWay), in_bytes(Copied), in_bytes(Of), in_bytes(Rate),
                    EntityRate, duration(Left)]),
     [io_lib:format("~n  shard ~4b  ~ts -> ~ts  ~ts, about ~b entities", [N, From, To, Phase, Counted])
      || #{shard := N, from := From, to := To, phase := Phase, entities := Counted} <- UnderWay],
     notes(Sum)].

notes(#{is_paused := IsPaused, alarms := Alarms, unreachable := Unreachable, pauses_ms := Pauses}) ->
    #{count := Count, median := Median, longest := Longest} = Pauses,
    [[io_lib:format("~nCallers of a moving shard waited ~b ms (median of ~b), ~b ms at most.", [Median, Count, Longest])
      || Count > 0],
     ["\nNew moves are paused: warp_cluster:resume/1." || IsPaused],
     [io_lib:format("~nShard ~b stands still on ~ts: ~0tp", [N, Node, Why]) || {N, Node, Why} <- Alarms],
     [io_lib:format("~nNode ~ts cannot be reached.", [Node]) || Node <- Unreachable]].

in_bytes(Bytes) when Bytes < 1024 * 1024 -> io_lib:format("~b KiB", [(Bytes + 1023) div 1024]);
in_bytes(Bytes) -> io_lib:format("~.1f MiB", [Bytes / 1024 / 1024]).

about(unknown) -> "an unknown number of";
about(Entities) -> io_lib:format("about ~b", [Entities]).

duration(unknown) -> "an unknown time";
duration(Seconds) when Seconds < 120 -> io_lib:format("~b s", [Seconds]);
duration(Seconds) -> io_lib:format("~b min", [Seconds div 60]).
