%% @doc A context that several nodes share. Each of its shards is on one node, the shard's owner, and every node can be
%% asked about every entity: what concerns an entity of another node takes one hop.
%%
%% ```
%% {ok, Ctx} = warp_core:start(#{context => <<"payments">>, data_dir => "/data", shards => 128,
%%     aggregates => Aggregates, cluster => {clustered, #{seed_nodes => ['warp@10.0.0.1']}}}),
%% [#{node := 'warp@10.0.0.1', state := up} | _] = element(2, warp_cluster:members(Ctx)).
%% '''
%%
%% Errors of all functions: `not_clustered': the context runs on a single node. `context_stopped', `interrupted'.
%% `timeout': no answer came within 5 seconds, or within the option `timeout'.
-module(warp_cluster).

-export([members/1, owner/1, status/1, ring/1, adopt/1]).
-export([progress/1, migrate/1, migrate/2, pause/1, resume/1, leave/1, leave/2, forget/2, forget/3]).

-export_type([member/0, status/0, progress/0, error/0, doubt/0, forget_error/0]).

-include("base/warp_entity.hrl").

-type error() :: not_clustered | context_stopped | interrupted | timeout.
%% Why a node does not serve its shards.
-type doubt() :: {in_doubt, Why :: term()}.
%% `up': shards are on it, or come to it. `leaving': it gives its shards away. `left': it has none any more.
%% `forgetting': somebody began to forget it, and has to go on ({@link forget/2}). `forgotten': the others take it in no
%% more. `is_linked': this node can reach it now.
-type member() :: #{
    node := node(),
    state := up | leaving | left | forgetting | forgotten,
    is_linked := boolean(),
    %% How often the member was started.
    incarnation := pos_integer(),
    %% How many shards it has.
    shards := non_neg_integer()
}.
-type forget_error() ::
    {not_a_member, term()} | {node_up, node()} | {node_unavailable, node()} | disk_full | {io_error, binary()}.
-type status() :: #{
    node := node(),
    %% `joining': it looks for its cluster. `doubt': it does not serve its shards, since its folder may be an old copy.
    phase := joining | doubt | member,
    %% Of `doubt', why.
    why := none | doubt(),
    members := [member()],
    %% By node, the shards that are there; `unknown' for those that this node has not heard of.
    shards := #{node() | unknown => [non_neg_integer()]}
}.

%% What is moving between the nodes. A shard's hand-off goes through `phase': it is `offered' while it is copied and its
%% owner serves it; then its callers wait, while it is `freezing', `frozen', `committing' and `given'; and it is
%% `cleaning' and `recording' when the other node serves it.
-type progress() :: #{
    is_paused := boolean(),
    %% How many shards are not where the ring says, those under way among them.
    to_move := non_neg_integer(),
    %% About how many entities these have; `unknown' before that can be told. Those that wait are taken to have as many
    %% as those under way, which were counted.
    entities_to_move := non_neg_integer() | unknown,
    %% Since the nodes were started: how many shards were handed over, with about how many entities and how many bytes.
    moved := non_neg_integer(),
    entities := non_neg_integer(),
    bytes := non_neg_integer(),
    %% Of the hand-offs under way: bytes copied by now and in all, bytes and entities per second, and about how many
    %% seconds are left; `unknown' before that can be told.
    copied_bytes := non_neg_integer(),
    of_bytes := non_neg_integer(),
    bytes_per_second := non_neg_integer(),
    entities_per_second := non_neg_integer(),
    seconds_left := non_neg_integer() | unknown,
    %% How long callers of shards that were handed over waited, in milliseconds.
    pauses_ms := #{count := non_neg_integer(), median := non_neg_integer(), longest := non_neg_integer()},
    under_way := [#{shard := non_neg_integer(), from := node(), to := node(), phase := atom(),
                    entities := non_neg_integer(), bytes := non_neg_integer(), of_bytes := non_neg_integer()}],
    %% Shards whose hand-off stands still, with the node that says so, and why.
    alarms := [{non_neg_integer(), node(), Why :: term()}],
    %% Nodes that could not be asked.
    unreachable := [node()],
    %% All of that for people.
    text := binary()
}.

%% How often `migrate' and `leave' look, and how long an answer may take.
-define(LOOK_MS, 100).
-define(PATIENCE_MS, 5000).

%% @doc The members of the cluster as this node knows them, in the order of their names.
-spec members(warp_core:ctx()) -> {ok, [member()]} | {error, error()}.
members(Ctx) ->
    with_info(Ctx, soon(), fun(_Context, Info) -> {ok, each_member(Info)} end).

each_member(#{members := Members, linked := Linked, owners := Owners}) ->
    Counts = maps:fold(fun(_, {_, Node}, Acc) -> maps:update_with(Node, fun(Count) -> Count + 1 end, 1, Acc) end,
                       #{}, Owners),
    [#{node => Node, state => State, incarnation => Incarnation, shards => maps:get(Node, Counts, 0),
       is_linked => Node =:= node() orelse lists:member(Node, Linked)}
     || {Node, #{state := State, incarnation := Incarnation}} <- lists:sort(maps:to_list(Members))].

%% @doc The node that the entity is on, as this node knows it; `unknown' before it has heard. Of a context of a single
%% node it is this one.
-spec owner(warp_core:entity()) ->
    {ok, node() | unknown} | {error, context_stopped | {bad_entity_id, term()}}.
owner(#warp_entity{ref = Ref, shard = N}) when is_integer(N), N >= 0 ->
    case warp_context:find(Ref) of
        {ok, #{shards := Shards} = Context} when N < Shards ->
            case warp_context_owners:where(Context, N) of
                {at, Node} -> {ok, Node};
                unknown -> {ok, unknown};
                _Here -> {ok, node()}
            end;
        {ok, _} -> {error, {bad_entity_id, not_a_handle}};
        not_found -> {error, context_stopped}
    end;
owner(#warp_entity{shard = {bad_entity_id, _} = Why}) ->
    {error, Why};
owner(_NotAHandle) ->
    {error, {bad_entity_id, not_a_handle}}.

%% @doc All that this node knows of the cluster.
-spec status(warp_core:ctx()) -> {ok, status()} | {error, error()}.
status(Ctx) ->
    with_info(Ctx, soon(), fun(#{shards := Shards}, #{phase := Phase, why := Why, owners := Owners} = Info) ->
        Owner = fun(N) -> {_, Node} = maps:get(N, Owners, {0, unknown}), Node end,
        Placed = lists:foldr(fun(N, Acc) -> maps:update_with(Owner(N), fun(Ns) -> [N | Ns] end, [N], Acc) end,
                             #{}, lists:seq(0, Shards - 1)),
        {ok, #{node => node(), phase => Phase, why => doubt(Why), members => each_member(Info), shards => Placed}}
    end).

doubt(none) -> none;
doubt(Why) -> {in_doubt, Why}.

%% @doc On which node each shard should be: as many on each member that is `up' as on any other, within one. Warp moves
%% the shards that are elsewhere, one at a time from each node.
-spec ring(warp_core:ctx()) -> {ok, #{non_neg_integer() => node()}} | {error, error()}.
ring(Ctx) ->
    with_info(Ctx, soon(), fun(#{shards := Shards}, #{members := Members, owners := Owners}) ->
        Where = maps:map(fun(_, {_, Node}) -> Node end, Owners),
        {ok, warp_cluster_ring:plan(warp_cluster_view:taking_part(Members), Where, Shards)}
    end).

%% @doc What is moving, asked of all members. `text' says it in a few lines.
-spec progress(warp_core:ctx()) -> {ok, progress()} | {error, error()}.
progress(Ctx) ->
    progress(Ctx, soon()).

progress(Ctx, Deadline) ->
    with_info(Ctx, Deadline, fun(Context, Info) -> {ok, warp_cluster_progress:gather(Context, Info, Deadline)} end).

%% @equiv migrate(Ctx, #{})
-spec migrate(warp_core:ctx()) -> ok | {error, error()}.
migrate(Ctx) ->
    migrate(Ctx, #{}).

%% @doc Waits until each shard is where the ring says, also for members that cannot be reached now. Warp moves shards by
%% itself; while moves are paused this begins them again on this node. Option: `timeout' (`infinity') in milliseconds;
%% after the error `timeout' the moves go on.
-spec migrate(warp_core:ctx(), #{timeout => timeout()}) -> ok | {error, error() | warp_check:wrong()}.
migrate(Ctx, Options) ->
    with_timeout(Options, fun(Deadline) ->
        case resume(Ctx, Deadline) of
            ok -> until(Deadline, fun() -> is_settled(Ctx, Deadline) end);
            {error, _} = Error -> Error
        end
    end).

is_settled(Ctx, Deadline) ->
    case progress(Ctx, warp_deadline:earlier(soon(), Deadline)) of
        {ok, #{to_move := 0, under_way := [], unreachable := []}} -> ok;
        {ok, _} -> again;
        {error, timeout} -> again;
        {error, _} = Error -> Error
    end.

with_timeout(Options, Fun) ->
    case warp_check:options(Options, [{timeout, infinity, fun warp_check:timeout/1}]) of
        {ok, #{timeout := Timeout}} -> Fun(warp_deadline:from(Timeout));
        {error, _} = Error -> Error
    end.

until(Deadline, Try) ->
    case warp_retry:while(fun(Result) -> Result =:= again end, {?LOOK_MS, infinity}, Deadline, Try) of
        again -> {error, timeout};
        Result -> Result
    end.

soon() -> warp_deadline:from(?PATIENCE_MS).

%% @doc Begins no more hand-offs of this node's shards, until {@link resume/1}. What is under way goes on.
-spec pause(warp_core:ctx()) -> ok | {error, error()}.
pause(Ctx) ->
    with(fun warp_context:of_handle/1, Ctx, fun(Context) -> warp_cluster_mover:pause(Context, true, soon()) end).

%% @doc Hands this node's shards over again, after {@link pause/1}.
-spec resume(warp_core:ctx()) -> ok | {error, error()}.
resume(Ctx) ->
    resume(Ctx, soon()).

resume(Ctx, Deadline) ->
    with(fun warp_context:of_handle/1, Ctx, fun(Context) -> warp_cluster_mover:pause(Context, false, Deadline) end).

%% @equiv leave(Ctx, #{})
-spec leave(warp_core:ctx()) -> ok | {error, last_member | error() | disk_full | {io_error, binary()}}.
leave(Ctx) ->
    leave(Ctx, #{}).

%% @doc Gives all shards of this node to the other members, and answers when that is done: the node can be stopped then
%% for good. Until it is stopped it still takes calls, and sends them on. A node that has left, and is started again,
%% joins as a new one.
%%
%% Option: `timeout' (`infinity') in milliseconds. Errors: `timeout': the node goes on giving its shards away.
%% `last_member': no other member takes shards. `disk_full', `{io_error, Message}': it could not be noted.
-spec leave(warp_core:ctx(), #{timeout => timeout()}) ->
    ok | {error, last_member | error() | warp_check:wrong() | disk_full | {io_error, binary()}}.
leave(Ctx, Options) ->
    with_timeout(Options, fun(Deadline) ->
        with(fun warp_context:of_handle/1, Ctx, fun(Context) ->
            case warp_cluster_member:set_state(Context, leaving, Deadline) of
                ok -> until(Deadline, fun() -> has_left(Context, Deadline) end);
                {error, _} = Error -> Error
            end
        end)
    end).

has_left(Context, Deadline) ->
    case warp_cluster_mover:has_none(Context, Deadline) of
        true -> warp_cluster_member:set_state(Context, left, Deadline);
        false -> again;
        {error, _} = Error -> Error
    end.

%% @equiv forget(Ctx, Nodes, #{})
-spec forget(warp_core:ctx(), node() | binary() | [node() | binary()]) -> ok | {error, forget_error() | error()}.
forget(Ctx, Nodes) ->
    forget(Ctx, Nodes, #{}).

%% @doc Forgets members that are lost for good, with their disks: an operator knows that they will never run again.
%% Other members take their shards over. A shard of which another member has a copy, since it was about to move, goes on
%% with what that has; all others are empty, and their entities begin with seq 1. Read models keep what they have of
%% lost events, until they are rebuilt. A node of that name, with an empty folder, can join again.
%%
%% It cannot be taken back. If a forgotten node does run again, the others refuse it, and it serves nothing once it has
%% heard that; before it has, it takes what it had for its own. So be sure that it does not run.
%%
%% All other members have to run, so members that are lost together are forgotten together: give all of them.
%%
%% Option: `timeout' (`infinity') in milliseconds. When it is over, or the caller ends, or another error comes, a part
%% may be done (the node is `forgetting'): forget it again. Errors: `{not_a_member, Node}'; `{node_up, Node}': it can be
%% reached, from here or from another member, so have it leave or stop it; `{node_unavailable, Node}': this other member
%% cannot be reached; `disk_full', `{io_error, Message}': it could not be noted.
-spec forget(warp_core:ctx(), node() | binary() | [node() | binary()], #{timeout => timeout()}) ->
    ok | {error, forget_error() | error() | warp_check:wrong()}.
forget(Ctx, Nodes, Options) ->
    with_timeout(Options, fun(Deadline) ->
        with_info(Ctx, Deadline, fun(Context, #{members := Members}) ->
            case names(Nodes, Members) of
                {ok, Names} -> warp_cluster_forget:forget(Context, Names, Deadline);
                {error, _} = Error -> Error
            end
        end)
    end).

%% No atom is made of a name.
names(Nodes, Members) when is_list(Nodes) ->
    Known = maps:from_list([{atom_to_binary(Node), Node} || Node <- maps:keys(Members)]),
    Text = fun(Node) when is_atom(Node) -> atom_to_binary(Node); (Node) -> Node end,
    case [Node || Node <- Nodes, not is_map_key(Text(Node), Known)] of
        [] -> {ok, lists:usort([maps:get(Text(Node), Known) || Node <- Nodes])};
        [Node | _] -> {error, {not_a_member, Node}}
    end;
names(Node, Members) ->
    names([Node], Members).

%% @doc Takes this node's folder for the right one, for an operator who knows that it is: the node serves its shards
%% then, but for those that another member owns by now. The context may still be starting, and so its name is enough.
%%
%% Errors: `not_in_doubt'; `forgotten': the others have forgotten this node, whose shards others have by now;
%% `disk_full', `{io_error, Message}': it could not be noted.
-spec adopt(warp_core:ctx() | binary()) ->
    ok | {error, not_in_doubt | forgotten | error() | disk_full | {io_error, binary()}}.
adopt(Name) when is_binary(Name) ->
    with(fun warp_context:find/1, {clustered, Name}, fun adopt_here/1);
adopt(Ctx) ->
    with(fun warp_context:of_handle/1, Ctx, fun adopt_here/1).

adopt_here(Context) -> warp_cluster_member:adopt(Context, soon()).

with_info(Ctx, Deadline, Fun) ->
    with(fun warp_context:of_handle/1, Ctx, fun(Context) ->
        case warp_cluster_member:info(Context, Deadline) of
            #{phase := _} = Info -> Fun(Context, Info);
            {error, _} = Error -> Error
        end
    end).

with(Find, Of, Fun) ->
    case Find(Of) of
        {ok, #{cluster := single_node}} -> {error, not_clustered};
        {ok, Context} -> Fun(Context);
        not_found -> {error, context_stopped}
    end.
