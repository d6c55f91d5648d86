%% @private What a node knows of the others: members, and which member owns which shard. Pure.
%%
%% Of each member, and of each shard, the newer of two things that are said holds: that with the higher version, or the
%% higher epoch. So it does not matter in which order, or how often, nodes tell each other what they know.
-module(warp_cluster_view).

-export([members/2, owners/2, owner/3, contradicted/3, taking_part/1, is_taking_part/2]).

-export_type([members/0, owners/0]).

-type members() :: #{node() => warp_cluster_store:member()}.
%% The owner of each shard that is known, with the epoch.
-type owners() :: #{non_neg_integer() => {Epoch :: pos_integer(), node()}}.

%% @doc What is known of the members with what another node says. Gives what is new too.
-spec members(members(), [warp_cluster_store:member()]) -> {members(), New :: [warp_cluster_store:member()]}.
members(Known, Said) ->
    lists:foldl(
        fun(#{node := Node} = Member, {Members, New}) ->
            case Members of
                #{Node := Old} ->
                    case newer(Old, Member) of
                        Old -> {Members, New};
                        Newer -> {Members#{Node := Newer}, [Newer | New]}
                    end;
                #{} ->
                    {Members#{Node => Member}, [Member | New]}
            end
        end,
        {Known, []}, Said).

%% Incarnations only grow, whoever heard of them. Of two starts with the same incarnation the one that was heard of
%% first holds.
newer(#{version := V, member := Member} = A, #{version := W, member := Other} = B) when Member =/= Other ->
    %% A node of that name has joined as a new one.
    if W > V -> B; true -> A end;
newer(#{version := V, incarnation := I, start := Start} = A, #{version := W, incarnation := J, start := Other} = B) ->
    Newer = if W > V -> B; true -> A end,
    case J > I of
        true -> Newer#{incarnation := J, start := Other};
        false -> Newer#{incarnation := I, start := Start}
    end.

%% @doc What is known of the owners with what another node says. Gives what is new too.
-spec owners(owners(), Said :: owners()) -> {owners(), New :: owners()}.
owners(Known, Said) ->
    New = maps:filter(
        fun(N, {Epoch, _}) ->
            case Known of
                #{N := {Older, _}} -> Epoch > Older;
                #{} -> true
            end
        end, Said),
    {maps:merge(Known, New), New}.

%% @doc The owner of a shard that this node knows of: by its own record, or by what others have said, whichever is
%% newer. `none' where it has heard nothing.
-spec owner(node(), warp_cluster_record:record() | none, {pos_integer(), node()} | none) ->
    {Epoch :: pos_integer(), node()} | none.
owner(Self, #{held := {own, Epoch}}, {Heard, _}) when Epoch >= Heard -> {Epoch, Self};
owner(Self, #{held := {own, Epoch}}, none) -> {Epoch, Self};
owner(_Self, #{held := {given, Epoch, Node, _, _, _}}, {Heard, _}) when Epoch >= Heard -> {Epoch, Node};
owner(_Self, #{held := {given, Epoch, Node, _, _, _}}, none) -> {Epoch, Node};
owner(_Self, _Record, Heard) -> Heard.

%% @doc The shards that others say are not this node's, although its records say so; or that are this node's, although
%% it has no record of that: its folder is not the newest. A shard that it is just being given is none of them.
-spec contradicted(node(), #{non_neg_integer() => warp_cluster_record:record()}, owners()) -> [non_neg_integer()].
contradicted(Self, Records, Said) ->
    [N || {N, {Epoch, Node}} <- maps:to_list(Said), contradicts(Self, maps:get(N, Records, none), Epoch, Node)].

contradicts(Self, #{held := {own, Mine}}, Epoch, Node) -> Node =/= Self andalso Epoch >= Mine orelse Epoch > Mine;
contradicts(Self, #{stage := {_, Staged, _, _, _}}, Epoch, Self) -> Epoch > Staged;
contradicts(Self, #{stage := {empty, Begun, _}}, Epoch, Self) -> Epoch > Begun;
contradicts(Self, #{held := {given, Mine, _, _, _, _}}, Epoch, Self) -> Epoch > Mine;
contradicts(Self, _None, _Epoch, Node) -> Node =:= Self.

%% @doc The members that shards should be on, in order.
-spec taking_part(members()) -> [node()].
taking_part(Members) ->
    lists:sort([Node || {Node, #{state := up}} <- maps:to_list(Members)]).

%% @doc Whether a node is a member that has not left, and was not forgotten.
-spec is_taking_part(node(), members()) -> boolean().
is_taking_part(Node, Members) ->
    case Members of
        #{Node := #{state := State}} -> State =:= up orelse State =:= leaving;
        #{} -> false
    end.
