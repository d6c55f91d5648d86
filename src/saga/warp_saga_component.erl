%% @private The sagas of a context, as a component.
-module(warp_saga_component).
-behaviour(warp_component).

-export([options/0, kinds/0, new/1, shard_children/2, shard_opened/2, stats/1]).
-export([shard_closing/3, give/2, take/3]).
-export([await_loaded/1, deletion_arrived/2, deletion_elsewhere/2, deletion_told/3, erase_steps/1, erase/3]).

%% How long sagas of a shard that is handed over may take to come to their end.
-define(CLOSING_MS, 200).
-define(LOOK_AGAIN, {10, infinity}).

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

%% @doc Sagas that are about to come to their end do so. The others go on with the next owner of the shard, which finds
%% them in the file: their processes end with those of the shard.
-spec shard_closing(warp_context:context(), non_neg_integer(), warp_deadline:deadline()) -> ok.
shard_closing(Context, N, Deadline) ->
    Soon = warp_deadline:earlier(Deadline, warp_deadline:from(?CLOSING_MS)),
    _ = warp_retry:while(fun(Runners) -> Runners =/= [] end, ?LOOK_AGAIN, Soon,
                         fun() -> warp_saga_table:runners(Context, N) end),
    ok.

%% @doc The file has all of a shard's sagas.
-spec give(warp_context:context(), non_neg_integer()) -> {ok, none}.
give(Context, N) ->
    ok = warp_saga_keeper:end_runners(Context, N),
    ok = warp_saga_table:forget(Context, N),
    {ok, none}.

-spec take(warp_context:context(), non_neg_integer(), none) -> ok.
take(_Context, _N, none) ->
    ok.

-spec stats(warp_context:context()) -> #{atom() => term()}.
stats(Context) ->
    #{sagas => warp_saga_stats:read(Context)}.

%% @doc While a shard of this node is not open its sagas are not known.
-spec await_loaded(warp_context:context()) -> ok | {error, term()}.
await_loaded(Context) ->
    warp_saga_loaded:await(Context).

%% @doc From here on what sagas ask of the entity is refused.
-spec deletion_arrived(warp_context:context(), Entity :: binary()) -> ok.
deletion_arrived(Context, Entity) ->
    warp_saga_table:doom(Context, Entity).

%% @doc From here on what sagas of this node ask of that entity of another node is refused. Gives their ids.
-spec deletion_elsewhere(warp_context:context(), Entity :: binary()) -> {ok, [binary()]} | {error, term()}.
deletion_elsewhere(Context, Entity) ->
    warp_saga_erase:elsewhere(Context, Entity).

%% @doc From here on what these sagas of another node ask of the entity is refused.
-spec deletion_told(warp_context:context(), Entity :: binary(), [binary()]) -> ok.
deletion_told(Context, Entity, Ids) ->
    warp_saga_erase:told(Context, Entity, Ids).

-spec erase_steps(warp_context:context()) -> [warp_component:erase_step()].
erase_steps(_Context) ->
    [{before_log, <<"sagas">>}].

-spec erase(warp_erasure_list:step(), warp_context:context(), warp_component:deletion()) ->
    ok | {later, [warp_erasure_list:step()]} | {error, term()}.
erase(<<"sagas">>, Context, #{entity := Entity}) ->
    warp_saga_erase:clear(Context, Entity);
%% What was left for later.
erase(<<"sagas:", _/binary>> = Step, Context, #{entity := Entity}) ->
    warp_saga_erase:later(Context, {Step, Entity}).
