%% Whether what a cluster answered, and what it has in the end, is what Warp promises. Pure: it goes through what the
%% workers recorded, and through the logs that each node gives when all faults are over.
-module(warp_chaos_checker).

-export([wrong/1, is_refused/1, place/1, kind/1]).

-export_type([story/0]).

-type id() :: binary().
-type log() :: [{Seq :: pos_integer(), id()}].
-type story() :: #{
    calls := [warp_chaos_record:call()],
    %% What each watcher was sent, in order: `subscribed', `{event, Entity, Seq, Id}', `{erased, Entity}'.
    seen := #{string() => [term()]},
    %% The watchers that were to see everything.
    watchers := [string()],
    %% By node.
    logs := #{atom() => #{Entity :: binary() => log()}},
    %% What became of each saga, and what each account has.
    sagas := #{id() => atom()},
    balances := #{Account :: binary() => integer()},
    funds := non_neg_integer()
}.

%% All that is wrong, as what kind, and what tells where.
-spec wrong(story()) -> [tuple()].
wrong(#{logs := Logs} = Story) ->
    [{_, Log} | Others] = lists:sort(maps:to_list(Logs)),
    lists:usort(lists:append([
        [{nodes_differ, Entity} || {_, Other} <- Others, Entity <- maps:keys(maps:merge(Log, Other)),
                                   maps:get(Entity, Log, []) =/= maps:get(Entity, Other, [])],
        lists:append([of_log(Entity, Of) || {Entity, Of} <- maps:to_list(Log)]),
        lists:append([of_entity(kind(Entity), Entity, Calls, maps:get(Entity, Log, []))
                      || {Entity, Calls} <- maps:to_list(by_entity(Story))]),
        unexpected(Story),
        money(Story),
        lists:append([of_watcher(Watcher, Story, Log) || Watcher <- maps:keys(maps:get(seen, Story))]),
        ended(Story, Log)
    ])).

%% The three kinds of entities, by their names.
-spec kind(binary()) -> shared | mortal | account.
kind(Entity) ->
    case {binary:match(Entity, <<"mortal-">>), binary:match(Entity, <<"account-">>)} of
        {{_, _}, _} -> mortal;
        {_, {_, _}} -> account;
        _ -> shared
    end.

%% Whether an error says that nothing was done.
-spec is_refused(term()) -> boolean().
is_refused({node_unavailable, _}) -> true;
is_refused({shard_unavailable, _}) -> true;
is_refused({io_error, _}) -> true;
is_refused(Why) -> lists:member(Why, [overloaded, disk_full]).

%% Whether an error says that it is not known, or that there is no context here now.
is_unknown({unknown_outcome, _}) -> true;
is_unknown({still_to_erase, _}) -> true;
is_unknown(Why) -> lists:member(Why, [timeout, interrupted, context_stopped]).

by_entity(#{calls := Calls}) ->
    Of = fun({_, _, _, Call, _}) -> element(2, Call) end,
    maps:map(fun(_, List) -> lists:keysort(2, List) end,
             maps:groups_from_list(Of, [Call || {_, _, _, What, _} = Call <- Calls, element(1, What) =/= commit])).

%% ------------------------------------------------------------------ One log

of_log(Entity, Log) ->
    {Seqs, Ids} = lists:unzip(Log),
    [{gap, Entity, Seqs} || Seqs =/= lists:seq(1, length(Seqs))]
        ++ [{doubled, Entity, Id} || Id <- Ids -- lists:usort(Ids)].

of_entity(shared, Entity, Calls, Log) ->
    Appends = appends(Calls),
    At = maps:from_list([{Id, Seq} || {Seq, Id} <- Log]),
    Asked = maps:from_keys(lists:append(maps:keys(Appends)), []),
    [{lost, Entity, Id, Seq} || {Id, Seq} <- acknowledged(Calls), maps:get(Id, At, none) =/= Seq]
        ++ [{unasked, Entity, Id} || {_, Id} <- Log, not is_map_key(Id, Asked)]
        ++ [{refused_is_there, Entity, Id} || {Ids, Results} <- maps:to_list(Appends), all_refused(Results),
                                              Id <- Ids, is_map_key(Id, At)]
        ++ [{torn, Entity, Ids} || Ids <- maps:keys(Appends), not is_whole([maps:get(Id, At, none) || Id <- Ids])]
        ++ stale(Entity, Calls)
        ++ lists:append([of_read(Entity, Call, Result, Log) || {_, _, _, Call, {ok, Result}} <- Calls]);
of_entity(mortal, Entity, Calls, Log) ->
    [{lost, Entity, Id, Seq} || {Id, Seq} <- acknowledged(living(Calls)), not lists:member({Seq, Id}, Log)]
        ++ [{undead, Entity, Id} || {Ids, Until} <- reads(Calls, Log), Dead <- [dead(Calls, Until)], Id <- Ids,
                                    is_map_key(Id, Dead)];
of_entity(account, _Entity, _Calls, _Log) ->
    [].

%% By the ids of an append the results of all tries.
appends(Calls) ->
    maps:groups_from_list(fun({Ids, _}) -> Ids end, fun({_, Result}) -> Result end,
                          [{Ids, Result} || {_, _, _, {append, _, Ids}, Result} <- Calls]).

acknowledged(Calls) ->
    lists:append([at(Ids, Seqs) || {_, _, _, {append, _, Ids}, {ok, Seqs}} <- Calls]).

at(Ids, {First, Last}) -> lists:zip(Ids, seqs(length(Ids), First, Last));
at([Id], Seq) -> [{Id, Seq}].

%% A batch that got other seqs than as many as it has events is lost at all of them.
seqs(Count, First, Last) when Last - First + 1 =:= Count -> lists:seq(First, Last);
seqs(Count, _, _) -> lists:duplicate(Count, wrong).

all_refused(Results) ->
    lists:all(fun({error, Why}) -> is_refused(Why); (_) -> false end, Results).

is_whole([First | _] = Seqs) ->
    Seqs =:= lists:duplicate(length(Seqs), none)
        orelse is_integer(First) andalso Seqs =:= lists:seq(First, First + length(Seqs) - 1).

%% A call that begins when an event was acknowledged, or was in a state, shows it too, and what it appends comes later.
%% A history has an event from the moment on at which it is on disk, a little before.
stale(Entity, Calls) ->
    Ends = lists:keysort(1, [{Ended, shown(Call, Result)} || {_, _, Ended, Call, {ok, Result}} <- Calls,
                                                             element(1, Call) =/= history]),
    Retried = retried(Calls),
    Begins = [{Began, Call, shown(Call, Result)}
              || {_, Began, _, Call, {ok, Result}} <- Calls, not is_map_key(Began, Retried)],
    stale(lists:keysort(1, Begins), Ends, 0, Entity).

stale([{Began, Call, Shown} | Begins], [{Ended, Other} | Ends], Most, Entity) when Ended < Began ->
    stale([{Began, Call, Shown} | Begins], Ends, max(Other, Most), Entity);
stale([{_, Call, Shown} | Begins], Ends, Most, Entity) ->
    [{stale, Entity, Call, Shown, Most} || Shown < Most orelse Shown =:= Most andalso element(1, Call) =:= append]
        ++ stale(Begins, Ends, Most, Entity);
stale([], _, _, _) ->
    [].

%% Appends of what may be there already: their answers are older than they are.
retried(Calls) ->
    {Retried, _} = lists:foldl(
        fun({_, Began, _, {append, _, Ids}, _}, {Again, Tried}) when is_map_key(Ids, Tried) ->
                {Again#{Began => []}, Tried};
           ({_, _, _, {append, _, Ids}, _}, {Again, Tried}) ->
                {Again, Tried#{Ids => []}};
           (_, Acc) ->
                Acc
        end, {#{}, #{}}, Calls),
    Retried.

shown({append, _, _}, {_, Last}) -> Last;
shown({append, _, _}, Seq) -> Seq;
shown({get, _}, {Count, _Hash}) -> Count;
shown({history, _}, Ids) -> length(Ids).

of_read(Entity, {get, _}, {Count, _} = State, Log) ->
    [{other_state, Entity, Count} || State =/= lists:foldl(fun({_, Id}, Acc) -> warp_chaos_load:fold(Id, Acc) end,
                                                           {0, 0}, lists:sublist(Log, Count))];
of_read(Entity, {history, _}, Ids, Log) ->
    [{other_history, Entity, length(Ids)} || Ids =/= [Id || {_, Id} <- lists:sublist(Log, length(Ids))]];
of_read(_, _, _, _) ->
    [].

%% ------------------------------------------------------------------ Entities that end: one worker at a time uses each

%% The calls behind the last deletion; none where nobody knows whether there was one, which may come at any time then.
living(Calls) ->
    IsLater = fun({_, _, _, {delete, _}, {error, Why}}) -> is_refused(Why);
                 ({_, _, _, Call, _}) -> element(1, Call) =/= delete
              end,
    case lists:splitwith(IsLater, lists:reverse(Calls)) of
        {Later, []} -> Later;
        {Later, [{_, _, _, _, ok} | _]} -> Later;
        {_, _} -> []
    end.

reads(Calls, Log) ->
    [{[Id || {_, Id} <- Log], infinity}
     | [{Ids, Began} || {_, Began, _, {history, _}, {ok, Ids}} <- Calls]].

%% The ids of appends that had ended when a deletion began that had ended by then.
dead(Calls, Until) ->
    case [Began || {_, Began, Ended, {delete, _}, ok} <- Calls, Ended < Until] of
        [] -> #{};
        Deletions ->
            Last = lists:max(Deletions),
            Open = [Id || {_, _, _, {append, _, Ids}, Result} <- Calls, not is_known(Result), Id <- Ids],
            Later = [Id || {_, Began, _, {append, _, Ids}, _} <- Calls, Began > Last, Id <- Ids],
            Before = [Id || {_, _, Ended, {append, _, Ids}, _} <- Calls, Ended < Last, Id <- Ids],
            maps:without(Open ++ Later, maps:from_keys(Before, []))
    end.

is_known({ok, _}) -> true;
is_known({error, Why}) -> is_refused(Why);
is_known(unknown) -> false.

%% ------------------------------------------------------------------ Errors

unexpected(#{calls := Calls}) ->
    [{unexpected, Call, Why} || {_, _, _, Call, {error, Why}} <- Calls, not is_refused(Why), not is_unknown(Why)].

%% ------------------------------------------------------------------ Money

%% Each account has what it was given and what the sagas moved that have committed; and these are those that said so.
money(#{calls := Calls, sagas := Sagas, balances := Balances, funds := Funds}) ->
    Transfers = maps:from_list([{Id, {From, To, Amount}} || {_, _, _, {commit, Id, From, To, Amount}, _} <- Calls]),
    Due = maps:fold(
        fun(Id, {From, To, Amount}, Acc) ->
            case Sagas of
                #{Id := committed} -> add(To, Amount, add(From, -Amount, Acc));
                #{} -> Acc
            end
        end, maps:map(fun(_, _) -> Funds end, Balances), Transfers),
    [{money, Account, Balance, maps:get(Account, Due)} || {Account, Balance} <- maps:to_list(Balances),
                                                          Balance =/= maps:get(Account, Due)]
        ++ [{other_end, Id, How} || {_, _, _, {commit, Id, _, _, _}, {ok, How}} <- Calls,
                                    maps:get(Id, Sagas, none) =/= How]
        ++ [{saga_goes_on, Id, How} || {Id, How} <- maps:to_list(Sagas),
                                       not lists:member(How, [committed, compensated, not_found])].

add(Account, Amount, Due) -> maps:update_with(Account, fun(Was) -> Was + Amount end, Due).

%% ------------------------------------------------------------------ Subscriptions

%% Each came in order, and without a name once. With a name events may come again.
of_watcher(Watcher, #{seen := Seen}, Log) ->
    Named = lists:suffix("-named", Watcher),
    {_, Wrong} = lists:foldl(fun(What, {Places, Wrong}) -> step(What, Named, Watcher, Places, Wrong, Log) end,
                             {#{}, []}, all_before(Named, Watcher, Seen)),
    Wrong.

%% A name goes on from VM to VM, and from start to start.
all_before(false, Watcher, Seen) -> maps:get(Watcher, Seen);
all_before(true, Watcher, Seen) ->
    lists:append([What || {Other, What} <- lists:sort(maps:to_list(Seen)), lists:suffix("-named", Other),
                          Other =< Watcher]).

step(subscribed, false, _, _, Wrong, _) -> {#{}, Wrong};
step(subscribed, true, _, Places, Wrong, _) -> {Places, Wrong};
step({erased, Entity}, _, _, Places, Wrong, _) -> {maps:remove(Entity, Places), Wrong};
step({event, Entity, Seq, Id}, Named, Watcher, Places, Wrong, Log) ->
    Last = maps:get(Entity, Places, 0),
    IsMortal = kind(Entity) =:= mortal,
    Next = Places#{Entity => max(Seq, Last)},
    if
        Named, IsMortal -> {Places, Wrong};
        Seq =:= Last + 1; Named, Seq =< Last -> {Next, other_event(Entity, Seq, Id, Watcher, IsMortal, Log) ++ Wrong};
        Seq =< Last -> {Next, [{sent_twice, Watcher, Entity, Seq} | Wrong]};
        true -> {Next, [{skipped, Watcher, Entity, Seq, Last} | Wrong]}
    end.

other_event(_Entity, _Seq, _Id, _Watcher, true, _Log) -> [];
other_event(Entity, Seq, Id, Watcher, false, Log) ->
    [{other_event, Watcher, Entity, Seq} || not lists:member({Seq, Id}, maps:get(Entity, Log, []))].

%% Up to which event of each entity a watcher has come.
-spec place([term()]) -> #{binary() => pos_integer()}.
place(Seen) ->
    lists:foldl(fun({event, Entity, Seq, _}, Acc) -> Acc#{Entity => Seq};
                   ({erased, Entity}, Acc) -> maps:remove(Entity, Acc);
                   (subscribed, Acc) -> Acc
                end, #{}, Seen).

%% In the end all have come.
ended(#{seen := Seen, watchers := Watchers}, Log) ->
    [{not_seen, Watcher, Entity, maps:get(Entity, Place, 0), length(Of)}
     || Watcher <- Watchers,
        Named <- [lists:suffix("-named", Watcher)],
        Place <- [place(since_subscribed(Named, all_before(Named, Watcher, maps:merge(#{Watcher => []}, Seen))))],
        {Entity, Of} <- maps:to_list(Log),
        not (Named andalso kind(Entity) =:= mortal),
        maps:get(Entity, Place, 0) =/= length(Of)].

since_subscribed(true, Seen) -> Seen;
since_subscribed(false, Seen) ->
    lists:reverse(lists:takewhile(fun(What) -> What =/= subscribed end, lists:reverse(Seen))).
