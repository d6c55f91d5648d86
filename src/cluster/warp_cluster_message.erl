%% @private What members of a cluster say to each other, and its form. Pure.
%%
%% A node of another version, or one with a fault, may send anything. What has not the form that it should have is
%% ignored, so that no process ends by it. Whether it is true is another matter: a member is believed.
-module(warp_cluster_message).

-export([has_form/2, are_members/1]).

-export_type([from/0]).

%% Who says something: the node, its process, and which member and start of it that is.
-type from() :: #{
    node := node(),
    pid := pid(),
    member := binary(),
    incarnation := pos_integer(),
    start := binary()
}.

%% The largest number that a file has.
-define(MAX, 16#7fffffffffffffff).
-define(IS_COUNT(Term), (is_integer(Term) andalso Term > 0 andalso Term =< ?MAX)).

%% @doc Whether a message has the form `{From, Said}' of one for a context with so many shards. Of a kind that is not
%% known here only `From' is looked at.
-spec has_form(term(), Shards :: pos_integer()) -> boolean().
has_form({#{node := Node, pid := Pid, member := Member, incarnation := Incarnation, start := Start}, Said}, Shards)
  when is_pid(Pid), node(Pid) =:= Node, Node =/= node(), is_binary(Member), ?IS_COUNT(Incarnation), is_binary(Start) ->
    said(Said, Node, Shards);
has_form(_Message, _Shards) ->
    false.

said({hello, #{shards := Count, phase := Phase, cluster := Cluster, is_empty := IsEmpty, servers := Servers,
               members := Members, owners := Owners, is_linked := IsLinked,
               generation := Generation}}, Node, Shards) ->
    ?IS_COUNT(Count) andalso lists:member(Phase, [joining, doubt, member]) andalso is_boolean(IsEmpty)
        andalso is_boolean(IsLinked) andalso is_integer(Generation) andalso are_members(Members)
        andalso are_owners(Owners, Shards) andalso are_servers(Servers, Node)
        andalso (Cluster =:= none orelse is_binary(Cluster) andalso is_among(Node, Members));
said({hello, _}, _Node, _Shards) -> false;
said({refused, {old_incarnation, Incarnation}}, _Node, _Shards) -> ?IS_COUNT(Incarnation);
said({members, Members}, _Node, _Shards) -> are_members(Members);
said({owners, Owners}, _Node, Shards) -> are_owners(Owners, Shards);
said({handoff, {N, Message}}, _Node, Shards) -> is_shard(N, Shards) andalso is_handoff(Message);
said({handoff, _}, _Node, _Shards) -> false;
said(_Other, _Node, _Shards) -> true.

are_servers(Servers, Node) ->
    is_tuple(Servers) andalso tuple_size(Servers) > 0
        andalso lists:all(fun(Pid) -> is_pid(Pid) andalso node(Pid) =:= Node end, tuple_to_list(Servers)).

%% @doc Whether this is a list of members.
-spec are_members(term()) -> boolean().
are_members(Members) -> is_list_of(fun is_member/1, Members).

is_member(#{node := Node, member := Member, incarnation := Incarnation, start := Start, state := State,
            version := Version}) ->
    is_node_name(Node) andalso is_binary(Member) andalso ?IS_COUNT(Incarnation) andalso is_binary(Start)
        andalso lists:member(State, [up, leaving, left, forgetting, forgotten]) andalso ?IS_COUNT(Version);
is_member(_) ->
    false.

is_among(Node, Members) -> lists:any(fun(#{node := Of}) -> Of =:= Node end, Members).

are_owners(Owners, Shards) ->
    is_map(Owners) andalso lists:all(fun(Owner) -> is_owner(Owner, Shards) end, maps:to_list(Owners)).

is_owner({N, {Epoch, Node}}, Shards) -> is_shard(N, Shards) andalso ?IS_COUNT(Epoch) andalso is_node_name(Node);
is_owner(_, _Shards) -> false.

is_handoff({Kind, Epoch, Attempt}) ->
    lists:member(Kind, [offer, void, accept, copied, abandon, owned]) andalso is_attempt(Epoch, Attempt);
is_handoff({Kind, Epoch, Attempt, Digest}) when Kind =:= given; Kind =:= staged ->
    is_attempt(Epoch, Attempt) andalso is_binary(Digest);
is_handoff({refuse, Epoch, Attempt, Why}) -> is_attempt(Epoch, Attempt) andalso is_reason(Why);
is_handoff({frozen, Epoch, Attempt, Digest, _Extras}) -> is_attempt(Epoch, Attempt) andalso is_binary(Digest);
is_handoff(_) -> false.

is_reason({old_epoch, Since}) -> is_integer(Since);
is_reason(_) -> true.

is_attempt(Epoch, Attempt) -> ?IS_COUNT(Epoch) andalso is_binary(Attempt).

is_shard(N, Shards) -> is_integer(N) andalso N >= 0 andalso N < Shards.

is_node_name(Node) -> is_atom(Node) andalso length(string:split(atom_to_list(Node), "@")) =:= 2.

%% Of a list that has an end.
is_list_of(Is, [First | Rest]) -> Is(First) andalso is_list_of(Is, Rest);
is_list_of(_Is, Rest) -> Rest =:= [].
