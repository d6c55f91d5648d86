%% @private Has other nodes do their part of the deletions of this node's entities: when a deletion comes to that, and
%% again and again afterwards until each node has done its part. A node that was down is told when it is back.
%%
%% What a node is told it may be told twice; {@link warp_erasure_part} is its other side.
-module(warp_erasure_courier).
-behaviour(gen_server).

-export([start_link/1, tell_of/3, erase/3, await/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-include_lib("kernel/include/logger.hrl").

%% How often what is left is tried again.
-define(TICK_MS, 500).
%% How many deletions a node is told of at once.
-define(BATCH, 100).
%% How long a node may take to answer. It goes on by itself, and is asked again.
-define(NOTE_MS, 5000).
-define(ERASE_MS, 6000).

-record(state, {
    context :: warp_context:context(),
    %% Who is being told something, and up to where what is left was tried.
    busy = #{} :: #{pid() => warp_erasure_elsewhere:target()},
    places = #{} :: #{warp_erasure_elsewhere:target() => warp_erasure_elsewhere:key() | none}
}).

-spec start_link(warp_context:ref()) -> gen_server:start_ret().
start_link(Ref) ->
    gen_server:start_link(?MODULE, Ref, []).

%% @doc Tells all nodes that can be reached of a deletion whose log is about to be erased, and waits for their answers:
%% each refuses its sagas under way what they do to the entity, and does not show or project a new life of it. Nodes
%% that do not answer are told later, before they read the log of the shard again.
-spec tell_of(warp_context:context(), warp_erasure_list:open_list(), warp_erasure_list:entry()) -> ok.
tell_of(Context, List, #{entity := Entity}) ->
    Told = each_node(fun note/4, Context, List, warp_erasure_elsewhere:open(Context, Entity)),
    await(Told).

%% @doc Has all nodes that can be reached do their part, after the log was erased. They are told while the caller goes
%% on.
-spec erase(warp_context:context(), warp_erasure_list:open_list(), [warp_erasure_list:elsewhere()]) -> [reference()].
erase(Context, List, Rows) ->
    each_node(fun tell/4, Context, List, Rows).

each_node(Fun, Context, List, Rows) ->
    ByTarget = maps:groups_from_list(fun warp_erasure_elsewhere:target/1, Rows),
    [element(2, spawn_monitor(fun() -> Fun(Context, List, Target, Of) end)) || {Target, Of} <- maps:to_list(ByTarget)].

%% @doc Waits until they were told, or did not answer.
-spec await([reference()]) -> ok.
await(Monitors) ->
    lists:foreach(fun(Monitor) -> receive {'DOWN', Monitor, process, _, _} -> ok end end, Monitors).

%% ------------------------------------------------------------------ The process

-spec init(warp_context:ref()) -> {ok, #state{}} | {stop, {shutdown, context_stopped}}.
init(Ref) ->
    case warp_context:find(Ref) of
        {ok, Context} ->
            self() ! tick,
            {ok, #state{context = Context}};
        not_found ->
            {stop, {shutdown, context_stopped}}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, term()}, #state{}}.
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(?MODULE, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(tick, #state{context = Context} = State) ->
    _ = erlang:send_after(?TICK_MS, self(), tick),
    case warp_erasure_elsewhere:targets(Context) of
        [] -> {noreply, State#state{places = #{}}};
        Targets -> {noreply, tick(Targets, State)}
    end;
handle_info({'DOWN', _, process, Pid, _}, #state{busy = Busy} = State) when is_map_key(Pid, Busy) ->
    {noreply, State#state{busy = maps:remove(Pid, Busy)}};
handle_info(Stray, State) ->
    ok = warp_stray:note(?MODULE, message, Stray),
    {noreply, State}.

tick(Targets, #state{context = Context, busy = Busy} = State) ->
    case {warp_cluster_member:other_members(Context), warp_context:registered(Context, erasure_list)} of
        {{ok, Nodes}, {ok, List}} ->
            lists:foldl(fun(Target, Acc) -> go_on(Target, Nodes, List, Acc) end, State, Targets -- maps:values(Busy));
        _ ->
            State
    end.

go_on(Target, Nodes, List, #state{context = Context, busy = Busy, places = Places} = State) ->
    {Rows, Place} = warp_erasure_elsewhere:next(Context, Target, maps:get(Target, Places, none), ?BATCH),
    Next = State#state{places = Places#{Target => Place}},
    case [Row || #{shard := N} = Row <- Rows, warp_context_owners:is_here(Context, N)] of
        [] ->
            Next;
        Here ->
            %% A node that has left, or was forgotten, has nothing any more that it may show.
            Fun = case is_binary(Target) orelse lists:member(Target, Nodes) of
                      true -> fun tell/4;
                      false -> fun dropped/4
                  end,
            {Pid, _} = spawn_monitor(fun() -> Fun(Context, List, Target, Here) end),
            Next#state{busy = Busy#{Pid => Target}}
    end.

dropped(Context, List, _Node, Rows) ->
    done(Context, List, Rows).

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{busy = Busy}} = Status) ->
    warp_redact:status(Status, #{busy => map_size(Busy)});
format_status(Status) ->
    warp_redact:status(Status, #{}).

%% ------------------------------------------------------------------ Telling one node

tell(Context, List, Component, Rows) when is_binary(Component) ->
    steps(Context, List, [Row || #{state := erased} = Row <- Rows]);
tell(Context, List, Node, Rows) ->
    {Kept, Live} = lists:partition(fun(#{state := State}) -> State =:= kept end, Rows),
    ok = forget(Context, List, Node, Kept),
    Knowing = note(Context, List, Node, Live),
    part(Context, List, Node, [Row || #{state := erased, deletion := Id} = Row <- Live, is_map_key(Id, Knowing)]).

%% Gives the deletions that the node knows of.
note(_Context, _List, Component, _Rows) when is_binary(Component) ->
    #{};
note(_Context, _List, _Node, []) ->
    #{};
note(Context, List, Node, Rows) ->
    case ask(Context, Node, note, Rows, ?NOTE_MS) of
        {ok, #{session := Session, noted := Told, why := Why}} ->
            {Known, Unknown} = lists:partition(fun(#{deletion := Id}) -> is_map_key(Id, Told) end, Rows),
            ok = warp_erasure_elsewhere:failed(Context, Unknown, Why),
            lists:foreach(
                fun(#{deletion := Id, entity := Entity}) ->
                    warp_component:deletion_told(Context, Entity, maps:get(Id, Told))
                end,
                Known),
            _ = warp_erasure_elsewhere:noted(Context, List, [Row || #{noted := false} = Row <- Known]),
            %% NOTE: only now. What sagas of the node send is refused until it is known which of them are concerned.
            ok = warp_erasure_elsewhere:knows(Context, Node, Known, Session),
            Told;
        {error, Reason} ->
            ok = warp_erasure_elsewhere:failed(Context, Rows, #{reason => Reason}),
            #{}
    end.

part(_Context, _List, _Node, []) ->
    ok;
part(Context, List, Node, Rows) ->
    case ask(Context, Node, erase, Rows, ?ERASE_MS) of
        {ok, Left} ->
            {Not, Done} = lists:partition(fun(#{deletion := Id}) -> is_map_key(Id, Left) end, Rows),
            lists:foreach(
                fun(#{deletion := Id} = Row) -> warp_erasure_elsewhere:failed(Context, [Row], maps:get(Id, Left)) end,
                Not),
            done(Context, List, Done);
        {error, Reason} ->
            warp_erasure_elsewhere:failed(Context, Rows, #{reason => Reason})
    end.

forget(_Context, _List, _Node, []) ->
    ok;
forget(Context, List, Node, Rows) ->
    case ask(Context, Node, keep, Rows, ?NOTE_MS) of
        ok -> done(Context, List, Rows);
        {error, _} -> ok
    end.

steps(Context, List, Rows) ->
    lists:foreach(
        fun(#{step := Step} = Row) ->
            case warp_component:erase(Step, Context, maps:with([entity, shard, incarnation], Row)) of
                ok -> done(Context, List, [Row]);
                {error, Reason} -> warp_erasure_elsewhere:failed(Context, [Row], #{reason => Reason})
            end
        end,
        Rows).

%% Whoever waits for the end of these deletions is told. What could not be written is tried again.
done(Context, List, Rows) ->
    case warp_erasure_elsewhere:drop(Context, List, Rows) of
        ok ->
            Entities = lists:usort([Entity || #{entity := Entity} <- Rows]),
            _ = [Pid ! {done_elsewhere, Entities} || Rows =/= [],
                                                     {ok, Pid} <- [warp_context:registered(Context, erasure)]],
            ok;
        {error, Reason} ->
            warp_erasure_elsewhere:failed(Context, Rows, #{reason => Reason})
    end.

ask(#{ref := Ref} = Context, Node, Function, [#{shard := N} | _] = Rows, Millis) ->
    case warp_cluster_member:server(Context, Node, N) of
        {ok, Server} ->
            Call = {warp_erasure_part, Function, [Ref, Rows]},
            case warp_cluster_call:ask(Server, Call, warp_deadline:from(Millis)) of
                {error, {unknown_outcome, Node}} -> {error, {node_unavailable, Node}};
                {error, timeout} -> {error, {node_unavailable, Node}};
                Answer -> Answer
            end;
        {error, _} = Error ->
            Error
    end.
