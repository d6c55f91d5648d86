%% @private Takes calls from other nodes, and runs each in a process of its own, so that none waits for another. Wakes
%% followers on other nodes when a log of this node grows. A node has several of these processes, and each shard has one
%% among them.
-module(warp_cluster_server).
-behaviour(gen_server).

-export([start_link/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-include("../base/warp_entity.hrl").
-include_lib("kernel/include/logger.hrl").

-dialyzer({no_improper_lists, [handle_info/2, responded/3]}).

%% How many calls may be under way in one of these processes.
-define(MAX_CALLS, 20000).
%% The pause before something is said again to a node that takes no messages just now.
-define(BUSY_MS, 5).
%% How many requests for one shard wait while it is handed over.
-define(MAX_WAITING, 10000).
%% How often at most one of these processes says that a call has failed.
-define(SAY_MS, 60000).
-define(IS_SHARD(N, Shards), is_integer(N), N >= 0, N < Shards).

-record(state, {
    context :: warp_context:context(),
    shards :: pos_integer(),
    %% When it last said that a call has failed.
    said = none :: none | integer(),
    calls = 0 :: non_neg_integer(),
    order = warp_cluster_order:new() :: warp_cluster_order:order(),
    %% Which processes like this one, on other nodes, are to be told when the log of a shard grows.
    armed = #{} :: #{non_neg_integer() => #{pid() => []}},
    %% Up to where a log went when such a process was last told, or would have been.
    told = #{} :: #{{pid(), non_neg_integer()} => non_neg_integer()},
    %% Requests that were made for other nodes, by the module that made them; each is labelled with who asked.
    requests = #{} :: #{module() => term()},
    %% Requests that wait while their shard is being handed over, the newest first.
    waiting = #{} :: #{non_neg_integer() => [{warp_call:alias(), warp_cluster_call:call()}]}
}).

%% @doc Starts the Nth process.
-spec start_link(warp_context:ref(), pos_integer()) -> gen_server:start_ret().
start_link(Ref, Nth) ->
    gen_server:start_link(?MODULE, {Ref, Nth}, []).

-spec init({warp_context:ref(), pos_integer()}) -> {ok, #state{}}.
init({Ref, Nth}) ->
    _ = process_flag(message_queue_data, off_heap),
    %% Calls that run in order are linked to this process, since no other one knows their order.
    _ = process_flag(trap_exit, true),
    ok = net_kernel:monitor_nodes(true),
    {ok, #{shards := Shards} = Context} = warp_context:find(Ref),
    {ok, Count} = warp_context:registered(Context, cluster_server_count),
    ok = warp_context:register(Context, {cluster_server_nth, Nth}, self()),
    ok = lists:foreach(fun(N) -> warp_context:register(Context, {cluster_server, N}, self()) end,
                       [N || N <- lists:seq(0, Shards - 1), 1 + N rem Count =:= Nth]),
    {ok, #state{context = Context, shards = Shards}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, term()}, #state{}}.
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(?MODULE, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({warp_call, Alias, _Call}, #state{calls = Calls} = State)
  when is_reference(Alias), Calls >= ?MAX_CALLS ->
    ok = answer(Alias, {error, overloaded}),
    {noreply, State};
handle_info({warp_call, Alias, {Module, Function, Args} = Call}, #state{calls = Calls} = State)
  when is_reference(Alias), is_atom(Module), is_atom(Function), length(Args) >= 0 ->
    case warp_cluster_served:is_call(Call) of
        true ->
            _ = spawn_monitor(fun() -> work(Alias, Call) end),
            {noreply, State#state{calls = Calls + 1}};
        false ->
            {noreply, unknown(Alias, Call, State)}
    end;
handle_info({warp_call, Alias, {Module, Function, Args, {_Key, N, Epoch} = Of} = Call}, #state{shards = Shards} = State)
  when is_reference(Alias), is_atom(Module), is_atom(Function), length(Args) >= 0, ?IS_SHARD(N, Shards),
       is_integer(Epoch) ->
    case warp_cluster_served:is_call({Module, Function, Args}) of
        true -> {noreply, in_order(Alias, Call, Of, State)};
        false -> {noreply, unknown(Alias, {Module, Function, Args}, State)}
    end;
handle_info({warp_request, Alias, {Module, Function, [#warp_entity{shard = N} | Others] = Args} = Call}, State)
  when is_reference(Alias), is_atom(Module), is_atom(Function), length(Others) >= 0 ->
    case warp_cluster_served:is_request(Call) of
        true -> {noreply, request(Alias, Call, N, State)};
        false -> {noreply, unknown(Alias, {Module, Function, Args}, State)}
    end;
handle_info({warp_waiting, N}, #state{waiting = Waiting} = State) when is_map_key(N, Waiting) ->
    {Requests, Left} = maps:take(N, Waiting),
    Again = fun({Alias, Call}, Acc) -> request(Alias, Call, N, Acc) end,
    {noreply, lists:foldr(Again, State#state{waiting = Left}, Requests)};
handle_info({[alias | _], _Answer} = Message, #state{requests = Requests} = State) ->
    {noreply, State#state{requests = maps:map(fun(Module, Of) -> responded(Module, Message, Of) end, Requests)}};
handle_info({'DOWN', _, process, Pid, Reason}, #state{calls = Calls, order = Order} = State) ->
    {noreply, said(Reason, State#state{calls = Calls - 1, order = warp_cluster_order:ended(Pid, Order)})};
handle_info({'EXIT', _Pid, _Reason}, State) ->
    {noreply, State};
%% A follower of this node sleeps at the end of a log of another node.
handle_info({warp_arm, N}, #state{context = Context, shards = Shards} = State) when ?IS_SHARD(N, Shards) ->
    case warp_context:log(Context, N) of
        {ok, {remote, Server, _, _, _}} -> ok = say(Server, {warp_sleep, N, self()}, {warp_arm, N});
        %% It looks again when there is a log to be read.
        _ -> ok
    end,
    {noreply, State};
handle_info({warp_log_grew, N}, #state{context = Context, shards = Shards} = State) when ?IS_SHARD(N, Shards) ->
    ok = warp_follower:committed(Context, N),
    {noreply, State};
%% NOTE: the log may have grown after that follower has read it, and before this message has come.
handle_info({warp_sleep, N, Pid}, #state{context = Context, shards = Shards, armed = Armed, told = Told} = State)
  when is_pid(Pid), ?IS_SHARD(N, Shards) ->
    case warp_context_owners:is_here(Context, N) of
        true ->
            ok = warp_follower:sleep(Context, N),
            Sleeping = maps:get(N, Armed, #{}),
            At = warp_shard_stats:log_position(Context, N),
            case maps:get({Pid, N}, Told, none) of
                At -> {noreply, State#state{armed = Armed#{N => Sleeping#{Pid => []}}}};
                _ -> {noreply, tell(Pid, N, State)}
            end;
        %% NOTE: while it is handed over nobody is noted here, and the shard may stay. It looks again, and asks again.
        false ->
            ok = say(Pid, {warp_log_grew, N}, {warp_tell, Pid, N}),
            {noreply, State}
    end;
handle_info({log_grew, N}, #state{armed = Armed} = State) ->
    Pids = maps:keys(maps:get(N, Armed, #{})),
    {noreply, lists:foldl(fun(Pid, Acc) -> tell(Pid, N, Acc) end, State#state{armed = maps:remove(N, Armed)}, Pids)};
handle_info({warp_answer, Alias, Answer}, State) when is_reference(Alias) ->
    ok = say(Alias, {[alias | Alias], Answer}, {warp_answer, Alias, Answer}),
    {noreply, State};
handle_info({warp_tell, Pid, N}, #state{shards = Shards} = State) when is_pid(Pid), ?IS_SHARD(N, Shards) ->
    {noreply, tell(Pid, N, State)};
handle_info({nodedown, Node}, #state{told = Told, armed = Armed} = State) ->
    OfOthers = fun(Pids) -> maps:filter(fun(Pid, _) -> node(Pid) =/= Node end, Pids) end,
    {noreply, State#state{told = maps:filter(fun({Pid, _}, _) -> node(Pid) =/= Node end, Told),
                          armed = maps:map(fun(_, Pids) -> OfOthers(Pids) end, Armed)}};
handle_info({nodeup, _Node}, State) ->
    {noreply, State};
handle_info(Stray, State) ->
    ok = warp_stray:note(?MODULE, message, Stray),
    {noreply, State}.

in_order(Alias, Call, {_Key, N, _Epoch} = Of, #state{context = Context, calls = Calls, order = Order} = State) ->
    case warp_cluster_order:next(Of, warp_context_owners:epoch(Context, N), Order) of
        {ok, Before} ->
            {Pid, _} = spawn_opt(fun() -> ok = await_end(Before), work(Alias, Call) end, [link, monitor]),
            State#state{calls = Calls + 1, order = warp_cluster_order:began(Of, Pid, Order)};
        {error, _} = Error ->
            ok = answer(Alias, Error),
            State
    end.

unknown(Alias, {Module, Function, Args}, State) ->
    ok = answer(Alias, {error, {unknown_request, {Module, Function, length(Args)}}}),
    State.

await_end(none) ->
    ok;
await_end(Pid) ->
    Monitor = erlang:monitor(process, Pid),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

%% Requests for one shard are made in their order, also those that wait.
request(Alias, Call, N, #state{context = Context, shards = Shards, waiting = Waiting} = State)
  when ?IS_SHARD(N, Shards) ->
    IsWaiting = is_map_key(N, Waiting),
    case IsWaiting orelse warp_context_owners:where(Context, N) of
        true ->
            #{N := Requests} = Waiting,
            case length(Requests) < ?MAX_WAITING of
                true -> State#state{waiting = Waiting#{N := [{Alias, Call} | Requests]}};
                false ->
                    ok = answer(Alias, {error, overloaded}),
                    State
            end;
        Where when Where =:= frozen; Where =:= unknown ->
            _ = erlang:send_after(?BUSY_MS, self(), {warp_waiting, N}),
            State#state{waiting = Waiting#{N => [{Alias, Call}]}};
        _ ->
            make(Alias, Call, State)
    end;
%% Its response says what is wrong with the entity.
request(Alias, Call, _N, State) ->
    make(Alias, Call, State).

make(Alias, {Module, Function, Args}, #state{requests = Requests} = State) ->
    Of = case Requests of #{Module := Known} -> Known; #{} -> Module:reqids_new() end,
    Made = apply(Module, Function, Args),
    State#state{requests = Requests#{Module => Module:reqids_add(Made, Alias, Of)}}.

responded(Module, Message, Of) ->
    case Module:check_response(Message, Of, true) of
        {Response, Alias, Left} ->
            ok = say(Alias, {[alias | Alias], {response, Response}}, {warp_answer, Alias, {response, Response}}),
            Left;
        _ ->
            Of
    end.

tell(Pid, N, #state{context = Context, told = Told} = State) ->
    At = warp_shard_stats:log_position(Context, N),
    ok = say(Pid, {warp_log_grew, N}, {warp_tell, Pid, N}),
    State#state{told = Told#{{Pid, N} => At}}.

%% A process that is gone is told nothing any more: who has lost its node looks again by itself.
say(Pid, Message, Again) ->
    case erlang:send(Pid, Message, [noconnect, nosuspend]) of
        nosuspend -> _ = erlang:send_after(?BUSY_MS, self(), Again), ok;
        _ -> ok
    end.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{calls = Calls}} = Status) ->
    warp_redact:status(Status, #{calls => Calls});
format_status(Status) ->
    warp_redact:status(Status, #{}).

%% Whoever asked may be gone, or its node slow: this process alone waits for that.
work(Alias, Call) ->
    {Result, Crash} =
        try
            {warp_cluster_call:serving(Call), none}
        catch
            Class:Reason:Stack -> {{error, interrupted}, warp_redact:crash(Class, Reason, Stack)}
        end,
    ok = warp_call:answer(Alias, Result),
    _ = [exit({shutdown, {call_failed, Crash}}) || Crash =/= none],
    ok.

%% A call that fails is a bug of Warp, or the other node has another version. There may be very many.
said({shutdown, {call_failed, Crash}}, #state{said = Said} = State) ->
    Now = erlang:monotonic_time(millisecond),
    case Said =:= none orelse Now - Said >= ?SAY_MS of
        true ->
            ?LOG_ERROR("Warp: a call of another node failed: ~ts. Its caller got `interrupted'. If both nodes have the "
                       "same version, this is a bug of Warp, please report it. Others are not said for a minute.",
                       [Crash]),
            State#state{said = Now};
        false ->
            State
    end;
said(_Reason, State) ->
    State.

%% This process does not wait.
answer(Alias, Answer) ->
    _ = spawn(fun() -> warp_call:answer(Alias, Answer) end),
    ok.
