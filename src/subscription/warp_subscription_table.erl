%% @private Which subscriptions there are, and how they are. No other module knows the shape of this table.
-module(warp_subscription_table).

-export([new/0, put/3, remove/2, concerned/2, all/1]).

-export_type([info/0]).

-type info() :: #{
    source := warp_subscription_cursor:source(),
    subscriber := pid(),
    state := warp_subscription_core:state(),
    since := warp_core:micros(),
    positions := #{non_neg_integer() => non_neg_integer()}
}.

%% @doc The table, which the calling process owns: {{Route, Pid}, Info}.
-spec new() -> ets:table().
new() ->
    ets:new(warp_subscriptions, [public, ordered_set, {read_concurrency, true}]).

%% @doc Shows how the subscription of the calling process is.
-spec put(warp_context:context(), warp_subscription_filter:route(), info()) -> ok.
put(#{subscriptions := Table}, Route, Info) ->
    true = ets:insert(Table, {{Route, self()}, Info}),
    ok.

%% @doc The subscription of the calling process is over.
-spec remove(warp_context:context(), warp_subscription_filter:route()) -> ok.
remove(#{subscriptions := Table}, Route) ->
    try ets:delete(Table, {Route, self()}) of
        true -> ok
    catch
        %% The keeper of the table has ended.
        error:badarg -> ok
    end.

%% @doc The processes of the subscriptions that may get events of an entity.
-spec concerned(warp_context:context(), binary()) -> [pid()].
concerned(#{subscriptions := Table}, Entity) ->
    Wide = [Pid || [Prefix, Pid] <- ets:match(Table, {{{prefix, '$1'}, '$2'}, '_'}),
                   warp_subscription_filter:concerns(Entity, {prefix, Prefix})],
    [Pid || [Pid] <- ets:match(Table, {{{entity, Entity}, '$1'}, '_'})] ++ Wide.

%% @doc All subscriptions.
-spec all(warp_context:context()) -> [{pid(), info()}].
all(#{subscriptions := Table}) ->
    try ets:match(Table, {{{'$1', '$2'}, '$3'}, '$4'}) of
        %% One that was killed leaves its row.
        Rows -> [{Pid, Info} || [Kind, Of, Pid, Info] <- Rows,
                                is_process_alive(Pid) orelse not ets:delete(Table, {{Kind, Of}, Pid})]
    catch
        error:badarg -> []
    end.
