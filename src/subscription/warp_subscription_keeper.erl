%% @private Keeps subscriptions with names: those whose shard is on this node. This process alone writes
%% {@link warp_subscription_store}; who consumes a name is decided in {@link warp_subscription_group}. It is asked
%% through {@link warp_subscription_names}.
%%
%% What is acknowledged is written some time later, for all names at once, and before that when somebody waits for it.
%%
%% The file may have names of shards that are not here: one that is coming, or one that has just left. Nobody is told
%% anything of these, and they change only by a deletion.
-module(warp_subscription_keeper).
-behaviour(gen_server).

-export([start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-include_lib("kernel/include/logger.hrl").

-record(name, {
    %% What the ids of all entities begin with that its consumers may have had events of.
    prefix :: binary(),
    %% Up to where everything was acknowledged.
    marks :: warp_subscription_names:marks(),
    group = warp_subscription_group:new() :: warp_subscription_group:group(),
    held = #{} :: #{Entity :: binary() => warp_subscription_store:held()},
    %% Since when it is without one of its consumers.
    since :: warp_core:micros()
}).

-record(state, {
    context :: warp_context:context(),
    %% `none': there is no file.
    store = none :: none | {open, warp_subscription_store:store()} | {error, Reason :: term()},
    %% Whether a message says when to open the file again.
    is_opening = false :: boolean(),
    names = #{} :: #{binary() => #name{}},
    consumers = #{} :: #{pid() => {warp_subscription_names:consumer(), Monitor :: reference()}},
    %% What is not written yet.
    unsaved = #{} :: #{Name :: binary() => []},
    told = [] :: [{Name :: binary(), Entity :: binary(), Life :: non_neg_integer()}],
    %% Lives whose erasure was noted for names before this node had come to its part of the deletion.
    early = #{} :: #{{Name :: binary(), Entity :: binary()} => Life :: pos_integer()},
    %% Shards that are coming with names, and those that were given away with names while a deletion was under way here.
    coming = #{} :: #{non_neg_integer() => []},
    gone = [] :: [non_neg_integer()],
    timer = none :: none | reference()
}).

%% How long what was acknowledged waits for others before it is written; and after an error.
-define(SAVE_MS, 100).
-define(RETRY_MS, 1000).
%% How many erased entities a consumer is told of at once.
-define(NOTICES, 1000).
%% How often the nodes of consumers, and the places of shards, are looked at.
-define(LOOK_MS, 1000).
%% Beyond so many erasures that were noted early, all consumers have to join again.
-define(EARLY, 10000).

%% @doc Starts the process that keeps the names of a context.
-spec start_link(warp_context:ref()) -> gen_server:start_ret().
start_link(Ref) ->
    gen_server:start_link(?MODULE, Ref, []).

-spec init(warp_context:ref()) -> {ok, #state{}} | {stop, {shutdown, context_stopped}}.
init(Ref) ->
    _ = process_flag(trap_exit, true),
    case warp_context:find(Ref) of
        {ok, Context} ->
            ok = warp_context:register(Context, subscription_names, self()),
            ok = look_soon(Context),
            {ok, open(#state{context = Context})};
        not_found ->
            {stop, {shutdown, context_stopped}}
    end.

open(#state{context = Context} = State) ->
    case warp_subscription_store:exists(Context) of
        false -> State#state{store = none};
        true -> opened(State);
        {error, Reason} -> failed(Reason, State)
    end.

%% NOTE: a request tries again at once.
failed(Reason, #state{is_opening = IsOpening} = State) ->
    _ = [erlang:send_after(?RETRY_MS, self(), open) || not IsOpening],
    State#state{store = {error, shown_error(Reason)}, is_opening = true}.

%% What opening a file can say beside the errors of the functions for names, as one of these.
shown_error(disk_full) -> disk_full;
shown_error({Kind, Message}) when Kind =:= io_error, is_binary(Message); Kind =:= corrupt, is_binary(Message) ->
    {Kind, Message};
shown_error(Reason) ->
    {io_error, warp_text:format("the names of subscriptions cannot be opened: ~ts", [warp_error:format_error(Reason)])}.

opened(#state{context = Context} = State) ->
    case warp_subscription_store:open(Context) of
        {ok, Store} ->
            Read = [warp_subscription_store:names(Store), warp_subscription_store:held(Store),
                    warp_subscription_store:gone(Store)],
            case [Reason || {error, Reason} <- Read] of
                [] ->
                    [Names, Held, Gone] = [Of || {ok, Of} <- Read],
                    loaded(Names, Held, State#state{store = {open, Store}, gone = Gone});
                [Reason | _] ->
                    not_opened(Store, Reason, State)
            end;
        {error, Reason} ->
            failed(Reason, State)
    end.

not_opened(Store, Reason, State) ->
    ok = warp_subscription_store:close(Store),
    failed(Reason, State).

loaded(Names, Held, #state{context = #{shards := Shards}} = State) ->
    Waiting = lists:foldl(
        fun({Name, #{entity := Entity} = Of}, Acc) -> Acc#{Name => (maps:get(Name, Acc, #{}))#{Entity => Of}} end,
        #{}, Held),
    Read = [{Name, warp_subscription_cursor:decode({shards, Shards}, Cursor), Prefix}
            || {Name, Cursor, Prefix} <- Names],
    case [Name || {Name, {error, _}, _} <- Read] of
        [] ->
            Now = os:system_time(microsecond),
            %% A cursor names no shard of which nothing was acknowledged.
            None = maps:from_list([{N, 0} || N <- lists:seq(0, Shards - 1)]),
            Loaded = [{Name, #name{prefix = Prefix, marks = maps:merge(None, Marks), since = Now,
                                   held = maps:get(Name, Waiting, #{})}}
                      || {Name, {ok, Marks}, Prefix} <- Read],
            shown_all(State#state{names = maps:from_list(Loaded)});
        [Name | _] ->
            #state{store = {open, Store}} = State,
            not_opened(Store, {corrupt, warp_text:format("the cursor of the subscription ~ts is none", [Name])}, State)
    end.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call(Request, _From, State0) ->
    case ready(Request, State0) of
        {ok, State} -> answer(Request, State);
        {Answer, State} -> {reply, Answer, State}
    end.

%% What is not there needs no file.
ready({create, _, _, _}, #state{store = none} = State) -> is_open(opened(State));
ready({take, _N, [_ | _]}, #state{store = none} = State) -> is_open(opened(State));
ready(_Request, #state{store = none} = State) -> {ok, State};
ready(_Request, #state{store = {open, _}} = State) -> {ok, State};
ready(_Request, #state{store = {error, _}} = State) -> is_open(open(State)).

is_open(#state{store = {error, _} = Error} = State) -> {Error, State};
is_open(State) -> {ok, State}.

answer(marks, State) ->
    {reply, {ok, [{Name, Marks, map_size(Held), maps:values(warp_subscription_group:active(Group))}
                  || {Name, #name{marks = Marks, held = Held, group = Group}} <- here(State)]}, State};
answer({erase, {Entity, _, _, _} = Erasure}, #state{early = Early, names = Names} = State) ->
    Concerned = to_note(all, [Erasure], State),
    Left = maps:without([{Name, Entity} || Name <- maps:keys(Names)], Early),
    case erase(Concerned, State#state{early = Left}) of
        {reply, ok, Next} -> {reply, {ok, gone(Next)}, Next};
        Failed -> Failed
    end;
answer({erase_of, _Whose, _Erasures} = Request, #state{early = Early, consumers = Consumers} = State)
  when map_size(Early) > ?EARLY ->
    %% Those that join again have noted again what this node has left to do.
    answer(Request, lose_all([Consumer || {Consumer, _} <- maps:values(Consumers)], State#state{early = #{}}));
answer({erase_of, Whose, Erasures}, #state{early = Early} = State) ->
    Concerned = to_note(Whose, Erasures, State),
    Now = maps:from_list([{{Name, Entity}, Life} || {Entity, _, Life, Of} <- Concerned, Name <- Of, Life > 0]),
    erase(Concerned, State#state{early = maps:merge(Early, Now)});
answer({yield, N}, State) ->
    {reply, ok, lists:foldl(fun(Consumer, Acc) -> say(Consumer, yield, Acc) end, State, consumers_of(N, State))};
answer({count, N}, State) ->
    {reply, length(consumers_of(N, State)), State};
answer({close, N}, #state{context = Context} = State) ->
    Ended = lists:foldl(fun(Consumer, Acc) -> lose(Consumer, Acc) end, State, consumers_of(N, State)),
    ok = lists:foreach(fun(Name) -> warp_subscription_table:remove_name(Context, Name) end, names_of(N, State)),
    {Saved, Next} = save(Ended),
    {reply, Saved, Next};
answer({give, _N}, #state{store = none} = State) ->
    {reply, {ok, []}, State};
answer({give, N}, #state{} = State) ->
    case {names_of(N, State), save(State)} of
        {[], {_, Next}} ->
            {reply, {ok, []}, Next};
        {Names, {ok, #state{store = {open, Store}} = Next}} ->
            {reply, warp_subscription_store:rows(Store, Names), Next};
        {_, {Error, Next}} ->
            {reply, Error, Next}
    end;
answer({take, _N, []}, #state{store = none} = State) ->
    {reply, ok, State};
answer({take, N, Rows}, State) ->
    written(fun(Store) -> warp_subscription_store:put_rows(Store, names_of(N, State), Rows) end,
            fun() -> loaded_again(State#state{coming = (State#state.coming)#{N => []}}) end, State);
answer({given, N}, State) ->
    case names_of(N, State) of
        [] -> {reply, ok, State};
        Names -> left_for_good(N, Names, State)
    end;
answer(Request, #state{context = Context, names = Names} = State) when is_tuple(Request), tuple_size(Request) > 1 ->
    Name = element(2, Request),
    N = shard_of(Name, State),
    case {N =:= none orelse warp_context_owners:is_here(Context, N), Names} of
        {false, _} -> {reply, {error, {shard_unavailable, N}}, State};
        {true, #{Name := Of}} -> of_name(Request, Of, State);
        {true, #{}} -> of_nobody(Request, State)
    end;
answer(Stray, State) ->
    stray(Stray, State).

stray(Stray, State) ->
    ok = warp_stray:note(subscription_names, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

of_nobody({place, _Name}, State) ->
    {reply, unknown, State};
of_nobody({create, Name, Marks, Prefix}, #state{names = Names} = State) ->
    New = #name{prefix = Prefix, marks = Marks, since = os:system_time(microsecond)},
    written(fun(Store) -> warp_subscription_store:create(Store, Name, cursor(New, State), Prefix) end,
            fun() -> shown(Name, State#state{names = Names#{Name => New}}) end, State);
of_nobody(Request, State) ->
    case lists:member(element(1, Request), [join, leave, save, notices, forget, hold, release, held, change]) of
        true -> {reply, {error, unknown_subscription}, State};
        false -> stray(Request, State)
    end.

of_name({place, _Name}, #name{marks = Marks}, State) ->
    {reply, {ok, Marks}, State};
of_name({create, _Name, _Marks, _Prefix}, _Of, State) ->
    {reply, ok, State};
of_name({join, Name, #{pid := Pid, tag := Tag} = Consumer}, #name{prefix = Prefix} = Of, #state{} = State) ->
    case State of
        %% It asks again, since it did not get the answer.
        #state{consumers = #{Pid := {#{name := Name, tag := Tag}, _}}} ->
            {reply, {ok, Prefix, self()}, State};
        #state{consumers = #{Pid := _}} ->
            #state{names = Names} = Left = left(Pid, State),
            join(Name, Consumer, maps:get(Name, Names), Left);
        #state{} ->
            join(Name, Consumer, Of, State)
    end;
of_name({leave, Name, Pid, Passed}, _Of, State) ->
    {reply, ok, leave(Name, Pid, Passed, State)};
of_name({save, Name, Pid, Passed}, _Of, State) ->
    case save(passed(Name, Pid, Passed, State)) of
        {ok, Saved} -> {reply, {ok, cursor(maps:get(Name, Saved#state.names), Saved)}, Saved};
        {Error, Unsaved} -> {reply, Error, Unsaved}
    end;
of_name({notices, Name, Pid, After}, Of, State) ->
    %% NOTE: one that was taken, behind which events of the next life may have been acknowledged, is not told again.
    case save(State) of
        {ok, Saved} -> {reply, read_notices(Name, Pid, After, Of, Saved), Saved};
        {Error, Unsaved} -> {reply, Error, Unsaved}
    end;
of_name({forget, Name}, #name{group = Group}, #state{names = Names, unsaved = Unsaved} = State) ->
    case maps:values(warp_subscription_group:active(Group)) of
        [Pid | _] ->
            {reply, {error, {in_use, Pid}}, State};
        [] ->
            Without = State#state{names = maps:remove(Name, Names), unsaved = maps:remove(Name, Unsaved)},
            written(fun(Store) -> warp_subscription_store:remove(Store, [Name]) end,
                    fun() -> ok = warp_subscription_table:remove_name(State#state.context, Name), Without end, State)
    end;
of_name({hold, Name, Pid, #{shard := N} = Held}, Of, State) ->
    case subscriber(N, Of, State) of
        Pid -> held(Name, Held, Of, State);
        _ -> {reply, {error, not_the_consumer}, State}
    end;
of_name({release, Name, Pid, Entity}, #name{held = All} = Of, State) ->
    case All of
        #{Entity := #{shard := N}} ->
            case subscriber(N, Of, State) of
                Pid ->
                    written(fun(Store) -> warp_subscription_store:release(Store, Name, Entity) end,
                            fun() -> put_name(Name, Of#name{held = maps:remove(Entity, All)}, State) end, State);
                _ ->
                    {reply, {error, not_the_consumer}, State}
            end;
        #{} ->
            {reply, ok, State}
    end;
of_name({held, _Name}, #name{held = All}, State) ->
    {reply, {ok, maps:values(All)}, State};
of_name({change, Name, Entity, To}, #name{held = All} = Of, State) ->
    case All of
        #{Entity := Held} ->
            Changed = Held#{state := To, tries := 0},
            written(fun(Store) -> warp_subscription_store:hold(Store, Name, Changed) end,
                    fun() ->
                        ok = tell_subscriber({warp_held, Changed}, Changed, Of, State),
                        put_name(Name, Of#name{held = All#{Entity := Changed}}, State)
                    end, State);
        #{} ->
            {reply, {error, not_waiting}, State}
    end;
of_name(Stray, _Of, State) ->
    stray(Stray, State).

join(Name, #{pid := Pid, consumers := Count, prefix := Prefix} = Consumer, #name{group = Group, prefix = Before} = Of,
     State) ->
    case warp_subscription_group:join(Pid, Count, Group) of
        {error, _} = Error ->
            {reply, Error, State};
        {Place, Joined} ->
            Common = common(Before, Prefix),
            Changed = fun(Store) ->
                case Common of
                    Before -> ok;
                    _ -> warp_subscription_store:prefix(Store, Name, Common)
                end
            end,
            Then = fun() -> joined(Place, Consumer, Of#name{group = Joined, prefix = Common}, State) end,
            case written(Changed, Then, State) of
                {reply, ok, Next} -> {reply, {ok, Common, self()}, Next};
                Failed -> Failed
            end
    end.

held(Name, #{entity := Entity} = Held, #name{held = All} = Of, State0) ->
    %% NOTE: an entity whose erasure was taken may have begun another life, which is held like any other.
    State = case [Of1 || {Of1, Taken, _} <- State0#state.told, Of1 =:= Name, Taken =:= Entity] of
                [] -> State0;
                _ -> element(2, save(State0))
            end,
    written(fun(Store) -> warp_subscription_store:hold(Store, Name, Held) end,
            fun() -> put_name(Name, Of#name{held = All#{Entity => Held}}, State) end, State).

%% Changes the state once what was to be written is on disk.
written(Write, Then, #state{store = {open, Store}} = State) ->
    case Write(Store) of
        ok -> {reply, ok, Then()};
        {error, _} = Error -> {reply, Error, State}
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({passed, Name, Pid, Passed}, State) ->
    {noreply, passed(Name, Pid, Passed, State)};
handle_cast({left, Name, Pid, Passed}, State) ->
    {noreply, leave(Name, Pid, Passed, State)};
handle_cast({opened, N}, #state{coming = Coming} = State) ->
    {noreply, lists:foldl(fun shown/2, State#state{coming = maps:remove(N, Coming)}, names_of(N, State))};
handle_cast(deleted, State) ->
    {noreply, none_under_way(State)};
handle_cast(Stray, State) ->
    ok = warp_stray:note(subscription_names, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info(open, #state{store = {error, _}} = State) ->
    {noreply, open(State#state{is_opening = false})};
handle_info(open, State) ->
    {noreply, State#state{is_opening = false}};
handle_info(save, State) ->
    {_, Saved} = save(State#state{timer = none}),
    {noreply, Saved};
handle_info(look, #state{context = Context} = State) ->
    ok = look_soon(Context),
    {noreply, look(State)};
handle_info({say, Consumer, Message}, State) ->
    {noreply, say(Consumer, Message, State)};
handle_info({'DOWN', Monitor, process, Pid, _}, #state{consumers = Consumers} = State)
  when element(2, map_get(Pid, Consumers)) =:= Monitor ->
    {noreply, left(Pid, State)};
%% It left before it ended.
handle_info({'DOWN', _, process, _, _}, State) ->
    {noreply, State};
handle_info({warp_projection_lost, Message}, #state{context = #{name := Name}} = State) ->
    ?LOG_WARNING("Warp: the names of subscriptions of context ~ts are opened again, since their files were lost: ~ts",
                 [Name, Message]),
    {stop, {shutdown, files_lost}, State};
handle_info({'EXIT', _, Reason}, State) ->
    {stop, Reason, State};
handle_info(Stray, State) ->
    ok = warp_stray:note(subscription_names, message, Stray),
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, State) ->
    case save(State) of
        {_, #state{store = {open, Store}}} -> warp_subscription_store:close(Store);
        _ -> ok
    end.

%% The state holds ids of entities.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{names = Names}} = Status) ->
    warp_redact:status(Status, #{names => map_size(Names)});
format_status(Status) ->
    warp_redact:status(Status, #{}).

%% ------------------------------------------------------------------ Who consumes

%% NOTE: without a character that was cut.
common(Before, Prefix) ->
    Bytes = binary:longest_common_prefix([Before, Prefix]),
    case unicode:characters_to_binary(binary:part(Prefix, 0, Bytes)) of
        {incomplete, Whole, _} -> Whole;
        Whole -> Whole
    end.

joined(Place, #{pid := Pid, name := Name} = Consumer, Of, #state{consumers = Consumers} = State) ->
    Monitor = erlang:monitor(process, Pid),
    Joined = put_name(Name, Of, State#state{consumers = Consumers#{Pid => {Consumer, Monitor}}}),
    spread(Name, case Place of
        {active, _} -> assign(Pid, Name, Joined);
        standby -> Joined
    end).

%% Has consumers leave for others on nodes with fewer slots.
spread(Name, #state{names = Names, consumers = Consumers} = State) ->
    #{Name := #name{group = Group} = Of} = Names,
    {Pids, Yielding} = warp_subscription_group:yield(Group),
    lists:foldl(fun(Pid, Acc) -> say(element(1, maps:get(Pid, Consumers)), yield, Acc) end,
                State#state{names = Names#{Name := Of#name{group = Yielding}}}, Pids).

assign(Pid, Name, #state{names = Names, consumers = Consumers} = State) ->
    #{Name := #name{marks = Marks, prefix = Prefix} = Of} = Names,
    #{Pid := {Consumer, _}} = Consumers,
    Mine = maps:with(shards_of(Pid, Of, State), Marks),
    say(Consumer, {assigned, #{keeper => node(), prefix => Prefix, cursor => cursor(Of, State), marks => Mine}}, State).

%% To a node that takes no messages just now it is said later; to one that is lost it is not said.
say(#{pid := Pid, tag := Tag} = Consumer, Message, State) ->
    Sent = erlang:send(Pid, {warp_subscription_name, Tag, Message}, [noconnect, nosuspend]),
    _ = [erlang:send_after(?SAVE_MS, self(), {say, Consumer, Message}) || Sent =:= nosuspend],
    State.

read_notices(Name, Pid, After, Of, #state{store = {open, Store}} = State) ->
    case warp_subscription_store:notices(Store, Name, After, ?NOTICES) of
        {ok, Found} ->
            Shards = shards_of(Pid, Of, State),
            Then = case length(Found) of ?NOTICES -> {more, element(1, lists:last(Found))}; _ -> done end,
            {ok, [{Entity, Life} || {Entity, N, Life} <- Found, lists:member(N, Shards)], Then};
        {error, _} = Error ->
            Error
    end.

shards_of(Pid, #name{group = Group}, #state{context = #{shards := Shards}}) ->
    case warp_subscription_group:slot_of(Pid, Group) of
        none -> [];
        Slot -> warp_subscription_group:shards(Slot, Shards, Group)
    end.

%% A consumer leaves, and has said how far it is.
leave(Name, Pid, {Tag, _, _} = Passed, #state{consumers = Consumers} = State) ->
    case Consumers of
        #{Pid := {#{name := Name, tag := Tag}, _}} -> left(Pid, passed(Name, Pid, Passed, State));
        #{} -> State
    end.

left(Pid, #state{consumers = Consumers, names = Names} = State) ->
    {{#{name := Name}, Monitor}, Others} = maps:take(Pid, Consumers),
    true = erlang:demonitor(Monitor, [flush]),
    case Names of
        #{Name := #name{group = Group} = Of} ->
            {Next, Left} = warp_subscription_group:leave(Pid, Group),
            Without = put_name(Name, Of#name{group = Left, since = os:system_time(microsecond)},
                               State#state{consumers = Others}),
            case {Next, is_here(Name, State)} of
                {{Successor, _Slot}, true} -> spread(Name, assign(Successor, Name, Without));
                _ -> Without
            end;
        #{} ->
            State#state{consumers = Others}
    end.

%% A consumer has to join again.
lose(#{pid := Pid} = Consumer, State) ->
    left(Pid, say(Consumer, lost, State)).

%% Consumers on nodes that cannot be reached, and those of names that are not kept here any more.
look(#state{context = Context, consumers = Consumers} = State) ->
    Lost = [Consumer || {#{name := Name, pid := Pid, server := Server} = Consumer, _} <- maps:values(Consumers),
                        node(Pid) =/= node() andalso not warp_requests:is_linked(Server)
                            orelse not warp_context_owners:has(Context, shard_of(Name, State))],
    lose_all(Lost, State).

%% Those that wait go first, so that none of them is given a slot.
lose_all(Consumers, State) ->
    {Active, Standby} = lists:partition(fun(Consumer) -> has_slot(Consumer, State) end, Consumers),
    lists:foldl(fun lose/2, State, Standby ++ Active).

has_slot(#{pid := Pid, name := Name}, #state{names = Names}) ->
    case Names of
        #{Name := #name{group = Group}} -> warp_subscription_group:slot_of(Pid, Group) =/= none;
        #{} -> false
    end.

look_soon(#{owners := Owners}) ->
    _ = [erlang:send_after(?LOOK_MS, self(), look) || not warp_context_owners:is_single(Owners)],
    ok.

tell_subscriber(Message, #{shard := N}, Of, State) ->
    case subscriber(N, Of, State) of
        none -> ok;
        %% NOTE: by a process of its own, since the other node may take no messages just now.
        Subscriber when node(Subscriber) =/= node() -> _ = spawn(fun() -> Subscriber ! Message end), ok;
        Subscriber -> Subscriber ! Message, ok
    end.

%% The subscriber of the consumer that has a shard.
subscriber(N, #name{group = Group}, #state{consumers = Consumers}) ->
    Slot = N rem warp_subscription_group:consumers(Group),
    case warp_subscription_group:active(Group) of
        #{Slot := Pid} ->
            #{Pid := {#{subscriber := Subscriber}, _}} = Consumers,
            Subscriber;
        #{} ->
            none
    end.

%% ------------------------------------------------------------------ Where names are

%% The shard of a name; `none' for what is no name.
shard_of(Name, #state{context = Context}) ->
    case warp_context:shard_of(Context, Name) of
        {ok, N} -> N;
        {error, _} -> none
    end.

is_here(Name, #state{context = Context} = State) ->
    warp_context_owners:is_here(Context, shard_of(Name, State)).

here(#state{names = Names} = State) ->
    [Each || {Name, _} = Each <- maps:to_list(Names), is_here(Name, State)].

names_of(N, #state{names = Names} = State) ->
    [Name || Name <- maps:keys(Names), shard_of(Name, State) =:= N].

consumers_of(N, #state{consumers = Consumers} = State) ->
    [Consumer || {#{name := Name} = Consumer, _} <- maps:values(Consumers), shard_of(Name, State) =:= N].

%% Reads the names again, after some of a shard that is coming were written.
loaded_again(#state{store = {open, Store}, names = Before} = State) ->
    case {warp_subscription_store:names(Store), warp_subscription_store:held(Store)} of
        {{ok, Names}, {ok, Held}} ->
            #state{names = Loaded} = Next = loaded(Names, Held, State),
            Kept = maps:filter(fun(Name, _) -> is_kept(Name, State) end, Before),
            shown_all(Next#state{names = maps:merge(Loaded, Kept)});
        %% It is opened again, and all join again.
        _ ->
            exit({shutdown, names_not_read})
    end.

%% NOTE: a deletion of which this node has not done its part yet has to reach the names where they are now.
left_for_good(N, Names, #state{context = Context, names = All, unsaved = Unsaved, gone = Gone} = State) ->
    Now = case warp_erasure_holds:count(Context) of {0, none} -> Gone; _ -> lists:usort([N | Gone]) end,
    Remove = fun(Store) ->
        case Now of
            Gone -> warp_subscription_store:remove(Store, Names);
            _ -> warp_subscription_store:set_gone(Store, N, Names)
        end
    end,
    Then = fun() ->
        ok = lists:foreach(fun(Name) -> warp_subscription_table:remove_name(Context, Name) end, Names),
        State#state{names = maps:without(Names, All), unsaved = maps:without(Names, Unsaved), gone = Now}
    end,
    written(Remove, Then, State).

%% Shards that were given away with names before this node had done its part of a deletion, also those that are just
%% being given away.
gone(#state{gone = Gone, names = Names, coming = Coming, context = Context} = State) ->
    Leaving = [N || Name <- maps:keys(Names), N <- [shard_of(Name, State)], not is_map_key(N, Coming)],
    [N || N <- lists:usort(Gone ++ Leaving), not warp_context_owners:is_here(Context, N)].

none_under_way(#state{store = {open, Store}, context = Context, gone = Gone} = State) ->
    case warp_erasure_holds:count(Context) of
        {0, none} ->
            %% What cannot be written costs a call more at the next deletion.
            _ = [warp_subscription_store:clear_gone(Store) || Gone =/= []],
            State#state{gone = []};
        _ ->
            State
    end;
none_under_way(State) ->
    State.

%% ------------------------------------------------------------------ Erasures

%% Each erasure with the names that are to be told of it. A name was told already if the erasure was noted early, or if
%% it has had events of the entity's next life. To be told behind these would be wrong.
to_note(Whose, Erasures, #state{names = Names, early = Early} = State) ->
    [{Entity, N, Life, [Name || {Name, #name{prefix = Prefix, marks = Marks}} <- maps:to_list(Names),
                                is_of(Whose, Name, State),
                                warp_subscription_filter:concerns(Entity, {prefix, Prefix}),
                                maps:get({Name, Entity}, Early, -1) < Life,
                                not has_passed(maps:get(N, Marks, 0), Life, Next)]}
     || {Entity, N, Life, Next} <- Erasures].

has_passed({Position, _Seq}, Life, Next) -> has_passed(Position, Life, Next);
has_passed(Position, Life, Next) -> is_integer(Next) andalso Next > Life andalso Position >= Next.

is_of(all, _Name, _State) -> true;
is_of({name, Name}, Name, _State) -> true;
is_of({name, _}, _Name, _State) -> false;
is_of({shard, N}, Name, State) -> shard_of(Name, State) =:= N.

erase(_Erased, #state{store = none} = State) ->
    {reply, ok, State};
erase(Erased, #state{names = Names} = State) ->
    Lives = maps:from_list([{Entity, Life} || {Entity, _, Life, _} <- Erased]),
    IsLeft = fun(Entity, #{life := Life}) -> Life > maps:get(Entity, Lives, -1) end,
    Without = fun(_, #name{held = Held} = Of) -> Of#name{held = maps:filter(IsLeft, Held)} end,
    written(fun(Store) -> warp_subscription_store:erase(Store, Erased) end,
            fun() -> shown_all(State#state{names = maps:map(Without, Names)}) end, State).

%% ------------------------------------------------------------------ What is acknowledged

%% A consumer that has lost its slot acknowledges nothing. How far the others are they show themselves, and here that is
%% shown when they leave.
passed(Name, Pid, {Tag, Marks, Taken}, #state{consumers = Consumers, names = Names} = State) ->
    case {Consumers, Names} of
        {#{Pid := {#{name := Name, tag := Tag}, _}}, #{Name := #name{group = Group} = Of}} ->
            case warp_subscription_group:slot_of(Pid, Group) =/= none andalso is_kept(Name, State) of
                true -> save_soon(?SAVE_MS, told(Name, Taken, acked(Name, Marks, Of, State)));
                false -> State
            end;
        _ ->
            State
    end.

is_kept(Name, #state{context = Context} = State) ->
    warp_context_owners:has(Context, shard_of(Name, State)).

acked(Name, Marks, #name{marks = Before} = Of, #state{names = Names, unsaved = Unsaved} = State) ->
    case maps:merge(Before, Marks) of
        Before -> State;
        Now -> State#state{names = Names#{Name := Of#name{marks = Now}}, unsaved = Unsaved#{Name => []}}
    end.

told(Name, Taken, #state{told = Told} = State) ->
    State#state{told = [{Name, Entity, Life} || {Entity, Life} <- maps:to_list(Taken)] ++ Told}.

save_soon(Millis, #state{timer = none} = State) ->
    State#state{timer = erlang:send_after(Millis, self(), save)};
save_soon(_Millis, State) ->
    State.

save(#state{unsaved = Unsaved, told = []} = State) when map_size(Unsaved) =:= 0 ->
    {ok, State};
save(#state{store = {open, Store}, unsaved = Unsaved, told = Told, names = Names} = State) ->
    Cursors = [{Name, cursor(maps:get(Name, Names), State)} || Name <- maps:keys(Unsaved)],
    case warp_subscription_store:save(Store, Cursors, Told) of
        ok ->
            {ok, State#state{unsaved = #{}, told = []}};
        {error, Reason} = Error ->
            ?LOG_WARNING("Warp: how far subscriptions are could not be written, and is tried again: ~ts",
                         [warp_redact:reason(Reason)]),
            {Error, save_soon(?RETRY_MS, State)}
    end.

cursor(#name{marks = Marks}, #state{context = #{shards := Shards}}) ->
    warp_subscription_cursor:encode({shards, Shards}, Marks).

put_name(Name, Of, #state{names = Names} = State) ->
    shown(Name, State#state{names = Names#{Name => Of}}).

shown_all(#state{names = Names} = State) ->
    lists:foldl(fun shown/2, State, maps:keys(Names)).

shown(Name, #state{context = Context} = State) ->
    case warp_context_owners:has(Context, shard_of(Name, State)) of
        true -> shown_here(Name, State);
        false -> State
    end.

shown_here(Name, #state{context = #{shards := Shards} = Context, names = Names} = State) ->
    #{Name := #name{marks = Marks, group = Group, held = Held, since = Since}} = Names,
    ok = warp_subscription_table:put_name(Context, Name, #{
        marks => Marks,
        since => Since,
        held => [maps:with([shard, state], Of) || Of <- maps:values(Held)],
        active => warp_subscription_group:active(Group),
        slots => [warp_subscription_group:shards(Slot, Shards, Group)
                  || Slot <- lists:seq(0, warp_subscription_group:consumers(Group) - 1)]}),
    lists:foldl(fun({Slot, Pid}, Acc) -> say_waits(Pid, Slot, Held, Group, Acc) end, State,
                [Each || {_, Pid} = Each <- maps:to_list(warp_subscription_group:active(Group)), node(Pid) =/= node()]).

%% A consumer on another node shows there how many entities wait for its subscriber.
say_waits(Pid, Slot, Held, Group, #state{consumers = Consumers} = State) ->
    Count = fun(States) ->
        length([x || #{shard := N, state := Is} <- maps:values(Held),
                     N rem warp_subscription_group:consumers(Group) =:= Slot, lists:member(Is, States)])
    end,
    case Consumers of
        #{Pid := {Consumer, _}} -> say(Consumer, {waits, Count([retrying, skipping]), Count([parked])}, State);
        #{} -> State
    end.
