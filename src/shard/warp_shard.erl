%% @private The owner of a shard's file. It opens it, again and again if need be, hands on what
%% the writer answers, and tells an operator when the disk keeps everyone waiting.
-module(warp_shard).
-behaviour(gen_server).

-export([start_link/2, status/2, failure/2, await_queue/2]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export([format_status/1]).

-include_lib("kernel/include/logger.hrl").

%% How many submissions may wait for the writer. An entity has one at a time.
-define(QUEUE_LIMIT, 16384).
%% How often, and for how long, a file is tried that an earlier owner's writer has not closed yet.
-define(CLAIM_PAUSE_MS, 5).
-define(CLAIM_PATIENCE_MS, 30000).
-define(RETRY_MIN_MS, 100).
-define(RETRY_MAX_MS, 5000).
%% How often the writer is looked after, and how long one transaction may take unremarked.
-define(WATCH_MS, 1000).
-define(STALL_MS, 3000).
%% After a slow fsync was reported, others are not for that long.
-define(QUIET_MS, 60000).
%% How long entities get to hand errors on to their callers after the writer crashed.
-define(LAST_WORDS_MS, 50).
%% The pause before who waits for a full queue tries to get into it again.
-define(OVERLOADED, {10, infinity}).
%% How often who waits for the queue looks whether the shard is still the same.
-define(LOOK_AGAIN_MS, 200).

-record(state, {
    context :: warp_context:context(),
    n :: non_neg_integer(),
    handle :: warp_nif:shard() | undefined,
    %% Why the last attempt to open failed.
    error :: term(),
    %% Until when an earlier owner's writer may take to close the file, and who waits to hear how
    %% opening it goes.
    claim_until = none :: none | integer(),
    asking = [] :: [gen_server:from()],
    %% Why it could not be opened, as was last said in the log.
    warned :: term(),
    retry_ms = ?RETRY_MIN_MS :: pos_integer(),
    stalled = false :: boolean(),
    %% What failed in the background when it was last looked at.
    background = [] :: [warp_shard_background:failing()],
    quiet_until :: integer() | undefined
}).

-spec start_link(warp_context:membership(), non_neg_integer()) -> gen_server:start_ret().
start_link(Membership, N) ->
    gen_server:start_link(?MODULE, {Membership, N}, []).

%% @doc Whether the shard is open. Waits for an attempt under way.
-spec status(warp_context:context(), non_neg_integer()) -> ok | {error, term()}.
status(Context, N) ->
    case warp_context:registered(Context, {owner, N}) of
        {ok, Owner} -> warp_call:call(Owner, status, infinity);
        none -> {error, interrupted}
    end.

%% @doc Why the shard could not be opened, when that was tried last.
-spec failure(warp_context:context(), non_neg_integer()) -> {ok, term()} | none.
failure(Context, N) ->
    warp_context:registered(Context, {unavailable, N}).

%% @doc Waits until everything that is queued at the shard by now is committed, or has failed.
-spec await_queue(warp_context:context(), non_neg_integer()) -> ok.
await_queue(Context, N) ->
    ok = warp_retry:while(fun(Passed) -> Passed =:= overloaded end, ?OVERLOADED, infinity,
                          fun() -> pass(Context, N) end).

pass(Context, N) ->
    %% The owner first: a new one takes the handle of the last away before it is found itself.
    case warp_context:registered(Context, {owner, N}) of
        {ok, Owner} ->
            Monitor = erlang:monitor(process, Owner),
            Passed = pass(warp_context:shard(Context, N), Monitor, Context, N),
            true = erlang:demonitor(Monitor, [flush]),
            Passed;
        none ->
            ok
    end.

pass({ok, Handle}, Monitor, Context, N) ->
    passed(warp_nif:pass(Handle), Monitor, {ok, Handle}, Context, N);
pass({error, _NotOpen}, _Monitor, _Context, _N) ->
    %% A shard opens only after its last writer is done with everything.
    ok.

%% The answer comes through the shard's owner: without it there is none.
passed(ok, Monitor, Shard, Context, N) ->
    receive
        {warp_reply, _PassedOrFailed} -> ok;
        {'DOWN', Monitor, process, _, _} -> ok
    after ?LOOK_AGAIN_MS ->
        %% The handle may have been that of an owner that was just going.
        case warp_context:shard(Context, N) of
            Shard -> passed(ok, Monitor, Shard, Context, N);
            _ -> ok
        end
    end;
passed({error, overloaded}, _Monitor, _Shard, _Context, _N) ->
    overloaded;
passed({error, _Closed}, _Monitor, _Shard, _Context, _N) ->
    ok.

-spec init({warp_context:membership(), non_neg_integer()}) -> {ok, #state{}, {continue, open}}.
init({Membership, N}) ->
    _ = process_flag(trap_exit, true),
    %% Answers wait here for a short time only, but there can be many.
    _ = process_flag(message_queue_data, off_heap),
    Context = warp_context:mine(Membership),
    %% An owner that was killed could not take its handle back. Now, before an entity of the new
    %% one can start, and find it.
    ok = warp_context:unregister(Context, {shard, N}),
    ok = warp_context:register(Context, {owner, N}, self()),
    {ok, #state{context = Context, n = N}, {continue, open}}.

-spec handle_continue(open, #state{}) -> {noreply, #state{}}.
handle_continue(open, State) ->
    {noreply, open(State)}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, ok | {error, term()}, #state{}} | {noreply, #state{}}.
handle_call(status, From, #state{claim_until = Until, asking = Others} = State) when Until =/= none ->
    {noreply, State#state{asking = [From | Others]}};
handle_call(status, _From, #state{handle = undefined, error = Reason} = State) ->
    {reply, {error, Reason}, State};
handle_call(status, _From, State) ->
    {reply, ok, State};
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(shard, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(shard, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info(Message, State) ->
    try
        message(Message, State)
    catch
        Class:Reason:Stack ->
            %% What a process prints when it crashes holds its mailbox: answers, and what decisions
            %% send to whom.
            ?LOG_ERROR("Warp: the owner of shard ~b of context ~ts crashed and is started again: ~ts",
                       [State#state.n, name(State), warp_redact:crash(Class, Reason, Stack)]),
            {stop, {shutdown, crashed}, State}
    end.

message({warp_replies, Replies}, #state{context = Context, n = N} = State) when is_list(Replies) ->
    ok = lists:foreach(fun hand_on/1, Replies),
    ok = warp_follower:committed(Context, N),
    {noreply, State};
message({warp_slow_sync, Millis}, State) when is_integer(Millis) ->
    {noreply, slow_sync(Millis, State)};
message({warp_writer_down, Message}, State) ->
    ?LOG_ERROR("Warp: the writer of shard ~b of context ~ts crashed and is started again: ~ts",
               [State#state.n, name(State), Message]),
    unpublish(State),
    _ = erlang:send_after(?LAST_WORDS_MS, self(), {exit, writer_down}),
    {noreply, State};
message({warp_files_lost, Message}, State) ->
    ok = files_lost("is opened again", Message, State),
    unpublish(State),
    _ = erlang:send_after(?LAST_WORDS_MS, self(), {exit, files_lost}),
    {noreply, State};
message({exit, Reason}, State) when Reason =:= writer_down; Reason =:= files_lost ->
    {stop, {shutdown, Reason}, State};
message(open, #state{handle = undefined, warned = Warned} = State) ->
    case open(State) of
        #state{claim_until = Until} = Waiting when Until =/= none ->
            {noreply, Waiting};
        #state{handle = undefined, error = Warned} = Failed ->
            {noreply, Failed};
        #state{handle = undefined, error = Reason} = Failed ->
            ?LOG_WARNING("Warp: shard ~b of context ~ts cannot be opened and is tried again: ~tp",
                         [State#state.n, name(State), Reason]),
            {noreply, Failed#state{warned = Reason}};
        #state{warned = undefined} = Opened ->
            {noreply, Opened};
        Opened ->
            ?LOG_NOTICE("Warp: shard ~b of context ~ts is open again", [State#state.n, name(State)]),
            {noreply, Opened#state{warned = undefined}}
    end;
message(watch, #state{handle = Handle} = State) when Handle =/= undefined ->
    {noreply, watch(State)};
message(Stray, State) ->
    %% Also the exit of a process that linked itself to this one. The supervisor's never comes here.
    ok = warp_stray:note(shard, message, Stray),
    {noreply, State}.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{n = N, handle = Handle, stalled = Stalled} = State} = Status) ->
    warp_redact:status(Status, #{context => name(State), shard => N, stalled => Stalled,
                                 open => Handle =/= undefined});
format_status(Status) ->
    warp_redact:status(Status, #{}).

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{handle = undefined}) ->
    ok;
terminate(_Reason, #state{handle = Handle} = State) ->
    unpublish(State),
    ok = warp_nif:close(Handle),
    %% What did not work when it was closed.
    _ = background(State),
    receive {warp_files_lost, Message} -> files_lost("was closed", Message, State) after 0 -> ok end.

%% NOTE: while the file is claimed this process goes back to its mailbox: one whose supervisor is
%% gone has to go as well, and not compete for the file with its successor.
open(#state{context = Context, n = N, claim_until = Until} = State) ->
    #{dir := Dir, lock := Lock, name := Name, shards := Shards, durability := Durability} = Context,
    File = filename:join(Dir, io_lib:format("shard-~4..0b.db", [N])),
    Now = erlang:monotonic_time(millisecond),
    case warp_nif:open(Lock, File, {Name, N, Shards}, Durability, ?QUEUE_LIMIT, warp_component:kinds()) of
        {ok, Handle} ->
            ok = warp_context:unregister(Context, {unavailable, N}),
            ok = warp_context:register(Context, {shard, N}, Handle),
            ok = warp_component:shard_opened(Context, N),
            _ = erlang:send_after(?WATCH_MS, self(), watch),
            told(ok, State#state{handle = Handle, retry_ms = ?RETRY_MIN_MS});
        {error, claimed} when Until =:= none; Now < Until ->
            _ = erlang:send_after(?CLAIM_PAUSE_MS, self(), open),
            State#state{claim_until = case Until of none -> Now + ?CLAIM_PATIENCE_MS; _ -> Until end};
        {error, claimed} ->
            failed({io_error, iolist_to_binary([File, ": its last writer has not finished yet"])}, State);
        {error, Reason} ->
            failed(Reason, State)
    end.

failed(Reason, #state{retry_ms = Retry, context = Context, n = N} = State) ->
    ok = warp_context:register(Context, {unavailable, N}, Reason),
    _ = erlang:send_after(Retry, self(), open),
    told({error, Reason}, State#state{error = Reason, retry_ms = min(2 * Retry, ?RETRY_MAX_MS)}).

told(How, #state{asking = Asking} = State) ->
    lists:foreach(fun(From) -> gen_server:reply(From, How) end, Asking),
    State#state{claim_until = none, asking = []}.

%% What the writer answered to a process, or that it stored what came with this receipt: a tuple that
%% begins with the module that hands it out.
hand_on({Pid, Answer}) when is_pid(Pid) ->
    Pid ! {warp_reply, Answer},
    ok;
hand_on(Receipt) when is_tuple(Receipt), is_atom(element(1, Receipt)) ->
    (element(1, Receipt)):hand_out(Receipt);
hand_on(Stray) ->
    warp_stray:note(shard, message, Stray).

files_lost(What, Message, State) ->
    ?LOG_ERROR("Warp: shard ~b of context ~ts ~ts: ~ts", [State#state.n, name(State), What, Message]).

%% Nobody finds the shard from now on.
unpublish(#state{context = Context, n = N, handle = Handle}) ->
    warp_context:unregister(Context, {shard, N}, Handle).

watch(State0) ->
    #state{handle = Handle, stalled = Stalled} = State = background(State0),
    #{busy_ms := Busy, queue_depth := Depth} = warp_nif:stats(Handle),
    _ = erlang:send_after(?WATCH_MS, self(), watch),
    case Busy >= ?STALL_MS of
        true when not Stalled ->
            ?LOG_WARNING("Warp: shard ~b of context ~ts has been stalled for ~b ms in one "
                         "transaction, with ~b more submissions waiting: is its disk all right?",
                         [State#state.n, name(State), Busy, Depth]),
            State#state{stalled = true};
        IsStalled ->
            State#state{stalled = IsStalled}
    end.

%% Says once what began to fail in the background, and once that it works again.
background(#state{handle = Handle, background = Before} = State) ->
    #{background := Now} = warp_nif:stats(Handle),
    {Begun, Ended} = warp_shard_background:changed(Before, Now),
    _ = [?LOG_WARNING("Warp: shard ~b of context ~ts cannot do its ~ts: ~tp. So ~ts",
                      [State#state.n, name(State), Task, Error, warp_shard_background:meaning(Task)])
         || {Task, _Since, Error} <- Begun],
    _ = [?LOG_NOTICE("Warp: shard ~b of context ~ts can do its ~ts again",
                     [State#state.n, name(State), Task])
         || Task <- Ended],
    State#state{background = Now}.

slow_sync(Millis, #state{quiet_until = Until} = State) ->
    Now = erlang:monotonic_time(millisecond),
    case Until =:= undefined orelse Now >= Until of
        true ->
            ?LOG_WARNING("Warp: a commit to shard ~b of context ~ts took ~b ms to reach the disk",
                         [State#state.n, name(State), Millis]),
            State#state{quiet_until = Now + ?QUIET_MS};
        false ->
            State
    end.

name(#state{context = #{name := Name}}) ->
    Name.
