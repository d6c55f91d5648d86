%% @private A component: a feature of a context that lives in a room of its own. The context knows a
%% list of components and calls each through these callbacks, all of which are optional. A new
%% feature adds a folder, and one line in the list.
%%
%% A component that has to hear of commits follows the shard ({@link warp_follower}): a commit waits
%% for nobody.
-module(warp_component).

-export([options/0, new/1, files/1, children/2, shard_children/2, await_started/1]).
-export([shard_opened/2, stats/1]).

-export_type([settings/0]).

%% The checked options of `warp_core:start/1'.
-type settings() :: #{atom() => term()}.

%% The options of `warp_core:start/1' that are the component's.
-callback options() -> [warp_check:option()].
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

-optional_callbacks([options/0, new/1, files/1, children/2, shard_children/2, await_started/1,
                     shard_opened/2, stats/1]).

%% The components of every context. A process is started behind those of the components before its own.
-define(COMPONENTS, [warp_shard_component, warp_entity_component, warp_saga_component,
                     warp_projection_component]).

%% @doc The options of all components.
-spec options() -> [warp_check:option()].
options() ->
    lists:append(each(options, [])).

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
    await_started(having(await_started, 1), Context).

await_started([], _Context) ->
    ok;
await_started([Component | Components], Context) ->
    case Component:await_started(Context) of
        ok -> await_started(Components, Context);
        {error, _} = Error -> Error
    end.

-spec shard_opened(warp_context:context(), non_neg_integer()) -> ok.
shard_opened(Context, N) ->
    lists:foreach(fun(ok) -> ok end, each(shard_opened, [Context, N])).

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
    Clash = fun(Key, _, _) -> error({key_of_two_components, Key}) end,
    lists:foldl(fun(Map, Acc) -> maps:merge_with(Clash, Map, Acc) end, #{}, Maps).
