%% A context as a child of somebody's supervisor. The context itself runs under Warp's own
%% supervisors. The child stands for it: it has a guard start it, goes when it goes, and has it
%% stopped. The guard is linked to nobody, so that it is there to stop the context when the child
%% was killed.
-module(warp_context_ffi).
-behaviour(gen_server).

-export([start_link/2, named/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(child, {ctx :: warp_core:ctx(), guard :: pid(), monitor :: reference()}).

%% @doc Starts the child, and gives its pid and the context.
-spec start_link(map(), binary()) ->
    {ok, {pid(), warp_core:ctx()}} | {error, warp_error_ffi:error()}.
start_link(Settings, Name) ->
    case gen_server:start_link(?MODULE, {Settings, Name}, []) of
        {ok, Pid} -> {ok, {Pid, gen_server:call(Pid, ctx, infinity)}};
        {error, {shutdown, {not_started, Error}}} -> {error, Error}
    end.

%% @doc The context of that name that runs as somebody's child.
-spec named(binary()) -> {ok, warp_core:ctx()} | {error, context_stopped}.
named(Name) ->
    case persistent_term:get({?MODULE, Name}, none) of
        {Ctx, _Guard, _Child} -> {ok, Ctx};
        none -> {error, context_stopped}
    end.

-spec init({map(), binary()}) -> {ok, #child{}} | {stop, term()}.
init({Settings, Name}) ->
    _ = process_flag(trap_exit, true),
    ok = await_former(Name),
    Self = self(),
    {Guard, Monitor} = spawn_monitor(fun() -> guard(Self, Settings, Name) end),
    receive
        {Guard, {ok, Ctx}} -> {ok, #child{ctx = Ctx, guard = Guard, monitor = Monitor}};
        {Guard, {error, Error}} -> {stop, {shutdown, {not_started, Error}}};
        {'DOWN', Monitor, process, Guard, Reason} -> {stop, Reason}
    end.

%% When a child was killed its successor is started at once, while the guard is still stopping
%% the context.
await_former(Name) ->
    case persistent_term:get({?MODULE, Name}, none) of
        {_Ctx, Guard, Child} ->
            case is_process_alive(Child) of
                true ->
                    ok;
                false ->
                    Monitor = monitor(process, Guard),
                    receive {'DOWN', Monitor, process, Guard, _} -> ok end
            end;
        none ->
            ok
    end.

-spec handle_call(term(), gen_server:from(), #child{}) ->
    {reply, warp_core:ctx(), #child{}} | {noreply, #child{}}.
handle_call(ctx, _From, #child{ctx = Ctx} = State) ->
    {reply, Ctx, State};
handle_call(_Request, _From, State) ->
    {noreply, State}.

-spec handle_cast(term(), #child{}) -> {noreply, #child{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #child{}) -> {noreply, #child{}} | {stop, term(), #child{}}.
handle_info({'DOWN', Monitor, process, _, Reason}, #child{monitor = Monitor} = State) ->
    {stop, Reason, State};
handle_info(_Stray, State) ->
    {noreply, State}.

-spec terminate(term(), #child{}) -> ok.
terminate(_Reason, #child{ctx = Ctx, guard = Guard}) ->
    Monitor = monitor(process, Guard),
    Guard ! stop,
    receive {'DOWN', Monitor, process, Guard, _} -> ok end,
    %% In case it was the guard that was killed.
    stop(Ctx).

%% The guard.

guard(Child, Settings, Name) ->
    OfChild = monitor(process, Child),
    case warp_ffi:start(Settings) of
        {ok, Ctx} ->
            Entry = {Ctx, self(), Child},
            ok = persistent_term:put({?MODULE, Name}, Entry),
            OfContext = monitor(process, supervisor(Ctx)),
            Child ! {self(), {ok, Ctx}},
            Why =
                receive
                    stop -> normal;
                    {'DOWN', OfChild, process, _, _} -> normal;
                    {'DOWN', OfContext, process, _, Reason} -> {context_down, Reason}
                end,
            _ = [persistent_term:erase({?MODULE, Name})
                 || persistent_term:get({?MODULE, Name}, none) =:= Entry],
            ok = stop(Ctx),
            exit(Why);
        {error, Error} ->
            Child ! {self(), {error, Error}}
    end.

supervisor(Ctx) ->
    [{context, Pid} | _] = warp_contexts:processes(Ctx),
    Pid.

stop(Ctx) ->
    try
        warp_core:stop(Ctx)
    catch
        %% The application was stopped, and everything with it.
        exit:_ -> ok
    end.
