%% @private Forgets members of a cluster that are lost for good, for `warp_cluster:forget/3', and has other members take
%% their shards over.
%%
%% All others have to say yes first, on disk: each of them hears nothing of the lost members from then on, and says what
%% it has of their shards. So it is known of each of these shards whether a living member owns it or has a copy of it,
%% and nothing about that can change but by what is decided here. As with Paxos, a yes is to a ballot, and ends those
%% with lower generations: a node takes a shard over only by the order of the ballot that it has said yes to last.
%% Whoever is interrupted leaves lost members as `forgetting'; who forgets them again goes on.
%%
%% A shard that is taken over begins a generation of epochs and of positions. So nothing that a lost member may have
%% done since it was heard of last has an epoch or a position as high.
-module(warp_cluster_forget).

-export([forget/3, look_here/1, promise_here/3, take_over_here/4]).
-export([decide/4]).

-export_type([ballot/0, known/0]).

%% The generation that a forgetting begins, and its random number.
-type ballot() :: {Generation :: non_neg_integer(), binary()}.
%% What a member knows when it has said yes.
-type known() :: #{
    members := warp_cluster_view:members(),
    owners := warp_cluster_view:owners(),
    records := #{non_neg_integer() => warp_cluster_record:record()},
    generation := non_neg_integer()
}.
-type order() :: {non_neg_integer(), node(), warp_cluster_handoff:input()}.

%% How many hand-offs of one shard, and how many of its positions, a generation has room for.
-define(EPOCHS, (1 bsl 20)).
-define(POSITIONS, (1 bsl 40)).
%% How long another member may take to answer, and the pause before it is asked again.
-define(PATIENCE_MS, 5000).
-define(PAUSE_MS, 100).

%% @doc Forgets these members, or goes on with that.
-spec forget(warp_context:context(), [node()], warp_deadline:deadline()) ->
    ok | {error, {not_a_member, node()} | {node_up, node()} | {node_unavailable, node()} | timeout | term()}.
forget(Context, Nodes, Deadline) ->
    until(fun(Result) -> Result =:= {error, busy} orelse is_overtaken(Result) end, Deadline,
          fun() -> attempt(Context, Nodes, Deadline) end).

%% Somebody else forgets members too.
is_overtaken({error, {promised, _}}) -> true;
is_overtaken(_Result) -> false.

until(IsRetried, Deadline, Try) ->
    Result = warp_retry:while(IsRetried, {?PAUSE_MS, infinity}, Deadline, Try),
    case IsRetried(Result) of
        true -> {error, timeout};
        false -> Result
    end.

attempt(Context, Nodes, Deadline) ->
    case look(Context, Nodes, Deadline) of
        {ok, Known} ->
            Lost = maps:merge(lost(Known), maps:with(Nodes, members(Known))),
            Ballot = {1 + highest(Known), warp_random:hex(16)},
            Promise = fun(Node) -> at(Node, promise_here, [Ballot, Lost], Context, Deadline) end,
            case of_all(Promise, maps:keys(Lost)) of
                {ok, Promised} -> carry_out(Ballot, Lost, Promised, Context, Deadline);
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

carry_out(Ballot, Lost, Promised, #{shards := Shards} = Context, Deadline) ->
    case order(decide(Ballot, maps:keys(Lost), Promised, Shards), Ballot, Context, Deadline) of
        ok ->
            case await_owners(maps:keys(Lost), Context, Deadline) of
                ok -> warp_cluster_member:forgotten(Context, Lost, Deadline);
                {error, _} = NotYet -> NotYet
            end;
        {error, _} = Error ->
            Error
    end.

%% ------------------------------------------------------------------ Asking all members

%% Whether it can be done, before anything is noted.
look(Context, Nodes, Deadline) ->
    case of_all(fun(Node) -> at(Node, look_here, [], Context, Deadline) end, Nodes) of
        {ok, Known} ->
            Members = members(Known),
            Up = [Node || Node <- Nodes, #{linked := Linked} <- maps:values(Known), lists:member(Node, Linked)],
            Self = [Node || Node <- Nodes, Node =:= node()],
            case {[Node || Node <- Nodes, not is_map_key(Node, Members)], Self ++ Up} of
                {[], []} -> {ok, Known};
                {[Node | _], _} -> {error, {not_a_member, Node}};
                {[], [Node | _]} -> {error, {node_up, Node}}
            end;
        {error, _} = Error ->
            Error
    end.

%% Asks this node, and each member that it or one of those knows of, but for those that are lost.
of_all(Ask, Lost) -> of_all([node()], Ask, Lost, #{}).

of_all([], _Ask, _Lost, Known) ->
    {ok, Known};
of_all([Node | Nodes], Ask, Lost, Known) ->
    case Ask(Node) of
        {ok, #{members := Members} = Answer} ->
            Next = Known#{Node => Answer},
            Others = [Other || Other <- maps:keys(Members), warp_cluster_view:is_taking_part(Other, Members),
                               not is_map_key(Other, Next), not lists:member(Other, Lost)],
            of_all(lists:usort(Others ++ Nodes), Ask, Lost, Next);
        {error, _} = Error ->
            Error
    end.

members(Known) ->
    lists:foldl(fun(#{members := Said}, Acc) -> element(1, warp_cluster_view:members(Acc, maps:values(Said))) end,
                #{}, maps:values(Known)).

%% Those that somebody has begun to forget.
lost(Known) -> maps:filter(fun(_, #{state := Is}) -> Is =:= forgetting end, members(Known)).

owners(Known) ->
    lists:foldl(fun(#{owners := Said}, Acc) -> element(1, warp_cluster_view:owners(Acc, Said)) end,
                #{}, maps:values(Known)).

%% The highest generation that a member has said yes to, or that a shard is in.
highest(Known) ->
    lists:max([0 | [Generation || #{generation := Generation} <- maps:values(Known)]]
              ++ [Epoch div ?EPOCHS || {Epoch, _} <- maps:values(owners(Known))]).

at(Node, Function, Args, #{ref := Ref}, _Deadline) when Node =:= node() ->
    apply(?MODULE, Function, [Ref | Args]);
at(Node, Function, Args, #{ref := Ref} = Context, Deadline) ->
    Soon = warp_deadline:earlier(warp_deadline:from(?PATIENCE_MS), Deadline),
    case warp_cluster_member:server(Context, Node, 0) of
        {ok, Server} ->
            case warp_cluster_call:ask(Server, {?MODULE, Function, [Ref | Args]}, Soon) of
                {error, Why} when Why =:= timeout; Why =:= not_started; Why =:= context_stopped; Why =:= interrupted ->
                    {error, {node_unavailable, Node}};
                {error, {unknown_outcome, _}} ->
                    {error, {node_unavailable, Node}};
                Answer ->
                    Answer
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc What this node knows, and which nodes it is linked with.
-spec look_here(warp_context:ref()) -> {ok, warp_cluster_member:info()} | {error, term()}.
look_here(Ref) ->
    here(Ref, fun(Context) ->
        case warp_cluster_member:info(Context, soon()) of
            #{phase := member} = Info -> {ok, Info};
            #{phase := _} -> {error, not_started};
            {error, _} = Error -> Error
        end
    end).

%% @doc Says yes for this node: {@link warp_cluster_mover:promise/4}.
-spec promise_here(warp_context:ref(), ballot(), warp_cluster_view:members()) -> {ok, known()} | {error, term()}.
promise_here(Ref, {Generation, Random} = Ballot, Lost)
  when is_integer(Generation), is_binary(Random), is_map(Lost) ->
    true = warp_cluster_message:are_members(maps:values(Lost)),
    here(Ref, fun(Context) -> warp_cluster_mover:promise(Context, Ballot, Lost, soon()) end).

%% @doc Takes a shard over on this node: {@link warp_cluster_mover:take_over/5}.
-spec take_over_here(warp_context:ref(), ballot(), non_neg_integer(), warp_cluster_handoff:input()) ->
    ok | {error, term()}.
take_over_here(Ref, Ballot, N, {take_over, Epoch, Position, Lost} = Order)
  when is_integer(Epoch), Epoch > 0, is_integer(Position), Position >= 0, is_list(Lost) ->
    here(Ref, fun(Context) -> warp_cluster_mover:take_over(Context, Ballot, N, Order, soon()) end).

here(Ref, Fun) ->
    case warp_context:find(Ref) of
        {ok, Context} -> Fun(Context);
        not_found -> {error, context_stopped}
    end.

soon() -> warp_deadline:from(?PATIENCE_MS).

%% ------------------------------------------------------------------ What becomes of the shards

%% @doc Which member takes which shard over: of each shard that no member owns or will own, the one that has the newest
%% copy of it; and where nobody has one, that which should have the shard. Pure.
-spec decide(ballot(), Lost :: [node()], #{node() => known()}, Shards :: pos_integer()) -> [order()].
decide({Generation, _}, Lost, Promised, Shards) ->
    Records = [{Node, N, Record} || {Node, #{records := Of}} <- maps:to_list(Promised),
                                    {N, Record} <- maps:to_list(Of)],
    Comes = [N || {_, N, Record} <- Records, warp_cluster_record:comes(Record)],
    Owners = maps:filter(fun(_, {_, Node}) -> is_map_key(Node, Promised) end, owners(Promised)),
    Orphans = [N || N <- lists:seq(0, Shards - 1), not is_map_key(N, Owners), not lists:member(N, Comes)],
    Copies = [{N, Epoch, Node} || {Node, N, Record} <- Records,
                                  {ok, Epoch} <- [warp_cluster_record:left_of(Lost, Record)]],
    Kept = maps:from_list([{N, Node} || {N, _, Node} <- lists:sort(Copies), lists:member(N, Orphans)]),
    Where = maps:merge(maps:map(fun(_, {_, Node}) -> Node end, Owners), Kept),
    %% Where all leave, one of them has it until it has given it away.
    TakingPart =
        case [Node || Node <- warp_cluster_view:taking_part(members(Promised)), is_map_key(Node, Promised)] of
            [] -> maps:keys(Promised);
            [_ | _] = Up -> Up
        end,
    Plan = warp_cluster_ring:plan(TakingPart, Where, Shards),
    Order = {take_over, Generation * ?EPOCHS, Generation * ?POSITIONS, Lost},
    [{N, maps:get(N, Kept, maps:get(N, Plan)), Order} || N <- Orphans].

order([], _Ballot, _Context, _Deadline) ->
    ok;
order([{N, Node, Order} | Orders], Ballot, Context, Deadline) ->
    case at(Node, take_over_here, [Ballot, N, Order], Context, Deadline) of
        ok -> order(Orders, Ballot, Context, Deadline);
        {error, _} = Error -> Error
    end.

%% Until each shard has an owner that is not lost.
await_owners(Lost, #{shards := Shards} = Context, Deadline) ->
    until(fun(Result) -> Result =:= again end, Deadline, fun() ->
        case warp_cluster_member:info(Context, Deadline) of
            #{owners := Owners} ->
                case lists:all(fun(N) -> has_owner(N, Owners, Lost) end, lists:seq(0, Shards - 1)) of
                    true -> ok;
                    false -> again
                end;
            {error, _} = Error ->
                Error
        end
    end).

has_owner(N, Owners, Lost) ->
    case Owners of
        #{N := {_, Node}} -> not lists:member(Node, Lost);
        #{} -> false
    end.
