%% @private Deletes entities. This process starts a process for each deletion, which carries it out
%% ({@link warp_erasure_steps}), and answers the callers, at their deadlines at the latest. When it starts it resumes
%% the deletions that a crash left in the list ({@link warp_erasure_list}).
%%
%% In a cluster it deletes the entities of the shards that are on this node, whose deletions come and go with them
%% ({@link warp_erasure_moves}).
-module(warp_erasure).
-behaviour(gen_server).

-export([start_link/1, delete/3, await_left/1, claim_target/2, left_for/4]).
-export([shard_opened/2, shard_closing/3, give/2, take/3, given/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-include("../base/warp_entity.hrl").
-include_lib("kernel/include/logger.hrl").

%% The pause before the list is opened again after an error.
-define(RETRY_MS, 500).
%% How long the start of a context waits until the logs of all resumed deletions are erased.
-define(START_PATIENCE_MS, 10000).
%% The pause before a call to a process that has ended is made again.
-define(RETRIES, {50, infinity}).
%% How long after its deadline a caller still waits for the answer, which this process sends at the deadline. It looks
%% at what is left then, which takes a while on a busy machine, and says more than `timeout'.
-define(GRACE_MS, 500).
%% How many deletions may be under way at once.
-define(MAX_UNDER_WAY, 10000).

%% What is left, before more is known.
-define(NO_ANSWER, #{target => none, projections => [], reason => no_answer}).

%% A caller that waits, and the timer that ends the waiting.
-type asker() :: {gen_server:from(), reference() | none}.

-record(deletion, {
    pid :: pid(),
    shard :: non_neg_integer(),
    askers = [] :: [asker()],
    log_erased = false :: boolean(),
    %% What is still to be erased after the log.
    left = ?NO_ANSWER :: map(),
    %% Whether a crash left this deletion in the list.
    resumed = false :: boolean(),
    %% The callers that asked while this deletion was under way. The entity may have begun a new life by then, which
    %% needs a deletion of its own.
    next = none :: none | {#warp_entity{}, [asker()]}
}).

-record(state, {
    context :: warp_context:context(),
    %% `none' while the context has no list.
    list = none :: none | warp_erasure_list:open_list() | {error, term()},
    %% The deletions under way by entity, and the entities by process.
    deletions = #{} :: #{binary() => #deletion{}},
    running = #{} :: #{pid() => binary()},
    %% Callers whose deletions wait for other nodes alone, by entity, with their answers.
    waiting = #{} :: #{binary() => [{gen_server:from(), reference() | none, {ok, warp_erasure_steps:receipt()}}]},
    %% Shards that come here or have come, and whose deletions are not in the list yet.
    arriving = #{} :: #{non_neg_integer() => []},
    %% Whether the start is over, and the callers that wait for that.
    started = false :: boolean(),
    starting = [] :: [gen_server:from()]
}).

%% @doc Starts the process that deletes entities of a context.
-spec start_link(warp_context:ref()) -> gen_server:start_ret().
start_link(Ref) ->
    gen_server:start_link(?MODULE, Ref, []).

%% @doc Deletes an entity. Answers at the deadline at the latest: `{still_to_erase, What}' when the log is erased but
%% a step after it is not done yet, and `timeout' when it is not known whether the log is erased. Either way the
%% deletion goes on, also after a restart. `{bad_entity_id, Why}': the handle is not valid. `overloaded': too many
%% deletions are under way. `context_stopped'; and `disk_full', `{io_error, Why}' or other errors of a step before
%% the log, after which the entity is not deleted. `{shard_unavailable, N}' also when the shard goes to another node.
-spec delete(warp_context:context(), #warp_entity{}, warp_deadline:deadline()) ->
    {ok, warp_erasure_steps:receipt()} | {error, term()}.
delete(#{ref := Ref} = Context, #warp_entity{shard = N} = Entity, Deadline) ->
    %% A deletion can be repeated, so after an error that does not last it is. Where the shard is on its way to another
    %% node, it is repeated there.
    IsRetried = fun(Answer) -> is_passing(Answer) andalso warp_context_owners:is_here(Context, N) end,
    warp_retry:while(IsRetried, ?RETRIES, Deadline, fun() -> ask_to_delete(Ref, Entity, Deadline) end).

is_passing({error, interrupted}) -> true;
is_passing({error, {shard_unavailable, _}}) -> true;
is_passing(_Answer) -> false.

ask_to_delete(Ref, #warp_entity{shard = N} = Entity, Deadline) ->
    case warp_context:find(Ref) of
        {ok, Context} ->
            case {ask(Context, {delete, Entity, Deadline}, Deadline), warp_context:find(Ref)} of
                {{error, _}, not_found} -> {error, context_stopped};
                {{error, interrupted}, _} -> interrupted(Context, N);
                {Answer, _} -> Answer
            end;
        not_found ->
            {error, context_stopped}
    end.

interrupted(Context, N) ->
    case warp_context_owners:is_here(Context, N) of
        true -> {error, interrupted};
        false -> {error, {shard_unavailable, N}}
    end.

ask(Context, Request, Deadline) ->
    case warp_context:registered(Context, erasure) of
        {ok, Pid} -> warp_call:call(Pid, Request, warp_deadline:later(Deadline, ?GRACE_MS));
        none -> {error, interrupted}
    end.

%% @doc Waits until the list is read, and the logs of all entities in it are erased. After ten seconds this no longer
%% waits for the logs, and their deletions go on. Gives the error if the list cannot be read.
-spec await_left(warp_context:context()) -> ok | {error, term()}.
await_left(Context) ->
    ask(Context, await_left, infinity).

%% @doc Notes the target that the context is projected to, for good. `{was_projected, Path}': the list has another
%% target, from which entities would not be erased any more. Other errors: the list cannot be read or written.
-spec claim_target(warp_context:context(), none | binary()) ->
    ok | {error, {was_projected, Path :: binary()} | term()}.
claim_target(Context, Target) ->
    ask(Context, {claim_target, Target}, infinity).

%% @doc Erased lives of entities of shard N of which a node has not done its part: of so many deletions at most, and
%% whether these are all. Errors: `{shard_unavailable, N}' where it is not known yet; `interrupted', and `timeout'.
-spec left_for(warp_context:context(), node(), non_neg_integer(), {Max :: pos_integer(), warp_deadline:deadline()}) ->
    {ok, {[{Entity :: binary(), Life :: non_neg_integer()}], done | more}}
    | {error, {shard_unavailable, non_neg_integer()} | interrupted | timeout}.
left_for(Context, Node, N, {Max, Deadline}) -> ask(Context, {left_for, Node, N, Max}, Deadline).

%% @doc Shard N was opened here: its deletions go on. Waits for nothing.
-spec shard_opened(warp_context:context(), non_neg_integer()) -> ok.
shard_opened(Context, N) ->
    _ = [Pid ! {shard_opened, N} || {ok, Pid} <- [warp_context:registered(Context, erasure)]],
    ok.

%% @doc Ends the deletions of shard N, which is frozen. Each step can be taken again.
-spec shard_closing(warp_context:context(), non_neg_integer(), warp_deadline:deadline()) -> ok | {error, timeout}.
shard_closing(Context, N, Deadline) ->
    case ask(Context, {shard_closing, N}, Deadline) of
        ok -> ok;
        %% With that process, its deletions have ended.
        {error, interrupted} -> ok;
        {error, timeout} = Error -> Error
    end.

%% @doc The deletions of shard N, for the node that gets the shard.
-spec give(warp_context:context(), non_neg_integer()) -> {ok, warp_erasure_moves:given()} | {error, term()}.
give(Context, N) -> ask(Context, {give, N}, infinity).

%% @doc Keeps what another node gave with shard N.
-spec take(warp_context:context(), non_neg_integer(), warp_erasure_moves:given()) -> ok | {error, term()}.
take(Context, N, Given) -> ask(Context, {take, N, Given}, infinity).

%% @doc Shard N is another node's: removes its deletions.
-spec given(warp_context:context(), non_neg_integer()) -> ok | {error, term()}.
given(Context, N) -> ask(Context, {given, N}, infinity).

-spec init(warp_context:ref()) -> {ok, #state{}} | {stop, {shutdown, context_stopped}}.
init(Ref) ->
    _ = process_flag(trap_exit, true),
    case warp_context:find(Ref) of
        {ok, Context} ->
            ok = warp_context:register(Context, erasure, self()),
            _ = erlang:send_after(?START_PATIENCE_MS, self(), started),
            {ok, started(open(#state{context = Context}))};
        not_found ->
            {stop, {shutdown, context_stopped}}
    end.

%% Reads the list, if there is one. A hold without an entry in the list means that the process of a deletion was killed
%% right at its end, or that another program has removed the list.
open(#state{context = Context} = State) ->
    case warp_erasure_list:exists(Context) of
        false ->
            case warp_erasure_holds:all(Context) of
                [] ->
                    ok = warp_erasure_elsewhere:load(Context, none),
                    State#state{list = none};
                _ ->
                    opened(State)
            end;
        true ->
            opened(State);
        {error, Reason} ->
            failed(Reason, State)
    end.

opened(#state{context = #{file_access := Access} = Context} = State) ->
    case warp_erasure_list:open(warp_erasure_list:path(Context), Access) of
        {ok, List} ->
            case left(Context, List) of
                {ok, Left, Arriving} ->
                    ok = warp_context:register(Context, erasure_list, List),
                    opened_here(Left, State#state{list = List, arriving = maps:from_keys(Arriving, [])});
                {error, Reason} ->
                    ok = warp_erasure_list:close(List),
                    failed(Reason, State)
            end;
        {error, Reason} ->
            failed(Reason, State)
    end.

%% In a cluster those of shards that are not open here yet go on when these are opened.
opened_here(Left, #state{context = #{cluster := single_node}} = State) ->
    lists:foldl(fun resume/2, State, Left);
opened_here(_Left, #state{context = Context} = State) ->
    lists:foldl(fun opened_shard/2, State, [N || N <- warp_context_owners:here(Context),
                                                 warp_context:registered(Context, {owner, N}) =/= none]).

failed(Reason, State) ->
    _ = erlang:send_after(?RETRY_MS, self(), open),
    State#state{list = {error, Reason}}.

left(Context, List) ->
    case {warp_erasure_list:all(List), warp_erasure_list:target(List)} of
        {{ok, Noted}, {ok, Target}} ->
            %% NOTE: the holds are set before the start of any projector, which would otherwise show new lives of these
            %% entities.
            _ = [warp_erasure_holds:hold(Context, Id, Incarnation)
                 || {#{entity := Id, incarnation := Incarnation}, _} <- Noted],
            Old = warp_erasure_steps:without_steps(Target),
            All = note_again(Context, List, [{Entry, case Steps of [] -> Old; _ -> Steps end}
                                             || {Entry, Steps} <- Noted]),
            case {hold_taken(Context, List), warp_erasure_elsewhere:load(Context, List)} of
                {{ok, Taken}, ok} -> with_taken(All, Taken);
                {{error, _} = Error, _} -> Error;
                {_, {error, _} = Error} -> Error
            end;
        {{error, _} = Error, _} ->
            Error;
        {_, {error, _} = Error} ->
            Error
    end.

with_taken({ok, All}, Taken) -> {ok, All, Taken};
with_taken({error, _} = Error, _Taken) -> Error.

%% What came with shards that are not here yet. Gives these.
hold_taken(Context, List) ->
    case warp_erasure_list:taken(List) of
        {ok, Taken} ->
            ok = lists:foreach(fun({N, Given}) -> hold_expected(Context, N, Given) end, maps:to_list(Taken)),
            {ok, maps:keys(Taken)};
        {error, _} = Error -> Error
    end.

%% NOTE: before the shard is here. The followers on this node must not go on in its log before its deletions are known.
hold_expected(Context, N, Given) ->
    {Own, _} = arriving(Context, N, Given),
    Local = warp_erasure_steps:on_each_node(Context),
    _ = [ok = warp_erasure_holds:hold_for_another(Context, Entity, Incarnation)
         || {#{entity := Entity, incarnation := Incarnation}, Steps} <- Own, Steps -- Local =/= Steps],
    ok.

arriving(Context, N, Given) ->
    warp_erasure_moves:arriving(Given, {node(), warp_erasure_steps:on_each_node(Context)}, N,
                                fun(Deletion) -> warp_erasure_part:is_done(Context, Deletion) end).

note_again(Context, List, Noted) ->
    Known = maps:from_list([{Id, noted} || {#{entity := Id}, _} <- Noted]),
    Steps = warp_erasure_steps:names(Context),
    Held = [Hold || {Id, _} = Hold <- warp_erasure_holds:all(Context), not is_map_key(Id, Known)],
    %% These were never noted, so they have not begun.
    _ = [ok = warp_erasure_holds:release(Context, Id) || {Id, unknown} <- Held],
    Again = [#{entity => Id, shard => element(2, {ok, _} = warp_context:shard_of(Context, Id)),
               incarnation => Incarnation}
             || {Id, Incarnation} <- Held, Incarnation =/= unknown],
    case [Error || Entry <- Again, {error, _} = Error <- [warp_erasure_list:add(List, Entry, Steps)]] of
        [] -> {ok, [{Entry, Steps} || Entry <- Again] ++ Noted};
        [Error | _] -> Error
    end.

resume({#{entity := Id}, _Steps}, #state{deletions = Deletions} = State) when is_map_key(Id, Deletions) ->
    State;
resume({#{entity := Id, shard := N} = Entry, Steps}, #state{context = Context, list = List} = State0) ->
    State = run(fun(Tell) -> warp_erasure_steps:resume(Context, List, Entry, Steps, Tell) end, Id, N, [], State0),
    #state{deletions = #{Id := Deletion} = Deletions} = State,
    State#state{deletions = Deletions#{Id := Deletion#deletion{resumed = true}}}.

%% Runs Fun in a process of its own, which tells this process how far the deletion is.
run(Fun, Id, N, Askers, #state{running = Running, deletions = Deletions} = State) ->
    Self = self(),
    Pid = spawn_link(fun() -> Fun(fun(What) -> Self ! {deletion, self(), What}, ok end) end),
    State#state{running = Running#{Pid => Id},
                deletions = Deletions#{Id => #deletion{pid = Pid, shard = N, askers = Askers}}}.

%% Puts what came with a shard into the list, and goes on with what the list has of the shard.
opened_shard(_N, #state{context = #{cluster := single_node}} = State) ->
    State;
opened_shard(N, #state{list = none} = State) ->
    State#state{arriving = maps:remove(N, State#state.arriving)};
opened_shard(N, #state{list = {error, _}} = State) ->
    opened_later(N, State);
opened_shard(N, #state{context = Context, list = List, deletions = Deletions, arriving = Arriving} = State) ->
    IsUnderWay = lists:any(fun(#deletion{shard = Of}) -> Of =:= N end, maps:values(Deletions)),
    case adopt(N, Context, List) of
        {ok, {Entries, _} = Given} ->
            %% What runs has noted something that the list may not have yet.
            _ = [ok = warp_erasure_elsewhere:opened(Context, N, Given) || not IsUnderWay],
            Left = [Of || {#{entity := Id}, _} = Of <- Entries, not is_map_key(Id, Deletions)],
            _ = [ok = warp_erasure_holds:hold(Context, Id, Incarnation)
                 || {#{entity := Id, incarnation := Incarnation}, _} <- Left],
            lists:foldl(fun resume/2, State#state{arriving = maps:remove(N, Arriving)}, Left);
        {error, _} ->
            opened_later(N, State)
    end.

opened_later(N, #state{arriving = Arriving} = State) ->
    _ = erlang:send_after(?RETRY_MS, self(), {shard_opened, N}),
    State#state{arriving = Arriving#{N => []}}.

adopt(N, Context, List) ->
    case warp_erasure_list:taken(List) of
        {ok, #{N := Given}} ->
            {Entries, Rows} = Arrived = arriving(Context, N, Given),
            case warp_erasure_list:adopt(List, N, Entries, Rows) of
                ok -> {ok, Arrived};
                {error, _} = Error -> Error
            end;
        {ok, _} ->
            warp_erasure_list:give(List, N);
        {error, _} = Error ->
            Error
    end.

%% Answers the callers that wait for the start if the start is over, or has failed.
started(#state{started = true} = State) ->
    State;
started(#state{list = {error, Reason}} = State) ->
    told_start({error, Reason}, State);
started(#state{deletions = Deletions} = State) ->
    case [x || #deletion{resumed = true, log_erased = false} <- maps:values(Deletions)] of
        [] -> told_start(ok, State#state{started = true});
        _ -> State
    end.

told_start(How, #state{starting = Starting} = State) ->
    lists:foreach(fun(From) -> gen_server:reply(From, How) end, Starting),
    State#state{starting = []}.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(await_left, From, #state{starting = Starting} = State) ->
    {noreply, started_for(State#state{starting = [From | Starting]})};
handle_call({claim_target, none}, _From, #state{list = none} = State) ->
    {reply, ok, State};
handle_call({claim_target, Target}, _From, State0) ->
    case with_list(State0) of
        {ok, List, State} -> {reply, claim(Target, List, State), State};
        {error, _} = Error -> {reply, Error, State0}
    end;
handle_call({delete, #warp_entity{id = Id, shard = N} = Entity, Until}, From, #state{context = Context} = State)
  when is_integer(Until); Until =:= infinity ->
    case warp_context:shard_of(Context, Id) of
        {ok, N} when is_map_key(N, State#state.arriving) -> {reply, {error, {shard_unavailable, N}}, State};
        {ok, N} ->
            case warp_context_owners:is_here(Context, N) of
                true -> delete(Id, Entity, From, Until, State);
                false -> {reply, {error, {shard_unavailable, N}}, State}
            end;
        {ok, _Another} -> {reply, {error, {bad_entity_id, not_a_handle}}, State};
        {error, _} = Error -> {reply, Error, State}
    end;
handle_call({left_for, _Node, N, _Max}, _From, #state{list = List, arriving = Arriving} = State)
  when element(1, List) =:= error; is_map_key(N, Arriving) ->
    {reply, {error, {shard_unavailable, N}}, State};
handle_call({left_for, Node, N, Max}, _From, #state{context = Context} = State) ->
    case warp_context_owners:is_here(Context, N) of
        true -> {reply, {ok, warp_erasure_elsewhere:left_for(Context, Node, N, Max)}, State};
        false -> {reply, {error, {shard_unavailable, N}}, State}
    end;
handle_call({shard_closing, N}, _From, State) ->
    {reply, ok, closing(N, State)};
handle_call({give, _N}, _From, #state{list = none} = State) ->
    {reply, {ok, {[], []}}, State};
handle_call({give, _N}, _From, #state{list = {error, _} = Error} = State) ->
    {reply, Error, State};
handle_call({give, N}, _From, #state{context = Context, list = List} = State) ->
    Local = warp_erasure_steps:on_each_node(Context),
    case warp_erasure_list:give(List, N) of
        {ok, Given} ->
            Leaving = warp_erasure_moves:leaving(Given, {node(), Local}, fun warp_erasure_elsewhere:random/0),
            {reply, {ok, Leaving}, State};
        {error, _} = Error ->
            {reply, Error, State}
    end;
handle_call({take, _N, {[], []}}, _From, #state{list = none} = State) ->
    {reply, ok, State};
handle_call({take, N, Given}, _From, #state{context = Context} = State0) ->
    case with_list(State0) of
        {ok, List, State} ->
            case warp_erasure_list:take(List, N, Given) of
                ok ->
                    ok = warp_erasure_elsewhere:expected(Context, N, Given),
                    ok = hold_expected(Context, N, Given),
                    {reply, ok, State#state{arriving = (State#state.arriving)#{N => []}}};
                {error, _} = Error -> {reply, Error, State}
            end;
        {error, _} = Error ->
            {reply, Error, State0}
    end;
handle_call({given, _N}, _From, #state{list = none} = State) ->
    {reply, ok, State};
handle_call({given, _N}, _From, #state{list = {error, _} = Error} = State) ->
    {reply, Error, State};
handle_call({given, N}, _From, #state{context = Context, list = List} = State) ->
    case warp_erasure_list:give(List, N) of
        {ok, {Entries, _}} ->
            {reply, left_shard(warp_erasure_list:given(List, N), N, [Entry || {Entry, _} <- Entries], Context), State};
        {error, _} = Error ->
            {reply, Error, State}
    end;
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(erasure, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

started_for(#state{started = true} = State) -> told_start(ok, State);
started_for(State) -> started(State).

%% The node that has the shard lets this one read on once it has told it of what is left to do here.
left_shard(ok, N, Entries, Context) ->
    ok = warp_erasure_elsewhere:given(Context, N),
    lists:foreach(
        fun(#{entity := Id} = Deletion) ->
            ok = warp_erasure_holds:release(Context, Id),
            ok = warp_component:deleted(Context, Deletion)
        end,
        Entries);
left_shard({error, _} = Error, _N, _Entries, _Context) ->
    Error.

%% The callers ask again where the shard is then.
closing(N, #state{context = Context, deletions = Deletions, running = Running, waiting = Waiting} = State) ->
    Closing = maps:filter(fun(_, #deletion{shard = Of}) -> Of =:= N end, Deletions),
    Monitors = [begin true = unlink(Pid), exit(Pid, kill), erlang:monitor(process, Pid) end
                || #deletion{pid = Pid} <- maps:values(Closing)],
    ok = lists:foreach(fun(Monitor) -> receive {'DOWN', Monitor, process, _, _} -> ok end end, Monitors),
    Gone = maps:filter(fun(Id, _) -> warp_context:shard_of(Context, Id) =:= {ok, N} end, Waiting),
    Askers = [Of || #deletion{askers = Of} <- maps:values(Closing)]
        ++ [Of || #deletion{next = {_, Of}} <- maps:values(Closing)]
        ++ [[{From, Timer} || {From, Timer, _} <- Of] || Of <- maps:values(Gone)],
    ok = reply({error, {shard_unavailable, N}}, lists:append(Askers)),
    started(State#state{deletions = maps:without(maps:keys(Closing), Deletions),
                        running = maps:filter(fun(_, Id) -> not is_map_key(Id, Closing) end, Running),
                        waiting = maps:without(maps:keys(Gone), Waiting)}).

with_list(#state{list = none} = State) ->
    case opened(State) of
        #state{list = {error, _} = Error} -> Error;
        #state{list = List} = Opened -> {ok, List, Opened}
    end;
with_list(#state{list = {error, _} = Error}) ->
    Error;
with_list(#state{list = List} = State) ->
    {ok, List, State}.

claim(Target, List, #state{context = Context}) ->
    case warp_erasure_list:target(List) of
        {ok, Target} -> ok;
        {ok, none} -> warp_erasure_list:set_target(List, Target);
        {ok, _Another} -> {error, {was_projected, warp_erasure_list:path(Context)}};
        {error, _} = Error -> Error
    end.

delete(Id, Entity, From, Until, #state{deletions = Deletions} = State0) ->
    case with_list(State0) of
        {ok, _List, _State} when map_size(Deletions) >= ?MAX_UNDER_WAY, not is_map_key(Id, Deletions) ->
            {reply, {error, overloaded}, State0};
        {ok, _List, State} ->
            {noreply, asked(Id, Entity, {From, timer(Id, From, Until)}, State)};
        {error, _} = Error ->
            {reply, Error, State0}
    end.

timer(_Id, _From, infinity) -> none;
timer(Id, From, Until) -> erlang:send_after(warp_deadline:left(Until), self(), {patience, Id, From}).

asked(Id, Entity, Asker, #state{deletions = Deletions} = State) ->
    case Deletions of
        #{Id := #deletion{next = none} = Deletion} ->
            State#state{deletions = Deletions#{Id := Deletion#deletion{next = {Entity, [Asker]}}}};
        #{Id := #deletion{next = {_, Askers}} = Deletion} ->
            State#state{deletions = Deletions#{Id := Deletion#deletion{next = {Entity, [Asker | Askers]}}}};
        #{} ->
            start(Id, Entity, [Asker], State)
    end.

start(Id, Entity, Askers, #state{context = Context, list = List} = State) ->
    #warp_entity{shard = N} = Entity,
    run(fun(Tell) -> warp_erasure_steps:new(Context, List, Entity, Tell) end, Id, N, Askers, State).

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(erasure, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({deletion, Pid, {result, {ok, _} = Answer}}, #state{context = Context, running = Running} = State)
  when is_map_key(Pid, Running) ->
    #{Pid := Id} = Running,
    #state{deletions = #{Id := #deletion{askers = Askers} = Deletion} = Deletions, waiting = Waiting} = State,
    Waiters = [{From, Timer, Answer} || {From, Timer} <- Askers],
    Next = State#state{deletions = Deletions#{Id := Deletion#deletion{askers = []}},
                       waiting = Waiting#{Id => Waiters ++ maps:get(Id, Waiting, [])}},
    {noreply, done_elsewhere(Id, Next, Context)};
handle_info({done_elsewhere, Ids}, #state{context = Context} = State) ->
    {noreply, lists:foldl(fun(Id, Acc) -> done_elsewhere(Id, Acc, Context) end, State, Ids)};
handle_info({shard_opened, N}, State) ->
    {noreply, started(opened_shard(N, State))};
handle_info({deletion, Pid, What}, #state{running = Running, deletions = Deletions} = State) ->
    case Running of
        #{Pid := Id} ->
            #{Id := Deletion} = Deletions,
            {noreply, started(State#state{deletions = Deletions#{Id := told(What, Deletion)}})};
        #{} ->
            ok = warp_stray:note(erasure, message, {deletion, Pid, What}),
            {noreply, State}
    end;
handle_info({patience, Id, From}, #state{context = Context, deletions = Deletions, waiting = Waiting} = State) ->
    case {lists:keytake(From, 1, maps:get(Id, Waiting, [])), Deletions} of
        {{value, _, Left}, _} ->
            ok = gen_server:reply(From, {error, {still_to_erase, left_elsewhere(Id, Context)}}),
            Others = case Left of [] -> maps:remove(Id, Waiting); _ -> Waiting#{Id := Left} end,
            {noreply, State#state{waiting = Others}};
        {false, #{Id := Deletion}} ->
            {noreply, State#state{deletions = Deletions#{Id := impatient(From, Deletion, State)}}};
        {false, #{}} ->
            {noreply, State}
    end;
handle_info({'EXIT', Pid, Reason}, #state{running = Running, deletions = Deletions} = State) ->
    case maps:take(Pid, Running) of
        {Id, Left} when Reason =:= normal ->
            {#deletion{askers = Askers, next = Next}, Others} = maps:take(Id, Deletions),
            ok = reply({error, interrupted}, Askers),
            Ended = started(State#state{running = Left, deletions = Others}),
            case Next of
                none -> {noreply, Ended};
                {Entity, Waiting} -> {noreply, start(Id, Entity, Waiting, Ended)}
            end;
        {_Id, _Left} ->
            %% The successor of this process reads the list again, and resumes all deletions in it.
            {stop, {shutdown, a_deletion_crashed}, State};
        error ->
            ok = warp_stray:note(erasure, message, {'EXIT', Pid, Reason}),
            {noreply, State}
    end;
handle_info({warp_projection_lost, Message}, #state{context = #{name := Name}} = State) ->
    ?LOG_WARNING("Warp: the list of deletions of context ~ts is opened again, since its files were lost: ~ts",
                 [Name, Message]),
    {stop, {shutdown, files_lost}, State};
handle_info(open, #state{list = {error, _}} = State) ->
    {noreply, started(open(State))};
handle_info(started, #state{started = false, list = {error, _}} = State) ->
    {noreply, State};
handle_info(started, State) ->
    {noreply, told_start(ok, State#state{started = true})};
handle_info(Stray, State) ->
    ok = warp_stray:note(erasure, message, Stray),
    {noreply, State}.

%% Answers the callers of deletions of the entity that wait for other nodes alone, when these have done their part.
done_elsewhere(Id, #state{waiting = Waiting} = State, Context) ->
    case maps:take(Id, Waiting) of
        {Askers, Left} ->
            case warp_erasure_elsewhere:left(Context, Id) of
                [] ->
                    ok = lists:foreach(fun({From, Timer, Answer}) -> reply(Answer, [{From, Timer}]) end, Askers),
                    State#state{waiting = Left};
                _ when Askers =:= [] ->
                    State#state{waiting = Left};
                _ ->
                    State
            end;
        error ->
            State
    end.

left_elsewhere(Id, Context) ->
    maps:merge(?NO_ANSWER, case warp_erasure_elsewhere:left(Context, Id) of [{_, Why} | _] -> Why; [] -> #{} end).

told(log_erased, Deletion) -> Deletion#deletion{log_erased = true};
told({left, What}, #deletion{left = Left} = Deletion) -> Deletion#deletion{left = maps:merge(Left, What)};
told({result, Result}, #deletion{askers = Askers} = Deletion) ->
    ok = reply(Result, Askers),
    Deletion#deletion{askers = []}.

reply(Result, Askers) ->
    lists:foreach(
        fun({From, Timer}) ->
            _ = [erlang:cancel_timer(Timer) || Timer =/= none],
            gen_server:reply(From, Result)
        end,
        Askers).

%% Answers a caller whose time is over. The deletion goes on.
impatient(From, #deletion{askers = Askers, next = Next} = Deletion, #state{context = Context}) ->
    case {lists:keytake(From, 1, Askers), Next} of
        {{value, _, Left}, _} ->
            ok = gen_server:reply(From, still(Deletion)),
            Deletion#deletion{askers = Left};
        {false, {Entity, Waiting}} ->
            %% This caller waits behind a deletion that is under way. If the entity has no events now, that deletion
            %% is all that is left to wait for. Otherwise the caller's own deletion has not begun.
            _ = [gen_server:reply(From, case warp_erasure_steps:incarnation(Context, Entity) of
                                            {ok, 0} -> still(Deletion);
                                            _ -> {error, timeout}
                                        end) || lists:keymember(From, 1, Waiting)],
            Deletion#deletion{next = {Entity, lists:keydelete(From, 1, Waiting)}};
        {false, none} ->
            Deletion
    end.

still(#deletion{log_erased = false}) -> {error, timeout};
still(#deletion{left = Left}) -> {error, {still_to_erase, Left}}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{list = none}) -> ok;
terminate(_Reason, #state{list = {error, _}}) -> ok;
terminate(_Reason, #state{list = List}) -> warp_erasure_list:close(List).

%% The log must not show the ids of entities.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{context = #{name := Name}, deletions = Deletions}} = Status) ->
    warp_redact:status(Status, #{context => Name, deletions => map_size(Deletions)});
format_status(Status) ->
    warp_redact:status(Status, #{}).
