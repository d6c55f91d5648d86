%% @private Moves shards: plans which of this node's shards should be on another node ({@link warp_cluster_ring}), and
%% carries out the hand-offs of this node, as giver and as receiver, as {@link warp_cluster_handoff} decides. What takes
%% long is done by a task, a process of its own, of which a shard has one at a time ({@link warp_cluster_task}).
-module(warp_cluster_mover).
-behaviour(gen_server).

-export([start_link/1, started/1, progress/2, progress_here/1, pause/3, has_none/2, settle_copy/2, rounds_here/2]).
-export([promise/4, take_over/5]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-export_type([progress/0]).

-include_lib("kernel/include/logger.hrl").

%% How often it plans.
-define(PLAN_MS, 500).
%% When it plans again after a node was busy with other shards.
-define(BUSY_MS, 50).
%% How many shards a node gives, and gets, at a time.
-define(MOST, 1).
%% How long another node may take to say how far its copy is, and the pause between two looks.
-define(PATIENCE_MS, 5000).
-define(PAUSE_MS, 100).

-type under_way() :: #{
    shard := non_neg_integer(),
    phase := warp_cluster_handoff:phase(),
    direction := gives | gets,
    node := node(),
    since := warp_core:micros(),
    %% Of the file: how many bytes are copied by now, and how many it has; 0 where that is not known yet.
    bytes := non_neg_integer(),
    of_bytes := non_neg_integer(),
    %% About how many are in the shard, as the node knows that gets it.
    entities := non_neg_integer()
}.
-type progress() :: #{
    is_paused := boolean(),
    %% How many shards this node still has to give.
    to_give := non_neg_integer(),
    %% Since the start of the context: how many it gave and got, and about how many entities and bytes it got.
    given := non_neg_integer(),
    got := non_neg_integer(),
    entities := non_neg_integer(),
    bytes := non_neg_integer(),
    %% How long callers of the shards that were given had to wait, in milliseconds: the newest first, up to 100.
    pauses_ms := [non_neg_integer()],
    under_way := [under_way()],
    %% Shards that stand still, and why.
    alarms := #{non_neg_integer() => term()}
}.

-record(state, {
    context :: warp_context:context(),
    handoffs = #{} :: #{non_neg_integer() => warp_cluster_handoff:handoff()},
    tasks = #{} :: #{non_neg_integer() => warp_cluster_task:task()},
    stages = #{} :: #{non_neg_integer() => term()},
    timers = #{} :: #{{non_neg_integer(), warp_cluster_handoff:tag()} => reference()},
    %% By shard, since when it is handed over, and since when it is frozen.
    since = #{} :: #{non_neg_integer() => warp_core:micros()},
    frozen = #{} :: #{non_neg_integer() => integer()},
    copied = #{} :: #{non_neg_integer() => {non_neg_integer(), non_neg_integer()}},
    counted = #{} :: #{non_neg_integer() => non_neg_integer()},
    rounds = #{} :: #{non_neg_integer() => non_neg_integer()},
    alarms = #{} :: #{non_neg_integer() => term()},
    is_started = false :: boolean(),
    is_paused = false :: boolean(),
    %% The shard whose hand-off has begun last.
    last = -1 :: integer(),
    %% Whether it plans again soon, since a node was busy.
    is_waiting = false :: boolean(),
    given = 0 :: non_neg_integer(),
    got = 0 :: non_neg_integer(),
    entities = 0 :: non_neg_integer(),
    bytes = 0 :: non_neg_integer(),
    pauses = [] :: [non_neg_integer()]
}).

-spec start_link(warp_context:ref()) -> gen_server:start_ret().
start_link(Ref) ->
    gen_server:start_link(?MODULE, Ref, []).

%% @doc Has it begin: the start of the context is over.
-spec started(warp_context:context()) -> ok.
started(Context) ->
    _ = [Pid ! plan || {ok, Pid} <- [warp_context:registered(Context, mover)]],
    ok.

%% @doc What is moving.
-spec progress(warp_context:context(), warp_deadline:deadline()) -> progress() | {error, interrupted | timeout}.
progress(Context, Deadline) -> ask(Context, progress, Deadline).

%% @doc Whether new hand-offs begin on this node.
-spec pause(warp_context:context(), boolean(), warp_deadline:deadline()) -> ok | {error, interrupted | timeout}.
pause(Context, IsPaused, Deadline) -> ask(Context, {pause, IsPaused}, Deadline).

%% @doc What is moving on this node, for another one.
-spec progress_here(warp_context:ref()) -> {ok, progress()} | {error, context_stopped | interrupted | timeout}.
progress_here(Ref) ->
    case warp_context:find(Ref) of
        {ok, Context} ->
            case progress(Context, warp_deadline:from(?PATIENCE_MS)) of
                #{} = Progress -> {ok, Progress};
                {error, _} = Error -> Error
            end;
        not_found ->
            {error, context_stopped}
    end.

%% @doc Waits until no copy of shard N that another node has has anything of what was erased in the shard by now. A node
%% that cannot be reached removes its copy when it is started again. `{node_unavailable, Node}': a node was lost
%% meanwhile.
-spec settle_copy(warp_context:context(), non_neg_integer()) -> ok | {error, interrupted | {node_unavailable, node()}}.
settle_copy(Context, N) ->
    case warp_cluster_member:info(Context) of
        #{linked := Linked} -> settle_each(Linked, Context, N);
        {error, _} = Error -> Error
    end.

settle_each([], _Context, _N) ->
    ok;
settle_each([Node | Nodes], Context, N) ->
    case settle_at(Node, Context, N, none) of
        ok -> settle_each(Nodes, Context, N);
        {error, _} = Error -> Error
    end.

%% Two rounds: the first may have begun before.
settle_at(Node, #{ref := Ref} = Context, N, Seen) ->
    Asked =
        case warp_cluster_member:server(Context, Node, N) of
            {ok, Server} ->
                warp_cluster_call:ask(Server, {?MODULE, rounds_here, [Ref, N]}, warp_deadline:from(?PATIENCE_MS));
            {error, _} = Error ->
                Error
        end,
    case Asked of
        {ok, none} -> ok;
        {ok, Rounds} when Seen =/= none, Rounds >= Seen + 2 -> ok;
        {ok, Rounds} ->
            ok = timer:sleep(?PAUSE_MS),
            settle_at(Node, Context, N, case Seen of none -> Rounds; _ -> Seen end);
        {error, {node_unavailable, _} = Why} -> {error, Why};
        {error, _} -> {error, {node_unavailable, Node}}
    end.

%% @doc How often this node has gone through shard N, which it copies; `none' when it has no copy. A copy that is left
%% of an attempt that was given up is removed.
-spec rounds_here(warp_context:ref(), non_neg_integer()) ->
    {ok, non_neg_integer() | none} | {error, context_stopped | interrupted}.
rounds_here(Ref, N) ->
    case warp_context:find(Ref) of
        {ok, Context} -> ask(Context, {rounds, N}, warp_deadline:from(?PATIENCE_MS));
        not_found -> {error, context_stopped}
    end.

%% @doc Whether this node has no shard, and nothing of one any more.
-spec has_none(warp_context:context(), warp_deadline:deadline()) -> boolean() | {error, interrupted | timeout}.
has_none(Context, Deadline) -> ask(Context, has_none, Deadline).

%% @doc Says yes to the forgetting of members: {@link warp_cluster_member:promise/3}. What they have said of hand-offs
%% before was taken then. `busy': ask again later.
-spec promise(warp_context:context(), warp_cluster_forget:ballot(), warp_cluster_view:members(),
              warp_deadline:deadline()) -> {ok, warp_cluster_forget:known()} | {error, term()}.
promise(Context, Ballot, Lost, Deadline) -> ask(Context, {promise, Ballot, Lost}, Deadline).

%% @doc Takes over shard N of a member that is forgotten: what {@link warp_cluster_handoff} calls `take_over'. On disk
%% when this returns `ok'. `{promised, Generation}': this node has said yes to another forgetting since. `busy': ask
%% again later.
-spec take_over(warp_context:context(), warp_cluster_forget:ballot(), non_neg_integer(), warp_cluster_handoff:input(),
                warp_deadline:deadline()) -> ok | {error, busy | {promised, non_neg_integer()} | term()}.
take_over(Context, Ballot, N, Order, Deadline) -> ask(Context, {take_over, Ballot, N, Order}, Deadline).

ask(Context, Request, Deadline) ->
    case warp_context:registered(Context, mover) of
        {ok, Pid} -> warp_call:call(Pid, Request, Deadline);
        none -> {error, interrupted}
    end.

-spec init(warp_context:ref()) -> {ok, #state{}}.
init(Ref) ->
    _ = process_flag(trap_exit, true),
    {ok, Context} = warp_context:find(Ref),
    ok = warp_context:register(Context, mover, self()),
    self() ! plan,
    {ok, #state{context = Context}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(progress, _From, State) ->
    {reply, progress_of(State), State};
handle_call({pause, IsPaused}, _From, State) ->
    {reply, ok, State#state{is_paused = IsPaused}};
%% NOTE: once the shard is frozen, what is copied is what is left of it, and so it is when it was taken.
handle_call({rounds, N}, _From, #state{handoffs = Handoffs, rounds = Rounds} = State) ->
    case Handoffs of
        #{N := Handoff} ->
            case warp_cluster_handoff:info(Handoff) of
                {Phase, _} when Phase =:= copying; Phase =:= copied; Phase =:= sealing; Phase =:= recording ->
                    {reply, {ok, maps:get(N, Rounds, 0)}, State};
                {idle, _} when is_map_key(N, State#state.stages) ->
                    {reply, {ok, maps:get(N, Rounds, 0)}, begin_task(discard, N, State)};
                _ -> {reply, {ok, none}, State}
            end;
        #{} -> {reply, {ok, none}, State}
    end;
handle_call(has_none, _From, #state{context = Context, handoffs = Handoffs} = State) ->
    {reply, warp_context_owners:here(Context) =:= [] andalso lists:all(fun is_idle/1, maps:values(Handoffs)), State};
handle_call({promise, _, _}, _From, #state{is_started = false} = State) ->
    {reply, {error, not_started}, State};
handle_call({promise, Ballot, Lost}, _From, #state{context = Context, handoffs = Handoffs} = State) ->
    case lists:any(fun warp_cluster_handoff:is_writing/1, maps:values(Handoffs)) of
        false ->
            case warp_cluster_member:promise(Context, Ballot, Lost) of
                {ok, _} = Yes -> {reply, Yes, cancelled(maps:keys(Lost), State)};
                {error, _} = Error -> {reply, Error, State}
            end;
        true ->
            {reply, {error, busy}, State}
    end;
handle_call({take_over, Ballot, N, Order}, _From, #state{context = Context, handoffs = Handoffs} = State)
  when is_map_key(N, Handoffs) ->
    case warp_cluster_member:promised(Context) of
        Ballot ->
            Next = input(N, Order, State),
            {reply, taken_over(N, Next), Next};
        {error, _} = Error ->
            {reply, Error, State};
        {Generation, _} ->
            {reply, {error, {promised, Generation}}, State}
    end;
handle_call({take_over, _, _, _}, _From, State) ->
    {reply, {error, not_started}, State};
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(?MODULE, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(plan, #state{is_started = false} = State) ->
    {noreply, begin_all(State)};
handle_info(plan, State) ->
    _ = erlang:send_after(?PLAN_MS, self(), plan),
    {noreply, plan(State)};
handle_info(plan_now, State) ->
    {noreply, plan(State)};
handle_info(plan_soon, State) ->
    {noreply, plan(State#state{is_waiting = false})};
handle_info({handoff, N, Node, Message}, #state{is_started = true} = State) ->
    {noreply, heard(N, Node, Message, State)};
handle_info({handoff, _N, _Node, _Message}, State) ->
    {noreply, State};
handle_info({written, N, Written}, State) ->
    {noreply, input(N, {written, Written}, State)};
handle_info({due, N, Tag}, #state{timers = Timers} = State) ->
    {noreply, input(N, {timer, Tag}, State#state{timers = maps:remove({N, Tag}, Timers)})};
handle_info({task, N, Pid, Said}, #state{tasks = Tasks} = State) ->
    case Tasks of
        #{N := Task} ->
            case warp_cluster_task:is_of(Pid, Task) of
                true -> {noreply, task_said(N, Said, State)};
                false -> {noreply, State}
            end;
        #{} -> {noreply, State}
    end;
handle_info({'EXIT', Pid, Reason}, #state{tasks = Tasks} = State) ->
    case [N || {N, Task} <- maps:to_list(Tasks), warp_cluster_task:is_of(Pid, Task)] of
        [N] when Reason =/= normal ->
            #{N := Task} = Tasks,
            Failed = warp_cluster_task:failed(Task, Reason),
            {noreply, input(N, Failed, State#state{tasks = maps:remove(N, Tasks)})};
        [N] ->
            {noreply, State#state{tasks = maps:remove(N, Tasks)}};
        [] ->
            {noreply, State}
    end;
handle_info(Stray, State) ->
    ok = warp_stray:note(?MODULE, message, Stray),
    {noreply, State}.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{handoffs = Handoffs, tasks = Tasks}} = Status) ->
    warp_redact:status(Status, #{shards => map_size(Handoffs), tasks => map_size(Tasks)});
format_status(Status) ->
    warp_redact:status(Status, #{}).

%% ------------------------------------------------------------------ Planning

begin_all(#state{context = #{shards := Shards} = Context} = State) ->
    _ = erlang:send_after(?PLAN_MS, self(), plan),
    case warp_cluster_member:records(Context) of
        {ok, Records} ->
            ok = forget([N || N <- lists:seq(0, Shards - 1), is_absent(maps:get(N, Records, none))], Context),
            lists:foldl(
                fun(N, Acc) ->
                    Record = maps:get(N, Records, warp_cluster_record:new(joiner)),
                    {Effects, Handoff} = warp_cluster_handoff:start(Record),
                    perform(Effects, N, put_handoff(N, Handoff, Acc))
                end,
                State#state{is_started = true}, lists:seq(0, Shards - 1));
        {error, _} ->
            State
    end.

%% The journal may have records of shards that have gone, which nobody needs any more.
forget([], _Context) ->
    ok;
forget(Ns, Context) ->
    case warp_journal:await(Context) of
        {ok, Journal} -> lists:foreach(fun(N) -> ok = warp_nif:forget(Journal, N) end, Ns);
        %% Its segments stay for longer.
        {error, _} -> ok
    end.

is_absent(none) -> true;
is_absent(#{held := Held, stage := none}) -> not warp_cluster_record:is_giver(Held);
is_absent(_Record) -> false.

plan(#state{context = Context} = State) ->
    case warp_cluster_member:info(Context) of
        #{phase := member, owners := Owners} = Info -> give(Info, heard_of_owners(Owners, State));
        _ -> State
    end.

%% What another node owns since is no more to be handed over.
heard_of_owners(Owners, State) ->
    Passed = [{N, Since} || {N, _, {Epoch, _, _}} <- under_way(State), #{N := {Since, Node}} <- [Owners],
                            Node =/= node(), Since >= Epoch],
    lists:foldl(fun({N, Epoch}, Acc) -> input(N, {owner, Epoch}, Acc) end, State, Passed).

give(_Info, #state{is_paused = true} = State) ->
    State;
give(#{linked := Linked} = Info, #state{context = Context, last = Last} = State) ->
    Wanted = [{N, To} || {N, To} <- to_give(Info, Context), lists:member(To, Linked)],
    Giving = [N || {N, gives, _} <- under_way(State)],
    Others = [Move || {N, _} = Move <- Wanted, not lists:member(N, Giving)],
    case length(Giving) < ?MOST andalso behind(Last, Others) of
        [{N, To} | _] -> input(N, {give, To, warp_random:bytes(16)}, State#state{last = N});
        _ -> State
    end.

%% One after the other, so that a shard that cannot be given now holds up no other.
behind(Last, Moves) ->
    {Before, Behind} = lists:partition(fun({N, _}) -> N =< Last end, lists:sort(Moves)),
    Behind ++ Before.

%% The shards that this node should give, and to whom.
to_give(#{members := Members, owners := Owners}, #{shards := Shards}) ->
    Where = maps:map(fun(_, {_, Node}) -> Node end, Owners),
    [{N, To} || {N, From, To} <- warp_cluster_ring:moves(warp_cluster_view:taking_part(Members), Where, Shards),
                From =:= node()].

under_way(#state{handoffs = Handoffs}) ->
    [{N, direction(Phase), About} || {N, Handoff} <- maps:to_list(Handoffs),
                                     {Phase, {_, _, _} = About} <- [warp_cluster_handoff:info(Handoff)]].

direction(Phase) ->
    case lists:member(Phase, [offered, freezing, frozen, committing, given, cleaning, recording]) of
        true -> gives;
        false -> gets
    end.

%% A node that is getting as many shards as it may answers other offers by itself.
heard(N, Node, {offer, Epoch, Attempt} = Message, #state{context = Context} = State) ->
    Getting = [Other || {Other, gets, _} <- under_way(State), Other =/= N],
    case length(Getting) >= ?MOST orelse not takes_shards(Context) of
        true ->
            ok = warp_cluster_member:tell(Context, Node, {N, {refuse, Epoch, Attempt, busy}}),
            State;
        false ->
            input(N, {message, Node, Message}, State)
    end;
heard(N, Node, Message, State) ->
    input(N, {message, Node, Message}, State).

takes_shards(Context) ->
    case warp_cluster_member:info(Context) of
        #{phase := member, members := Members} -> lists:member(node(), warp_cluster_view:taking_part(Members));
        _ -> false
    end.

%% ------------------------------------------------------------------ Carrying out

put_handoff(N, Handoff, #state{handoffs = Handoffs} = State) ->
    State#state{handoffs = Handoffs#{N => Handoff}}.

input(N, Input, #state{handoffs = Handoffs, since = Since} = State) ->
    #{N := Handoff} = Handoffs,
    {Effects, Next} = warp_cluster_handoff:input(Input, Handoff),
    Begun =
        case {warp_cluster_handoff:info(Next), Since} of
            {{_, none}, #{N := _}} ->
                %% The next one need not wait, but for one that was given up: it would be so again at once.
                _ = [self() ! plan_now || not lists:keymember(ended, 1, Effects)],
                maps:remove(N, Since);
            {{_, none}, _} -> Since;
            {_, #{N := _}} -> Since;
            {_, _} -> Since#{N => os:system_time(microsecond)}
        end,
    perform(Effects, N, put_handoff(N, Next, State#state{since = Begun})).

perform(Effects, N, State) ->
    lists:foldl(fun(Effect, Acc) -> effect(Effect, N, Acc) end, State, Effects).

effect({send, Node, Message}, N, #state{context = Context} = State) ->
    ok = warp_cluster_member:tell(Context, Node, {N, Message}),
    State;
effect({write, Record}, N, #state{context = Context} = State) ->
    %% NOTE: the answer is an input like others, behind what is being carried out.
    Written = warp_cluster_member:put_record(Context, N, Record),
    self() ! {written, N, Written},
    counted(Record, N, State);
effect({timer, Millis, Tag}, N, #state{timers = Timers} = State) ->
    _ = [erlang:cancel_timer(Timer) || #{{N, Tag} := Timer} <- [Timers]],
    State#state{timers = Timers#{{N, Tag} => erlang:send_after(Millis, self(), {due, N, Tag})}};
effect({ended, _Node, _Attempt, {refused, busy}}, _N, #state{is_waiting = IsWaiting} = State) ->
    _ = [erlang:send_after(?BUSY_MS, self(), plan_soon) || not IsWaiting],
    State#state{is_waiting = true};
effect({ended, Node, _Attempt, Why}, N, #state{context = #{name := Name}} = State) ->
    ?LOG_NOTICE("Warp: shard ~b of context ~ts stays here for now; node ~ts did not take it: ~0tp",
                [N, Name, Node, Why]),
    State;
effect({alarm, Why}, N, #state{context = #{name := Name}, alarms = Alarms} = State) ->
    _ = [?LOG_ERROR("Warp: shard ~b of context ~ts stands still in its hand-off: ~0tp", [N, Name, Why])
         || maps:get(N, Alarms, none) =/= Why],
    State#state{alarms = Alarms#{N => Why}};
%% The other node owns the shard, and opens it.
effect(clean, N, #state{frozen = Frozen, pauses = Pauses} = State) ->
    Pause = case Frozen of #{N := At} -> [erlang:monotonic_time(millisecond) - At]; #{} -> [] end,
    begin_task(clean, N, State#state{pauses = lists:sublist(Pause ++ Pauses, 100), frozen = maps:remove(N, Frozen)});
effect({stop, _Attempt}, N, State) ->
    end_task(N, State);
effect(Effect, N, State) ->
    begin_task(Effect, N, State).

counted(#{held := {given, _, _, _, _, false}}, _N, #state{given = Given} = State) ->
    State#state{given = Given + 1};
counted(#{held := {own, _}, stage := none}, N, #state{copied = Copied, counted = Counted} = State) ->
    #state{got = Got, entities = Entities, bytes = Bytes} = State,
    {_, Size} = maps:get(N, Copied, {0, 0}),
    State#state{got = Got + 1, entities = Entities + maps:get(N, Counted, 0), bytes = Bytes + Size,
                copied = maps:remove(N, Copied), counted = maps:remove(N, Counted)};
counted(_Record, _N, State) ->
    State.

begin_task(Effect, N, State0) ->
    #state{context = Context, tasks = Tasks, stages = Stages} = State = end_task(N, State0),
    Task = warp_cluster_task:start(Effect, N, maps:get(N, Stages, none), Context),
    State#state{tasks = Tasks#{N => Task}}.

end_task(N, #state{tasks = Tasks} = State) ->
    case maps:take(N, Tasks) of
        {Task, Left} ->
            ok = warp_cluster_task:stop(Task),
            State#state{tasks = Left};
        error ->
            State
    end.

task_said(N, {stage, Stage}, #state{stages = Stages} = State) ->
    State#state{stages = Stages#{N => Stage}};
task_said(N, no_stage, #state{stages = Stages} = State) ->
    State#state{stages = maps:remove(N, Stages)};
task_said(N, round, #state{rounds = Rounds} = State) ->
    State#state{rounds = maps:update_with(N, fun(Count) -> Count + 1 end, 1, Rounds)};
task_said(N, frozen, #state{frozen = Frozen} = State) ->
    State#state{frozen = Frozen#{N => erlang:monotonic_time(millisecond)}};
task_said(N, {entities, Count}, #state{counted = Counted} = State) ->
    State#state{counted = Counted#{N => Count}};
task_said(N, {copied, Bytes, OfBytes}, #state{copied = Copied} = State) ->
    State#state{copied = Copied#{N => {Bytes, OfBytes}}};
task_said(N, {input, Input}, #state{alarms = Alarms} = State) ->
    input(N, Input, State#state{alarms = maps:remove(N, Alarms)}).

%% ------------------------------------------------------------------ What is moving

progress_of(#state{context = Context} = State) ->
    #state{is_paused = IsPaused, given = Given, got = Got, entities = Entities, bytes = Bytes, pauses = Pauses,
           alarms = Alarms, since = Since, copied = Copied, counted = Counted} = State,
    ToGive =
        case warp_cluster_member:info(Context) of
            #{phase := _} = Info -> length(to_give(Info, Context));
            {error, _} -> 0
        end,
    UnderWay = [begin
                    {Phase, {_, Node, _}} = warp_cluster_handoff:info(maps:get(N, State#state.handoffs)),
                    {Done, Size} = maps:get(N, Copied, {0, 0}),
                    #{shard => N, phase => Phase, direction => Direction, node => Node, bytes => Done,
                      of_bytes => Size, entities => maps:get(N, Counted, 0), since => maps:get(N, Since, 0)}
                end || {N, Direction, _} <- under_way(State)],
    #{is_paused => IsPaused, to_give => ToGive, given => Given, got => Got, entities => Entities,
      bytes => Bytes, pauses_ms => Pauses, under_way => UnderWay, alarms => Alarms}.

%% Nobody waits for what a lost node would say.
cancelled(Lost, State) ->
    Waiting = [N || {N, _, {_, Node, _}} <- under_way(State), lists:member(Node, Lost)],
    lists:foldl(fun(N, Acc) -> input(N, cancel, Acc) end, State, Waiting).

%% What is being written decides.
taken_over(N, #state{context = #{name := Name}, handoffs = Handoffs}) ->
    case warp_cluster_handoff:info(maps:get(N, Handoffs)) of
        {creating, _} -> ok;
        {replacing, _} ->
            ?LOG_WARNING("Warp: shard ~b of context ~ts was lost with its node; an empty one takes its place",
                         [N, Name]);
        {Phase, _} ->
            case lists:member(Phase, [taking, adopting, owning, reclaiming, serving]) of
                true -> ok;
                false -> {error, busy}
            end
    end.

is_idle(Handoff) ->
    warp_cluster_handoff:info(Handoff) =:= {idle, none}.
