%% @private The sagas of a context, as a component.
-module(warp_saga_component).
-behaviour(warp_component).

-export([options/0, kinds/0, new/1, shard_children/2, shard_opened/2, stats/1]).
-export([await_loaded/1, deletion_arrived/2, erase_steps/1, erase/3]).

-spec options() -> [warp_check:option()].
options() ->
    warp_saga_options:start().

-spec kinds() -> [warp_nif:kind()].
kinds() ->
    [warp_saga_plan:kind()].

%% @doc `steps' and `keep_sagas' are the options, `saga_rules' is what the NIF checks the events of sagas against, and
%% `sagas' is the table of `warp_saga_table'.
-spec new(warp_component:settings()) -> #{atom() => term()}.
new(#{steps := Steps, keep_sagas := Keep}) ->
    #{steps => Steps,
      keep_sagas => Keep,
      saga_rules => warp_saga_plan:rules(),
      sagas => warp_saga_table:new()}.

-spec shard_children(warp_context:membership(), non_neg_integer()) -> [supervisor:child_spec()].
shard_children(Membership, N) ->
    %% All that the keeper knows is in the file.
    [#{id => sagas, start => {warp_saga_keeper, start_link, [Membership, N]}, shutdown => brutal_kill},
     #{id => saga_sweeper, start => {warp_saga_sweeper, start_link, [Membership, N]}, shutdown => brutal_kill}].

-spec shard_opened(warp_context:context(), non_neg_integer()) -> ok.
shard_opened(Context, N) ->
    warp_saga_keeper:shard_opened(Context, N).

-spec stats(warp_context:context()) -> #{atom() => term()}.
stats(Context) ->
    #{sagas => warp_saga_stats:read(Context)}.

%% @doc While a shard is not open its sagas are not known.
-spec await_loaded(warp_context:context()) -> ok | {error, term()}.
await_loaded(Context) ->
    warp_saga_loaded:await(Context).

%% @doc From here on what sagas ask of the entity is refused.
-spec deletion_arrived(warp_context:context(), Entity :: binary()) -> ok.
deletion_arrived(Context, Entity) ->
    warp_saga_table:doom(Context, Entity).

-spec erase_steps(warp_context:context()) -> [warp_component:erase_step()].
erase_steps(_Context) ->
    [{before_log, <<"sagas">>}].

-spec erase(warp_erasure_list:step(), warp_context:context(), warp_component:deletion()) ->
    ok | {error, term()}.
erase(<<"sagas">>, Context, #{entity := Entity}) ->
    warp_saga_erase:clear(Context, Entity).
