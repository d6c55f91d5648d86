%% @private The owner of a shard's file. This process opens the file, and tries again until that works.
-module(warp_shard).
-behaviour(gen_server).

-export([start_link/2, file/2, status/2, failure/2, await_queue/2]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export([format_status/1]).

-include_lib("kernel/include/logger.hrl").

%% How many submissions may wait for the writer. An entity has one submission at a time.
-define(QUEUE_LIMIT, 16384).
%% How often the owner checks what the shard does in the background.
-define(WATCH_MS, 1000).
%% How long the owner stays after its files were lost, so that entities can hand errors on to their callers.
-define(LAST_WORDS_MS, 50).
%% The pause before a process that waits for a full queue tries again.
-define(FULL_QUEUE_RETRIES, {10, infinity}).
%% How often a process that waits for the queue checks whether the shard was opened again meanwhile.
-define(LOOK_AGAIN_MS, 200).

-record(state, {
    context :: warp_context:context(),
    n :: non_neg_integer(),
    handle :: warp_nif:shard() | undefined,
    opening = warp_shard_opening:new() :: warp_shard_opening:opening(),
    %% The tasks in the background that failed at the last check.
    background = [] :: [warp_shard_background:failing()]
}).

%% @doc Starts the owner of shard N, which begins to open the file.
-spec start_link(warp_context:membership(), non_neg_integer()) -> gen_server:start_ret().
start_link(Membership, N) ->
    gen_server:start_link(?MODULE, {Membership, N}, []).

%% @doc The path of the file of shard N.
-spec file(warp_context:context(), non_neg_integer()) -> binary().
file(#{dir := Dir}, N) ->
    filename:join(Dir, io_lib:format("shard-~4..0b.db", [N])).

%% @doc Whether the shard is open, or why not. Waits for an attempt under way. `interrupted': the owner is being
%% restarted.
-spec status(warp_context:context(), non_neg_integer()) -> ok | {error, term()}.
status(Context, N) ->
    case warp_context:registered(Context, {owner, N}) of
        {ok, Owner} ->
            case warp_call:call(Owner, status, infinity) of
                {ok, _Handle} -> ok;
                {error, _} = Error -> Error
            end;
        none -> {error, interrupted}
    end.

%% @doc Why the last attempt to open the shard failed; `none' if it is open.
-spec failure(warp_context:context(), non_neg_integer()) -> {ok, term()} | none.
failure(Context, N) ->
    warp_context:registered(Context, {unavailable, N}).

%% @doc Waits until everything that is queued at the shard by now is committed or has failed. Waits without a
%% limit, as long as the disk takes.
-spec await_queue(warp_context:context(), non_neg_integer()) -> ok.
await_queue(Context, N) ->
    ok = warp_retry:while(fun(Passed) -> Passed =:= overloaded end, ?FULL_QUEUE_RETRIES, infinity,
                          fun() -> pass(Context, N) end).

pass(Context, N) ->
    %% NOTE: this looks the owner of the journal up before the handle. A new owner starts before the shards are opened
    %% again, so the handle that is found now is not an older one.
    case warp_context:registered(Context, journal_owner) of
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
    %% The previous writer has finished everything before the shard is opened again.
    ok.

%% The journal's owner hands the answer on, so no answer comes after the owner has ended.
passed(ok, Monitor, Shard, Context, N) ->
    receive
        {warp_reply, _PassedOrFailed} -> ok;
        {'DOWN', Monitor, process, _, _} -> ok
    after ?LOOK_AGAIN_MS ->
        %% NOTE: the handle may have belonged to an owner that was just ending.
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
    Context = warp_context:mine(Membership),
    %% NOTE: an owner that was killed could not unregister its handle. This removes the handle before an entity
    %% can start behind this owner and find it.
    ok = warp_context:unregister(Context, {shard, N}),
    ok = warp_context:register(Context, {owner, N}, self()),
    {ok, #state{context = Context, n = N}, {continue, open}}.

-spec handle_continue(open, #state{}) -> {noreply, #state{}}.
handle_continue(open, State) ->
    {noreply, open(State)}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, {ok, warp_nif:shard()} | {error, term()}, #state{}} | {noreply, #state{}}.
handle_call(status, From, #state{opening = Opening} = State) ->
    case warp_shard_opening:ask(From, Opening) of
        {later, Asked} -> {noreply, State#state{opening = Asked}};
        {Result, Asked} -> {reply, Result, State#state{opening = Asked}}
    end;
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
            %% OTP's report of a crash would show the mailbox, with answers and with the messages of decisions. So
            %% the process logs the crash itself, and stops.
            ?LOG_ERROR("Warp: the owner of shard ~b of context ~ts crashed, and its supervisor restarts it. This is "
                       "a bug of Warp, please report it: ~ts",
                       [State#state.n, name(State), warp_redact:crash(Class, Reason, Stack)]),
            {stop, {shutdown, crashed}, State}
    end.

message({warp_files_lost, Message}, State) ->
    ok = files_lost("is opened again", Message, State),
    unpublish(State),
    _ = erlang:send_after(?LAST_WORDS_MS, self(), {exit, files_lost}),
    {noreply, State};
message({exit, files_lost}, State) ->
    {stop, {shutdown, files_lost}, State};
message(open, #state{handle = undefined} = State0) ->
    #state{opening = Opening} = State = open(State0),
    {noreply, State#state{opening = warp_shard_opening:report(what(State), name(State), Opening)}};
message(watch, #state{handle = Handle} = State) when Handle =/= undefined ->
    {noreply, watch(State)};
message(Stray, State) ->
    %% This can also be the exit of a process that linked itself to this one. A `gen_server' handles the exit of its
    %% supervisor itself.
    ok = warp_stray:note(shard, message, Stray),
    {noreply, State}.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{n = N, handle = Handle} = State} = Status) ->
    warp_redact:status(Status, #{context => name(State), shard => N, open => Handle =/= undefined});
format_status(Status) ->
    warp_redact:status(Status, #{}).

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{context = Context, n = N, handle = undefined}) ->
    warp_context:unregister(Context, {owner, N}, self());
terminate(_Reason, #state{context = Context, n = N, handle = Handle} = State) ->
    ok = warp_context:unregister(Context, {owner, N}, self()),
    unpublish(State),
    ok = warp_nif:close(Handle),
    %% Logs the tasks that failed while the shard was closed.
    _ = background(State),
    receive {warp_files_lost, Message} -> files_lost("was closed", Message, State) after 0 -> ok end.

open(#state{context = Context, n = N, opening = Opening} = State) ->
    Claimed = {io_error, iolist_to_binary([file(Context, N), ": its previous owner has not closed it yet"])},
    case warp_shard_opening:attempt(fun() -> open_file(Context, N) end, Claimed, Opening) of
        {{opened, Handle}, Next} ->
            ok = warp_context:unregister(Context, {unavailable, N}),
            ok = warp_context:register(Context, {shard, N}, Handle),
            ok = warp_component:shard_opened(Context, N),
            _ = erlang:send_after(?WATCH_MS, self(), watch),
            State#state{handle = Handle, opening = warp_shard_opening:tell(Next)};
        {{failed, Reason}, Next} ->
            ok = warp_context:register(Context, {unavailable, N}, Reason),
            State#state{opening = warp_shard_opening:tell(Next)};
        {waiting, Next} ->
            State#state{opening = Next}
    end.

open_file(#{name := Name, shards := Shards} = Context, N) ->
    case warp_journal:await(Context) of
        {ok, Journal} ->
            warp_nif:open(Journal, file(Context, N), {Name, N, Shards}, ?QUEUE_LIMIT, warp_component:kinds());
        {error, _} = Error ->
            Error
    end.

files_lost(What, Message, State) ->
    ?LOG_ERROR("Warp: shard ~b of context ~ts ~ts: ~ts", [State#state.n, name(State), What, Message]).

%% From now on nobody finds the shard's handle.
unpublish(#state{context = Context, n = N, handle = Handle}) ->
    warp_context:unregister(Context, {shard, N}, Handle).

watch(State) ->
    _ = erlang:send_after(?WATCH_MS, self(), watch),
    background(State).

background(#state{handle = Handle, background = Previous} = State) ->
    #{background := Now} = warp_nif:stats(Handle),
    ok = warp_shard_background:log(what(State), name(State), Previous, Now),
    State#state{background = Now}.

what(#state{n = N}) ->
    "shard " ++ integer_to_list(N).

name(#state{context = #{name := Name}}) ->
    Name.
