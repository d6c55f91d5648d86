%% @private The subscriptions of one socket, by the ids of the calls that made them.
-module(warp_server_subscriptions).

-export([new/0, has/2, add/4, remove/2, ack/2, message/4, down/3]).

-export_type([subscriptions/0]).

-record(subscriptions, {
    by_id = #{} :: #{pos_integer() => warp_subscription:subscription()},
    by_monitor = #{} :: #{reference() => pos_integer()}
}).
-opaque subscriptions() :: #subscriptions{}.

-define(CREDIT, 100).

-spec new() -> subscriptions().
new() -> #subscriptions{}.

-spec has(pos_integer(), subscriptions()) -> boolean().
has(Id, #subscriptions{by_id = Subs}) -> is_map_key(Id, Subs).

%% @doc Subscribes the calling process. Its messages are `{Id, Sub, Message}', and their events are JSON.
-spec add(pos_integer(), map(), warp_core:ctx(), subscriptions()) ->
    {ok, iodata(), subscriptions()} | {error, term()}.
add(Id, Args, Ctx, #subscriptions{by_id = Subs, by_monitor = Monitors}) ->
    Source = case Args of #{entity := Entity} -> warp_core:entity(Ctx, Entity); #{} -> Ctx end,
    Options = (maps:merge(#{credit => ?CREDIT}, maps:remove(entity, Args)))#{
        tag => Id, convert => fun warp_server_json:placed_event/1},
    case warp_subscription:subscribe(Source, Options) of
        {ok, Sub} ->
            Added = #subscriptions{by_id = Subs#{Id => Sub},
                                   by_monitor = Monitors#{warp_subscription:monitor_of(Sub) => Id}},
            {ok, warp_server_json:object([{<<"cursor">>, cursor(Sub)}]), Added};
        {error, _} = Error ->
            Error
    end.

cursor(Sub) ->
    case warp_subscription:cursor(Sub) of
        {ok, Cursor} -> warp_server_json:encode(Cursor);
        {error, _} -> <<"null">>
    end.

%% @doc Ends a subscription, of which no message comes any more.
-spec remove(pos_integer(), subscriptions()) -> {ok, subscriptions()} | none.
remove(Id, #subscriptions{by_id = Subs, by_monitor = Monitors}) ->
    case maps:take(Id, Subs) of
        {Sub, Others} ->
            ok = warp_subscription:unsubscribe(Sub),
            {ok, #subscriptions{by_id = Others,
                                by_monitor = maps:remove(warp_subscription:monitor_of(Sub), Monitors)}};
        error ->
            none
    end.

%% @doc Acknowledges events or an erasure. One of a subscription that has ended does nothing.
-spec ack(map(), subscriptions()) -> ok.
ack(#{subscription := Id} = Args, #subscriptions{by_id = Subs}) ->
    case Subs of
        #{Id := Sub} ->
            _ = [warp_subscription:ack(Sub, Events) || #{events := Events} <- [Args]],
            _ = [warp_subscription:ack(Sub, {erased, Entity}) || #{erased := Entity} <- [Args]],
            ok;
        #{} ->
            ok
    end.

%% @doc What the client is sent for a message of a subscription.
-spec message(pos_integer(), warp_subscription:subscription(), term(), subscriptions()) -> {push, iodata()} | ignored.
message(Id, Sub, Message, #subscriptions{by_id = Subs}) ->
    case Subs of
        #{Id := Sub} -> {push, said(Id, Message)};
        #{} -> ignored
    end.

said(Id, {events, Events}) -> said(Id, <<"events">>, warp_server_json:list(Events));
said(Id, {active, Shards}) -> said(Id, <<"active">>, warp_server_json:encode(Shards));
said(Id, {Kind, Text}) -> said(Id, atom_to_binary(Kind), warp_server_json:encode(Text)).

said(Id, Name, Json) ->
    warp_server_json:object([{<<"subscription">>, integer_to_binary(Id)}, {Name, Json}]).

%% @doc A subscription has ended by itself.
-spec down(reference(), Why :: term(), subscriptions()) -> {push, iodata(), subscriptions()} | ignored.
down(Monitor, _Why, #subscriptions{by_id = Subs, by_monitor = Monitors}) ->
    case maps:take(Monitor, Monitors) of
        {Id, Others} ->
            {_, Problem} = warp_server_problem:json(subscription_ended),
            {push, said(Id, <<"ended">>, Problem),
             #subscriptions{by_id = maps:remove(Id, Subs), by_monitor = Others}};
        error ->
            ignored
    end.
