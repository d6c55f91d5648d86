%% @private The owner of a context's journal, which all shards write into. This process opens the journal, and tries
%% again until that works. It hands the writer's answers on to the processes that asked, and warns an operator when
%% the disk is slow.
-module(warp_journal).
-behaviour(gen_server).

-export([start_link/1, await/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export([format_status/1]).

-include_lib("kernel/include/logger.hrl").

%% The pause between two attempts to open a journal whose files the previous owner's threads have not closed yet, and
%% how long these attempts go on.
-define(CLAIM_PAUSE_MS, 5).
-define(CLAIM_PATIENCE_MS, 30000).
%% The shortest and the longest pause before the journal is opened again after another error.
-define(RETRY_MIN_MS, 100).
-define(RETRY_MAX_MS, 5000).
%% How often the owner checks the writer, and after how long one commit counts as stalled.
-define(WATCH_MS, 1000).
-define(STALL_MS, 3000).
%% The shortest pause between two warnings about slow commits.
-define(QUIET_MS, 60000).
%% How long the owner stays after the writer has crashed, so that entities can hand errors on to their callers.
-define(LAST_WORDS_MS, 50).

-record(state, {
    context :: warp_context:context(),
    handle :: warp_nif:journal() | undefined,
    %% Why the last attempt to open the journal failed.
    error :: term(),
    %% Until when the threads of a previous owner may take to close the files, and the callers that wait for the
    %% result.
    claim_until = none :: none | integer(),
    asking = [] :: [gen_server:from()],
    %% The reason in the last warning that the journal could not be opened.
    warned :: term(),
    retry_ms = ?RETRY_MIN_MS :: pos_integer(),
    stalled = false :: boolean(),
    %% The tasks in the background that failed at the last check.
    background = [] :: [warp_shard_background:failing()],
    quiet_until :: integer() | undefined
}).

%% @doc Starts the owner of the journal, which begins to open it.
-spec start_link(reference()) -> gen_server:start_ret().
start_link(Ref) ->
    gen_server:start_link(?MODULE, Ref, []).

%% @doc The journal, or why it is not open. Waits for an attempt under way. `interrupted': the owner is being
%% restarted.
-spec await(warp_context:context()) -> {ok, warp_nif:journal()} | {error, term()}.
await(Context) ->
    case warp_context:registered(Context, journal_owner) of
        {ok, Owner} -> warp_call:call(Owner, await, infinity);
        none -> {error, interrupted}
    end.

-spec init(reference()) -> {ok, #state{}, {continue, open}}.
init(Ref) ->
    _ = process_flag(trap_exit, true),
    %% Answers stay in the mailbox only for a short time, but there can be many.
    _ = process_flag(message_queue_data, off_heap),
    {ok, Context} = warp_context:find(Ref),
    ok = warp_context:unregister(Context, journal),
    ok = warp_context:register(Context, journal_owner, self()),
    {ok, #state{context = Context}, {continue, open}}.

-spec handle_continue(open, #state{}) -> {noreply, #state{}}.
handle_continue(open, State) ->
    {noreply, open(State)}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, {ok, warp_nif:journal()} | {error, term()}, #state{}} | {noreply, #state{}}.
handle_call(await, From, #state{claim_until = Until, asking = Others} = State) when Until =/= none ->
    {noreply, State#state{asking = [From | Others]}};
handle_call(await, _From, State) ->
    {reply, result(State), State};
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(journal, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

result(#state{handle = undefined, error = Reason}) -> {error, Reason};
result(#state{handle = Handle}) -> {ok, Handle}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(journal, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info(Message, State) ->
    try
        message(Message, State)
    catch
        Class:Reason:Stack ->
            %% OTP's report of a crash would show the mailbox, with answers and with the messages of decisions. So
            %% the process logs the crash itself, and stops.
            ?LOG_ERROR("Warp: the owner of the journal of context ~ts crashed, and its supervisor restarts it. This "
                       "is a bug of Warp, please report it: ~ts",
                       [name(State), warp_redact:crash(Class, Reason, Stack)]),
            {stop, {shutdown, crashed}, State}
    end.

message({warp_replies, Replies, Shards}, #state{context = Context} = State)
  when is_list(Replies), is_list(Shards) ->
    ok = lists:foreach(fun hand_on/1, Replies),
    ok = lists:foreach(fun(N) -> warp_follower:committed(Context, N) end, Shards),
    {noreply, State};
message({warp_slow_sync, Millis}, State) when is_integer(Millis) ->
    {noreply, slow_sync(Millis, State)};
message({warp_writer_down, Message}, State) ->
    ?LOG_ERROR("Warp: the writer of context ~ts crashed, and Warp opens its shards again. This is a bug of Warp, "
               "please report it: ~ts",
               [name(State), Message]),
    {noreply, last_words(writer_down, State)};
message({warp_files_lost, Message}, State) ->
    ?LOG_ERROR("Warp: the journal of context ~ts is opened again: ~ts", [name(State), Message]),
    {noreply, last_words(files_lost, State)};
message({exit, Reason}, State) when Reason =:= writer_down; Reason =:= files_lost ->
    {stop, {shutdown, Reason}, State};
message(open, #state{handle = undefined, warned = Warned} = State) ->
    case open(State) of
        #state{claim_until = Until} = Waiting when Until =/= none ->
            {noreply, Waiting};
        #state{handle = undefined, error = Warned} = Failed ->
            {noreply, Failed};
        #state{handle = undefined, error = Reason} = Failed ->
            ?LOG_WARNING("Warp: the journal of context ~ts cannot be opened. Warp tries again until it can. ~ts",
                         [name(State), warp_error:format_error(Reason)]),
            {noreply, Failed#state{warned = Reason}};
        #state{warned = undefined} = Opened ->
            {noreply, Opened};
        Opened ->
            ?LOG_NOTICE("Warp: the journal of context ~ts is open again", [name(State)]),
            {noreply, Opened#state{warned = undefined}}
    end;
message(watch, #state{handle = Handle} = State) when Handle =/= undefined ->
    {noreply, watch(State)};
message(Stray, State) ->
    %% This can also be the exit of a process that linked itself to this one. A `gen_server' handles the exit of its
    %% supervisor itself.
    ok = warp_stray:note(journal, message, Stray),
    {noreply, State}.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{handle = Handle, stalled = Stalled} = State} = Status) ->
    warp_redact:status(Status, #{context => name(State), stalled => Stalled, open => Handle =/= undefined});
format_status(Status) ->
    warp_redact:status(Status, #{}).

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{handle = undefined}) ->
    ok;
terminate(_Reason, #state{context = Context, handle = Handle} = State) ->
    ok = warp_context:unregister(Context, journal),
    ok = warp_nif:close_journal(Handle),
    %% Logs the tasks that failed while the journal was closed.
    _ = background(State),
    ok.

%% NOTE: while the threads of a previous owner have the files this process does not wait here, but goes back to its
%% mailbox. When its supervisor has ended it has to end too, and must not compete with its successor.
open(#state{context = Context, claim_until = Until} = State) ->
    #{lock := Lock, durability := Durability} = Context,
    Now = erlang:monotonic_time(millisecond),
    case warp_nif:open_journal(Lock, Durability) of
        {ok, Handle} ->
            ok = warp_context:register(Context, journal, Handle),
            _ = erlang:send_after(?WATCH_MS, self(), watch),
            told(State#state{handle = Handle, retry_ms = ?RETRY_MIN_MS});
        {error, claimed} when Until =:= none; Now < Until ->
            _ = erlang:send_after(?CLAIM_PAUSE_MS, self(), open),
            State#state{claim_until = case Until of none -> Now + ?CLAIM_PATIENCE_MS; _ -> Until end};
        {error, claimed} ->
            #{dir := Dir} = Context,
            failed({io_error, iolist_to_binary([Dir, ": its previous writer has not closed its files yet"])}, State);
        {error, Reason} ->
            failed(Reason, State)
    end.

failed(Reason, #state{retry_ms = Retry} = State) ->
    _ = erlang:send_after(Retry, self(), open),
    told(State#state{error = Reason, retry_ms = min(2 * Retry, ?RETRY_MAX_MS)}).

told(#state{asking = Asking} = State) ->
    lists:foreach(fun(From) -> gen_server:reply(From, result(State)) end, Asking),
    State#state{claim_until = none, asking = []}.

last_words(Reason, #state{context = Context} = State) ->
    ok = warp_context:unregister(Context, journal),
    _ = erlang:send_after(?LAST_WORDS_MS, self(), {exit, Reason}),
    State.

%% A reply is either the writer's answer to a process, or the receipt of a submission that was stored. A receipt is a
%% tuple that begins with the module that hands it out.
hand_on({Pid, Answer}) when is_pid(Pid) ->
    Pid ! {warp_reply, Answer},
    ok;
hand_on(Receipt) when is_tuple(Receipt), is_atom(element(1, Receipt)) ->
    (element(1, Receipt)):hand_out(Receipt);
hand_on(Stray) ->
    warp_stray:note(journal, message, Stray).

watch(State0) ->
    #state{handle = Handle, stalled = Stalled} = State = background(State0),
    #{busy_ms := Busy, queue_depth := Depth} = warp_nif:journal_stats(Handle),
    _ = erlang:send_after(?WATCH_MS, self(), watch),
    case Busy >= ?STALL_MS of
        true when not Stalled ->
            ?LOG_WARNING("Warp: the shards of context ~ts have been stalled for ~b ms in one commit, and ~b more "
                         "submissions wait. Check the disk.",
                         [name(State), Busy, Depth]),
            State#state{stalled = true};
        IsStalled ->
            State#state{stalled = IsStalled}
    end.

%% Logs once that a task in the background fails, and once that it works again.
background(#state{handle = Handle, background = Previous} = State) ->
    #{background := Now} = warp_nif:journal_stats(Handle),
    {Begun, Ended} = warp_shard_background:changed(Previous, Now),
    _ = [?LOG_WARNING("Warp: the journal of context ~ts cannot do its task ~ts: ~0tp. This means: ~ts.",
                      [name(State), Task, Error, warp_shard_background:meaning(Task)])
         || {Task, _Since, Error} <- Begun],
    _ = [?LOG_NOTICE("Warp: the journal of context ~ts can do its task ~ts again", [name(State), Task])
         || Task <- Ended],
    State#state{background = Now}.

slow_sync(Millis, #state{quiet_until = Until} = State) ->
    Now = erlang:monotonic_time(millisecond),
    case Until =:= undefined orelse Now >= Until of
        true ->
            ?LOG_WARNING("Warp: a commit to the shards of context ~ts took ~b ms to reach the disk. Check the disk if "
                         "this happens often.",
                         [name(State), Millis]),
            State#state{quiet_until = Now + ?QUIET_MS};
        false ->
            State
    end.

name(#state{context = #{name := Name}}) ->
    Name.
