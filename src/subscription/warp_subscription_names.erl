%% @private Keeps the subscriptions with names of a context: how far each is, who consumes it, and what waits. This
%% process alone writes {@link warp_subscription_store}; who consumes a name is decided in {@link
%% warp_subscription_group}.
%%
%% What is acknowledged is written some time later, for all names at once, and before that when somebody waits for it.
-module(warp_subscription_names).
-behaviour(gen_server).

-export([start_link/1, place/3, create/5, join/5, leave/3, acked/3, told/3, save/4, notices/4]).
-export([erase/4, forget/3, hold/4, release/4, held/3, change/5, marks/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-export_type([marks/0, assigned/0]).

-include_lib("kernel/include/logger.hrl").

-type marks() :: #{N :: non_neg_integer() => warp_subscription_core:mark()}.
%% What a consumer is sent when it gets a slot: the cursor of the name, where its own shards begin, entities that were
%% erased, and behind which of them there are more.
-type assigned() ::
    {warp_subscription_assigned, warp_subscription_cursor:cursor(), marks(), Erased :: [binary()],
     done | {more, After :: binary()}}.

-record(name, {
    %% What the ids of all entities begin with that its consumers may have had events of.
    prefix :: binary(),
    %% Up to where everything was acknowledged.
    marks :: marks(),
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
    consumers = #{} :: #{pid() => Name :: binary()},
    %% The erasures that a consumer was told of and has not taken: how many, and how many of each entity.
    untaken = #{} :: #{pid() => {non_neg_integer(), #{Entity :: binary() => pos_integer()}}},
    %% What is not written yet.
    unsaved = #{} :: #{Name :: binary() => []},
    told = [] :: [{Name :: binary(), Entity :: binary()}],
    timer = none :: none | reference()
}).

%% How long what was acknowledged waits for others before it is written; and after an error.
-define(SAVE_MS, 100).
-define(RETRY_MS, 1000).
%% How many erased entities a consumer is told of at once.
-define(NOTICES, 1000).
%% How many erasures a consumer may be told of and not take. Then its subscription ends, and the next one is told of
%% them from the file, so many at once as above.
-define(UNTAKEN, 10000).

%% @doc Starts the process that keeps the names of a context.
-spec start_link(reference()) -> gen_server:start_ret().
start_link(Ref) ->
    gen_server:start_link(?MODULE, Ref, []).

%% @doc Where a name stands, `unknown' if there is no such name. Errors of this and of all others: those of the file;
%% `interrupted' while the process is being restarted, and `timeout'.
-spec place(warp_context:context(), Name :: binary(), warp_deadline:deadline()) ->
    {ok, marks()} | unknown | {error, term()}.
place(Context, Name, Deadline) -> ask(Context, {place, Name}, Deadline).

%% @doc Adds a name that begins there, unless somebody else has done that meanwhile.
-spec create(warp_context:context(), Name :: binary(), marks(), Prefix :: binary(), warp_deadline:deadline()) ->
    ok | {error, term()}.
create(Context, Name, Marks, Prefix, Deadline) -> ask(Context, {create, Name, Marks, Prefix}, Deadline).

%% @doc The calling process consumes a name, or is a standby. It is sent `assigned()' when it gets a slot, and loses
%% that when it ends. Gives with what the ids of all entities begin that the name has had events of by now or before,
%% when its filter had another prefix: it is told of their erasures. Errors also: `unknown_subscription', and
%% `{others_say, N}'.
-spec join(warp_context:context(), Name :: binary(), Consumers :: pos_integer(), Prefix :: binary(),
           warp_deadline:deadline()) -> {ok, Prefix :: binary()} | {error, term()}.
join(Context, Name, Consumers, Prefix, Deadline) -> ask(Context, {join, Name, self(), Consumers, Prefix}, Deadline).

%% @doc The calling process consumes the name no more, and is no standby.
-spec leave(warp_context:context(), Name :: binary(), warp_deadline:deadline()) -> ok | {error, term()}.
leave(Context, Name, Deadline) -> ask(Context, {leave, Name, self()}, Deadline).

%% @doc The calling consumer has acknowledged everything up to there. Does nothing for one that has no slot.
-spec acked(warp_context:context(), Name :: binary(), marks()) -> ok.
acked(Context, Name, Marks) -> tell(Context, {acked, Name, self(), Marks}).

%% @doc The subscriber of the calling consumer has taken that an entity was erased.
-spec told(warp_context:context(), Name :: binary(), Entity :: binary()) -> ok.
told(Context, Name, Entity) -> tell(Context, {told, Name, self(), Entity}).

%% @doc As {@link acked/3}, and waits until that is on disk. Gives the cursor of the name.
-spec save(warp_context:context(), Name :: binary(), marks(), warp_deadline:deadline()) ->
    {ok, warp_subscription_cursor:cursor()} | {error, term()}.
save(Context, Name, Marks, Deadline) -> ask(Context, {save, Name, self(), Marks}, Deadline).

%% @doc The next entities that were erased, for the calling consumer.
-spec notices(warp_context:context(), Name :: binary(), After :: binary(), warp_deadline:deadline()) ->
    {ok, [binary()], done | {more, binary()}} | {error, term()}.
notices(Context, Name, After, Deadline) -> ask(Context, {notices, Name, self(), After}, Deadline).

%% @doc Erases what there is of an entity, and has each name told that may have had events of it.
-spec erase(warp_context:context(), Entity :: binary(), non_neg_integer(), warp_deadline:deadline()) ->
    ok | {error, term()}.
erase(Context, Entity, N, Deadline) -> ask(Context, {erase, Entity, N}, Deadline).

%% @doc Removes a name. Errors also: `unknown_subscription', and `{in_use, Pid}' while it has a consumer.
-spec forget(warp_context:context(), Name :: binary(), warp_deadline:deadline()) -> ok | {error, term()}.
forget(Context, Name, Deadline) -> ask(Context, {forget, Name}, Deadline).

%% @doc Notes that an entity waits since an event of it failed, or how. `erased': it does not have to, since it was
%% erased, which the subscriber is told. The caller is the subscriber of the consumer that has the entity's shard; else
%% `not_the_consumer', since another one decides by now.
-spec hold(warp_context:context(), Name :: binary(), warp_subscription_store:held(), warp_deadline:deadline()) ->
    ok | {error, term()}.
hold(Context, Name, Held, Deadline) -> ask(Context, {hold, Name, self(), Held}, Deadline).

%% @doc An entity does not wait any more. The caller is as for {@link hold/4}.
-spec release(warp_context:context(), Name :: binary(), Entity :: binary(), warp_deadline:deadline()) ->
    ok | {error, term()}.
release(Context, Name, Entity, Deadline) -> ask(Context, {release, Name, self(), Entity}, Deadline).

%% @doc All entities that wait. Errors also: `unknown_subscription'.
-spec held(warp_context:context(), Name :: binary(), warp_deadline:deadline()) ->
    {ok, [warp_subscription_store:held()]} | {error, term()}.
held(Context, Name, Deadline) -> ask(Context, {held, Name}, Deadline).

%% @doc Has an entity that waits tried again, or its event passed over, and tells the subscriber: `{warp_held, Held}'.
%% Errors also: `unknown_subscription', and `not_waiting'.
-spec change(warp_context:context(), Name :: binary(), Entity :: binary(), retrying | skipping,
             warp_deadline:deadline()) -> ok | {error, term()}.
change(Context, Name, Entity, To, Deadline) -> ask(Context, {change, Name, Entity, To}, Deadline).

%% @doc Of each name, up to where everything was acknowledged, and how many entities wait; of those that are consumed
%% the consumers, which may be farther.
-spec marks(warp_context:context(), warp_deadline:deadline()) ->
    {ok, [{Name :: binary(), marks(), Waiting :: non_neg_integer(), [pid()]}]} | {error, term()}.
marks(Context, Deadline) -> ask(Context, marks, Deadline).

ask(Context, Request, Deadline) ->
    case warp_context:registered(Context, subscription_names) of
        {ok, Pid} -> warp_call:call(Pid, Request, Deadline);
        none -> {error, interrupted}
    end.

tell(Context, Message) ->
    case warp_context:registered(Context, subscription_names) of
        {ok, Pid} -> gen_server:cast(Pid, Message);
        none -> ok
    end.

%% ------------------------------------------------------------------ The process

-spec init(reference()) -> {ok, #state{}} | {stop, {shutdown, context_stopped}}.
init(Ref) ->
    _ = process_flag(trap_exit, true),
    case warp_context:find(Ref) of
        {ok, Context} ->
            ok = warp_context:register(Context, subscription_names, self()),
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
            case {warp_subscription_store:names(Store), warp_subscription_store:held(Store)} of
                {{ok, Names}, {ok, Held}} ->
                    loaded(Names, Held, State#state{store = {open, Store}});
                {{error, Reason}, _} ->
                    not_opened(Store, Reason, State);
                {_, {error, Reason}} ->
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
ready(_Request, #state{store = none} = State) -> {ok, State};
ready(_Request, #state{store = {open, _}} = State) -> {ok, State};
ready(_Request, #state{store = {error, _}} = State) -> is_open(open(State)).

is_open(#state{store = {error, _} = Error} = State) -> {Error, State};
is_open(State) -> {ok, State}.

answer({place, Name}, #state{names = Names} = State) ->
    case Names of
        #{Name := #name{marks = Marks}} -> {reply, {ok, Marks}, State};
        #{} -> {reply, unknown, State}
    end;
answer({create, Name, _, _}, #state{names = Names} = State) when is_map_key(Name, Names) ->
    {reply, ok, State};
answer({create, Name, Marks, Prefix}, #state{names = Names} = State) ->
    New = #name{prefix = Prefix, marks = Marks, since = os:system_time(microsecond)},
    written(fun(Store) -> warp_subscription_store:create(Store, Name, cursor(New, State), Prefix) end,
            fun() -> shown(Name, State#state{names = Names#{Name => New}}) end, State);
answer(marks, #state{names = Names} = State) ->
    {reply, {ok, [{Name, Marks, map_size(Held), maps:values(warp_subscription_group:active(Group))}
                  || {Name, #name{marks = Marks, held = Held, group = Group}} <- maps:to_list(Names)]}, State};
answer({erase, _Entity, _N}, #state{store = none} = State) ->
    {reply, ok, State};
answer({erase, Entity, N}, #state{names = Names, told = Told} = State) ->
    Concerned = [Name || {Name, #name{prefix = Prefix}} <- maps:to_list(Names),
                         warp_subscription_filter:concerns(Entity, {prefix, Prefix})],
    Without = fun(_, #name{held = Held} = Of) -> Of#name{held = maps:remove(Entity, Held)} end,
    written(fun(Store) -> warp_subscription_store:erase(Store, Entity, N, Concerned) end,
            fun() ->
                %% NOTE: that an earlier life was taken says nothing of this one.
                Untold = [Of || {_, Taken} = Of <- Told, Taken =/= Entity],
                shown_all(owed(Entity, N, State#state{names = maps:map(Without, Names), told = Untold}))
            end, State);
answer(Request, #state{names = Names} = State) when is_tuple(Request), tuple_size(Request) > 1 ->
    case Names of
        #{element(2, Request) := Of} -> of_name(Request, Of, State);
        #{} -> {reply, {error, unknown_subscription}, State}
    end;
answer(Stray, State) ->
    ok = warp_stray:note(subscription_names, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

of_name({join, Name, Pid, Consumers, Prefix}, #name{group = Group, prefix = Before} = Of, State) ->
    case warp_subscription_group:join(Pid, Consumers, Group) of
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
            Then = fun() -> joined(Place, Pid, Name, Of#name{group = Joined, prefix = Common}, State) end,
            case written(Changed, Then, State) of
                {reply, ok, Next} -> {reply, {ok, Common}, Next};
                Failed -> Failed
            end
    end;
of_name({leave, _Name, Pid}, _Of, #state{consumers = Consumers} = State) when is_map_key(Pid, Consumers) ->
    {reply, ok, left(Pid, State)};
of_name({leave, _Name, _Pid}, _Of, State) ->
    {reply, ok, State};
of_name({save, Name, Pid, Marks}, Of, State) ->
    case save(acked(Name, Pid, Marks, Of, State)) of
        {ok, Saved} -> {reply, {ok, cursor(maps:get(Name, Saved#state.names), Saved)}, Saved};
        {Error, Unsaved} -> {reply, Error, Unsaved}
    end;
of_name({notices, Name, Pid, After}, Of, State) ->
    case read_notices(Name, Pid, After, Of, State) of
        {ok, Erased, _} = Read -> {reply, Read, owe_all(Pid, Erased, State)};
        {error, _} = Error -> {reply, Error, State}
    end;
of_name({forget, Name}, #name{group = Group}, #state{names = Names, unsaved = Unsaved} = State) ->
    case maps:values(warp_subscription_group:active(Group)) of
        [Pid | _] ->
            {reply, {error, {in_use, Pid}}, State};
        [] ->
            Without = State#state{names = maps:remove(Name, Names), unsaved = maps:remove(Name, Unsaved)},
            written(fun(Store) -> warp_subscription_store:remove(Store, Name) end,
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
    ok = warp_stray:note(subscription_names, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

held(Name, #{entity := Entity} = Held, #name{held = All} = Of, State0) ->
    %% NOTE: an entity whose erasure was taken may have begun another life, which is held like any other.
    State = case lists:member({Name, Entity}, State0#state.told) of
                true -> element(2, save(State0));
                false -> State0
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
handle_cast({acked, Name, Pid, Marks}, #state{names = Names} = State) ->
    case Names of
        #{Name := Of} -> {noreply, save_soon(?SAVE_MS, acked(Name, Pid, Marks, Of, State))};
        #{} -> {noreply, State}
    end;
handle_cast({told, Name, Pid, Entity}, #state{consumers = Consumers} = State) ->
    case Consumers of
        #{Pid := Name} -> {noreply, taken(Pid, Name, Entity, State)};
        #{} -> {noreply, State}
    end;
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
handle_info({'DOWN', _, process, Pid, _}, #state{consumers = Consumers} = State) when is_map_key(Pid, Consumers) ->
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

joined(Place, Pid, Name, Of, #state{consumers = Consumers} = State) ->
    _ = erlang:monitor(process, Pid),
    Joined = put_name(Name, Of, State#state{consumers = Consumers#{Pid => Name}}),
    case Place of
        {active, _} -> assign(Pid, Name, Joined);
        standby -> Joined
    end.

assign(Pid, Name, #state{names = Names} = State) ->
    #{Name := #name{marks = Marks} = Of} = Names,
    case read_notices(Name, Pid, <<>>, Of, State) of
        {ok, Erased, Then} ->
            Shards = shards_of(Pid, Of, State),
            Pid ! {warp_subscription_assigned, cursor(Of, State),
                   maps:from_list([{N, maps:get(N, Marks, 0)} || N <- Shards]), Erased, Then},
            owe_all(Pid, Erased, State);
        {error, Reason} ->
            %% Its subscriber is told that it ended, and subscribes again.
            ?LOG_WARNING("Warp: the subscription ~ts cannot begin, since its file cannot be read: ~ts",
                         [Name, warp_redact:reason(Reason)]),
            true = exit(Pid, kill),
            State
    end.

read_notices(Name, Pid, After, Of, #state{store = {open, Store}} = State) ->
    case warp_subscription_store:notices(Store, Name, After, ?NOTICES) of
        {ok, Found} ->
            Shards = shards_of(Pid, Of, State),
            Then = case length(Found) of ?NOTICES -> {more, element(1, lists:last(Found))}; _ -> done end,
            {ok, [Entity || {Entity, N} <- Found, lists:member(N, Shards)], Then};
        {error, _} = Error ->
            Error
    end.

shards_of(Pid, #name{group = Group}, #state{context = #{shards := Shards}}) ->
    case warp_subscription_group:slot_of(Pid, Group) of
        none -> [];
        Slot -> warp_subscription_group:shards(Slot, Shards, Group)
    end.

left(Pid, #state{consumers = Consumers, names = Names, untaken = Untaken} = State) ->
    {Name, Others} = maps:take(Pid, Consumers),
    #{Name := #name{group = Group} = Of} = Names,
    {Next, Left} = warp_subscription_group:leave(Pid, Group),
    Without = put_name(Name, Of#name{group = Left, since = os:system_time(microsecond)},
                       State#state{consumers = Others, untaken = maps:remove(Pid, Untaken)}),
    case Next of
        {Successor, _Slot} -> assign(Successor, Name, Without);
        none -> Without
    end.

tell_subscriber(Message, #{shard := N}, Of, State) ->
    case subscriber(N, Of, State) of
        none -> ok;
        Subscriber -> Subscriber ! Message, ok
    end.

%% The subscriber of the consumer that has a shard.
subscriber(N, #name{group = Group}, #state{context = Context}) ->
    Slot = N rem warp_subscription_group:consumers(Group),
    case warp_subscription_group:active(Group) of
        #{Slot := Pid} -> warp_subscription_table:subscriber(Context, Pid);
        #{} -> none
    end.

%% ------------------------------------------------------------------ Erasures

%% Its subscription tells each consumer of the shard that may have had events of the entity.
owed(Entity, N, #state{context = Context, consumers = Consumers, names = Names} = State) ->
    Told = [Pid || Pid <- warp_subscription_table:concerned(Context, Entity), #{Pid := Name} <- [Consumers],
                   lists:member(N, shards_of(Pid, maps:get(Name, Names), State))],
    lists:foldl(fun(Pid, Acc) -> ended_if_full(Pid, owe(Pid, Entity, Acc)) end, State, Told).

owe_all(Pid, Erased, State) ->
    lists:foldl(fun(Entity, Acc) -> owe(Pid, Entity, Acc) end, State, Erased).

owe(Pid, Entity, #state{untaken = Untaken} = State) ->
    {Count, Entities} = maps:get(Pid, Untaken, {0, #{}}),
    More = maps:update_with(Entity, fun(Times) -> Times + 1 end, 1, Entities),
    State#state{untaken = Untaken#{Pid => {Count + 1, More}}}.

ended_if_full(Pid, #state{untaken = Untaken} = State) ->
    case Untaken of
        #{Pid := {Count, _}} when Count > ?UNTAKEN ->
            true = exit(Pid, {shutdown, erasures_not_taken}),
            State;
        #{} ->
            State
    end.

%% An entity that was deleted again since it was told of is to be taken again.
taken(Pid, Name, Entity, #state{untaken = Untaken, told = Told} = State) ->
    {Count, Entities} = maps:get(Pid, Untaken, {0, #{}}),
    case Entities of
        #{Entity := Times} when Times > 1 ->
            State#state{untaken = Untaken#{Pid => {Count - 1, Entities#{Entity := Times - 1}}}};
        #{Entity := 1} ->
            Taken = State#state{untaken = Untaken#{Pid => {Count - 1, maps:remove(Entity, Entities)}}},
            save_soon(?SAVE_MS, Taken#state{told = [{Name, Entity} | Told]});
        #{} ->
            State
    end.

%% ------------------------------------------------------------------ What is acknowledged

%% A consumer that has lost its slot acknowledges nothing. How far the others are they show themselves, and here that is
%% shown when they leave.
acked(Name, Pid, Marks, #name{group = Group, marks = Before} = Of, #state{names = Names, unsaved = Unsaved} = State) ->
    case warp_subscription_group:slot_of(Pid, Group) of
        none -> State;
        _ ->
            case maps:merge(Before, Marks) of
                Before -> State;
                Now -> State#state{names = Names#{Name := Of#name{marks = Now}}, unsaved = Unsaved#{Name => []}}
            end
    end.

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

shown(Name, #state{context = #{shards := Shards} = Context, names = Names} = State) ->
    #{Name := #name{marks = Marks, group = Group, held = Held, since = Since}} = Names,
    ok = warp_subscription_table:put_name(Context, Name, #{
        marks => Marks,
        since => Since,
        held => [maps:with([shard, state], Of) || Of <- maps:values(Held)],
        active => warp_subscription_group:active(Group),
        slots => [warp_subscription_group:shards(Slot, Shards, Group)
                  || Slot <- lists:seq(0, warp_subscription_group:consumers(Group) - 1)]}),
    State.
