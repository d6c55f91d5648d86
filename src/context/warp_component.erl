%% @private A component is a feature of a context that lives in a room of its own. The context knows a
%% list of components and calls each through these callbacks, all of which are optional. A new
%% feature adds a folder, and one line in the list.
%%
%% A component that has to hear of commits follows the shard ({@link warp_follower}), so that a commit waits for
%% no component.
-module(warp_component).

-export([options/0, kinds/0, new/1, files/1, children/2, shard_children/2, await_started/1]).
-export([shard_opened/2, stats/1]).
-export([await_loaded/1, deletion_arrived/2, erase_steps/1, deleted/2]).

-export_type([settings/0, erase_step/0, deletion/0]).

%% The checked options of `warp_core:start/1'.
-type settings() :: #{atom() => term()}.
-type erase_step() :: {before_log | after_log, warp_erasure_list:step()}.
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
%% What the component adds to the context, such as its tables. The context's keeper calls this, and
%% owns the tables.
-callback new(settings()) -> #{atom() => term()}.
%% How many files the component has open at most, beside the files of the shards.
-callback files(settings()) -> non_neg_integer().
%% The component's processes. They start after the processes of the components that come earlier in the list.
-callback children(reference(), settings()) -> [supervisor:child_spec()].
%% The component's processes of one shard. They start after the owner of the shard's file.
-callback shard_children(warp_context:membership(), non_neg_integer()) -> [supervisor:child_spec()].
%% Waits until the component works, or says why the context cannot be started.
-callback await_started(warp_context:context()) -> ok | {error, term()}.
%% A shard was opened. The owner of its file calls this and waits, so the component only sends messages.
-callback shard_opened(warp_context:context(), non_neg_integer()) -> ok.
%% What the component adds to `warp_core:stats/1', without waiting for any process.
-callback stats(warp_context:context()) -> #{atom() => term()}.

%% Waits, for some seconds at most, until the component knows everything that the context's files hold for it.
%% A deletion begins after this.
-callback await_loaded(warp_context:context()) -> ok | {error, term()}.
%% The entity's process calls this when it takes a deletion, before it takes any later request.
-callback deletion_arrived(warp_context:context(), Entity :: binary()) -> ok.
%% The component's steps of a deletion: steps before the entity's log is erased, while nothing is appended to it,
%% and steps after. Files hold the names of steps, so a name never changes.
-callback erase_steps(warp_context:context()) -> [erase_step()].
%% Takes a step. A step is taken again after a crash. When a step before the log fails, the deletion ends with
%% that error; a step after the log that fails is taken again after a pause.
-callback erase(warp_erasure_list:step(), warp_context:context(), deletion()) -> ok | {error, term()}.
%% The deletion is done.
-callback deleted(warp_context:context(), deletion()) -> ok.

-optional_callbacks([await_loaded/1, deletion_arrived/2, erase_steps/1, erase/3, deleted/2]).
-optional_callbacks([options/0, kinds/0, new/1, files/1, children/2, shard_children/2, await_started/1,
                     shard_opened/2, stats/1]).

%% The components of every context, in the order in which their processes start.
-define(COMPONENTS, [warp_shard_component, warp_entity_component, warp_erasure_component,
                     warp_saga_component, warp_subscription_component, warp_projection_component]).

%% @doc The options of all components.
-spec options() -> [warp_check:option()].
options() ->
    lists:append(each(options, [])).

%% @doc The kinds of entities of all components.
-spec kinds() -> [warp_nif:kind()].
kinds() ->
    lists:append(each(kinds, [])).

%% @doc What all components add to a context that is starting.
-spec new(settings()) -> #{atom() => term()}.
new(Settings) ->
    merged(each(new, [Settings])).

%% @doc How many files all components have open at most.
-spec files(settings()) -> non_neg_integer().
files(Settings) ->
    lists:sum(each(files, [Settings])).

%% @doc The processes of all components, in the order of the list.
-spec children(reference(), settings()) -> [supervisor:child_spec()].
children(Ref, Settings) ->
    lists:append(each(children, [Ref, Settings])).

%% @doc The processes of all components for shard N.
-spec shard_children(warp_context:membership(), non_neg_integer()) -> [supervisor:child_spec()].
shard_children(Membership, N) ->
    lists:append(each(shard_children, [Membership, N])).

%% @doc Waits until each component works, one after the other. Gives the first error.
-spec await_started(warp_context:context()) -> ok | {error, term()}.
await_started(Context) ->
    until_error(having(await_started, 1), await_started, Context).

until_error([], _Callback, _Context) ->
    ok;
until_error([Component | Components], Callback, Context) ->
    case Component:Callback(Context) of
        ok -> until_error(Components, Callback, Context);
        {error, _} = Error -> Error
    end.

%% @doc Tells all components that shard N was opened.
-spec shard_opened(warp_context:context(), non_neg_integer()) -> ok.
shard_opened(Context, N) ->
    lists:foreach(fun(ok) -> ok end, each(shard_opened, [Context, N])).

%% @doc Waits until each component knows what the files hold for it, one after the other. Gives the first error.
-spec await_loaded(warp_context:context()) -> ok | {error, term()}.
await_loaded(Context) ->
    until_error(having(await_loaded, 1), await_loaded, Context).

%% @doc Tells all components that the entity's process has taken a deletion.
-spec deletion_arrived(warp_context:context(), Entity :: binary()) -> ok.
deletion_arrived(Context, Entity) ->
    lists:foreach(fun(ok) -> ok end, each(deletion_arrived, [Context, Entity])).

%% @doc The steps of all components, each with its component.
-spec erase_steps(warp_context:context()) -> [{Component :: module(), erase_step()}].
erase_steps(Context) ->
    [{Component, Step} || Component <- having(erase_steps, 1), Step <- Component:erase_steps(Context)].

%% @doc Tells all components that a deletion is done.
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
