%% @private A context as a child of a user's supervisor. The context itself runs under Warp's own supervisors, and
%% the child stands for it: the child has a guard process start the context, ends when the context ends, and has
%% the guard stop the context when it ends itself. The guard is linked to no process, so it can stop the context
%% also after the child was killed.
-module(warp_context_child).
-behaviour(gen_server).

-export([start_link/1, named/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-record(child, {ctx :: warp_context:ctx(), guard :: pid(), monitor :: reference()}).

%% @doc Starts a context, and the child that stands for it, linked to the caller. Errors: those of
%% `warp_core:start/1', and `interrupted' when the child or the guard was killed meanwhile.
-spec start_link(warp_context_options:settings()) ->
    {ok, pid(), warp_context:ctx()} | {error, term()}.
start_link(Settings) ->
    case gen_server:start_link(?MODULE, Settings, []) of
        {ok, Pid} ->
            case warp_call:call(Pid, ctx, infinity) of
                {error, _} = Error -> Error;
                Ctx -> {ok, Pid, Ctx}
            end;
        {error, {shutdown, {not_started, Reason}}} -> {error, Reason};
        {error, _} -> {error, interrupted}
    end.

%% @doc The context of that name that {@link start_link/1} started; `context_stopped' if none is running.
-spec named(binary()) -> {ok, warp_context:ctx()} | {error, context_stopped}.
named(Name) ->
    case persistent_term:get({?MODULE, Name}, none) of
        {Ctx, _Guard, _Child} -> {ok, Ctx};
        none -> {error, context_stopped}
    end.

-spec init(warp_context_options:settings()) -> {ok, #child{}} | {stop, term()}.
init(#{context := Name} = Settings) ->
    _ = process_flag(trap_exit, true),
    ok = await_previous(Name),
    Self = self(),
    {Guard, Monitor} = spawn_monitor(fun() -> guard(Self, Settings) end),
    receive
        {Guard, {ok, Ctx}} -> {ok, #child{ctx = Ctx, guard = Guard, monitor = Monitor}};
        {Guard, {error, Reason}} -> {stop, {shutdown, {not_started, Reason}}};
        {'DOWN', Monitor, process, Guard, Reason} -> {stop, Reason}
    end.

%% NOTE: the supervisor restarts a killed child at once, while the guard of the previous child may still be
%% stopping the context.
await_previous(Name) ->
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

-spec handle_call(term(), gen_server:from(), #child{}) -> {reply, term(), #child{}}.
handle_call(ctx, _From, #child{ctx = Ctx} = State) ->
    {reply, Ctx, State};
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(context_child, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

-spec handle_cast(term(), #child{}) -> {noreply, #child{}}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(context_child, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #child{}) -> {noreply, #child{}} | {stop, term(), #child{}}.
handle_info({'DOWN', Monitor, process, _, Reason}, #child{monitor = Monitor} = State) ->
    {stop, Reason, State};
handle_info(Stray, State) ->
    ok = warp_stray:note(context_child, message, Stray),
    {noreply, State}.

-spec terminate(term(), #child{}) -> ok.
terminate(_Reason, #child{ctx = Ctx, guard = Guard}) ->
    Monitor = monitor(process, Guard),
    Guard ! stop,
    receive {'DOWN', Monitor, process, Guard, _} -> ok end,
    %% The guard may have been killed before it stopped the context.
    stop(Ctx).

%% The guard's exit reason may hold data of users.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    warp_redact:status(Status, #{}).

guard(Child, #{context := Name} = Settings) ->
    OfChild = monitor(process, Child),
    case warp_contexts:start(Settings) of
        {ok, Ctx} ->
            Entry = {Ctx, self(), Child},
            ok = persistent_term:put({?MODULE, Name}, Entry),
            OfContext = monitor(process, warp_contexts:supervisor(Ctx)),
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
        {error, Reason} ->
            Child ! {self(), {error, Reason}}
    end.

stop(Ctx) ->
    try
        warp_contexts:stop(Ctx)
    catch
        %% The application was stopped, and the context with it.
        exit:_ -> ok
    end.
