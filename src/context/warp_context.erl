%% @private Looks up what is known of a running context: its settings, the tables of its components, and the
%% processes that run in it.
%%
%% A context is a map in a persistent term, so that reading it copies nothing. All rooms read the keys in
%% `context()', and `aggregates'. Each component adds keys of its own (see {@link warp_component}), which only
%% the modules of its room read.
-module(warp_context).

-export([find/1, of_handle/1, put/1, erase/1, all/0]).
-export([locate/2, shard_of/2, shard/2, with_shard/3, log/2, with_log/3]).
-export([register/3, registered/2, unregister/2, unregister/3, new_table/0]).
-export([membership/1, within/1, mine/1]).

-include("../base/warp_entity.hrl").

-export_type([ctx/0, ref/0, context/0, membership/0, remote/0, unavailable/0]).


%% The handle that users have.
-type ctx() :: {warp_context, ref(), Shards :: pos_integer()}.
%% What tells a context from others. That of a cluster is the same on all its nodes, and after a restart.
-type ref() :: reference() | {clustered, Name :: binary()}.
%% A shard that is on another node: who takes requests for it there.
-type remote() :: {remote, Server :: pid(), ref(), N :: non_neg_integer(), Epoch :: pos_integer()}.
-type context() :: #{
    ref := ref(),
    name := binary(),
    dir := binary(),
    lock := warp_nif:lock(),
    shards := pos_integer(),
    owners := warp_context_owners:owners(),
    durability := full | normal,
    file_access := warp_nif:access(),
    %% Counts how often the clock was far behind the previous event.
    clock := warp_clock:clock(),
    %% {Key, Value}: the processes and handles of the context, see `register/3'.
    running := ets:table(),
    atom() => term()
}.
-type unavailable() :: {shard_unavailable, non_neg_integer()} | {node_unavailable, node()}.
%% A context, and the supervisors above one of its processes.
-type membership() :: {ref(), Running :: ets:table(), Above :: [pid()]}.

%% @doc The context of a handle that a user gives; `not_found' after it was stopped. Raises `{not_a_context, Term}' for
%% what is no handle: a mistake of the program, such as the context's name in its place.
%% An entity has the reference alone.
-spec of_handle(ctx() | ref()) -> {ok, context()} | not_found.
of_handle({warp_context, Ref, Shards}) when is_integer(Shards), ?IS_REF(Ref) -> find(Ref);
of_handle(Ref) when ?IS_REF(Ref) -> find(Ref);
of_handle(Term) -> error({not_a_context, Term}).

%% @doc The context with that reference or handle; `not_found' after it was stopped.
-spec find(ref() | ctx()) -> {ok, context()} | not_found.
find({warp_context, Ref, _}) ->
    find(Ref);
find(Ref) ->
    case persistent_term:get({?MODULE, Ref}, not_found) of
        #{} = Context -> {ok, Context};
        not_found -> not_found
    end.

%% @doc Publishes a context, so that {@link find/1} finds it. Its keeper calls this.
-spec put(context()) -> ok.
put(#{ref := Ref} = Context) ->
    persistent_term:put({?MODULE, Ref}, Context).

%% @doc Withdraws a context, so that {@link find/1} finds it no more. False if another process withdrew it before.
-spec erase(ref()) -> boolean().
erase(Ref) ->
    persistent_term:erase({?MODULE, Ref}).

%% @doc The references of all contexts that can be found.
-spec all() -> [ref()].
all() ->
    [Ref || {{?MODULE, Ref}, #{}} <- persistent_term:get()].

%% @doc Where an entity lives: the number of its shard, and the shard's handle. Errors: `{bad_entity_id, Why}', and
%% `{shard_unavailable, N}' while the shard is not open.
-spec locate(context(), term()) ->
    {ok, {non_neg_integer(), warp_nif:shard()}}
    | {error, {bad_entity_id, term()} | {shard_unavailable, non_neg_integer()}}.
locate(Context, Id) ->
    case shard_of(Context, Id) of
        {ok, N} ->
            case shard(Context, N) of
                {ok, Handle} -> {ok, {N, Handle}};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc The number of the shard that an entity lives in, from 0, whether the shard is open or not.
-spec shard_of(context(), term()) -> {ok, non_neg_integer()} | {error, {bad_entity_id, term()}}.
shard_of(#{shards := Shards}, Id) ->
    case warp_nif:shard_of(Id, Shards) of
        {ok, _N} = Found -> Found;
        {error, Why} -> {error, {bad_entity_id, Why}}
    end.

%% @doc The handle of shard N; `{shard_unavailable, N}' while the shard is not open, or is on another node.
-spec shard(context(), non_neg_integer()) ->
    {ok, warp_nif:shard()} | {error, {shard_unavailable, non_neg_integer()}}.
shard(Context, N) ->
    case registered(Context, {shard, N}) of
        {ok, Handle} when is_reference(Handle) -> {ok, Handle};
        _ -> {error, {shard_unavailable, N}}
    end.

%% @doc Where the log of shard N can be read: the handle of the shard, or what takes requests for it on another node.
%% Errors: `{shard_unavailable, N}' while the shard is not open, and `{node_unavailable, Node}' while its node cannot be
%% reached.
-spec log(context(), non_neg_integer()) -> {ok, warp_nif:shard() | remote()} | {error, unavailable()}.
log(Context, N) ->
    case registered(Context, {shard, N}) of
        {ok, {node_unavailable, _} = Why} -> {error, Why};
        {ok, _HandleOrRemote} = Found -> Found;
        none -> {error, {shard_unavailable, N}}
    end.

%% @doc What the fun makes of the handle of shard N; `{shard_unavailable, N}' while the shard is not open, or when the
%% fun finds it `closed'.
-spec with_shard(context(), non_neg_integer(), fun((warp_nif:shard()) -> Result)) ->
    Result | {error, {shard_unavailable, non_neg_integer()}}.
with_shard(Context, N, Fun) ->
    unless_closed(shard(Context, N), N, Fun).

%% @doc Likewise of where the log of shard N can be read. Errors are also those of {@link log/2}.
-spec with_log(context(), non_neg_integer(), fun((warp_nif:shard() | remote()) -> Result)) ->
    Result | {error, unavailable()}.
with_log(Context, N, Fun) ->
    unless_closed(log(Context, N), N, Fun).

unless_closed({ok, Handle}, N, Fun) ->
    case Fun(Handle) of
        {error, closed} -> {error, {shard_unavailable, N}};
        Result -> Result
    end;
unless_closed({error, _} = Error, _N, _Fun) ->
    Error.

%% @doc Registers a process or handle of the context under a key, such as `{owner, N}' for the process that owns
%% shard N.
-spec register(context(), Key :: term(), Value :: term()) -> ok.
register(#{running := Running}, Key, Value) ->
    true = ets:insert(Running, {Key, Value}),
    ok.

%% @doc The value that was registered under a key. `none' also while the keeper of the table is being restarted.
-spec registered(context(), Key :: term()) -> {ok, term()} | none.
registered(#{running := Running}, Key) ->
    try ets:lookup(Running, Key) of
        [{_, Value}] -> {ok, Value};
        [] -> none
    catch
        error:badarg -> none
    end.

%% @doc Unregisters a key, whatever its value is.
-spec unregister(context(), Key :: term()) -> ok.
unregister(#{running := Running}, Key) ->
    try ets:delete(Running, Key) of
        true -> ok
    catch
        %% The keeper has ended, and its table with it.
        error:badarg -> ok
    end.

%% @doc Unregisters a key if it still has this value.
-spec unregister(context(), Key :: term(), Value :: term()) -> ok.
unregister(#{running := Running}, Key, Value) ->
    try ets:delete_object(Running, {Key, Value}) of
        true -> ok
    catch
        error:badarg -> ok
    end.

%% @doc The table for `register/3', which the calling process owns.
-spec new_table() -> ets:table().
new_table() ->
    ets:new(warp_running, [public, set, {read_concurrency, true}]).

%% @doc The membership that the calling supervisor gives to all processes below it: the context, whose tables
%% they use, and the supervisor itself.
-spec membership(context()) -> membership().
membership(#{ref := Ref, running := Running}) ->
    {Ref, Running, [self()]}.

%% @doc The membership that the calling supervisor gives to the processes below it, when it has one itself from a
%% supervisor above.
-spec within(membership()) -> membership().
within({Ref, Running, Above}) ->
    {Ref, Running, [self() | Above]}.

%% @doc The context of the calling process, which is just starting. The process exits if a supervisor above it has
%% ended.
%%
%% NOTE: when a supervisor's own supervisor ends, the supervisor may still start children until it gets that exit
%% message. Successors of these children may run by then, and the children would take their places in the tables.
-spec mine(membership()) -> context().
mine({Ref, Running, Above}) ->
    case find(Ref) of
        {ok, #{running := Running} = Context} ->
            _ = lists:all(fun is_process_alive/1, Above) orelse exit({shutdown, no_longer_supervised}),
            Context;
        _ ->
            exit({shutdown, no_longer_supervised})
    end.
