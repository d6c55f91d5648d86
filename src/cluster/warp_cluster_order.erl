%% @private Which calls of nodes run one after the other, and which come too late: see `warp_cluster_call:order()'.
%% Pure: {@link warp_cluster_server} runs them.
-module(warp_cluster_order).

-export([new/0, next/3, began/3, ended/2]).

-export_type([order/0]).

-record(order, {
    %% The process that runs the last call with each key, and the key of each process.
    last = #{} :: #{Key :: term() => pid()},
    keys = #{} :: #{pid() => Key :: term()},
    %% The highest epoch of each shard whose owner has made a call.
    epochs = #{} :: #{non_neg_integer() => non_neg_integer()}
}).
-opaque order() :: #order{}.

-spec new() -> order().
new() -> #order{}.

%% @doc Which process a call has to wait for; or that the shard has another owner by now, as this node knows, or as the
%% calls of that owner say.
-spec next(warp_cluster_call:order(), Known :: non_neg_integer(), order()) ->
    {ok, pid() | none} | {error, {old_epoch, non_neg_integer()}}.
next({Key, N, Epoch}, Known, #order{last = Last, epochs = Epochs}) ->
    case max(Known, maps:get(N, Epochs, 0)) of
        Newest when Newest > Epoch -> {error, {old_epoch, N}};
        _ -> {ok, maps:get(Key, Last, none)}
    end.

%% @doc A process runs the call.
-spec began(warp_cluster_call:order(), pid(), order()) -> order().
began({Key, N, Epoch}, Pid, #order{last = Last, keys = Keys, epochs = Epochs}) ->
    #order{last = Last#{Key => Pid}, keys = Keys#{Pid => Key}, epochs = Epochs#{N => Epoch}}.

%% @doc A process has ended, whether it has run such a call or not.
-spec ended(pid(), order()) -> order().
ended(Pid, #order{last = Last, keys = Keys} = Order) ->
    case maps:take(Pid, Keys) of
        {Key, Left} when map_get(Key, Last) =:= Pid -> Order#order{last = maps:remove(Key, Last), keys = Left};
        {_Key, Left} -> Order#order{keys = Left};
        error -> Order
    end.
