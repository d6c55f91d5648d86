%% @private How many events a client may still be sent, and how many of them are asked for at once. Pure.
%%
%% The client has credit for a number of events. What is asked for is in memory until the client takes it, so that is a
%% number of bytes, as far as the events that came show how large they are.
-module(warp_server_credit).

-export([new/1, came/3, ack/2, again/1, ask/1, is_asked/1]).

-export_type([credit/0, place/0]).

-type place() :: {Position :: integer(), Seq :: integer()}.
-record(credit, {
    %% How many events the client may have that it has not acknowledged, and how many it has.
    max :: pos_integer(),
    open = 0 :: non_neg_integer(),
    %% They, by shard, the first one first.
    places = #{} :: #{Shard :: integer() => queue:queue(place())},
    %% How many more are asked for, and how large one is.
    asked = 0 :: non_neg_integer(),
    bytes = 4096 :: pos_integer()
}).
-opaque credit() :: #credit{}.

%% How many bytes of one subscription should be on their way.
-define(BYTES, (256 * 1024)).

-spec new(pos_integer()) -> credit().
new(Max) -> #credit{max = Max}.

%% @doc Events came, of so many bytes in all, and go to the client.
-spec came([{Shard :: integer(), place()}, ...], Bytes :: non_neg_integer(), credit()) -> credit().
came(Events, Bytes, #credit{open = Open, places = Places, asked = Asked, bytes = Mean} = Credit) ->
    Count = length(Events),
    Credit#credit{open = Open + Count, asked = max(0, Asked - Count), bytes = max(1, (Mean + Bytes div Count) div 2),
                  places = lists:foldl(fun add/2, Places, Events)}.

add({Shard, Place}, Places) ->
    Places#{Shard => queue:in(Place, maps:get(Shard, Places, queue:new()))}.

%% @doc The client has acknowledged events, and all of their shards before them.
-spec ack([{Shard :: integer(), place()}], credit()) -> credit().
ack(Events, Credit) -> lists:foldl(fun ack_one/2, Credit, Events).

ack_one({Shard, Place}, #credit{places = Places} = Credit) ->
    case Places of
        #{Shard := Queue} -> taken(Shard, Place, Queue, Credit);
        #{} -> Credit
    end.

taken(Shard, Place, Queue, #credit{open = Open, places = Places} = Credit) ->
    case queue:peek(Queue) of
        {value, First} when First =< Place -> taken(Shard, Place, queue:drop(Queue), Credit#credit{open = Open - 1});
        {value, _} -> Credit#credit{places = Places#{Shard := Queue}};
        empty -> Credit#credit{places = maps:remove(Shard, Places)}
    end.

%% @doc What the client has not acknowledged comes again, beside what was asked for.
-spec again(credit()) -> credit().
again(Credit) -> Credit#credit{open = 0, places = #{}}.

%% @doc How many more events are to be asked for now.
-spec ask(credit()) -> {non_neg_integer(), credit()}.
ask(#credit{max = Max, open = Open, asked = Asked, bytes = Mean} = Credit) ->
    Wanted = min(Max - Open, max(1, ?BYTES div Mean)),
    %% A few are not worth a message, unless they are the last ones.
    case Wanted - Asked of
        More when More > 0, Asked * 2 =< Wanted -> {More, Credit#credit{asked = Asked + More}};
        _ -> {0, Credit}
    end.

%% @doc Whether some were asked for that did not come.
-spec is_asked(credit()) -> boolean().
is_asked(#credit{asked = Asked}) -> Asked > 0.
