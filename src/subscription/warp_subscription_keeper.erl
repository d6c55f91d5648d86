%% @private Keeps subscriptions with names: those whose shard is on this node. It is asked through
%% {@link warp_subscription_names}. What it knows of names, and their file, is {@link warp_subscription_book}; who
%% consumes them is {@link warp_subscription_consumers}.
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

-record(state, {
    context :: warp_context:context(),
    book :: warp_subscription_book:book(),
    consumers = warp_subscription_consumers:new() :: warp_subscription_consumers:consumers(),
    %% Whether a message says when to open the file again.
    is_opening = false :: boolean(),
    early = warp_subscription_early:new() :: warp_subscription_early:early(),
    %% Shards that are coming with names.
    coming = #{} :: #{non_neg_integer() => []},
    timer = none :: none | reference()
}).

%% How long what was acknowledged waits for others before it is written; and after an error.
-define(SAVE_MS, 100).
-define(RETRY_MS, 1000).
%% How many erased entities a consumer is told of at once.
-define(NOTICES, 1000).
%% How often the nodes of consumers, and the places of shards, are looked at.
-define(LOOK_MS, 1000).

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
            {ok, opened(fun warp_subscription_book:open/1,
                        #state{context = Context, book = warp_subscription_book:new(Context)})};
        not_found ->
            {stop, {shutdown, context_stopped}}
    end.

%% NOTE: a request tries again at once.
opened(Open, #state{book = Book, is_opening = IsOpening} = State) ->
    Opened = Open(Book),
    case warp_subscription_book:status(Opened) of
        {error, _} ->
            _ = [erlang:send_after(?RETRY_MS, self(), open) || not IsOpening],
            State#state{book = Opened, is_opening = true};
        _ ->
            known(State#state{book = Opened})
    end.

%% The names of the book may be others.
known(#state{book = Book, consumers = Consumers} = State) ->
    Names = maps:keys(warp_subscription_book:names(Book)),
    shown_all(State#state{consumers = lists:foldl(fun warp_subscription_consumers:add/2, Consumers, Names)}).

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call(Request, _From, #state{book = Book} = State) ->
    %% What is not there needs no file.
    Ready = case {warp_subscription_book:status(Book), Request} of
        {none, {create, _, _, _}} -> opened(fun warp_subscription_book:create/1, State);
        {none, {take, _N, [_ | _]}} -> opened(fun warp_subscription_book:create/1, State);
        {{error, _}, _} -> opened(fun warp_subscription_book:open/1, State);
        _ -> State
    end,
    case warp_subscription_book:status(Ready#state.book) of
        {error, _} = Error -> {reply, Error, Ready};
        _ -> answer(Request, Ready)
    end.

answer(marks, #state{consumers = Consumers} = State) ->
    {reply, {ok, [{Name, Marks, map_size(Held), maps:values(active(Name, Consumers))}
                  || {Name, #{marks := Marks, held := Held}} <- maps:to_list(names(State)), is_here(Name, State)]},
     State};
answer({erase, {Entity, _, _, _} = Erasure}, #state{early = Early} = State) ->
    case erase(to_tell(all, [Erasure], State), State) of
        {reply, ok, Next} -> {reply, {ok, gone(Next)}, Next#state{early = warp_subscription_early:done(Entity, Early)}};
        Failed -> Failed
    end;
answer({erase_of, Whose, Erasures}, State0) ->
    #state{early = Early} = State = remembering(State0),
    ToTell = to_tell(Whose, Erasures, State),
    case erase(ToTell, State) of
        {reply, ok, Next} -> {reply, ok, Next#state{early = warp_subscription_early:noted(ToTell, Early)}};
        Failed -> Failed
    end;
answer({yield, N}, State) ->
    ok = lists:foreach(fun(Consumer) -> say(Consumer, yield) end, consumers_of(N, State)),
    {reply, ok, State};
answer({count, N}, State) ->
    {reply, length(consumers_of(N, State)), State};
answer({close, N}, #state{context = Context} = State) ->
    Ended = lists:foldl(fun lose/2, State, consumers_of(N, State)),
    ok = lists:foreach(fun(Name) -> warp_subscription_table:remove_name(Context, Name) end, names_of(N, State)),
    {Saved, Next} = save(Ended),
    {reply, Saved, Next};
answer({give, N}, State) ->
    case {names_of(N, State), save(State)} of
        {[], {_, Next}} -> {reply, {ok, []}, Next};
        {Names, {ok, #state{book = Book} = Next}} -> {reply, warp_subscription_book:give(Names, Book), Next};
        {_, {Error, Next}} -> {reply, Error, Next}
    end;
answer({take, N, Rows}, #state{book = Book} = State) ->
    Kept = [Name || Name <- maps:keys(names(State)), is_kept(Name, State)],
    written(warp_subscription_book:take(names_of(N, State), Rows, {Kept, Book}),
            fun(Taken) -> known(Taken#state{coming = (Taken#state.coming)#{N => []}}) end, State);
answer({given, N}, #state{context = Context, book = Book} = State) ->
    IsUnderWay = warp_erasure_holds:count(Context) =/= {0, none},
    case names_of(N, State) of
        [] ->
            {reply, ok, State};
        Names ->
            written(warp_subscription_book:give_away(N, Names, {IsUnderWay, Book}),
                    fun(Given) -> lists:foldl(fun forgotten/2, Given, Names) end, State)
    end;
answer(Request, #state{context = Context} = State) when is_tuple(Request), tuple_size(Request) > 1 ->
    Name = element(2, Request),
    N = shard_of(Name, State),
    case {N =:= none orelse warp_context_owners:is_here(Context, N), names(State)} of
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
of_nobody({create, Name, Marks, Prefix}, #state{book = Book, consumers = Consumers} = State) ->
    Added = fun(Next) ->
        shown(Name, Next#state{consumers = warp_subscription_consumers:add(Name, Consumers)})
    end,
    written(warp_subscription_book:add(Name, Marks, Prefix, Book), Added, State);
of_nobody(Request, State) ->
    case lists:member(element(1, Request), [join, leave, save, notices, forget, hold, release, held, change]) of
        true -> {reply, {error, unknown_subscription}, State};
        false -> stray(Request, State)
    end.

of_name({place, _Name}, #{marks := Marks}, State) ->
    {reply, {ok, Marks}, State};
of_name({create, _Name, _Marks, _Prefix}, _Of, State) ->
    {reply, ok, State};
of_name({join, _Name, #{pid := Pid} = Consumer}, #{prefix := Prefix}, #state{consumers = Consumers} = State) ->
    case warp_subscription_consumers:has_joined(Consumer, Consumers) of
        %% It asks again, since it did not get the answer.
        same -> {reply, {ok, Prefix, self()}, State};
        otherwise -> join(Consumer, Prefix, left(Pid, State));
        no -> join(Consumer, Prefix, State)
    end;
of_name({leave, Name, Pid, Passed}, _Of, State) ->
    {reply, ok, leave(Name, Pid, Passed, State)};
of_name({save, Name, Pid, Passed}, _Of, State) ->
    case save(passed(Name, Pid, Passed, State)) of
        {ok, Saved} -> {reply, {ok, warp_subscription_book:cursor(Name, Saved#state.book)}, Saved};
        {Error, Unsaved} -> {reply, Error, Unsaved}
    end;
of_name({notices, Name, Pid, After}, _Of, State) ->
    %% NOTE: one that was taken, behind which events of the next life may have been acknowledged, is not told again.
    case save(State) of
        {ok, Saved} -> {reply, notices(Name, Pid, After, Saved), Saved};
        {Error, Unsaved} -> {reply, Error, Unsaved}
    end;
of_name({forget, Name}, _Of, #state{consumers = Consumers, book = Book} = State) ->
    case maps:values(active(Name, Consumers)) of
        [Pid | _] ->
            {reply, {error, {in_use, Pid}}, State};
        [] ->
            written(warp_subscription_book:remove([Name], Book), fun(Next) -> forgotten(Name, Next) end, State)
    end;
of_name({hold, Name, Pid, #{shard := N} = Held}, _Of, #state{consumers = Consumers} = State) ->
    case warp_subscription_consumers:subscriber(Name, N, Consumers) of
        Pid -> held(Name, Held, State);
        _ -> {reply, {error, not_the_consumer}, State}
    end;
of_name({release, Name, Pid, Entity}, #{held := All}, #state{consumers = Consumers, book = Book} = State) ->
    case All of
        #{Entity := #{shard := N}} ->
            case warp_subscription_consumers:subscriber(Name, N, Consumers) of
                Pid -> written(warp_subscription_book:release(Name, Entity, Book), shows(Name), State);
                _ -> {reply, {error, not_the_consumer}, State}
            end;
        #{} ->
            {reply, ok, State}
    end;
of_name({held, _Name}, #{held := All}, State) ->
    {reply, {ok, maps:values(All)}, State};
of_name({change, Name, Entity, To}, #{held := All}, #state{book = Book} = State) ->
    case All of
        #{Entity := Held} ->
            Changed = Held#{state := To, tries := 0},
            written(warp_subscription_book:hold(Name, Changed, Book),
                    fun(Next) ->
                        ok = tell_subscriber({warp_held, Changed}, Name, Changed, Next),
                        shown(Name, Next)
                    end, State);
        #{} ->
            {reply, {error, not_waiting}, State}
    end;
of_name(Stray, _Of, State) ->
    stray(Stray, State).

join(#{name := Name, prefix := Prefix} = Consumer, Before, #state{consumers = Consumers, book = Book} = State) ->
    Common = common(Before, Prefix),
    case warp_subscription_consumers:check(Consumer, Consumers) of
        ok ->
            Joined = fun(Next) -> joined(Consumer, Next) end,
            case written(warp_subscription_book:set_prefix(Name, Common, Book), Joined, State) of
                {reply, ok, Next} -> {reply, {ok, Common, self()}, Next};
                Failed -> Failed
            end;
        {error, _} = Error ->
            {reply, Error, State}
    end.

held(Name, #{entity := Entity} = Held, #state{book = Before} = State) ->
    %% NOTE: an entity whose erasure was taken may have begun another life, which is held like any other.
    Saved = case warp_subscription_book:has_told(Name, Entity, Before) of
        true -> element(2, save(State));
        false -> State
    end,
    written(warp_subscription_book:hold(Name, Held, Saved#state.book), shows(Name), Saved).

%% Changes the state once what was to be written is on disk.
written({ok, Book}, Then, State) -> {reply, ok, Then(State#state{book = Book})};
written({error, _} = Error, _Then, State) -> {reply, Error, State}.

shows(Name) -> fun(State) -> shown(Name, State) end.

forgotten(Name, #state{context = Context, consumers = Consumers} = State) ->
    ok = warp_subscription_table:remove_name(Context, Name),
    State#state{consumers = warp_subscription_consumers:remove(Name, Consumers)}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({passed, Name, Pid, Passed}, State) ->
    {noreply, passed(Name, Pid, Passed, State)};
handle_cast({left, Name, Pid, Passed}, State) ->
    {noreply, leave(Name, Pid, Passed, State)};
handle_cast({opened, N}, #state{coming = Coming} = State) ->
    {noreply, lists:foldl(fun shown/2, State#state{coming = maps:remove(N, Coming)}, names_of(N, State))};
handle_cast(deleted, #state{context = Context, book = Book} = State) ->
    case warp_erasure_holds:count(Context) of
        {0, none} -> {noreply, State#state{book = warp_subscription_book:none_gone(Book)}};
        _ -> {noreply, State}
    end;
handle_cast(Stray, State) ->
    ok = warp_stray:note(subscription_names, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info(open, #state{book = Book} = State) ->
    case warp_subscription_book:status(Book) of
        {error, _} -> {noreply, opened(fun warp_subscription_book:open/1, State#state{is_opening = false})};
        _ -> {noreply, State#state{is_opening = false}}
    end;
handle_info(save, State) ->
    {_, Saved} = save(State#state{timer = none}),
    {noreply, Saved};
handle_info(look, #state{context = Context} = State) ->
    ok = look_soon(Context),
    {noreply, look(State)};
handle_info({say, Consumer, Message}, State) ->
    ok = say(Consumer, Message),
    {noreply, State};
handle_info({'DOWN', Monitor, process, Pid, _}, #state{consumers = Consumers} = State) ->
    case warp_subscription_consumers:is_monitor(Monitor, Pid, Consumers) of
        true -> {noreply, left(Pid, State)};
        %% It left before it ended.
        false -> {noreply, State}
    end;
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
    {_, #state{book = Book}} = save(State),
    warp_subscription_book:close(Book).

%% The state holds ids of entities.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{} = State} = Status) ->
    warp_redact:status(Status, #{names => map_size(names(State))});
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

joined(#{name := Name} = Consumer, #state{consumers = Consumers} = State) ->
    {Effects, Joined} = warp_subscription_consumers:join(Consumer, Consumers),
    perform(Effects, shown(Name, State#state{consumers = Joined})).

perform(Effects, State) ->
    ok = lists:foreach(
        fun({assign, Consumer}) -> say(Consumer, {assigned, assigned(Consumer, State)});
           ({yield, Consumer}) -> say(Consumer, yield)
        end,
        Effects),
    State.

assigned(#{name := Name, pid := Pid}, #state{book = Book} = State) ->
    #{Name := #{marks := Marks, prefix := Prefix}} = names(State),
    #{keeper => node(), prefix => Prefix, cursor => warp_subscription_book:cursor(Name, Book),
      marks => maps:with(shards_of(Name, Pid, State), Marks)}.

%% To a node that takes no messages just now it is said later.
say(Consumer, Message) ->
    _ = [erlang:send_after(?SAVE_MS, self(), {say, Consumer, Message})
         || not warp_subscription_consumers:say(Consumer, Message)],
    ok.

notices(Name, Pid, After, #state{book = Book} = State) ->
    case warp_subscription_book:notices(Name, After, ?NOTICES, Book) of
        {ok, Found} ->
            Shards = shards_of(Name, Pid, State),
            Then = case length(Found) of ?NOTICES -> {more, element(1, lists:last(Found))}; _ -> done end,
            {ok, [{Entity, Life} || {Entity, N, Life} <- Found, lists:member(N, Shards)], Then};
        {error, _} = Error ->
            Error
    end.

shards_of(Name, Pid, #state{context = #{shards := Shards}, consumers = Consumers}) ->
    Group = warp_subscription_consumers:group(Name, Consumers),
    case warp_subscription_group:slot_of(Pid, Group) of
        none -> [];
        Slot -> warp_subscription_group:shards(Slot, Shards, Group)
    end.

active(Name, Consumers) -> warp_subscription_group:active(warp_subscription_consumers:group(Name, Consumers)).

%% A consumer leaves, and has said how far it is.
leave(Name, Pid, {Tag, _, _} = Passed, #state{consumers = Consumers} = State) ->
    case warp_subscription_consumers:has_joined(#{name => Name, pid => Pid, tag => Tag}, Consumers) of
        same -> left(Pid, passed(Name, Pid, Passed, State));
        _ -> State
    end.

left(Pid, #state{consumers = Consumers} = State) ->
    #{name := Name} = warp_subscription_consumers:consumer(Pid, Consumers),
    {Effects, Left} = warp_subscription_consumers:leave(Pid, is_here(Name, State), Consumers),
    perform(Effects, shown(Name, State#state{consumers = Left})).

%% A consumer has to join again.
lose(#{pid := Pid} = Consumer, State) ->
    ok = say(Consumer, lost),
    left(Pid, State).

%% Consumers on nodes that cannot be reached, and those of names that are not kept here any more.
look(#state{consumers = Consumers} = State) ->
    lose_all([Consumer || #{name := Name, pid := Pid, server := Server} = Consumer
                              <- warp_subscription_consumers:all(Consumers),
                          node(Pid) =/= node() andalso not warp_requests:is_linked(Server)
                              orelse not is_kept(Name, State)],
             State).

lose_all(Some, #state{consumers = Consumers} = State) ->
    lists:foldl(fun lose/2, State, warp_subscription_consumers:in_order(Some, Consumers)).

look_soon(#{owners := Owners}) ->
    _ = [erlang:send_after(?LOOK_MS, self(), look) || not warp_context_owners:is_single(Owners)],
    ok.

tell_subscriber(Message, Name, #{shard := N}, #state{consumers = Consumers}) ->
    case warp_subscription_consumers:subscriber(Name, N, Consumers) of
        none -> ok;
        %% NOTE: by a process of its own, since the other node may take no messages just now.
        Subscriber when node(Subscriber) =/= node() -> _ = spawn(fun() -> Subscriber ! Message end), ok;
        Subscriber -> Subscriber ! Message, ok
    end.

%% ------------------------------------------------------------------ Where names are

names(#state{book = Book}) -> warp_subscription_book:names(Book).

%% The shard of a name; `none' for what is no name.
shard_of(Name, #state{context = Context}) ->
    case warp_context:shard_of(Context, Name) of
        {ok, N} -> N;
        {error, _} -> none
    end.

is_here(Name, #state{context = Context} = State) ->
    warp_context_owners:is_here(Context, shard_of(Name, State)).

is_kept(Name, #state{context = Context} = State) ->
    warp_context_owners:has(Context, shard_of(Name, State)).

names_of(N, State) ->
    [Name || Name <- maps:keys(names(State)), shard_of(Name, State) =:= N].

consumers_of(N, #state{consumers = Consumers} = State) ->
    [Consumer || #{name := Name} = Consumer <- warp_subscription_consumers:all(Consumers), shard_of(Name, State) =:= N].

%% Shards that were given away with names before this node had done its part of a deletion, also those that are just
%% being given away.
gone(#state{book = Book, coming = Coming, context = Context} = State) ->
    Leaving = [N || Name <- maps:keys(names(State)), N <- [shard_of(Name, State)], not is_map_key(N, Coming)],
    [N || N <- lists:usort(warp_subscription_book:gone(Book) ++ Leaving), not warp_context_owners:is_here(Context, N)].

%% ------------------------------------------------------------------ Erasures

%% Each erasure with the names that are to be told of it.
to_tell(Whose, Erasures, #state{early = Early} = State) ->
    Asked = maps:filter(fun(Name, _) -> is_of(Whose, Name, State) end, names(State)),
    warp_subscription_early:to_tell(Erasures, Asked, Early).

%% Those that join again have noted again what this node has left to do.
remembering(#state{early = Early, consumers = Consumers} = State) ->
    case warp_subscription_early:is_full(Early) of
        true ->
            lose_all(warp_subscription_consumers:all(Consumers), State#state{early = warp_subscription_early:new()});
        false ->
            State
    end.

is_of(all, _Name, _State) -> true;
is_of({name, Name}, Name, _State) -> true;
is_of({name, _}, _Name, _State) -> false;
is_of({shard, N}, Name, State) -> shard_of(Name, State) =:= N.

erase(Erased, #state{book = Book} = State) ->
    written(warp_subscription_book:erase(Erased, Book), fun shown_all/1, State).

%% ------------------------------------------------------------------ What is acknowledged

%% A consumer that has lost its slot acknowledges nothing. How far the others are they show themselves, and here that is
%% shown when they leave.
passed(Name, Pid, {Tag, Marks, Taken}, #state{consumers = Consumers} = State) ->
    HasJoined = warp_subscription_consumers:has_joined(#{name => Name, pid => Pid, tag => Tag}, Consumers) =:= same,
    case HasJoined andalso is_map_key(Name, names(State)) andalso is_kept(Name, State)
             andalso lists:member(Pid, maps:values(active(Name, Consumers))) of
        true ->
            Acked = warp_subscription_book:acked(Name, Marks, State#state.book),
            save_soon(?SAVE_MS, State#state{book = warp_subscription_book:told(Name, Taken, Acked)});
        false ->
            State
    end.

save_soon(Millis, #state{timer = none} = State) ->
    State#state{timer = erlang:send_after(Millis, self(), save)};
save_soon(_Millis, State) ->
    State.

save(#state{book = Book} = State) ->
    case warp_subscription_book:save(Book) of
        {ok, Saved} ->
            {ok, State#state{book = Saved}};
        {error, Reason} = Error ->
            ?LOG_WARNING("Warp: how far subscriptions are could not be written, and is tried again: ~ts",
                         [warp_redact:reason(Reason)]),
            {Error, save_soon(?RETRY_MS, State)}
    end.

%% ------------------------------------------------------------------ How they are

shown_all(State) ->
    lists:foldl(fun shown/2, State, maps:keys(names(State))).

shown(Name, State) ->
    _ = [ok = show(Name, Of, State) || {ok, Of} <- [maps:find(Name, names(State))], is_kept(Name, State)],
    State.

show(Name, #{marks := Marks, held := Held}, #state{context = #{shards := Shards} = Context, consumers = Consumers}) ->
    Group = warp_subscription_consumers:group(Name, Consumers),
    Active = warp_subscription_group:active(Group),
    ok = warp_subscription_table:put_name(Context, Name, #{
        marks => Marks,
        since => warp_subscription_consumers:since(Name, Consumers),
        held => [maps:with([shard, state], Of) || Of <- maps:values(Held)],
        active => Active,
        slots => [warp_subscription_group:shards(Slot, Shards, Group)
                  || Slot <- lists:seq(0, warp_subscription_group:consumers(Group) - 1)]}),
    lists:foreach(
        fun({Slot, Pid}) ->
            say(warp_subscription_consumers:consumer(Pid, Consumers), waits(Slot, Held, Group))
        end,
        [Each || {_, Pid} = Each <- maps:to_list(Active), node(Pid) =/= node()]).

%% A consumer on another node shows there how many entities wait for its subscriber.
waits(Slot, Held, Group) ->
    Count = fun(States) ->
        length([x || #{shard := N, state := Is} <- maps:values(Held),
                     N rem warp_subscription_group:consumers(Group) =:= Slot, lists:member(Is, States)])
    end,
    {waits, Count([retrying, skipping]), Count([parked])}.
