%% @private Which subscriptions there are, and how they are. No other module knows the shape of this table.
-module(warp_subscription_table).

-export([new/0, put/3, remove/2, concerned/2, all/1]).
-export([put_name/3, remove_name/2, names/1, put_why/3, why/1]).

-export_type([info/0, name/0]).

-type info() :: #{
    source := warp_subscription_cursor:source(),
    subscriber := pid(),
    name := none | binary(),
    state := warp_subscription_core:state(),
    since := warp_core:micros(),
    positions := #{non_neg_integer() => non_neg_integer()},
    %% How many entities wait for a consumer of a name that another node keeps.
    waiting := {Retrying :: non_neg_integer(), Parked :: non_neg_integer()}
}.

%% How a name is.
-type name() :: #{
    %% Up to where everything was acknowledged in the shards that nobody consumes.
    marks := warp_subscription_names:marks(),
    %% Since when it is so, if one of its consumers is missing.
    since := warp_core:micros(),
    %% Entities that wait.
    held := [#{shard := non_neg_integer(), state := retrying | parked | skipping}],
    %% Who consumes it, and by slot which shards.
    active := #{warp_subscription_group:slot() => pid()},
    slots := [[non_neg_integer()]]
}.

%% @doc The table, which the calling process owns: {{Route, Pid}, Info}, {{name, Name}, How it is}, and {{why, Pid},
%% why a subscriber stalls}.
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

%% @doc Shows how a name is.
-spec put_name(warp_context:context(), Name :: binary(), name()) -> ok.
put_name(#{subscriptions := Table}, Name, Info) ->
    true = ets:insert(Table, {{name, Name}, Info}),
    ok.

-spec remove_name(warp_context:context(), Name :: binary()) -> ok.
remove_name(#{subscriptions := Table}, Name) ->
    true = ets:delete(Table, {name, Name}),
    ok.

%% @doc All names.
-spec names(warp_context:context()) -> [{Name :: binary(), name()}].
names(#{subscriptions := Table}) ->
    try
        [{Name, Info} || [Name, Info] <- ets:match(Table, {{name, '$1'}, '$2'})]
    catch
        error:badarg -> []
    end.

%% @doc Shows why the calling subscriber, one that Warp runs, does not go on; `none' when it does.
-spec put_why(warp_context:context(), Name :: binary(), none | {Why :: term(), Since :: warp_core:micros()}) -> ok.
put_why(#{subscriptions := Table}, Name, Why) ->
    try
        case Why of
            none -> ets:delete(Table, {why, self()});
            {Because, Since} -> ets:insert(Table, {{why, self()}, {Name, Because, Since}})
        end
    of
        true -> ok
    catch
        %% A subscriber may outlast the keeper of the table.
        error:badarg -> ok
    end.

%% @doc Why subscribers do not go on, each with its name.
-spec why(warp_context:context()) -> [{pid(), {Name :: binary(), Why :: term(), Since :: warp_core:micros()}}].
why(#{subscriptions := Table}) ->
    try
        %% One that was killed leaves its row.
        [{Pid, Why} || [Pid, Why] <- ets:match(Table, {{why, '$1'}, '$2'}),
                       is_process_alive(Pid) orelse not ets:delete(Table, {why, Pid})]
    catch
        error:badarg -> []
    end.

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
