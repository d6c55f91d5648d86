%% @private The owner of a context's journal, which all shards write into. This process opens the journal, and tries
%% again until that works. It hands the writer's answers on to the processes that asked, and warns an operator when
%% the disk is slow.
-module(warp_journal).
-behaviour(gen_server).

-export([start_link/1, await/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export([format_status/1]).

-include_lib("kernel/include/logger.hrl").

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
    opening = warp_shard_opening:new() :: warp_shard_opening:opening(),
    stalled = false :: boolean(),
    %% The tasks in the background that failed at the last check.
    background = [] :: [warp_shard_background:failing()],
    quiet_until :: integer() | undefined
}).

%% @doc Starts the owner of the journal, which begins to open it.
-spec start_link(warp_context:ref()) -> gen_server:start_ret().
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

-spec init(warp_context:ref()) -> {ok, #state{}, {continue, open}}.
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
handle_call(await, From, #state{opening = Opening} = State) ->
    case warp_shard_opening:ask(From, Opening) of
        {later, Asked} -> {noreply, State#state{opening = Asked}};
        {Result, Asked} -> {reply, Result, State#state{opening = Asked}}
    end;
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(journal, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

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
message(open, #state{handle = undefined} = State0) ->
    #state{opening = Opening} = State = open(State0),
    {noreply, State#state{opening = warp_shard_opening:report("the journal", name(State), Opening)}};
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

open(#state{context = Context, opening = Opening} = State) ->
    #{lock := Lock, durability := Durability, dir := Dir} = Context,
    Claimed = {io_error, iolist_to_binary([Dir, ": its previous writer has not closed its files yet"])},
    case warp_shard_opening:attempt(fun() -> warp_nif:open_journal(Lock, Durability) end, Claimed, Opening) of
        {{opened, Handle}, Next} ->
            ok = warp_context:register(Context, journal, Handle),
            _ = erlang:send_after(?WATCH_MS, self(), watch),
            State#state{handle = Handle, opening = warp_shard_opening:tell(Next)};
        {{failed, _Reason}, Next} ->
            State#state{opening = warp_shard_opening:tell(Next)};
        {waiting, Next} ->
            State#state{opening = Next}
    end.

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

background(#state{handle = Handle, background = Previous} = State) ->
    #{background := Now} = warp_nif:journal_stats(Handle),
    ok = warp_shard_background:log("the journal", name(State), Previous, Now),
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
