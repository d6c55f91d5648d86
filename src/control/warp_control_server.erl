%% @private Has the control socket of a context, and as many processes that wait for clients as there may be connections
%% at once: further clients wait in the socket's queue.
-module(warp_control_server).
-behaviour(gen_server).

-export([start_link/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-include_lib("kernel/include/logger.hrl").

%% How many connections there may be at once.
-define(CONNECTIONS, 8).
%% The pause before the socket is made again after an error.
-define(RETRY_MS, 10000).
%% How long the end of the context waits for a disk that does not answer.
-define(REMOVE_MS, 500).

-record(state, {
    ctx :: warp_core:ctx(),
    dir :: binary(),
    socket = none :: none | gen_tcp:socket(),
    connections = [] :: [pid()],
    %% The last error, which was logged.
    noted = none :: term()
}).

%% @doc Starts the process, which makes the socket afterwards.
-spec start_link(warp_core:ctx()) -> gen_server:start_ret().
start_link(Ctx) ->
    gen_server:start_link(?MODULE, Ctx, []).

-spec init(warp_core:ctx()) -> {ok, #state{}, {continue, listen}} | {stop, {shutdown, context_stopped}}.
init(Ctx) ->
    _ = process_flag(trap_exit, true),
    case warp_context:find(Ctx) of
        {ok, #{dir := Dir}} -> {ok, #state{ctx = Ctx, dir = Dir}, {continue, listen}};
        not_found -> {stop, {shutdown, context_stopped}}
    end.

-spec handle_continue(listen, #state{}) -> {noreply, #state{}}.
handle_continue(listen, #state{dir = Dir} = State) ->
    case warp_control_socket:listen(Dir) of
        {ok, Socket} ->
            {noreply, connections(State#state{socket = Socket, noted = none})};
        {error, Why} ->
            _ = erlang:send_after(?RETRY_MS, self(), listen),
            {noreply, noted(Why, State)}
    end.

connections(#state{ctx = Ctx, socket = Socket} = State) ->
    Start = fun(_) -> warp_control_connection:start_link(Socket, Ctx) end,
    State#state{connections = lists:map(Start, lists:seq(1, ?CONNECTIONS))}.

noted(Why, #state{noted = Why} = State) ->
    State;
noted(Why, #state{dir = Dir} = State) ->
    ?LOG_WARNING("Warp: the socket ctl in the folder ~ts could not be made (~0tp), so the program warp cannot reach "
                 "this context. Warp tries again each 10 seconds, and everything else goes on.", [Dir, Why]),
    State#state{noted = Why}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, term()}, #state{}}.
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(control, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(control, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {noreply, #state{}, {continue, listen}}.
handle_info(listen, State) ->
    {noreply, State, {continue, listen}};
handle_info({'EXIT', Pid, _Why} = Exit, #state{ctx = Ctx, socket = Socket, connections = Pids} = State) ->
    case lists:member(Pid, Pids) of
        true ->
            Next = warp_control_connection:start_link(Socket, Ctx),
            {noreply, State#state{connections = [Next | lists:delete(Pid, Pids)]}};
        false ->
            ok = warp_stray:note(control, message, Exit),
            {noreply, State}
    end;
handle_info(Stray, State) ->
    ok = warp_stray:note(control, message, Stray),
    {noreply, State}.

%% The connections are linked, and end with this process.
-spec terminate(term(), #state{}) -> ok.
terminate(_Why, #state{socket = none}) ->
    ok;
terminate(_Why, #state{socket = Socket, dir = Dir}) ->
    ok = gen_tcp:close(Socket),
    %% A file that is left is replaced at the next start.
    {Pid, Monitor} = spawn_monitor(fun() -> warp_control_socket:remove(Dir) end),
    receive
        {'DOWN', Monitor, process, Pid, _} -> ok
    after ?REMOVE_MS ->
        true = exit(Pid, kill),
        ok
    end.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{noted = Noted}} = Status) ->
    warp_redact:status(Status, #{noted => Noted});
format_status(Status) ->
    warp_redact:status(Status, #{}).
