%% @private Starts and stops contexts.
-module(warp_contexts).

-include("../base/warp_entity.hrl").

-export([start/1, stop/1, forget_all/0, supervisor/1, stats/1, processes/1]).

%% How long a context waits for the lock, since another one may just be stopping.
-define(LOCK_PATIENCE_MS, 1000).

%% @doc Starts a context, and the application if it is not running, and waits until all components work. After an
%% error nothing of the context is left running.
-spec start(warp_context_options:settings()) -> {ok, warp_context:ctx()} | {error, warp_core:start_error()}.
start(Settings) ->
    case application:ensure_all_started(warp_core) of
        {ok, _} ->
            case warp_context_files:enough(Settings, warp_nif:open_files()) of
                ok -> start_in_dir(Settings);
                {error, _} = Error -> Error
            end;
        {error, {App, Reason}} ->
            {error, {application_not_started, App, Reason}}
    end.

start_in_dir(#{context := Name, data_dir := DataDir, file_access := Access} = Settings) ->
    Dir = filename:join(DataDir, Name),
    case warp_nif:lock(Dir, ?LOCK_PATIENCE_MS, Access) of
        {ok, Lock} ->
            case warp_component:check_folder(Settings, Dir) of
                ok ->
                    start_locked(Settings, Dir, Lock);
                {error, _} = Error ->
                    ok = warp_nif:unlock(Lock),
                    Error
            end;
        {error, Reason} ->
            {error, Reason}
    end.

start_locked(#{context := Name, shards := Shards} = Settings, Dir, Lock) ->
    Ref = ref(Settings),
    case warp_core_sup:start_context(Ref, {Settings, Dir, Lock}) of
        {ok, _Pid} ->
            case started(Ref, Lock) of
                ok ->
                    {ok, {warp_context, Ref, Shards}};
                {error, Reason} ->
                    ok = stop_ref(Ref),
                    {error, Reason}
            end;
        {error, {already_started, _}} ->
            ok = warp_nif:unlock(Lock),
            {error, {already_started, Name}}
    end.

%% A context of a cluster is found by its name on every node, and so there is one of that name in a VM.
ref(#{cluster := single_node}) -> make_ref();
ref(#{context := Name}) -> {clustered, Name}.

started(Ref, Lock) ->
    {ok, Context} = warp_context:find(Ref),
    case warp_component:await_started(Context) of
        ok ->
            case warp_nif:establish(Lock) of
                ok -> warp_component:started(Context);
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Stops a context, and waits until all its processes have ended and everything acknowledged is on disk. Does
%% nothing for a context that was stopped before.
-spec stop(warp_context:ctx()) -> ok.
stop({warp_context, Ref, _}) when ?IS_REF(Ref) ->
    stop_ref(Ref);
stop(Term) ->
    error({not_a_context, Term}).

stop_ref(Ref) ->
    Found = warp_context:find(Ref),
    ok = warp_core_sup:stop_context(Ref),
    forget(Ref, Found).

%% @doc Withdraws all contexts and gives up their locks, when the application has stopped and their processes with
%% it.
-spec forget_all() -> ok.
forget_all() ->
    lists:foreach(fun(Ref) -> forget(Ref, warp_context:find(Ref)) end, warp_context:all()).

%% NOTE: two processes may be stopping a context, and in a cluster another one may have begun under its name since, with
%% a lock of its own.
forget(Ref, {ok, #{lock := Lock}}) ->
    _ = [warp_context:erase(Ref) || {ok, #{lock := Now}} <- [warp_context:find(Ref)], Now =:= Lock],
    warp_nif:unlock(Lock);
forget(_Ref, not_found) ->
    ok.

%% @doc The supervisor of a context, or a process that has ended if the context does not run. A caller can monitor
%% either.
-spec supervisor(warp_context:ctx()) -> pid().
supervisor(Ctx) ->
    case running(Ctx) of
        {ok, Pid} -> Pid;
        none -> spawn(fun() -> ok end)
    end.

running({warp_context, Ref, _}) ->
    case lists:keyfind(Ref, 1, children(warp_core_sup)) of
        {_, Pid, _, _} when is_pid(Pid) -> {ok, Pid};
        _ -> none
    end.

%% @doc The statistics of a context and of its components, without waiting for any process.
-spec stats(warp_context:context()) -> #{atom() => term()}.
stats(#{name := Name, durability := Durability, clock := Clock} = Context) ->
    Own = #{context => Name, durability => Durability, clock => warp_clock:read(Clock)},
    maps:merge(warp_component:stats(Context), Own).

%% @doc Every process of a context except those of its entities, each with its id in its supervisor.
-spec processes(warp_context:ctx()) -> [{Id :: term(), pid()}].
processes(Ctx) ->
    case running(Ctx) of
        {ok, Pid} -> [{context, Pid} | below(Pid)];
        none -> []
    end.

below(Supervisor) ->
    lists:append([child(Child) || {Id, Pid, _, _} = Child <- children(Supervisor),
                                  Id =/= undefined, is_pid(Pid)]).

child({Id, Pid, supervisor, _}) -> [{Id, Pid} | below(Pid)];
child({Id, Pid, worker, _}) -> [{Id, Pid}].

%% A supervisor that ends while it is asked has no children.
children(Supervisor) ->
    try
        supervisor:which_children(Supervisor)
    catch
        exit:_ -> []
    end.
