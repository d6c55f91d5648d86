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
    Copying = [{Bytes, Of, Now - Since}
               || {_, #{under_way := Entries}} <- Known,
                  #{direction := gets, bytes := Bytes, of_bytes := Of, since := Since} <- Entries],
    Copied = lists:sum([Bytes || {Bytes, _, _} <- Copying]),
    Of = lists:sum([Bytes || {_, Bytes, _} <- Copying]),
    Rate = lists:sum([Bytes * 1000000 div max(1, Micros) || {Bytes, _, Micros} <- Copying]),
    Pauses = lists:sort(lists:append(Each(pauses_ms))),
    Sum = #{is_paused => lists:any(fun(Is) -> Is end, Each(is_paused)),
            to_move => lists:sum(Each(to_give)),
            moved => lists:sum(Each(got)),
            bytes => lists:sum(Each(bytes)),
            copied_bytes => Copied,
            of_bytes => Of,
            bytes_per_second => Rate,
            seconds_left => seconds_left(lists:sum(Each(to_give)), length(UnderWay), Of, Copied, Rate),
            pauses_ms => #{count => length(Pauses), median => median(Pauses), longest => lists:max([0 | Pauses])},
            under_way => UnderWay,
            alarms => [{N, Node, Why} || {Node, #{alarms := Alarms}} <- Known, {N, Why} <- maps:to_list(Alarms)],
            unreachable => Unreachable},
    Sum#{text => unicode:characters_to_binary(text(Sum))}.

%% The receiver knows how much is copied.
of_giver(Node, #{shard := N, phase := Phase, node := To}, Known) ->
    {Bytes, Of} =
        case [{Bytes, Of} || {Receiver, #{under_way := Entries}} <- Known, Receiver =:= To,
                             #{shard := Same, direction := gets, bytes := Bytes, of_bytes := Of} <- Entries,
                             Same =:= N] of
            [Copied] -> Copied;
            [] -> {0, 0}
        end,
    #{shard => N, from => Node, to => To, phase => Phase, bytes => Bytes, of_bytes => Of}.

seconds_left(0, _, _, _, _) -> 0;
seconds_left(_, _, 0, _, _) -> unknown;
seconds_left(_, _, _, _, 0) -> unknown;
%% Those that wait are taken to be as large as those under way.
seconds_left(ToMove, UnderWay, Of, Copied, Rate) ->
    Waiting = max(0, ToMove - UnderWay) * (Of div max(1, UnderWay)),
    (Of - Copied + Waiting) div Rate.

median([]) -> 0;
median(Sorted) -> lists:nth((length(Sorted) + 1) div 2, Sorted).

text(#{to_move := 0, under_way := [], moved := Moved, bytes := Bytes} = Sum) ->
    [io_lib:format("Every shard is where it should be. ~b were moved since the start, ~ts in all.",
                   [Moved, in_bytes(Bytes)]),
     notes(Sum)];
text(#{to_move := ToMove, under_way := UnderWay, copied_bytes := Copied, of_bytes := Of, bytes_per_second := Rate,
       seconds_left := Left} = Sum) ->
    [io_lib:format("~b shards to move, ~b of them now: ~ts of ~ts copied, ~ts/s, ~ts left.",
                   [ToMove, length(UnderWay), in_bytes(Copied), in_bytes(Of), in_bytes(Rate), duration(Left)]),
     [io_lib:format("~n  shard ~4b  ~ts -> ~ts  ~ts", [N, From, To, Phase])
      || #{shard := N, from := From, to := To, phase := Phase} <- UnderWay],
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

duration(unknown) -> "an unknown time";
duration(Seconds) when Seconds < 120 -> io_lib:format("~b s", [Seconds]);
duration(Seconds) -> io_lib:format("~b min", [Seconds div 60]).
