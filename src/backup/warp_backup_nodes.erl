%% @private The nodes that have the shards of a context, as a backup asks them. In a context of a single node that is
%% this one alone.
-module(warp_backup_nodes).

-export([of_shards/2, ask/3, ask_all/2]).

-export_type([place/0]).

%% This node, or what takes calls on another one.
-type place() :: here | pid().

%% @doc Which node has which of these shards. Errors: `{shard_unavailable, N}', for one that is not open, or that is
%% being handed over; `{node_unavailable, Node}'.
-spec of_shards(warp_context:context(), [non_neg_integer()]) ->
    {ok, [{place(), [non_neg_integer()]}]} | {error, warp_context:unavailable()}.
of_shards(Context, Ns) -> of_shards(Ns, Context, #{}).

of_shards([], _Context, Places) ->
    {ok, [{Place, lists:sort(Ns)} || {_, {Place, Ns}} <- lists:sort(maps:to_list(Places))]};
of_shards([N | Ns], Context, Places) ->
    case {warp_context_owners:where(Context, N), warp_context:log(Context, N)} of
        {here, {ok, _}} ->
            of_shards(Ns, Context, with(node(), here, N, Places));
        {{at, Node}, {ok, {remote, Server, _, _, _}}} ->
            of_shards(Ns, Context, with(Node, Server, N, Places));
        {_, {error, _} = Error} ->
            Error;
        {_, {ok, _}} ->
            {error, {shard_unavailable, N}}
    end.

with(Node, Place, N, Places) ->
    maps:update_with(Node, fun({First, Ns}) -> {First, [N | Ns]} end, {Place, [N]}, Places).

%% @doc Has a function run there. Errors beside those of the function: see {@link warp_cluster_call:ask/3}.
-spec ask(place(), warp_cluster_call:call(), warp_deadline:deadline()) -> term().
ask(here, {Module, Function, Args}, _Deadline) ->
    apply(Module, Function, Args);
ask(Server, Call, Deadline) ->
    case warp_cluster_call:ask(Server, Call, Deadline) of
        {error, {unknown_outcome, Node}} -> {error, {node_unavailable, Node}};
        Result -> Result
    end.

%% @doc Asks several at once, and gives the answers in the same order.
-spec ask_all([{place(), warp_cluster_call:call()}], warp_deadline:deadline()) -> [term()].
ask_all(Calls, Deadline) ->
    Asked = [begin
                 Alias = warp_call:alias(),
                 _ = spawn(fun() -> warp_call:answer(Alias, ask(Place, Call, Deadline)) end),
                 Alias
             end || {Place, Call} <- Calls],
    [case warp_call:await(Alias, warp_deadline:left(Deadline)) of
         {answer, Answer} ->
             Answer;
         none ->
             ok = warp_call:give_up(#{Alias => []}),
             {error, timeout}
     end || Alias <- Asked].
