%% @private A component: a feature of a context that lives in a room of its own. The context knows a
%% list of components and calls each through these callbacks, all of which are optional. A new
%% feature adds a folder, and one line in the list.
%%
%% A component that has to hear of commits follows the shard ({@link warp_follower}): a commit waits
%% for nobody.
-module(warp_component).

-export([options/0, kinds/0, new/1, files/1, children/2, shard_children/2, await_started/1]).
-export([shard_opened/2, stats/1]).
-export([await_loaded/1, deletion_arrived/2, erase_steps/1, deleted/2]).

-export_type([settings/0, erase_step/0, deletion/0]).

%% The checked options of `warp_core:start/1'.
-type settings() :: #{atom() => term()}.
-type erase_step() :: {before_log | after_log, warp_erasure_list:step()}.
%% `incarnation' tells one life of an entity from another; 0 when it had no events.
-type deletion() :: #{
    entity := binary(),
    shard := non_neg_integer(),
    incarnation := non_neg_integer(),
    %% Of a step after the log.
    left => fun((#{atom() => term()}) -> ok)
}.

%% The options of `warp_core:start/1' that are the component's.
-callback options() -> [warp_check:option()].
%% Kinds of entities that are its own: of each kind the engine lists the open ones.
-callback kinds() -> [warp_nif:kind()].
%% What the component adds to the context, such as its tables. The context's keeper calls this, and
%% owns the tables.
-callback new(settings()) -> #{atom() => term()}.
%% How many files it has open at most, beside those of the shards.
-callback files(settings()) -> non_neg_integer().
%% Its processes, behind those of the components that stand before it in the list.
-callback children(reference(), settings()) -> [supervisor:child_spec()].
%% Its processes of one shard, behind the owner of the shard's file.
-callback shard_children(warp_context:membership(), non_neg_integer()) -> [supervisor:child_spec()].
%% Waits until the component works, or says why the context cannot be started.
-callback await_started(warp_context:context()) -> ok | {error, term()}.
%% A shard was opened. Called by the owner of its file, which waits: so it only sends messages.
-callback shard_opened(warp_context:context(), non_neg_integer()) -> ok.
%% What it adds to `warp_core:stats/1', without waiting for anybody.
-callback stats(warp_context:context()) -> #{atom() => term()}.

%% Waits until the component knows all that the context's files have of it, for some seconds at most.
%% No deletion begins before.
-callback await_loaded(warp_context:context()) -> ok | {error, term()}.
%% The entity's process has a deletion of the entity. It calls this, before anything that comes later.
-callback deletion_arrived(warp_context:context(), Entity :: binary()) -> ok.
%% The steps of a deletion that are the component's: those before the log of the entity is erased, while
%% nothing is appended to it, and those after. The names stand in files: they never change.
-callback erase_steps(warp_context:context()) -> [erase_step()].
%% Takes a step, which may be taken again after a crash. After an error, a step before the log ends the
%% deletion with that error; one after the log is taken again after a pause. `left' tells whoever
%% asked for the deletion what is still to be erased.
-callback erase(warp_erasure_list:step(), warp_context:context(), deletion()) -> ok | {error, term()}.
%% The deletion is done.
-callback deleted(warp_context:context(), deletion()) -> ok.

-optional_callbacks([await_loaded/1, deletion_arrived/2, erase_steps/1, erase/3, deleted/2]).
-optional_callbacks([options/0, kinds/0, new/1, files/1, children/2, shard_children/2, await_started/1,
                     shard_opened/2, stats/1]).

%% The components of every context. A process is started behind those of the components before its own.
-define(COMPONENTS, [warp_shard_component, warp_entity_component, warp_erasure_component,
                     warp_saga_component, warp_projection_component]).

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

-spec files(settings()) -> non_neg_integer().
files(Settings) ->
    lists:sum(each(files, [Settings])).

-spec children(reference(), settings()) -> [supervisor:child_spec()].
children(Ref, Settings) ->
    lists:append(each(children, [Ref, Settings])).

-spec shard_children(warp_context:membership(), non_neg_integer()) -> [supervisor:child_spec()].
shard_children(Membership, N) ->
    lists:append(each(shard_children, [Membership, N])).

%% @doc Waits for one component after the other; the first error.
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

-spec shard_opened(warp_context:context(), non_neg_integer()) -> ok.
shard_opened(Context, N) ->
    lists:foreach(fun(ok) -> ok end, each(shard_opened, [Context, N])).

%% @doc Waits for one component after the other; the first error.
-spec await_loaded(warp_context:context()) -> ok | {error, term()}.
await_loaded(Context) ->
    until_error(having(await_loaded, 1), await_loaded, Context).

-spec deletion_arrived(warp_context:context(), Entity :: binary()) -> ok.
deletion_arrived(Context, Entity) ->
    lists:foreach(fun(ok) -> ok end, each(deletion_arrived, [Context, Entity])).

%% @doc The steps of all components, each with its component.
-spec erase_steps(warp_context:context()) -> [{Component :: module(), erase_step()}].
erase_steps(Context) ->
    [{Component, Step} || Component <- having(erase_steps, 1), Step <- Component:erase_steps(Context)].

-spec deleted(warp_context:context(), deletion()) -> ok.
deleted(Context, Deletion) ->
    lists:foreach(fun(ok) -> ok end, each(deleted, [Context, Deletion])).

-spec stats(warp_context:context()) -> #{atom() => term()}.
stats(Context) ->
    merged(each(stats, [Context])).

each(Callback, Args) ->
    [apply(Component, Callback, Args) || Component <- having(Callback, length(Args))].

having(Callback, Arity) ->
    [Component || Component <- ?COMPONENTS,
                  {module, Component} =:= code:ensure_loaded(Component),
                  erlang:function_exported(Component, Callback, Arity)].

%% A key of two components would be a mistake that nobody notices.
merged(Maps) ->
    Pairs = lists:append([maps:to_list(Map) || Map <- Maps]),
    Merged = maps:from_list(Pairs),
    case map_size(Merged) =:= length(Pairs) of
        true -> Merged;
        false -> error({key_of_two_components, [Key || {Key, _} <- Pairs -- maps:to_list(Merged)]})
    end.
