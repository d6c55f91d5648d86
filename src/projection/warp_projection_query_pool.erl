%% @private Runs users' queries on the embedded projection in programs, which are operating-system processes
%% of `priv/warp_query' (from `native/warp_query'). A program runs one query at a time. A few programs are
%% kept for the next queries.
%%
%% A program ends itself when the time of its query is over, whatever SQLite is doing, and when its standard
%% input is closed. So no program outlives this process or the VM. The pool ends a program when the
%% caller of its query has ended, and with the context.
%%
%% While queries overlap, SQLite cannot restart its write-ahead log, which grows. Past 64 MiB new queries
%% wait until those under way have ended and the write-ahead log was emptied.
-module(warp_projection_query_pool).
-behaviour(gen_server).

-export([start_link/1, ask/4]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-include_lib("kernel/include/logger.hrl").

%% How many programs may run at once, and how many of them are kept without a query.
-define(MAX_PROGRAMS, 16).
-define(MAX_IDLE, 4).
%% How long after its deadline a program is told to end, if it has not ended by itself.
-define(GRACE_MS, 100).
%% How long the pool waits for a program that was told to end.
-define(END_MS, 1000).
%% The exit status of a program that has ended itself at its query's deadline.
-define(DEADLINE, 3).
%% Past this size a part of an answer is not kept in memory once it was handed on.
-define(LARGE, 65536).
%% Past how many bytes the write-ahead log is emptied, how often the pool looks at its size, and how long it
%% pauses after an attempt that failed.
-define(MAX_WAL_BYTES, (64 * 1024 * 1024)).
-define(WAL_LOOK_MS, 100).
-define(WAL_AGAIN_MS, 5000).

-record(query, {
    %% Where the answer goes.
    ref :: reference(),
    caller :: reference(),
    timer :: reference(),
    deadline :: integer(),
    %% In a function, so that no report of a crash shows it.
    request :: fun(() -> iodata())
}).

-record(state, {
    context :: warp_context:context(),
    idle = [] :: [port()],
    busy = #{} :: #{port() => #query{}},
    %% Programs that were told to end, with their timers.
    ending = #{} :: #{port() => reference()},
    waiting = warp_projection_query_queue:new() :: warp_projection_query_queue:queue(#query{}),
    %% The monitors of callers, with their queries.
    callers = #{} :: #{reference() => reference()},
    %% `full': no query is begun before the write-ahead log was emptied. A reference is the monitor of the
    %% process that empties it.
    wal = ok :: ok | full | reference(),
    wal_look = 0 :: integer(),
    wal_failed = false :: boolean()
}).

-spec start_link(warp_context:membership()) -> gen_server:start_ret().
start_link(Membership) ->
    gen_server:start_link(?MODULE, Membership, []).

%% @doc Runs a query. `{Ref, Frame}' comes for each part of its answer, as
%% `native/warp_query/src/term.rs' has it, or `{Ref, {error, Reason}}', to the alias Ref. The deadline
%% is in milliseconds of the VM's monotonic time.
-spec ask(pid(), reference(), integer(), iodata()) -> ok.
ask(Pool, Ref, Deadline, Request) ->
    Bytes = iolist_size(Request),
    gen_server:cast(Pool, {query, Ref, self(), Deadline, Bytes, fun() -> Request end}).

-spec init(warp_context:membership()) -> {ok, #state{}}.
init(Membership) ->
    _ = process_flag(trap_exit, true),
    Context = warp_context:mine(Membership),
    ok = warp_projection_table:put_process(Context, queries, self()),
    {ok, #state{context = Context, wal_look = now_ms()}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {noreply, #state{}}.
handle_call(Unknown, _From, State) ->
    ok = warp_stray:note(?MODULE, call, Unknown),
    {noreply, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({query, Ref, Pid, Deadline, Bytes, Request}, #state{waiting = Waiting} = State) ->
    Caller = erlang:monitor(process, Pid),
    Query = #query{ref = Ref, caller = Caller, deadline = Deadline, request = Request,
                   timer = timer(Deadline, {deadline, Ref})},
    case warp_projection_query_queue:in(Ref, Bytes, Query, Waiting) of
        {ok, Longer} ->
            #state{callers = Callers} = State,
            {noreply, next(State#state{waiting = Longer, callers = Callers#{Caller => Ref}})};
        overloaded ->
            {noreply, answer(Query, {error, overloaded}, State)}
    end;
handle_cast(Unknown, State) ->
    ok = warp_stray:note(?MODULE, cast, Unknown),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {noreply, #state{}, hibernate}.
handle_info({Port, {data, Frame}}, State) when is_port(Port) ->
    Next = frame(Port, Frame, State),
    case byte_size(Frame) > ?LARGE of
        true -> {noreply, Next, hibernate};
        false -> {noreply, Next}
    end;
handle_info({Port, {exit_status, Status}}, State) when is_port(Port) ->
    {noreply, gone(Port, Status, State)};
handle_info({'EXIT', Port, Reason}, State) when is_port(Port) ->
    {noreply, gone(Port, Reason, State)};
handle_info({timeout, _Timer, {deadline, Ref}}, State) ->
    {noreply, next(deadline(Ref, State))};
handle_info({timeout, _Timer, {close, Port}}, #state{ending = Ending} = State) ->
    _ = [close(Port) || is_map_key(Port, Ending)],
    {noreply, next(State#state{ending = maps:remove(Port, Ending)})};
handle_info({'DOWN', Monitor, process, _, Result}, #state{wal = Monitor} = State) ->
    {noreply, next(emptied(Result, State))};
handle_info({'DOWN', Monitor, process, _, _}, #state{callers = Callers} = State)
  when is_map_key(Monitor, Callers) ->
    {noreply, next(abandon(maps:get(Monitor, Callers), State))};
handle_info(Unknown, State) ->
    ok = warp_stray:note(?MODULE, message, Unknown),
    {noreply, State}.

%% All programs end before this process does, so that nothing reads the file when it is closed.
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{idle = Idle, busy = Busy, ending = Ending}) ->
    ok = lists:foreach(fun tell_to_end/1, Idle ++ maps:keys(Busy)),
    Until = warp_deadline:from(?END_MS),
    lists:foreach(fun(Port) -> await_end(Port, Until) end, Idle ++ maps:keys(Busy) ++ maps:keys(Ending)).

await_end(Port, Until) ->
    receive
        {Port, {exit_status, _}} -> ok;
        {'EXIT', Port, _} -> ok
    after warp_deadline:left(Until) ->
        close(Port)
    end.

%% The program may have ended by itself, and its port with it: here, and where a port is told to end.
close(Port) ->
    try port_close(Port) of
        true -> ok
    catch
        error:badarg -> ok
    end.

%% Queries and their parameters are in no report.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    maps:map(
        fun(state, #state{idle = Idle, busy = Busy, ending = Ending, waiting = Waiting, wal = Wal}) ->
                #{idle => length(Idle), busy => map_size(Busy), ending => map_size(Ending),
                  waiting => warp_projection_query_queue:size(Waiting), wal => Wal};
           (message, Message) when is_tuple(Message) ->
                element(1, Message);
           (log, _Events) ->
                [];
           (_Key, Value) ->
                Value
        end,
        Status).

%% ------------------------------------------------------------------ Running

%% Begins as many queries as can be begun.
next(#state{waiting = Waiting, busy = Busy, ending = Ending} = State0) ->
    case look_at_wal(State0) of
        #state{wal = full} = State when map_size(Busy) =:= 0, map_size(Ending) =:= 0 ->
            empty_wal(State);
        #state{wal = ok} = State when map_size(Busy) + map_size(Ending) < ?MAX_PROGRAMS ->
            case warp_projection_query_queue:out(Waiting) of
                {ok, _Ref, Query, Rest} -> next(run(Query, State#state{waiting = Rest}));
                empty -> State
            end;
        State ->
            State
    end.

run(#query{deadline = Deadline, request = Request} = Query, State) ->
    case program(State) of
        {ok, Port, #state{busy = Busy} = Next} ->
            Left = max(1, warp_deadline:left(Deadline)),
            try port_command(Port, [<<Left:32>>, Request()], [nosuspend]) of
                true -> Next#state{busy = Busy#{Port => Query#query{request = fun() -> [] end}}};
                %% The program has not even read its last request.
                false -> run(Query, tell_to_end(Port, Next))
            catch
                %% NOTE: the program has ended by itself, and the message that says so has not come yet.
                error:badarg when State#state.idle =/= [] -> run(Query, Next);
                error:badarg -> answer(Query, {error, {away, interrupted}}, Next)
            end;
        {error, Why} ->
            answer(Query, {error, {away, Why}}, State)
    end.

program(#state{idle = [Port | Idle]} = State) ->
    {ok, Port, State#state{idle = Idle}};
program(#state{context = #{dir := Dir}} = State) ->
    Program = filename:join(warp_nif:priv_dir(), "warp_query"),
    Options = [{args, [warp_projection_embedded:file(Dir)]}, {packet, 4}, binary, exit_status, use_stdio],
    try
        {ok, open_port({spawn_executable, Program}, Options), State}
    catch
        error:enoent ->
            Message = [Program, " is missing, the program that runs queries: scripts/build-nif builds it"],
            {error, {no_query_program, unicode:characters_to_binary(Message)}};
        error:Why ->
            Message = io_lib:format("the program that runs queries, ~ts, could not be started: ~tp",
                                    [Program, Why]),
            {error, {io_error, unicode:characters_to_binary(Message)}}
    end.

frame(Port, <<Next, _/binary>> = Frame, #state{busy = Busy} = State) ->
    case Busy of
        #{Port := Query} when Next =:= 0 ->
            Query#query.ref ! {Query#query.ref, Frame},
            State;
        #{Port := Query} ->
            next(put_back(Port, Next, answer(Query, Frame, State#state{busy = maps:remove(Port, Busy)})));
        #{} ->
            State
    end.

put_back(Port, 1, #state{idle = Idle} = State) when length(Idle) < ?MAX_IDLE ->
    State#state{idle = [Port | Idle]};
put_back(Port, 1, State) ->
    tell_to_end(Port, State);
put_back(Port, 2, State) ->
    ends(Port, State).

answer(#query{ref = Ref, caller = Caller, timer = Timer}, Answer, #state{callers = Callers} = State) ->
    Ref ! {Ref, Answer},
    true = erlang:demonitor(Caller, [flush]),
    _ = erlang:cancel_timer(Timer),
    State#state{callers = maps:remove(Caller, Callers)}.

%% ------------------------------------------------------------------ Ending

%% A query that waits gets no program any more. A query that runs is ended by its program, or else by the pool.
deadline(Ref, #state{waiting = Waiting} = State) ->
    case warp_projection_query_queue:take(Ref, Waiting) of
        {ok, Query, Rest} ->
            answer(Query, {error, timeout}, State#state{waiting = Rest});
        none ->
            case running(Ref, State) of
                {Port, #query{deadline = Deadline} = Query} ->
                    case now_ms() >= Deadline + ?GRACE_MS of
                        true -> stop(Port, Query, State);
                        false -> patience(Port, Query, State)
                    end;
                none ->
                    State
            end
    end.

patience(Port, #query{ref = Ref, deadline = Deadline} = Query, #state{busy = Busy} = State) ->
    Timer = timer(Deadline + ?GRACE_MS, {deadline, Ref}),
    State#state{busy = Busy#{Port := Query#query{timer = Timer}}}.

abandon(Ref, #state{waiting = Waiting} = State) ->
    case warp_projection_query_queue:take(Ref, Waiting) of
        {ok, Query, Rest} ->
            answer(Query, {error, timeout}, State#state{waiting = Rest});
        none ->
            {Port, Query} = running(Ref, State),
            stop(Port, Query, State)
    end.

stop(Port, Query, #state{busy = Busy} = State) ->
    tell_to_end(Port, answer(Query, {error, timeout}, State#state{busy = maps:remove(Port, Busy)})).

running(Ref, #state{busy = Busy}) ->
    case [Running || {_, #query{ref = R}} = Running <- maps:to_list(Busy), R =:= Ref] of
        [Running] -> Running;
        [] -> none
    end.

tell_to_end(Port, State) ->
    ok = tell_to_end(Port),
    ends(Port, State).

tell_to_end(Port) ->
    try port_command(Port, <<>>, [nosuspend]) of
        _IsSent -> ok
    catch
        error:_ -> ok
    end.

ends(Port, #state{ending = Ending} = State) ->
    State#state{ending = Ending#{Port => timer(now_ms() + ?END_MS, {close, Port})}}.

gone(Port, Why, #state{idle = Idle, busy = Busy, ending = Ending} = State) ->
    case {Busy, Ending} of
        {#{Port := #query{deadline = Deadline} = Query}, _} ->
            Error =
                case Why =:= ?DEADLINE orelse now_ms() >= Deadline of
                    true -> timeout;
                    false -> log(Why, State), {away, interrupted}
                end,
            next(answer(Query, {error, Error}, State#state{busy = maps:remove(Port, Busy)}));
        {_, #{Port := Timer}} ->
            _ = erlang:cancel_timer(Timer),
            next(State#state{ending = maps:remove(Port, Ending)});
        _ ->
            _ = [log(Why, State) || lists:member(Port, Idle)],
            State#state{idle = lists:delete(Port, Idle)}
    end.

log(Why, #state{context = #{name := Name}}) ->
    ?LOG_WARNING("Warp: a program that runs queries of context ~ts has ended, with status ~tp, without "
                 "being asked to", [Name, Why]).

%% ------------------------------------------------------------------ The write-ahead log

look_at_wal(#state{wal = ok, wal_look = Look, context = #{dir := Dir}} = State) ->
    case now_ms() of
        Now when Now >= Look ->
            Looked = State#state{wal_look = Now + ?WAL_LOOK_MS},
            File = [warp_projection_embedded:file(Dir), "-wal"],
            case warp_nif:file_bytes(iolist_to_binary(File)) of
                {ok, Bytes} when Bytes > ?MAX_WAL_BYTES -> Looked#state{wal = full};
                _ -> Looked
            end;
        _ ->
            State
    end;
look_at_wal(State) ->
    State.

%% In a process of its own, since it may take as long as the disk needs for the whole write-ahead log. The
%% process ends with the result.
-dialyzer({nowarn_function, empty_wal/1}).
empty_wal(#state{context = Context} = State) ->
    {_Pid, Monitor} = spawn_monitor(fun() ->
        {ok, {_Module, Projection}} = warp_projection_table:target(Context),
        exit(warp_nif:projection_trim(Projection))
    end),
    State#state{wal = Monitor}.

emptied({ok, true}, State) ->
    State#state{wal = ok, wal_look = now_ms() + ?WAL_LOOK_MS, wal_failed = false};
emptied(_Failed, #state{context = #{name := Name}, wal_failed = Before} = State) ->
    _ = [?LOG_WARNING("Warp: the write-ahead log of the projection of context ~ts has more than 64 MiB and "
                      "cannot be emptied, since another program reads the file. It grows on, and is "
                      "tried again", [Name])
         || not Before],
    State#state{wal = ok, wal_look = now_ms() + ?WAL_AGAIN_MS, wal_failed = true}.

now_ms() -> erlang:monotonic_time(millisecond).

timer(At, Message) -> erlang:start_timer(At, self(), Message, [{abs, true}]).
