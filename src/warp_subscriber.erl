%% @doc A subscriber with a name, as a callback module: Warp starts it, hands it each event at least once, and restarts
%% it.
%%
%% ```
%% -module(welcome).
%% -behaviour(warp_subscriber).
%% -export([init/2, handle_event/2]).
%%
%% init(_Ctx, Server) -> {ok, Server}.
%%
%% handle_event(#{type := <<"SignedUp">>, payload := #{<<"email">> := To}}, Server) ->
%%     case my_mail:send(Server, To, "Welcome!") of
%%         ok -> {ok, Server};
%%         {error, Why} -> {error, Why}
%%     end.
%% '''
%% ```
%% {ok, Ctx} = warp_core:start(#{context => <<"shop">>, data_dir => "data", aggregates => [...],
%%     subscribers => [warp_subscriber:new(<<"welcome">>, welcome, "mail.example.org", #{types => [<<"SignedUp">>]})]}).
%% '''
%%
%% It has one process, or `consumers' of them, which split the shards. How far it is, is stored under its name, so that
%% it goes on there after a restart.
%%
%% <b>When `handle_event' fails</b>, with `{error, Why}' or by crashing, it is called again with that event after
%% 100 ms, and after pauses that double, up to a minute. Meanwhile later events of that entity wait, and all others go
%% on. After `tries' failures the event is parked: {@link warp_subscription:parked/2} lists it, {@link
%% warp_subscription:retry/3} tries it again, and {@link warp_subscription:skip/3} goes on behind it. While 1000
%% entities wait the subscriber takes no other events, and `warp_core:stats/1' says so.
%%
%% An event that was handled can come once more after a crash. {@link warp_subscription:transaction/4} makes an append
%% that follows from an event happen once.
-module(warp_subscriber).
-behaviour(gen_server).

-export([new/4, start_link/2, child_spec/1, start_consumer/2]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-include_lib("kernel/include/logger.hrl").

-export_type([subscriber/0, options/0]).

-type subscriber() :: warp_subscription_options:subscriber().
-type options() :: #{
    %% Where to begin when the name is new, see `t:warp_subscription:options()'. Default: `now'.
    from => beginning | now | {cursor, warp_subscription:cursor()} | {time, warp_core:micros()},
    %% Only events of these aggregates, of these types, and of entities whose ids begin so. Default: all.
    aggregates => all | [binary()],
    types => all | [binary()],
    prefix => binary(),
    %% How many processes split the shards, up to the number of shards. Default: 1.
    consumers => pos_integer(),
    %% How often `handle_event' may fail with an event before that is parked. Default: 10, which takes 51 seconds.
    tries => pos_integer(),
    %% For a past that is not to have effects (again): `handle_event' is not called for events that were recorded before
    %% this time, or that are not behind this cursor of a context. They are acknowledged as if they had been handled,
    %% also those that waited. All else comes as always, such as `handle_erased'. Default: it is called for all events.
    effects_from => {time, warp_core:micros()} | {cursor, warp_subscription:cursor()}
}.

%% The state before the first event. It is called again after an error, with pauses.
-callback init(warp_core:ctx(), Arg :: term()) -> {ok, State :: term()} | {error, Why :: term()}.
%% Handles one event.
-callback handle_event(warp_core:placed_event(), State) -> {ok, State} | {error, Why :: term()} when State :: term().
%% Everything that was stored has been handled, but for what waits. It is called again after being behind.
-callback handle_caught_up(State) -> {ok, State} when State :: term().
%% The entity was deleted: whatever was made of its events is to be erased. It is called again until it works, and
%% nothing else is handled before.
-callback handle_erased(EntityId :: binary(), State) -> {ok, State} | {error, Why :: term()} when State :: term().

-optional_callbacks([handle_caught_up/1, handle_erased/2]).

-record(state, {
    ctx :: warp_core:ctx(),
    context :: warp_context:context(),
    name :: binary(),
    module :: module(),
    arg :: term(),
    options :: map(),
    filter :: warp_subscription_filter:filter(),
    effects = unknown :: unknown | warp_subscription_effects:effects(),
    user = none :: none | {ok, term()},
    sub = none :: none | warp_subscription:subscription(),
    %% What is to be handled.
    queue = queue:new() :: queue:queue({event, warp_core:placed_event()} | {erased, binary()} | caught_up),
    is_handling = false :: boolean(),
    %% By shard, the last event that was handled and is not acknowledged; and how many are not.
    done = #{} :: #{non_neg_integer() => warp_core:placed_event()},
    count = 0 :: non_neg_integer(),
    holds = warp_subscription_holds:new() :: warp_subscription_holds:holds(),
    %% The timer for the next hold that is due, and when that is.
    timer = none :: none | {reference(), Due :: integer()},
    %% Why it does not go on, since when, and how often it has tried to.
    why = none :: none | {Why :: term(), Since :: warp_core:micros()},
    tries = 0 :: non_neg_integer()
}).

%% How many events are sent and not acknowledged.
-define(CREDIT, 500).
%% How many events are acknowledged at once, and how many of a held entity are handled before others get a turn.
-define(ACK, 50).
-define(TURN, 20).
%% How long to wait before going on after an error: the first time, at most, and at most for another node; and after how
%% many times it is logged.
-define(PAUSE_MS, 20).
-define(LONGEST_MS, 60000).
-define(AWAY_MS, 1000).
-define(LOGGED, 6).
-define(PATIENCE_MS, 10000).
-define(MAX_WHY_BYTES, 1000).

%% @doc A subscriber: its name, 1 to 200 bytes of text; the callback module; what `init' is called with; and options.
%% It is started as one of the `subscribers' of `warp_core:start/1', which checks it, or with {@link start_link/2}.
-spec new(Name :: binary(), module(), Arg :: term(), options()) -> subscriber().
new(Name, Module, Arg, Options) ->
    warp_subscription_options:new_subscriber(Name, Module, Arg, Options).

%% @doc Starts a subscriber of a running context, linked to the caller. With several `consumers' this is one of them.
%% Errors: `{bad_option, Key, Why}' and `{unknown_option, Key}'; `context_stopped'.
-spec start_link(warp_core:ctx(), subscriber()) ->
    {ok, pid()} | {error, warp_check:wrong() | context_stopped}.
start_link(Ctx, Subscriber) ->
    case {warp_subscription_options:subscriber(Subscriber), warp_context:of_handle(Ctx)} of
        {{ok, Checked}, {ok, #{ref := Ref, shards := Shards}}} ->
            start_consumer({warp_context, Ref, Shards}, Checked);
        {{ok, _}, not_found} -> {error, context_stopped};
        {{error, _} = Error, _} -> Error
    end.

%% @doc The specification of a subscriber as a child of a supervisor, which restarts it as long as its context is not
%% stopped. What is no subscriber raises `{not_a_subscriber, Term}'.
-spec child_spec({warp_core:ctx(), subscriber()}) -> supervisor:child_spec().
child_spec({Ctx, #{name := Name} = Subscriber}) ->
    #{id => {?MODULE, Name}, start => {?MODULE, start_link, [Ctx, Subscriber]}, restart => transient};
child_spec({_Ctx, Term}) ->
    error({not_a_subscriber, Term}).

%% @private One process of a subscriber that was checked.
-spec start_consumer(warp_core:ctx(), map()) -> gen_server:start_ret().
start_consumer(Ctx, Checked) ->
    gen_server:start_link(?MODULE, {Ctx, Checked}, []).

%% @private
-spec init({warp_core:ctx(), map()}) -> {ok, #state{}, {continue, start}} | {stop, {shutdown, context_stopped}}.
init({Ctx, #{name := Name, module := Module, arg := Arg, options := Options}}) ->
    _ = process_flag(trap_exit, true),
    case warp_context:find(Ctx) of
        {ok, #{shards := Shards} = Context} ->
            Filter = warp_subscription_filter:new({shards, Shards}, Options),
            {ok, #state{ctx = Ctx, context = Context, name = Name, module = Module, arg = Arg, options = Options,
                        filter = Filter}, {continue, start}};
        not_found ->
            {stop, {shutdown, context_stopped}}
    end.

%% @private
-spec handle_continue(start, #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_continue(start, State) -> start(State).

%% @private
-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, term()}, #state{}}.
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(?MODULE, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

%% @private
-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

%% @private
-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({warp_subscription, Sub, Message}, #state{sub = Sub} = State) ->
    message(Message, State);
handle_info({warp_subscription, _Before, _Message}, State) ->
    {noreply, State};
handle_info(next, State) ->
    {noreply, next(State#state{is_handling = false})};
handle_info(due, State) ->
    {noreply, due(State#state{timer = none})};
handle_info({warp_held, Held}, #state{holds = Holds} = State) ->
    {noreply, due_soon(State#state{holds = warp_subscription_holds:replace(Held, now_ms(), Holds)})};
handle_info(start, State) ->
    start(State);
handle_info({'DOWN', Monitor, process, _, _} = Message, #state{sub = Sub} = State) ->
    case Sub =/= none andalso warp_subscription:monitor_of(Sub) =:= Monitor of
        true -> again(subscription_ended, ended(State));
        false -> stray(Message, State)
    end;
%% A process that a callback had started and linked, such as a task, is done.
handle_info({'EXIT', _, normal}, State) ->
    {noreply, State};
handle_info({'EXIT', _, Reason}, State) ->
    {stop, Reason, State};
handle_info(Message, State) ->
    stray(Message, State).

stray(Message, State) ->
    ok = warp_stray:note(?MODULE, message, Message),
    {noreply, State}.

%% @private
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{context = Context, name = Name, sub = Sub} = State) ->
    _ = acked(State),
    _ = [warp_subscription:unsubscribe(Sub) || Sub =/= none],
    warp_subscription_table:put_why(Context, Name, none).

%% @private The state holds events, and the user's state.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{name = Name}} = Status) ->
    warp_redact:status(Status, #{name => Name});
format_status(Status) ->
    warp_redact:status(Status, #{}).

%% ------------------------------------------------------------------ Starting

%% NOTE: the context has other tables after its keeper was restarted.
start(#state{ctx = Ctx} = State) ->
    case warp_context:find(Ctx) of
        {ok, Context} -> start_in(State#state{context = Context});
        not_found -> {stop, {shutdown, context_stopped}, State}
    end.

start_in(#state{effects = unknown, options = Options, context = #{shards := Shards}} = State) ->
    case warp_subscription_effects:new(Options, Shards) of
        {ok, Effects} -> start_in(State#state{effects = Effects});
        {error, Why} -> again(Why, State)
    end;
start_in(#state{user = none, module = Module, arg = Arg, ctx = Ctx} = State) ->
    case called(Module, init, [Ctx, Arg]) of
        {ok, User} -> start_in(State#state{user = {ok, User}});
        {error, Why} -> again({init_failed, Why}, State)
    end;
start_in(#state{ctx = Ctx, name = Name, options = Options, context = #{shards := Shards}} = State) ->
    Asked = maps:with([from, aggregates, types, prefix], Options),
    Consumers = min(maps:get(consumers, Options), Shards),
    case warp_subscription:subscribe(Ctx, Asked#{name => Name, consumers => Consumers, credit => ?CREDIT}) of
        {ok, Sub} -> {noreply, goes_on(State#state{sub = Sub})};
        {error, context_stopped} -> {stop, {shutdown, context_stopped}, State};
        {error, Why} -> again(Why, State)
    end.

ended(State) ->
    State#state{sub = none, queue = queue:new(), done = #{}, count = 0, holds = warp_subscription_holds:new()}.

again(Why, State) ->
    {Pause, Stalled} = stalled(Why, State),
    _ = erlang:send_after(Pause, self(), start),
    {noreply, Stalled}.

%% Shows why it does not go on, and says how long to pause. What lasts for a second is logged too.
stalled(Why, #state{context = Context, name = Name, why = Before, tries = Tries} = State) ->
    _ = [?LOG_WARNING("Warp: the subscriber ~ts does not go on, and tries again: ~ts", [Name, warp_redact:reason(Why)])
         || Tries =:= ?LOGGED],
    Since = case Before of none -> os:system_time(microsecond); {_, First} -> First end,
    ok = warp_subscription_table:put_why(Context, Name, {Why, Since}),
    Longest = case Why of {node_unavailable, _} -> ?AWAY_MS; _ -> ?LONGEST_MS end,
    {min(Longest, ?PAUSE_MS bsl min(Tries, 16)), State#state{why = {Why, Since}, tries = Tries + 1}}.

goes_on(#state{why = none} = State) ->
    State;
goes_on(#state{context = Context, name = Name} = State) ->
    ok = warp_subscription_table:put_why(Context, Name, none),
    State#state{why = none, tries = 0}.

%% ------------------------------------------------------------------ Messages

%% It may have had shards before, whose events it was sent and has not acknowledged. These come again.
message({active, Shards}, #state{context = Context, name = Name} = Before) ->
    State = (acked(Before))#state{queue = queue:new()},
    Deadline = warp_deadline:from(?PATIENCE_MS),
    Place = warp_subscription_names:place(Context, Name, Deadline),
    case {warp_subscription_names:held(Context, Name, Deadline), Place} of
        {{ok, Held}, {ok, Marks}} ->
            {noreply, due_soon(State#state{holds = warp_subscription_holds:load(Held, Shards, Marks, now_ms())})};
        {{error, Why}, _} ->
            not_active(Why, State);
        {_, Error} ->
            not_active(Error, State)
    end;
message({events, Events}, #state{queue = Queue} = State) ->
    Filled = lists:foldl(fun(Event, Acc) -> queue:in({event, Event}, Acc) end, Queue, Events),
    {noreply, next_soon(State#state{queue = Filled})};
message({erased, Entity}, #state{queue = Queue, holds = Holds} = State) ->
    Others = queue:filter(fun({event, #{entity := Of}}) -> Of =/= Entity; (_) -> true end, Queue),
    {noreply, next_soon(State#state{queue = queue:in({erased, Entity}, Others),
                                    holds = warp_subscription_holds:remove(Entity, Holds)})};
message({caught_up, _Cursor}, #state{queue = Queue} = State) ->
    {noreply, next_soon(State#state{queue = queue:in(caught_up, Queue)})};
message({checkpoint, _Cursor}, State) ->
    {noreply, State}.

not_active(Why, #state{sub = Sub} = State) ->
    ok = warp_subscription:unsubscribe(Sub),
    again(Why, ended(State)).

%% By a message, so that what has come meanwhile is seen first.
next_soon(#state{is_handling = true} = State) ->
    State;
next_soon(State) ->
    self() ! next,
    State#state{is_handling = true}.

next(#state{queue = Queue, holds = Holds} = State) ->
    case {queue:out(Queue), warp_subscription_holds:is_full(Holds)} of
        {{empty, _}, _} -> acked(State);
        {_, true} -> full(acked(State));
        {{{value, What}, Left}, false} -> handled(handle(What, State), Left, State)
    end.

full(#state{holds = Holds} = State) ->
    {_, Stalled} = stalled({so_many_entities_wait, warp_subscription_holds:size(Holds)}, State),
    Stalled.

handled({ok, Next}, Left, _State) ->
    Handled = goes_on(Next#state{queue = Left}),
    case Handled of
        #state{count = Count} when Count >= ?ACK -> next_soon(acked(Handled));
        #state{} -> next_soon(Handled)
    end;
%% It stays the next one.
handled({error, Why}, _Left, State) ->
    {Pause, Stalled} = stalled(Why, acked(State)),
    _ = erlang:send_after(Pause, self(), next),
    Stalled#state{is_handling = true}.

handle({event, #{entity := Entity} = Event}, #state{holds = Holds} = State) ->
    case warp_subscription_holds:is_held(Entity, Holds) of
        true -> {ok, done(Event, State#state{holds = warp_subscription_holds:passed(Event, Holds)})};
        false ->
            case event(Event, State) of
                {ok, Next} -> {ok, done(Event, Next)};
                {error, Why} -> fail(Event, Why, State)
            end
    end;
handle({erased, Entity}, #state{module = Module, user = {ok, User}, sub = Sub} = State) ->
    Erased = case erlang:function_exported(Module, handle_erased, 2) of
                 true -> called(Module, handle_erased, [Entity, User]);
                 false -> {ok, User}
             end,
    case Erased of
        {ok, Next} ->
            ok = warp_subscription:ack(Sub, {erased, Entity}),
            {ok, State#state{user = {ok, Next}}};
        {error, Why} ->
            {error, {handle_erased_failed, Why}}
    end;
handle(caught_up, #state{module = Module, user = {ok, User}, name = Name} = State) ->
    case erlang:function_exported(Module, handle_caught_up, 1) of
        false ->
            {ok, State};
        true ->
            case called(Module, handle_caught_up, [User]) of
                {ok, Next} ->
                    {ok, State#state{user = {ok, Next}}};
                {error, Why} ->
                    ?LOG_WARNING("Warp: handle_caught_up of the subscriber ~ts failed: ~ts",
                                 [Name, warp_redact:reason(Why)]),
                    {ok, State}
            end
    end.

event(Event, #state{module = Module, user = {ok, User}, effects = Effects} = State) ->
    case warp_subscription_effects:is_before(Event, Effects) orelse called(Module, handle_event, [Event, User]) of
        true -> {ok, State};
        {ok, Next} -> {ok, State#state{user = {ok, Next}}};
        {error, _} = Error -> Error
    end.

called(Module, Function, Arguments) ->
    try apply(Module, Function, Arguments) of
        {ok, _} = Done -> Done;
        {error, _} = Error -> Error;
        Other -> {error, {bad_return, warp_redact:shape(Other)}}
    catch
        Class:Reason:Stack -> {error, warp_function:crash(Class, Reason, Stack)}
    end.

done(#{shard := N} = Event, #state{done = Done, count = Count} = State) ->
    State#state{done = Done#{N => Event}, count = Count + 1}.

acked(#state{done = Done, sub = Sub} = State) when map_size(Done) > 0 ->
    ok = warp_subscription:ack(Sub, maps:values(Done)),
    State#state{done = #{}, count = 0};
acked(State) ->
    State.

%% ------------------------------------------------------------------ What waits

%% NOTE: that the entity waits is on disk before the event is acknowledged.
fail(#{entity := Entity, shard := N, position := Position} = Event, Why, #state{context = Context} = State) ->
    case warp_subscription_reader:life(Context, Entity, N, Position) of
        {ok, Life} ->
            Hold = warp_subscription_holds:fail(Event, Life, why(Why), {tries(Why, State), os:system_time(microsecond)},
                                                now_ms()),
            case hold(Hold, State) of
                {ok, Held} -> {ok, done(Event, due_soon(Held))};
                {error, _} = Error -> Error
            end;
        %% Its subscription says that it was erased.
        gone ->
            {ok, done(Event, State)};
        {error, _} = Error ->
            Error
    end.

hold({#{entity := Entity, state := Is, tries := Tries} = Held, _, _} = Hold,
     #state{name = Name, holds = Holds} = State) ->
    case noted(Held, State) of
        ok ->
            _ = [?LOG_WARNING("Warp: the subscriber ~ts failed ~b times with an event, which is parked. "
                              "warp_subscription:parked/2 shows it.", [Name, Tries]) || Is =:= parked],
            {ok, State#state{holds = warp_subscription_holds:of_entity(Hold, Holds)}};
        {error, erased} ->
            {ok, State#state{holds = warp_subscription_holds:remove(Entity, Holds)}};
        {error, _} = Error ->
            Error
    end.

%% NOTE: that an erasure was taken is told by the subscription, and may be on its way. The cursor comes behind it.
noted(Held, #state{context = Context, name = Name, sub = Sub}) ->
    Note = fun() -> warp_subscription_names:hold(Context, Name, Held, warp_deadline:from(?PATIENCE_MS)) end,
    case Note() of
        {error, erased} ->
            case warp_subscription:cursor(Sub) of
                {ok, _} -> Note();
                {error, _} = Error -> Error
            end;
        Noted ->
            Noted
    end.

%% Handles events of an entity whose time has come.
due(#state{holds = Holds, sub = Sub} = State) when Sub =/= none ->
    case warp_subscription_holds:due(now_ms(), Holds) of
        {ok, {#{entity := Entity, shard := N, life := Life, seq := Seq, state := Is}, _, _} = Hold} ->
            #state{context = Context, filter = Filter} = State,
            Next = case warp_subscription_reader:of_entity(Context, Filter, Entity, N, {Life, Seq}) of
                       {ok, Events, Then} -> waited(skipped(Is, Seq, Events), Then, ?TURN, Hold, State);
                       gone -> released(Entity, State);
                       {error, _} -> State#state{holds = warp_subscription_holds:postpone(Entity, now_ms(), Holds)}
                   end,
            due_soon(goes_on_unless_full(Next));
        none ->
            due_soon(State)
    end;
due(State) ->
    State.

skipped(skipping, Seq, [#{seq := Seq} | Events]) -> Events;
skipped(_Is, _Seq, Events) -> Events.

waited([#{position := Position, seq := Seq} | _], _Then, _Turns, {#{entity := Entity}, Upto, _}, State)
  when {Position, Seq} > Upto ->
    released(Entity, State);
waited([#{seq := Seq} | _], _Then, 0, Hold, State) ->
    advanced(Seq, Hold, State);
waited([#{seq := Seq} = Event | Events], Then, Turns, {#{entity := Entity}, _, _} = Hold, State) ->
    case event(Event, State) of
        {ok, Next} ->
            waited(Events, Then, Turns - 1, Hold, Next);
        {error, Why} ->
            Failed = warp_subscription_holds:fail_again(Seq, why(Why), tries(Why, State), now_ms(),
                                                        os:system_time(microsecond), Hold),
            kept(Failed, Entity, State)
    end;
waited([], none, _Turns, {#{entity := Entity}, _, _}, State) ->
    released(Entity, State);
waited([], Next, _Turns, Hold, State) ->
    advanced(Next, Hold, State).

advanced(Seq, {#{entity := Entity}, _, _} = Hold, State) ->
    kept(warp_subscription_holds:advance(Seq, os:system_time(microsecond), now_ms(), Hold), Entity, State).

%% What cannot be written is done again.
kept(Hold, Entity, #state{holds = Holds} = State) ->
    case hold(Hold, State) of
        {ok, Held} -> Held;
        {error, _} -> State#state{holds = warp_subscription_holds:postpone(Entity, now_ms(), Holds)}
    end.

released(Entity, #state{context = Context, name = Name, holds = Holds} = State) ->
    case warp_subscription_names:release(Context, Name, Entity, warp_deadline:from(?PATIENCE_MS)) of
        ok -> State#state{holds = warp_subscription_holds:remove(Entity, Holds)};
        {error, _} -> State#state{holds = warp_subscription_holds:postpone(Entity, now_ms(), Holds)}
    end.

goes_on_unless_full(#state{why = {{so_many_entities_wait, _}, _}, holds = Holds} = State) ->
    case warp_subscription_holds:is_full(Holds) of
        true -> State;
        false -> next_soon(goes_on(State))
    end;
goes_on_unless_full(State) ->
    State.

due_soon(#state{holds = Holds, timer = Timer} = State) ->
    case {warp_subscription_holds:next_due(Holds), Timer} of
        {never, none} ->
            State;
        {never, {Ref, _}} ->
            _ = erlang:cancel_timer(Ref),
            State#state{timer = none};
        {Due, {_, Due}} ->
            State;
        {Due, Other} ->
            _ = [erlang:cancel_timer(Ref) || {Ref, _} <- [Other]],
            State#state{timer = {erlang:send_after(max(0, Due - now_ms()), self(), due), Due}}
    end.

%% A node that cannot be reached says nothing about the event, which is not parked.
tries({command_failed, _, {Away, _}}, _State) when Away =:= node_unavailable; Away =:= unknown_outcome -> infinity;
tries(_Why, #state{options = #{tries := Tries}}) -> Tries.

why(Why) ->
    Text = text(Why),
    case byte_size(Text) > ?MAX_WHY_BYTES of
        false -> Text;
        true -> unicode:characters_to_binary([string:slice(Text, 0, ?MAX_WHY_BYTES div 4), "..."])
    end.

%% Other languages say in words why.
text(Why) ->
    case is_binary(Why) andalso warp_text:is_utf8(Why) of
        true -> Why;
        false -> warp_text:format("~0tp", [Why])
    end.

now_ms() -> erlang:monotonic_time(millisecond).
