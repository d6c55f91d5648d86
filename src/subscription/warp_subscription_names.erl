%% @private The subscriptions with names of a context: how far each is, who consumes it, and what waits. Each name is
%% kept by the process of {@link warp_subscription_keeper} on one node, the one that has the shard that the name hashes
%% to as an id of an entity does. The functions here ask that process, wherever it is.
-module(warp_subscription_names).

-export([place/3, create/5, join/3, leave/4, passed/4, left/3, save/4, notices/4]).
-export([erase/3, erase_of/4, catch_up/4, deleted/1, forget/3, hold/4, release/4, held/3, change/5, marks/2]).
-export([closing/3, give/2, take/3, given/2, opened/2]).
-export([asked/4, asked_left_for/4, next_life/4]).

-export_type([marks/0, told/0, erasure/0, consumer/0, assigned/0, message/0]).

-type marks() :: #{N :: non_neg_integer() => warp_subscription_core:mark()}.
%% Erased lives of entities that a subscriber was told of and has taken.
-type told() :: #{Entity :: binary() => Life :: non_neg_integer()}.
%% The process of a subscription that consumes a name. A tag tells what it says after it has joined from what it said
%% when it had joined before.
-type consumer() :: #{
    name := binary(),
    pid := pid(),
    tag := reference(),
    subscriber := pid(),
    %% How many split the shards.
    consumers := pos_integer(),
    %% What the ids of entities begin with.
    prefix := binary(),
    %% What can be reached of its node for as long as the node is linked; `none' in a context of a single node.
    server := pid() | none
}.
%% A life of an entity of shard N that was erased, and at which position the next life begins, as far as one knows.
-type erasure() ::
    {Entity :: binary(), N :: non_neg_integer(), Life :: non_neg_integer(), Next :: pos_integer() | none}.
%% What a consumer is sent when it gets a slot: which node keeps the name; with what the ids of all entities begin of
%% whose erasures it is told; the cursor of the name; and where its own shards begin.
-type assigned() :: #{
    keeper := node(),
    prefix := binary(),
    cursor := warp_subscription_cursor:cursor(),
    marks := marks()
}.
%% What a consumer is sent, as `{warp_subscription_name, Tag, Message}'. `yield': it is to say how far it is, and to
%% leave. `lost': it has left. In both cases it joins again. `waits': how many entities wait for its subscriber.
-type message() ::
    {assigned, assigned()} | yield | lost | {waits, Retrying :: non_neg_integer(), Parked :: non_neg_integer()}.

%% How long consumers of a shard that is being handed over may take to say how far they are, and how long other nodes
%% may be asked then what this one has not come to.
-define(YIELD_MS, 500).
-define(LOOK_MS, 5).
%% How many deletions that the node of a name has left are noted at once.
-define(LEFT, 1000).

%% @doc Where a name stands, `unknown' if there is no such name. Errors of this and of all others: those of the file;
%% `interrupted' while the process is being restarted, and `timeout'; those of asking another node, see
%% {@link warp_cluster_call:run/5}.
-spec place(warp_context:context(), Name :: binary(), warp_deadline:deadline()) ->
    {ok, marks()} | unknown | {error, term()}.
place(Context, Name, Deadline) -> ask(Context, {place, Name}, repeatable, Deadline).

%% @doc Adds a name that begins there, unless somebody else has done that meanwhile.
-spec create(warp_context:context(), Name :: binary(), marks(), Prefix :: binary(), warp_deadline:deadline()) ->
    ok | {error, term()}.
create(Context, Name, Marks, Prefix, Deadline) -> ask(Context, {create, Name, Marks, Prefix}, repeatable, Deadline).

%% @doc The process consumes a name, or is a standby. It is sent `assigned()' when it gets a slot, and loses that when
%% it ends. Gives the process that keeps the name, which it monitors, and with what the ids of all entities begin that
%% the name has had events of by now or before, when its filter had another prefix: it is told of their erasures.
%% Errors also: `unknown_subscription', and `{others_say, N}'.
-spec join(warp_context:context(), consumer(), warp_deadline:deadline()) ->
    {ok, Prefix :: binary(), Keeper :: pid()} | {error, term()}.
join(Context, #{name := Name} = Consumer, Deadline) -> ask(Context, {join, Name, Consumer}, repeatable, Deadline).

%% @doc The calling process, which joined with that tag, consumes the name no more, and is no standby.
-spec leave(warp_context:context(), Name :: binary(), {Tag :: reference(), marks(), told()},
            warp_deadline:deadline()) -> ok | {error, term()}.
leave(Context, Name, {Tag, Marks, Told}, Deadline) ->
    ask(Context, {leave, Name, self(), {Tag, Marks, Told}}, repeatable, Deadline).

%% @doc The calling consumer has acknowledged everything up to there, and its subscriber has taken these erasures. Does
%% nothing for one that has no slot. Waits for nobody: false when the other node takes no messages just now.
-spec passed(Keeper :: pid(), Name :: binary(), Tag :: reference(), {marks(), told()}) -> boolean().
passed(Keeper, Name, Tag, {Marks, Told}) ->
    cast(Keeper, {passed, Name, self(), {Tag, Marks, Told}}).

%% @doc As {@link leave/4}, for a consumer that was asked to. Waits for nobody.
-spec left(Keeper :: pid(), Name :: binary(), {Tag :: reference(), marks(), told()}) -> boolean().
left(Keeper, Name, Passed) ->
    cast(Keeper, {left, Name, self(), Passed}).

cast(Keeper, Message) ->
    erlang:send(Keeper, {'$gen_cast', Message}, [noconnect, nosuspend]) =:= ok.

%% @doc As {@link passed/4}, and waits until that is on disk. Gives the cursor of the name.
-spec save(warp_context:context(), Name :: binary(), {Tag :: reference(), marks(), told()}, warp_deadline:deadline()) ->
    {ok, warp_subscription_cursor:cursor()} | {error, term()}.
save(Context, Name, Passed, Deadline) -> ask(Context, {save, Name, self(), Passed}, repeatable, Deadline).

%% @doc The next entities that were erased, for the calling consumer.
-spec notices(warp_context:context(), Name :: binary(), After :: binary(), warp_deadline:deadline()) ->
    {ok, [{binary(), Life :: non_neg_integer()}], done | {more, binary()}} | {error, term()}.
notices(Context, Name, After, Deadline) -> ask(Context, {notices, Name, self(), After}, repeatable, Deadline).

%% @doc Erases what this node keeps of an entity of which a life was deleted, and has each name told that may have had
%% events of it, and none of the next life. Every node does so for the names that it keeps. For names that have left
%% this node before it has done so, the node that keeps them by now does it.
-spec erase(warp_context:context(), erasure(), warp_deadline:deadline()) -> ok | {error, term()}.
erase(Context, Erasure, Deadline) ->
    case here(Context, {erase, Erasure}, Deadline) of
        {ok, Gone} -> erase_at(Gone, Context, Erasure, Deadline);
        {error, _} = Error -> Error
    end.

erase_at([], _Context, _Erasure, _Deadline) ->
    ok;
erase_at([Shard | Shards], Context, Erasure, Deadline) ->
    case at(Context, Shard, {erase_of, {shard, Shard}, [Erasure]}, repeatable, Deadline) of
        ok -> erase_at(Shards, Context, Erasure, Deadline);
        {error, _} = Error -> Error
    end.

%% @doc Has the node that keeps a name note erasures for it now, whether that node has come to its own part of the
%% deletions or not: a consumer does not tell its subscriber before that.
-spec erase_of(warp_context:context(), Name :: binary(), [erasure()], warp_deadline:deadline()) -> ok | {error, term()}.
erase_of(Context, Name, Erasures, Deadline) ->
    case warp_context:shard_of(Context, Name) of
        {ok, Shard} -> at(Context, Shard, {erase_of, {name, Name}, Erasures}, repeatable, Deadline);
        {error, _} = Error -> Error
    end.

%% @doc Has the node that keeps a name, which is `Keeper', note the erasures in shard N that it has not come to: a node
%% that was down, or stood still, may have deletions left to do. Errors also: `{deletions_left, Keeper}' when it has so
%% many left that they are not noted in one go; it is to be asked again.
-spec catch_up(warp_context:context(), {Name :: binary(), Keeper :: node()}, non_neg_integer(),
               warp_deadline:deadline()) -> ok | {error, term()}.
catch_up(Context, {Name, Keeper}, N, Deadline) ->
    case left_for(Context, Keeper, N, Deadline) of
        {ok, {Erasures, Then}} ->
            case {Erasures =:= [] orelse erase_of(Context, Name, Erasures, Deadline), Then} of
                {{error, _} = Error, _} -> Error;
                {_, more} -> {error, {deletions_left, Keeper}};
                {_, done} -> ok
            end;
        {error, _} = Error ->
            Error
    end.

left_for(#{ref := Ref} = Context, Node, N, Deadline) ->
    Call = {?MODULE, asked_left_for, [Ref, Node, N, warp_deadline:left(Deadline)]},
    Here = fun() -> left_here(Context, Node, N, Deadline) end,
    warp_cluster_call:run(Context, N, Call, {repeatable, fun() -> Deadline end}, Here).

%% @doc Answers for another node, which asks since this one has shard N.
-spec asked_left_for(warp_context:ref(), node(), non_neg_integer(), timeout()) ->
    {ok, {[erasure()], done | more}} | {error, term()}.
asked_left_for(Ref, Node, N, Millis) ->
    case warp_context:find(Ref) of
        {ok, Context} -> left_here(Context, Node, N, warp_deadline:from(Millis));
        not_found -> {error, {not_here, node()}}
    end.

left_here(Context, Node, N, Deadline) ->
    case warp_erasure:left_for(Context, Node, N, {?LEFT, Deadline}) of
        {ok, {Left, Then}} ->
            Erasures = [{Entity, N, Life, next_life(Context, N, Entity, Life)} || {Entity, Life} <- Left],
            case [Error || {_, _, _, {error, _} = Error} <- Erasures] of
                [] -> {ok, {[{Entity, N, Life, Next} || {Entity, _, Life, {ok, Next}} <- Erasures], Then}};
                [Error | _] -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc At which position the life of an entity begins that follows this one; `none' while there is none.
-spec next_life(warp_context:context(), non_neg_integer(), Entity :: binary(), Life :: non_neg_integer()) ->
    {ok, pos_integer() | none} | {error, term()}.
next_life(Context, N, Entity, Life) ->
    case warp_context:with_log(Context, N, fun(Log) -> warp_cluster_log:head(Log, Entity) end) of
        {ok, {Position, _, _}} when Position > Life -> {ok, Position};
        {ok, _} -> {ok, none};
        {error, _} = Error -> Error
    end.

%% @doc A deletion is done on this node.
-spec deleted(warp_context:context()) -> ok.
deleted(Context) -> tell(Context, deleted).

%% @doc Removes a name. Errors also: `unknown_subscription', and `{in_use, Pid}' while it has a consumer.
-spec forget(warp_context:context(), Name :: binary(), warp_deadline:deadline()) -> ok | {error, term()}.
forget(Context, Name, Deadline) -> ask(Context, {forget, Name}, once, Deadline).

%% @doc Notes that an entity waits since an event of it failed, or how. `erased': it does not have to, since it was
%% erased, which the subscriber is told. The caller is the subscriber of the consumer that has the entity's shard; else
%% `not_the_consumer', since another one decides by now.
-spec hold(warp_context:context(), Name :: binary(), warp_subscription_store:held(), warp_deadline:deadline()) ->
    ok | {error, term()}.
hold(Context, Name, Held, Deadline) -> ask(Context, {hold, Name, self(), Held}, repeatable, Deadline).

%% @doc An entity does not wait any more. The caller is as for {@link hold/4}.
-spec release(warp_context:context(), Name :: binary(), Entity :: binary(), warp_deadline:deadline()) ->
    ok | {error, term()}.
release(Context, Name, Entity, Deadline) -> ask(Context, {release, Name, self(), Entity}, repeatable, Deadline).

%% @doc All entities that wait. Errors also: `unknown_subscription'.
-spec held(warp_context:context(), Name :: binary(), warp_deadline:deadline()) ->
    {ok, [warp_subscription_store:held()]} | {error, term()}.
held(Context, Name, Deadline) -> ask(Context, {held, Name}, repeatable, Deadline).

%% @doc Has an entity that waits tried again, or its event passed over, and tells the subscriber: `{warp_held, Held}'.
%% Errors also: `unknown_subscription', and `not_waiting'.
-spec change(warp_context:context(), Name :: binary(), Entity :: binary(), retrying | skipping,
             warp_deadline:deadline()) -> ok | {error, term()}.
change(Context, Name, Entity, To, Deadline) -> ask(Context, {change, Name, Entity, To}, once, Deadline).

%% @doc Of each name of all nodes, up to where everything was acknowledged, and how many entities wait; of those that
%% are consumed the consumers, which may be farther.
-spec marks(warp_context:context(), warp_deadline:deadline()) ->
    {ok, [{Name :: binary(), marks(), Waiting :: non_neg_integer(), [pid()]}]} | {error, term()}.
marks(#{shards := Shards} = Context, Deadline) ->
    %% One shard of each node.
    Nodes = maps:from_list([{warp_context_owners:where(Context, N), N} || N <- lists:seq(0, Shards - 1)]),
    Each = [at(Context, N, marks, repeatable, Deadline) || N <- maps:values(Nodes)],
    case [Error || {error, _} = Error <- Each] of
        [] -> {ok, lists:usort(lists:append([Of || {ok, Of} <- Each]))};
        [Error | _] -> Error
    end.

%% ------------------------------------------------------------------ When a shard moves

%% @doc Has consumers of the names of shard N, which is frozen, say how far they are, writes that, and ends their slots.
%% They join again where the shard will be.
-spec closing(warp_context:context(), non_neg_integer(), warp_deadline:deadline()) -> ok.
closing(Context, N, Deadline) ->
    Patience = min(Deadline, warp_deadline:from(?YIELD_MS)),
    _ = here(Context, {yield, N}, Patience),
    ok = yielded(Context, N, Patience),
    %% What could not be written comes again.
    _ = here(Context, {close, N}, Deadline),
    ok.

yielded(Context, N, Patience) ->
    case {here(Context, {count, N}, Patience), warp_deadline:left(Patience)} of
        {Count, Left} when is_integer(Count), Count > 0, Left > 0 ->
            ok = timer:sleep(?LOOK_MS),
            yielded(Context, N, Patience);
        _ ->
            ok
    end.

%% @doc All that there is of the names of shard N. NOTE: with the erasures that this node has not come to, so far as it
%% can ask for them, since it may have left when it comes to them.
-spec give(warp_context:context(), non_neg_integer()) -> {ok, warp_subscription_store:rows()} | {error, term()}.
give(#{shards := Shards} = Context, N) ->
    case here(Context, {give, N}, infinity) of
        {ok, [_ | _]} ->
            Deadline = warp_deadline:from(?YIELD_MS),
            Left = [left_for(Context, node(), Of, Deadline) || Of <- lists:seq(0, Shards - 1),
                                                               not warp_context_owners:has(Context, Of)],
            case here(Context, {erase_of, {shard, N}, lists:append([Of || {ok, {Of, _}} <- Left])}, infinity) of
                ok -> here(Context, {give, N}, infinity);
                {error, _} = Error -> Error
            end;
        Nothing ->
            Nothing
    end.

%% @doc Keeps the names that another node gave with shard N, in place of what there is of names of that shard.
-spec take(warp_context:context(), non_neg_integer(), warp_subscription_store:rows()) -> ok | {error, term()}.
take(Context, N, Rows) -> here(Context, {take, N, Rows}, infinity).

%% @doc Removes the names of shard N, which was given away.
-spec given(warp_context:context(), non_neg_integer()) -> ok | {error, term()}.
given(Context, N) -> here(Context, {given, N}, infinity).

%% @doc Shard N was opened here.
-spec opened(warp_context:context(), non_neg_integer()) -> ok.
opened(Context, N) -> tell(Context, {opened, N}).

%% ------------------------------------------------------------------ Asking

ask(Context, Request, Safety, Deadline) ->
    case warp_context:shard_of(Context, element(2, Request)) of
        {ok, N} -> at(Context, N, Request, Safety, Deadline);
        %% No name.
        {error, _} -> {error, unknown_subscription}
    end.

at(#{ref := Ref} = Context, N, Request, Safety, Deadline) ->
    Call = {?MODULE, asked, [Ref, N, Request, warp_deadline:left(Deadline)]},
    Here = fun() -> here(Context, Request, Deadline) end,
    warp_cluster_call:run(Context, N, Call, {Safety, fun() -> Deadline end}, Here).

%% @doc Answers for another node, which asks since this one has shard N.
-spec asked(warp_context:ref(), non_neg_integer(), Request :: term(), timeout()) -> term().
asked(Ref, N, Request, Millis) ->
    case warp_context:find(Ref) of
        {ok, Context} -> at(Context, N, Request, once, warp_deadline:from(Millis));
        not_found -> {error, {not_here, node()}}
    end.

here(Context, Request, Deadline) ->
    case warp_context:registered(Context, subscription_names) of
        {ok, Pid} -> warp_call:call(Pid, Request, Deadline);
        none -> {error, interrupted}
    end.

tell(Context, Message) ->
    case warp_context:registered(Context, subscription_names) of
        {ok, Pid} -> gen_server:cast(Pid, Message);
        none -> ok
    end.
