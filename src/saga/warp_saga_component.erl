%% @private The sagas of a context, as a component.
-module(warp_saga_component).
-behaviour(warp_component).

-export([options/0, new/1, shard_children/2, stats/1]).

-spec options() -> [warp_check:option()].
options() ->
    warp_saga_options:start().

%% @doc `steps' is the option, `saga_rules' is what the NIF checks the events of sagas against, and
%% `sagas' is the table of `warp_saga_table'.
-spec new(warp_component:settings()) -> #{atom() => term()}.
new(#{steps := Steps}) ->
    #{steps => Steps,
      saga_rules => warp_saga_plan:rules(),
      sagas => warp_saga_table:new()}.

-spec shard_children(warp_context:membership(), non_neg_integer()) -> [supervisor:child_spec()].
shard_children(Membership, N) ->
    %% All that the keeper knows is in the file.
    [#{id => sagas, start => {warp_saga_keeper, start_link, [Membership, N]}, shutdown => brutal_kill}].

-spec stats(warp_context:context()) -> #{atom() => term()}.
stats(Context) ->
    #{sagas => warp_saga_stats:read(Context)}.
