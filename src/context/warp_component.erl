%% @private A component is a feature of a context that lives in a room of its own. The context knows a
%% list of components and calls each through these callbacks, all of which are optional. A new
%% feature adds a folder, and one line in the list.
%%
%% A component that has to hear of commits follows the shard ({@link warp_follower}), so that a commit waits for
%% no component.
-module(warp_component).

-export([options/0, kinds/0, check_folder/2, new/1, files/1, children/2, shard_children/2, await_started/1]).
-export([started/1, shard_opened/2, shard_closing/3, give/2, take/3, given/2, follower_children/2, stats/1]).
-export([await_loaded/1, deletion_arrived/2, deletion_elsewhere/2, deletion_told/3, erase_steps/1, erase/3, deleted/2]).

-export_type([settings/0, erase_step/0, deletion/0]).

%% The checked options of `warp_core:start/1'.
-type settings() :: #{atom() => term()}.
%% A step after the log is taken on each node of a cluster, or by the node alone that has the entity's shard.
-type erase_step() :: {before_log | after_log | after_log_at_owner, warp_erasure_list:step()}.
%% `incarnation' tells one life of an entity from another, and is 0 for an entity without events.
-type deletion() :: #{
    entity := binary(),
    shard := non_neg_integer(),
    incarnation := non_neg_integer(),
    %% Only for a step after the log: a step calls this to say what is still to be erased.
    left => fun((#{atom() => term()}) -> ok)
}.

%% The component's options of `warp_core:start/1'.
-callback options() -> [warp_check:option()].
%% The component's kinds of entities. The engine lists the open entities of each kind.
-callback kinds() -> [warp_nif:kind()].
%% Whether a context with these settings may run in this folder, which is locked. Called before anything is opened.
-callback check_folder(settings(), Dir :: binary()) -> ok | {error, term()}.
%% What the component adds to the context, such as its tables. The context's keeper calls this, and
%% owns the tables.
-callback new(settings()) -> #{atom() => term()}.
%% How many files the component has open at most, beside the files of the shards.
-callback files(settings()) -> non_neg_integer().
%% The component's processes. They start after the processes of the components that come earlier in the list.
-callback children(warp_context:ref(), settings()) -> [supervisor:child_spec()].
%% The component's processes of one shard. They start after the owner of the shard's file.
-callback shard_children(warp_context:membership(), non_neg_integer()) -> [supervisor:child_spec()].
%% Waits until the component works, or says why the context cannot be started.
-callback await_started(warp_context:context()) -> ok | {error, term()}.
%% The start of the context is over.
-callback started(warp_context:context()) -> ok.
%% The component's processes on a node for a shard that is on another one, whose log they follow.
-callback follower_children(warp_context:membership(), non_neg_integer()) -> [supervisor:child_spec()].
%% A shard is going to be closed, to be handed to another node, and nothing begins in it any more. Waits until all that
%% has begun is done.
-callback shard_closing(warp_context:context(), non_neg_integer(), warp_deadline:deadline()) -> ok | {error, timeout}.
%% What the component keeps beside the file of shard N, which is frozen and whose processes have ended, for the node
%% that gets the shard. The component does nothing with it any more, unless the shard is opened here again.
-callback give(warp_context:context(), non_neg_integer()) -> {ok, term()} | {error, term()}.
%% Keeps, on disk when this returns, what another node gave with shard N, in place of what it gave before. It has no
%% effect before the shard is here.
-callback take(warp_context:context(), non_neg_integer(), term()) -> ok | {error, term()}.
%% Shard N has another owner: removes what was given with it. May be called again.
-callback given(warp_context:context(), non_neg_integer()) -> ok | {error, term()}.
%% A shard was opened. The owner of its file calls this and waits, so the component only sends messages.
-callback shard_opened(warp_context:context(), non_neg_integer()) -> ok.
%% What the component adds to `warp_core:stats/1', without waiting for any process of this node.
-callback stats(warp_context:context()) -> #{atom() => term()}.

%% Waits, for some seconds at most, until the component knows everything that the context's files hold for it.
%% A deletion begins after this.
-callback await_loaded(warp_context:context()) -> ok | {error, term()}.
%% The entity's process calls this when it takes a deletion, before it takes any later request.
-callback deletion_arrived(warp_context:context(), Entity :: binary()) -> ok.
%% An entity whose shard is on another node is about to be deleted there. What the component gives is handed to
%% `deletion_told' on that node.
-callback deletion_elsewhere(warp_context:context(), Entity :: binary()) -> {ok, term()} | {error, term()}.
%% What the component on another node has given, about an entity of this node.
-callback deletion_told(warp_context:context(), Entity :: binary(), term()) -> ok.
%% The component's steps of a deletion: steps before the entity's log is erased, while nothing is appended to it,
%% and steps after. Files hold the names of steps, so a name never changes.
-callback erase_steps(warp_context:context()) -> [erase_step()].
%% Takes a step. A step is taken again after a crash. When a step before the log fails, the deletion ends with that
%% error; a step after the log that fails is taken again after a pause. `later': what is left of a step before the log,
%% since it concerns nodes that cannot be reached, as steps whose names begin with that of the step and `:'. They are
%% taken once the log is erased, again and again until they work.
-callback erase(warp_erasure_list:step(), warp_context:context(), deletion()) ->
    ok | {later, [warp_erasure_list:step()]} | {error, term()}.
%% Nothing is left to be erased on this node, or the entity is kept after all.
-callback deleted(warp_context:context(), deletion()) -> ok.

-optional_callbacks([await_loaded/1, deletion_arrived/2, deletion_elsewhere/2, deletion_told/3]).
-optional_callbacks([erase_steps/1, erase/3, deleted/2]).
-optional_callbacks([options/0, kinds/0, check_folder/2, new/1, files/1, children/2, shard_children/2, await_started/1,
                     started/1, follower_children/2, shard_closing/3, give/2, take/3, given/2,
                     shard_opened/2, stats/1]).

%% The components of every context, in the order in which their processes start.
-define(COMPONENTS, [warp_cluster_component, warp_shard_component, warp_entity_component, warp_erasure_component,
                     warp_backup_component, warp_saga_component, warp_subscription_component, warp_projection_component,
                     warp_control_component]).

%% @doc The options of all components.
-spec options() -> [warp_check:option()].
options() ->
    lists:append(each(options, [])).

%% @doc The kinds of entities of all components.
-spec kinds() -> [warp_nif:kind()].
kinds() ->
    lists:append(each(kinds, [])).

%% @doc Whether a context may run in a folder, as all components say. Gives the first error.
-spec check_folder(settings(), Dir :: binary()) -> ok | {error, term()}.
check_folder(Settings, Dir) ->
    until_error(having(check_folder, 2), check_folder, [Settings, Dir]).

%% @doc What all components add to a context that is starting.
-spec new(settings()) -> #{atom() => term()}.
new(Settings) ->
    merged(each(new, [Settings])).

%% @doc How many files all components have open at most.
-spec files(settings()) -> non_neg_integer().
files(Settings) ->
    lists:sum(each(files, [Settings])).

%% @doc The processes of all components, in the order of the list.
-spec children(warp_context:ref(), settings()) -> [supervisor:child_spec()].
children(Ref, Settings) ->
    lists:append(each(children, [Ref, Settings])).

%% @doc The processes of all components for shard N.
-spec shard_children(warp_context:membership(), non_neg_integer()) -> [supervisor:child_spec()].
shard_children(Membership, N) ->
    lists:append(each(shard_children, [Membership, N])).

%% @doc Waits until each component works, one after the other. Gives the first error.
-spec await_started(warp_context:context()) -> ok | {error, term()}.
await_started(Context) ->
    until_error(having(await_started, 1), await_started, [Context]).

until_error([], _Callback, _Args) ->
    ok;
until_error([Component | Components], Callback, Args) ->
    case apply(Component, Callback, Args) of
        ok -> until_error(Components, Callback, Args);
        {error, _} = Error -> Error
    end.

%% @doc Tells all components that the start of the context is over.
-spec started(warp_context:context()) -> ok.
started(Context) ->
    lists:foreach(fun(ok) -> ok end, each(started, [Context])).

%% @doc The processes of all components that follow the log of shard N, which is on another node.
-spec follower_children(warp_context:membership(), non_neg_integer()) -> [supervisor:child_spec()].
follower_children(Membership, N) ->
    lists:append(each(follower_children, [Membership, N])).

%% @doc Waits until each component is done with shard N, one after the other, the highest first. Gives the first error.
-spec shard_closing(warp_context:context(), non_neg_integer(), warp_deadline:deadline()) -> ok | {error, timeout}.
shard_closing(Context, N, Deadline) ->
    until_error(lists:reverse(having(shard_closing, 3)), shard_closing, [Context, N, Deadline]).

%% @doc What all components keep beside the file of shard N, by component. Gives the first error.
-spec give(warp_context:context(), non_neg_integer()) -> {ok, [{module(), term()}]} | {error, term()}.
give(Context, N) ->
    Given = [{Component, Component:give(Context, N)} || Component <- having(give, 2)],
    case [Error || {_, {error, _} = Error} <- Given] of
        [] -> {ok, [{Component, Term} || {Component, {ok, Term}} <- Given]};
        [Error | _] -> Error
    end.

%% @doc Has each component keep what it was given with shard N. Gives the first error. A component that this version
%% does not have cannot keep anything: `{unknown_component, Component}'.
-spec take(warp_context:context(), non_neg_integer(), [{module(), term()}]) -> ok | {error, term()}.
take(Context, N, Given) ->
    Having = having(take, 3),
    case [Component || {Component, _} <- Given, not lists:member(Component, Having)] of
        [] -> taken([{Component, Term} || Component <- Having, {Of, Term} <- Given, Of =:= Component], Context, N);
        [Unknown | _] -> {error, {unknown_component, Unknown}}
    end.

taken([], _Context, _N) ->
    ok;
taken([{Component, Term} | Given], Context, N) ->
    case Component:take(Context, N, Term) of
        ok -> taken(Given, Context, N);
        {error, _} = Error -> Error
    end.

%% @doc Has all components remove what they gave with shard N. Gives the first error.
-spec given(warp_context:context(), non_neg_integer()) -> ok | {error, term()}.
given(Context, N) ->
    until_error(having(given, 2), given, [Context, N]).

%% @doc Tells all components that shard N was opened.
-spec shard_opened(warp_context:context(), non_neg_integer()) -> ok.
shard_opened(Context, N) ->
    lists:foreach(fun(ok) -> ok end, each(shard_opened, [Context, N])).

%% @doc Waits until each component knows what the files hold for it, one after the other. Gives the first error.
-spec await_loaded(warp_context:context()) -> ok | {error, term()}.
await_loaded(Context) ->
    until_error(having(await_loaded, 1), await_loaded, [Context]).

%% @doc Tells all components that the entity's process has taken a deletion.
-spec deletion_arrived(warp_context:context(), Entity :: binary()) -> ok.
deletion_arrived(Context, Entity) ->
    lists:foreach(fun(ok) -> ok end, each(deletion_arrived, [Context, Entity])).

%% @doc Tells all components of the deletion of an entity of another node. Gives what they have to say to that node, or
%% the first error.
-spec deletion_elsewhere(warp_context:context(), Entity :: binary()) -> {ok, [{module(), term()}]} | {error, term()}.
deletion_elsewhere(Context, Entity) ->
    Said = [{Component, Component:deletion_elsewhere(Context, Entity)} || Component <- having(deletion_elsewhere, 2)],
    case [Error || {_, {error, _} = Error} <- Said] of
        [] -> {ok, [{Component, Term} || {Component, {ok, Term}} <- Said]};
        [Error | _] -> Error
    end.

%% @doc Hands what {@link deletion_elsewhere/2} gave on another node to the components here.
-spec deletion_told(warp_context:context(), Entity :: binary(), [{module(), term()}]) -> ok.
deletion_told(Context, Entity, Told) ->
    lists:foreach(
        fun({Component, Term}) ->
            _ = [ok = Of:deletion_told(Context, Entity, Term) || Of <- having(deletion_told, 3), Of =:= Component],
            ok
        end,
        Told).

%% @doc Has the component of a step take it. `{unknown_step, Step}': no component has such a step; it was noted by
%% another version, or while the context had another target.
-spec erase(warp_erasure_list:step(), warp_context:context(), deletion()) ->
    ok | {later, [warp_erasure_list:step()]} | {error, term()}.
erase(Step, Context, Deletion) ->
    [Name | _] = binary:split(Step, <<":">>),
    case [Component || {Component, {_, Of}} <- erase_steps(Context), Of =:= Name] of
        [Component] -> Component:erase(Step, Context, Deletion);
        [] -> {error, {unknown_step, Step}}
    end.

%% @doc The steps of all components, each with its component.
-spec erase_steps(warp_context:context()) -> [{Component :: module(), erase_step()}].
erase_steps(Context) ->
    [{Component, Step} || Component <- having(erase_steps, 1), Step <- Component:erase_steps(Context)].

%% @doc Tells all components that a deletion has nothing left to do on this node.
-spec deleted(warp_context:context(), deletion()) -> ok.
deleted(Context, Deletion) ->
    lists:foreach(fun(ok) -> ok end, each(deleted, [Context, Deletion])).

%% @doc The statistics of all components.
-spec stats(warp_context:context()) -> #{atom() => term()}.
stats(Context) ->
    merged(each(stats, [Context])).

each(Callback, Args) ->
    [apply(Component, Callback, Args) || Component <- having(Callback, length(Args))].

having(Callback, Arity) ->
    [Component || Component <- ?COMPONENTS,
                  {module, Component} =:= code:ensure_loaded(Component),
                  erlang:function_exported(Component, Callback, Arity)].

%% Two components with the same key are a bug that nobody would notice otherwise.
merged(Maps) ->
    Pairs = lists:append([maps:to_list(Map) || Map <- Maps]),
    Merged = maps:from_list(Pairs),
    case map_size(Merged) =:= length(Pairs) of
        true -> Merged;
        false -> error({key_of_two_components, [Key || {Key, _} <- Pairs -- maps:to_list(Merged)]})
    end.
