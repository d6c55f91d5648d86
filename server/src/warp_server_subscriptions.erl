%% @private The subscriptions of one socket, by the ids of the calls that made them.
%%
%% One without a name is asked for events as the client takes them, so that a client that does not read costs no memory.
%% One with a name gets credit from the engine, which takes it back when another node gets to keep the name.
-module(warp_server_subscriptions).

-export([new/0, has/2, add/5, remove/2, ack/3, message/5, down/2, go_on/1, refused/1]).

-export_type([subscriptions/0]).

-type one() :: {warp_subscription:subscription(), named | warp_server_credit:credit()}.
-record(subscriptions, {
    by_id = #{} :: #{pos_integer() => one()},
    by_monitor = #{} :: #{reference() => pos_integer()},
    %% Of which nothing was asked for, since the client does not take what there is.
    held = #{} :: #{pos_integer() => []},
    %% Whether the client may have them still.
    may = #{} :: #{pos_integer() => warp_server_access:may()}
}).
-opaque subscriptions() :: #subscriptions{}.

-spec new() -> subscriptions().
new() -> #subscriptions{}.

-spec has(pos_integer(), subscriptions()) -> boolean().
has(Id, #subscriptions{by_id = Subs}) -> is_map_key(Id, Subs).

%% @doc Subscribes the calling process. Its messages are `{Id, Sub, Message}', with events as JSON and where they stand.
-spec add(pos_integer(), map(), warp_core:ctx(), warp_server_access:may(), subscriptions()) ->
    {ok, iodata(), subscriptions()} | {error, term()}.
add(Id, Args, Ctx, May, #subscriptions{by_id = Subs, by_monitor = Monitors, may = Others} = All) ->
    Source = case Args of #{entity := Entity} -> warp_core:entity(Ctx, Entity); #{} -> Ctx end,
    Credit = maps:get(credit, Args, warp_server_args:default(subscribe, credit)),
    {Own, Given} =
        case Args of
            #{name := _} -> {named, Credit};
            #{} -> {warp_server_credit:new(Credit), demand}
        end,
    Options = (maps:remove(entity, Args))#{credit => Given, tag => Id, convert => fun warp_server_json:placed_event/1},
    case warp_subscription:subscribe(Source, Options) of
        {ok, Sub} ->
            Added = All#subscriptions{by_id = Subs#{Id => asked(Sub, Own)}, may = Others#{Id => May},
                                      by_monitor = Monitors#{warp_subscription:monitor_of(Sub) => Id}},
            {ok, warp_server_json:object([{<<"cursor">>, cursor(Sub)}]), Added};
        {error, _} = Error ->
            Error
    end.

asked(Sub, named) ->
    {Sub, named};
asked(Sub, Credit) ->
    case warp_server_credit:ask(Credit) of
        {0, Same} -> {Sub, Same};
        {Count, Asked} ->
            ok = warp_subscription:more(Sub, Count),
            {Sub, Asked}
    end.

cursor(Sub) ->
    case warp_subscription:cursor(Sub) of
        {ok, Cursor} -> warp_server_json:encode(Cursor);
        {error, _} -> <<"null">>
    end.

%% @doc Ends a subscription, of which no message comes any more.
-spec remove(pos_integer(), subscriptions()) -> {ok, subscriptions()} | none.
remove(Id, #subscriptions{by_id = Subs} = All) ->
    case Subs of
        #{Id := {Sub, _}} ->
            ok = warp_subscription:unsubscribe(Sub),
            {ok, without(Id, warp_subscription:monitor_of(Sub), All)};
        #{} ->
            none
    end.

without(Id, Monitor, #subscriptions{by_id = Subs, by_monitor = Monitors, held = Held, may = May}) ->
    #subscriptions{by_id = maps:remove(Id, Subs), by_monitor = maps:remove(Monitor, Monitors),
                   held = maps:remove(Id, Held), may = maps:remove(Id, May)}.

%% @doc Ends those that the scopes of the client's token give no more, and says what it is told of each. A token that
%% has ended closes the socket, which is for the gateway.
-spec refused(subscriptions()) -> {[iodata()], subscriptions()}.
refused(#subscriptions{may = May} = All) ->
    lists:foldl(
        fun({Id, Reason}, {Said, Before}) ->
            {ok, Left} = remove(Id, Before),
            {[ended(Id, Reason) | Said], Left}
        end,
        {[], All},
        [{Id, Reason} || {Id, Asked} <- maps:to_list(May), {error, {forbidden, _} = Reason} <- [Asked()]]).

%% @doc Acknowledges events or an erasure. One of a subscription that has ended does nothing. `IsTaking' says whether
%% the
%% client takes what is sent.
-spec ack(map(), IsTaking :: boolean(), subscriptions()) -> subscriptions().
ack(#{subscription := Id} = Args, IsTaking, #subscriptions{by_id = Subs} = All) ->
    case Subs of
        #{Id := {Sub, Own}} ->
            _ = [warp_subscription:ack(Sub, {erased, Entity}) || #{erased := Entity} <- [Args]],
            Events = maps:get(events, Args, []),
            _ = [warp_subscription:ack(Sub, Events) || Events =/= []],
            kept(Id, {Sub, acked(Events, Own)}, IsTaking, All);
        #{} ->
            All
    end.

acked(_, named) -> named;
acked(Events, Credit) ->
    warp_server_credit:ack([{Shard, {Position, Seq}}
                            || #{shard := Shard, position := Position, seq := Seq} <- Events], Credit).

kept(Id, {Sub, Own}, true, #subscriptions{by_id = Subs} = All) ->
    All#subscriptions{by_id = Subs#{Id := asked(Sub, Own)}};
kept(Id, One, false, #subscriptions{by_id = Subs, held = Held} = All) ->
    All#subscriptions{by_id = Subs#{Id := One}, held = Held#{Id => []}}.

%% @doc The client takes again what is sent.
-spec go_on(subscriptions()) -> subscriptions().
go_on(#subscriptions{held = Held} = All) when map_size(Held) =:= 0 -> All;
go_on(#subscriptions{by_id = Subs, held = Held} = All) ->
    Asked = maps:map(fun(_, {Sub, Own}) -> asked(Sub, Own) end, maps:with(maps:keys(Held), Subs)),
    All#subscriptions{by_id = maps:merge(Subs, Asked), held = #{}}.

%% @doc What the client is sent for a message of a subscription.
-spec message(pos_integer(), warp_subscription:subscription(), term(), IsTaking :: boolean(), subscriptions()) ->
    {push, iodata(), subscriptions()} | ignored.
message(Id, Sub, Message, IsTaking, #subscriptions{by_id = Subs} = All) ->
    case {Subs, Message} of
        {#{Id := {Sub, Own}}, {events, Events}} ->
            Texts = [Json || {_, _, Json} <- Events],
            {push, said(Id, <<"events">>, warp_server_json:list(Texts)),
             kept(Id, {Sub, came(Events, Texts, Own)}, IsTaking, All)};
        {#{Id := {Sub, _}}, {active, Shards}} ->
            {push, said(Id, <<"active">>, warp_server_json:encode(Shards)), All};
        {#{Id := {Sub, _}}, {Kind, Text}} ->
            {push, said(Id, atom_to_binary(Kind), warp_server_json:encode(Text)), All};
        _ ->
            ignored
    end.

came(_, _, named) -> named;
came(Events, Texts, Credit) ->
    warp_server_credit:came([{Shard, Place} || {Shard, Place, _} <- Events], iolist_size(Texts), Credit).

said(Id, Name, Json) ->
    warp_server_json:object([{<<"subscription">>, integer_to_binary(Id)}, {Name, Json}]).

%% @doc A subscription has ended by itself.
-spec down(reference(), subscriptions()) -> {push, iodata(), subscriptions()} | ignored.
down(Monitor, #subscriptions{by_monitor = Monitors} = All) ->
    case Monitors of
        #{Monitor := Id} ->
            {push, ended(Id, subscription_ended), without(Id, Monitor, All)};
        #{} ->
            ignored
    end.

ended(Id, Reason) ->
    {_, Problem} = warp_server_problem:json(Reason),
    said(Id, <<"ended">>, Problem).
