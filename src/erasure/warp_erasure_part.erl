%% @private This node's part of deletions of other nodes' entities. The node that has the entity's shard tells it of a
%% deletion before it erases the log (`note'), has it do its part afterwards (`erase'), or says that the entity is kept
%% (`keep'); see {@link warp_erasure_courier}. Nothing of it is on disk here: that node asks until the part is done, and
%% after a restart of this one tells it again, before it lets this one read on.
-module(warp_erasure_part).
-behaviour(gen_server).

-export([start_link/1, is_done/2]).
%% Called by other nodes.
-export([note/2, erase/2, keep/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-type row() :: warp_erasure_list:elsewhere().
-type part() :: #{
    deletion := binary(),
    entity := binary(),
    shard := non_neg_integer(),
    incarnation := non_neg_integer(),
    asking := [gen_server:from()],
    %% What is left, as the callers of the deletion are told.
    left := #{atom() => term()}
}.

-record(state, {
    context :: warp_context:context(),
    parts = #{} :: #{pid() => part()},
    %% When parts were done: a message that comes late, or twice, does nothing.
    done = #{} :: #{Deletion :: binary() => Seconds :: integer()}
}).

%% How long the other node waits here for parts that are not done yet.
-define(PATIENCE_MS, 4000).
%% How long it is remembered that a part is done.
-define(REMEMBERED_S, 3600).
-define(SWEEP_MS, 60000).

-spec start_link(warp_context:ref()) -> gen_server:start_ret().
start_link(Ref) ->
    gen_server:start_link(?MODULE, Ref, []).

%% @doc Whether this node's part of that deletion is done, as far as is remembered.
-spec is_done(warp_context:context(), Deletion :: binary()) -> boolean().
is_done(Context, Deletion) ->
    ask(Context, {is_done, Deletion}, infinity) =:= true.

%% @doc Holds entities, whose new lives this node does not show or project from now on; and has its components know of
%% their deletions. Gives those that are noted, each with what the components of the other node are told, and why others
%% are not.
-spec note(warp_context:ref(), [row()]) ->
    {ok, #{session := warp_cluster_withheld:session(), noted := #{binary() => term()}, why := #{atom() => term()}}}
    | {error, term()}.
note(Ref, Rows) ->
    with_context(Ref, fun(Context) ->
        case ask(Context, {hold, Rows}, warp_deadline:from(?PATIENCE_MS)) of
            {ok, Held} ->
                Told = [{Id, told(Context, Row)} || #{deletion := Id} = Row <- Held],
                {ok, #{session => warp_cluster_withheld:session(Context),
                       noted => maps:from_list([{Id, Of} || {Id, {ok, Of}} <- Told]),
                       why => maps:from_list([{reason, busy} || length(Held) < length(Rows)]
                                             ++ [{reason, Why} || {_, {error, Why}} <- Told])}};
            {error, _} = Error ->
                Error
        end
    end).

told(_Context, #{noted := true}) -> {ok, []};
told(Context, #{entity := Entity}) -> warp_component:deletion_elsewhere(Context, Entity).

%% @doc Does this node's part of deletions whose logs are erased. Gives those that are not done yet, with why not. They
%% go on.
-spec erase(warp_context:ref(), [row()]) -> {ok, #{binary() => #{atom() => term()}}} | {error, term()}.
erase(Ref, Rows) ->
    with_context(Ref, fun(Context) ->
        case warp_context:registered(Context, erasure_part) of
            {ok, Pid} ->
                Deadline = warp_deadline:from(?PATIENCE_MS),
                Asked = [{Id, warp_call:send(Pid, {erase, Row})} || #{deletion := Id} = Row <- Rows],
                Answers = [{Id, warp_call:await(Sent, warp_deadline:left(Deadline))} || {Id, Sent} <- Asked],
                ok = warp_call:give_up(maps:from_list([{Sent, []} || {_, Sent} <- Asked])),
                Left = maps:from_list([{Id, case Answer of
                                                {answer, {error, Why}} -> #{reason => Why};
                                                none -> #{}
                                            end} || {Id, Answer} <- Answers, Answer =/= {answer, ok}]),
                case map_size(Left) of
                    0 -> {ok, #{}};
                    _ -> {ok, maps:map(fun(Id, Why) -> maps:merge(Why, left(Context, Id)) end, Left)}
                end;
            none ->
                {error, interrupted}
        end
    end).

left(Context, Id) ->
    case ask(Context, {left, Id}, warp_deadline:from(?PATIENCE_MS)) of
        {error, _} -> #{};
        Left -> Left
    end.

%% @doc Forgets deletions that failed.
-spec keep(warp_context:ref(), [row()]) -> ok | {error, term()}.
keep(Ref, Rows) ->
    with_context(Ref, fun(Context) -> ask(Context, {keep, Rows}, warp_deadline:from(?PATIENCE_MS)) end).

with_context(Ref, Fun) ->
    case warp_context:find(Ref) of
        {ok, Context} -> Fun(Context);
        not_found -> {error, context_stopped}
    end.

ask(Context, Request, Deadline) ->
    case warp_context:registered(Context, erasure_part) of
        {ok, Pid} -> warp_call:call(Pid, Request, Deadline);
        none -> {error, interrupted}
    end.

%% ------------------------------------------------------------------ The process

-spec init(warp_context:ref()) -> {ok, #state{}} | {stop, {shutdown, context_stopped}}.
init(Ref) ->
    _ = process_flag(trap_exit, true),
    case warp_context:find(Ref) of
        {ok, Context} ->
            ok = warp_context:register(Context, erasure_part, self()),
            _ = erlang:send_after(?SWEEP_MS, self(), sweep),
            {ok, #state{context = Context}};
        not_found ->
            {stop, {shutdown, context_stopped}}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({hold, Rows}, _From, #state{context = Context, done = Done} = State) ->
    Held = [Row#{noted := Noted orelse is_map_key(Id, Done)}
            || #{deletion := Id, noted := Noted} = Row <- Rows, may_begin(Row, State)],
    ok = lists:foreach(
        fun(#{deletion := Id, entity := Entity, incarnation := Incarnation}) ->
            _ = [ok = warp_erasure_holds:hold_for_another(Context, Entity, Incarnation)
                 || not is_map_key(Id, Done), part_of(Entity, State) =:= none],
            ok
        end,
        Held),
    {reply, {ok, Held}, State};
handle_call({erase, #{deletion := Id, entity := Entity} = Row}, From, #state{parts = Parts, done = Done} = State) ->
    case part_of(Entity, State) of
        _ when is_map_key(Id, Done) ->
            {reply, ok, State};
        {Pid, #{deletion := Id, asking := Asking} = Part} ->
            {noreply, State#state{parts = Parts#{Pid := Part#{asking := [From | Asking]}}}};
        Of ->
            case Of =:= none andalso may_begin(Row, State) of
                true -> {noreply, begun(Row, From, State)};
                false -> {reply, {error, busy}, State}
            end
    end;
handle_call({keep, Rows}, _From, #state{context = Context} = State) ->
    ok = lists:foreach(
        fun(#{entity := Entity, incarnation := Incarnation}) ->
            warp_erasure_holds:release_for_another(Context, Entity, Incarnation)
        end,
        Rows),
    ok = lists:foreach(fun(Row) -> warp_component:deleted(Context, deletion(Row)) end, Rows),
    {reply, ok, lists:foldl(fun(#{deletion := Id}, Acc) -> remembered(Id, Acc) end, State, Rows)};
handle_call({left, Id}, _From, #state{parts = Parts} = State) ->
    case [Left || #{deletion := Of, left := Left} <- maps:values(Parts), Of =:= Id] of
        [Left] -> {reply, Left, State};
        [] -> {reply, #{}, State}
    end;
handle_call({is_done, Id}, _From, #state{done = Done} = State) ->
    {reply, is_map_key(Id, Done), State};
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(?MODULE, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

%% Not while an earlier life of the entity is being erased here. And a shard that has come here meanwhile has brought
%% its deletions.
may_begin(#{deletion := Id, entity := Entity, shard := N}, #state{context = Context} = State) ->
    case part_of(Entity, State) of
        {_, #{deletion := Other}} when Other =/= Id -> false;
        _ -> not warp_context_owners:is_here(Context, N)
    end.

part_of(Entity, #state{parts = Parts}) ->
    case [Of || {_, #{entity := At}} = Of <- maps:to_list(Parts), At =:= Entity] of
        [Of] -> Of;
        [] -> none
    end.

deletion(Row) -> maps:with([entity, shard, incarnation], Row).

begun(#{entity := Entity, incarnation := Incarnation} = Row, From, #state{context = Context, parts = Parts} = State) ->
    ok = warp_erasure_holds:hold_for_another(Context, Entity, Incarnation),
    Self = self(),
    Pid = spawn_link(fun() ->
        warp_erasure_steps:here(Context, deletion(Row), fun(What) -> Self ! {left, self(), What}, ok end)
    end),
    Part = (maps:with([deletion, entity, shard, incarnation], Row))#{asking => [From], left => #{reason => no_answer}},
    State#state{parts = Parts#{Pid => Part}}.

remembered(Id, #state{done = Done} = State) ->
    State#state{done = Done#{Id => erlang:monotonic_time(second)}}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({left, Pid, What}, #state{parts = Parts} = State) when is_map_key(Pid, Parts) ->
    #{Pid := #{left := Left} = Part} = Parts,
    {noreply, State#state{parts = Parts#{Pid := Part#{left := maps:merge(Left, What)}}}};
handle_info({'EXIT', Pid, Reason}, #state{context = Context, parts = Parts} = State) when is_map_key(Pid, Parts) ->
    {Part, Left} = maps:take(Pid, Parts),
    #{deletion := Id, entity := Entity, incarnation := Incarnation, asking := Asking} = Part,
    Next = State#state{parts = Left},
    case Reason of
        normal ->
            ok = warp_erasure_holds:release_for_another(Context, Entity, Incarnation),
            ok = warp_component:deleted(Context, deletion(Part)),
            lists:foreach(fun(From) -> gen_server:reply(From, ok) end, Asking),
            {noreply, remembered(Id, Next)};
        %% The other node asks again.
        _ ->
            lists:foreach(fun(From) -> gen_server:reply(From, {error, interrupted}) end, Asking),
            {noreply, Next}
    end;
handle_info(sweep, #state{done = Done} = State) ->
    _ = erlang:send_after(?SWEEP_MS, self(), sweep),
    Since = erlang:monotonic_time(second) - ?REMEMBERED_S,
    {noreply, State#state{done = maps:filter(fun(_, At) -> At > Since end, Done)}};
handle_info(Stray, State) ->
    ok = warp_stray:note(?MODULE, message, Stray),
    {noreply, State}.

%% The log must not show the ids of entities.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{parts = Parts}} = Status) ->
    warp_redact:status(Status, #{parts => map_size(Parts)});
format_status(Status) ->
    warp_redact:status(Status, #{}).
