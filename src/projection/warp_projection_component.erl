%% @private The projection of a context, as a component. A context that projects nothing has no processes for it.
%%
%% The modules of this room, in the order in which an event passes them (their names have the prefix
%% `warp_projection_'):
%% <ul>
%% <li>`worker' reads a piece of a shard's log; `fold' computes states, which `states' keeps on disk, and
%%   calls `project'; `user_code' shows in which call it is; `command' checks what `project' returns; `merge'
%%   makes changes of rows of the commands.</li>
%% <li>`projector' hands a piece to the writer; `core' and `core_state' decide, with `blame', `watch',
%%   `waiters', `retry' and `aside', what it does next.</li>
%% <li>`writer' carries pieces out, each of which is a `batch'; `catalog' knows what the target has, `setup'
%%   finds that out, `schema' knows tables and columns, `erase_rows' erases entities, and the `sql_*' modules
%%   have all SQL, with `sums' of counted columns.</li>
%% <li>`target' is what the writer writes to: `embedded', or an rqlite, which has a room of its own.</li>
%% <li>`rebuild' leads a rebuild, and `swap' ends it; `query', `query_pool' and `query_queue' run queries of
%%   users; `erase' is the projection's step of a deletion; `progress' and `stats' show how far all of it
%%   is; `table' is what all of them share.</li>
%% </ul>
-module(warp_projection_component).
-behaviour(warp_component).

-export([options/0, new/1, files/1, children/2, await_started/1, shard_opened/2, stats/1]).
-export([erase_steps/1, erase/3, deleted/2]).

%% The projection's file and its readers.
-define(FILES, 12).

-spec options() -> [warp_check:option()].
options() ->
    [{projections, none, fun warp_projection_options:check/1}].

%% @doc A projection that is left untouched is none, but for deletions.
-spec new(warp_component:settings()) ->
    #{projections := warp_projection_options:settings(), is_projection_untouched := boolean()}.
new(#{projections := untouched}) -> #{projections => none, is_projection_untouched => true};
new(#{projections := Projections}) -> #{projections => Projections, is_projection_untouched => false}.

-spec files(warp_component:settings()) -> non_neg_integer().
files(#{projections := Is}) when Is =:= none; Is =:= untouched -> 0;
files(#{projections := _}) -> ?FILES.

-spec children(warp_context:ref(), warp_component:settings()) -> [supervisor:child_spec()].
children(_Ref, #{projections := Is}) when Is =:= none; Is =:= untouched ->
    [];
children(Ref, #{projections := _}) ->
    [#{id => projection, start => {warp_projection_sup, start_link, [Ref]}, type => supervisor,
       shutdown => infinity}].

%% @doc A context starts when its target is unreachable, but not when the target belongs to another context.
-spec await_started(warp_context:context()) -> ok | {error, term()}.
await_started(#{is_projection_untouched := true}) ->
    ok;
await_started(#{projections := none} = Context) ->
    warp_erasure:claim_target(Context, none);
await_started(#{projections := #{target := Target}} = Context) ->
    case warp_erasure:claim_target(Context, atom_to_binary(Target)) of
        ok ->
            case warp_projection_table:process(Context, writer) of
                {ok, Writer} -> warp_projection_writer:status(Writer);
                none -> {error, interrupted}
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc The projectors of a target that nodes share begin with the shard.
-spec shard_opened(warp_context:context(), non_neg_integer()) -> ok.
shard_opened(#{projections := none}, _N) ->
    ok;
shard_opened(Context, N) ->
    case warp_projection_table:is_shared(Context) andalso warp_projection_table:process(Context, manager) of
        {ok, Manager} -> warp_projection_rebuild:shard_opened(Manager, N);
        _ -> ok
    end.

-spec stats(warp_context:context()) -> #{atom() => term()}.
stats(#{projections := none}) -> #{};
stats(Context) -> #{projections => warp_projection_stats:context(Context)}.

%% @doc The step has the name of the target, so that it is never taken on another target.
%% A projection that is left untouched would keep the entity, so that nothing is deleted.
-spec erase_steps(warp_context:context()) -> [warp_component:erase_step()].
erase_steps(#{is_projection_untouched := true}) -> [{before_log, <<"untouched">>}];
erase_steps(#{projections := none}) -> [];
erase_steps(#{projections := #{target := embedded}}) -> [{after_log, <<"embedded">>}];
%% All nodes of a cluster have one rqlite.
erase_steps(#{projections := #{target := rqlite}}) -> [{after_log_at_owner, <<"rqlite">>}].

-spec erase(warp_erasure_list:step(), warp_context:context(), warp_component:deletion()) ->
    ok | {error, {was_projected, Path :: binary()}}.
erase(<<"untouched">>, Context, _Deletion) ->
    {error, {was_projected, warp_erasure_list:path(Context)}};
erase(_Target, Context, Deletion) ->
    warp_projection_erase:rows(Context, Deletion).

%% @doc Projectors may have waited for the deletion.
-spec deleted(warp_context:context(), warp_component:deletion()) -> ok.
deleted(#{projections := none}, _Deletion) -> ok;
deleted(Context, Deletion) -> warp_projection_erase:done(Context, Deletion).
