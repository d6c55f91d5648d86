%% @private Consumes a name for a client by HTTP: as server-sent events, or for one answer. What the client is given it
%% acknowledges by another request, which {@link warp_server_holds} brings here.
%%
%% The process has a subscription with the name, and holds the name for the client. It lets go of it when the client is
%% gone, when the client acknowledges nothing for some time although it has something to acknowledge, and, after an
%% answer, when all of that is acknowledged. What is not acknowledged by then comes again.
-module(warp_server_consume).

-export([begin_events/3, events/2, poll/3, ack/3]).

-export_type([consumer/0, who/0]).

%% The context and the name, whether the client may do that still, and the client.
-type who() :: {{Context :: binary(), Name :: binary()}, warp_server_access:may(), warp_server_access:caller()}.
-record(consumer, {
    sub :: warp_subscription:subscription(),
    id :: warp_server_hold:id(),
    hold = warp_server_hold:new() :: warp_server_hold:hold(),
    credit :: warp_server_credit:credit(),
    may :: warp_server_access:may(),
    %% Whether the name has given it shards, and whether all that was stored has come.
    is_active = false :: boolean(),
    is_caught_up = false :: boolean(),
    %% How long the client may acknowledge nothing, and when that time is over.
    patience :: pos_integer(),
    due = infinity :: infinity | integer(),
    heartbeat :: pos_integer()
}).
-opaque consumer() :: #consumer{}.
%% What the client is shown, with the number that it acknowledges.
-type shown() ::
    {event, pos_integer(), EntityId :: binary(), Json :: binary()} | {erased, pos_integer(), EntityId :: binary()}
    | {active, [non_neg_integer()]} | caught_up.
-record(poll, {
    request :: pid(),
    monitor :: reference(),
    limit :: pos_integer(),
    %% How long it waits where nothing is to be had, in milliseconds from when on.
    since :: integer(),
    wait :: non_neg_integer(),
    %% What the answer has, the last one first, how many events that are, and their bytes.
    shown = [] :: [shown()],
    count = 0 :: non_neg_integer(),
    bytes = 0 :: non_neg_integer()
}).

%% About how many bytes an answer has at most.
-define(CHUNK_BYTES, (1 bsl 20)).
%% How long, at least, it takes to see whether somebody else has the name, and to read what is stored.
-define(JOIN_MS, 1000).
-define(READ_MS, 10000).
%% How long an answer that has something waits for more of what is stored.
-define(GATHER_MS, 50).
-define(ACK_MS, 10000).

%% ------------------------------------------------------------------------------------------------- The beginning

%% @doc Subscribes the process of a request, for {@link events/2}. Errors are those of `warp_subscription:subscribe/2',
%% and `{too_many_subscriptions, Max}'.
-spec begin_events(map(), warp_core:ctx(), who()) -> {ok, consumer()} | {error, term()}.
begin_events(Args, Ctx, {Of, May, #{server := Server, token := Token} = Caller}) ->
    #{tokens := #{Token := #{subscriptions := Max}}, live := #{heartbeat_ms := Heartbeat}} =
        warp_server_settings:read(Server),
    case {from(maps:with([from, cursor, time], Args)), warp_server_holds:add(Of, Caller, Max)} of
        {{ok, From}, {ok, Id, _Monitor}} ->
            Credit = warp_server_credit:new(given(limit, Args)),
            Options = (maps:with([name, aggregates, types, prefix, consumers], Args))#{
                from => From, credit => demand, tag => ?MODULE, convert => fun warp_server_stream:converted/1},
            case warp_subscription:subscribe(Ctx, Options) of
                {ok, Sub} -> {ok, #consumer{sub = Sub, id = Id, credit = Credit, may = May, heartbeat = Heartbeat,
                                            patience = given(hold, Args)}};
                {error, _} = Error -> Error
            end;
        {{error, _} = Error, _} -> Error;
        {_, Error} -> Error
    end.

given(Key, Args) -> maps:get(Key, Args, warp_server_args:default(consume, Key)).

from(#{from := From} = Given) when map_size(Given) =:= 1 -> {ok, From};
from(Given) when map_size(Given) =:= 1 -> {ok, hd(maps:to_list(Given))};
from(Given) when map_size(Given) =:= 0 -> {ok, now};
from(_) -> {error, {bad_request, <<"A name begins at one place: from, cursor or time, and not several.">>}}.

%% -------------------------------------------------------------------------------------------- What comes and goes

%% What the client is shown of a message of the subscription.
-spec message(term(), consumer()) -> {[shown()], consumer()}.
message({events, New}, #consumer{hold = Hold, credit = Credit} = Consumer) ->
    {Shown, Given} = lists:mapfoldl(fun event/2, Hold, New),
    Bytes = lists:sum([byte_size(Json) || {_, {_, _, Json}} <- New]),
    Came = warp_server_credit:came([{Shard, Place} || {_, {Shard, Place, _}} <- New], Bytes, Credit),
    {Shown, due(Consumer#consumer{hold = Given, credit = Came})};
message({erased, Entity}, #consumer{hold = Hold} = Consumer) ->
    {N, Given} = warp_server_hold:give({erased, Entity}, Hold),
    {[{erased, N, Entity}], due(Consumer#consumer{hold = Given})};
message({active, Shards}, #consumer{hold = Hold, credit = Credit} = Consumer) ->
    {[{active, Shards}], Consumer#consumer{hold = warp_server_hold:again(Hold), is_active = true,
                                           credit = warp_server_credit:again(Credit), due = infinity,
                                           is_caught_up = false}};
message({caught_up, _}, Consumer) ->
    {[caught_up], Consumer#consumer{is_caught_up = true}};
message({checkpoint, _}, Consumer) ->
    {[], Consumer}.

event({Entity, {Shard, {Position, Seq}, Json}}, Hold) ->
    {N, Given} = warp_server_hold:give({event, #{shard => Shard, position => Position, seq => Seq}}, Hold),
    {{event, N, Entity, Json}, Given}.

due(#consumer{due = infinity} = Consumer) -> wait_anew(Consumer);
due(Consumer) -> Consumer.

wait_anew(#consumer{patience = Patience} = Consumer) -> Consumer#consumer{due = now_ms() + Patience}.

%% Asks for more events, as many as can be held.
asked(#consumer{sub = Sub, credit = Credit} = Consumer) ->
    case warp_server_credit:ask(Credit) of
        {0, Same} -> Consumer#consumer{credit = Same};
        {Count, Asked} ->
            ok = warp_subscription:more(Sub, Count),
            Consumer#consumer{credit = Asked}
    end.

%% The client acknowledges everything up to a number. With `ok' that is on disk, also where it was acknowledged before.
acked(N, #consumer{sub = Sub, hold = Hold, credit = Credit} = Consumer) ->
    case warp_server_hold:ack(N, Hold) of
        {ok, Acked, Left} ->
            Events = [Event || {event, Event} <- Acked],
            ok = warp_subscription:ack(Sub, Events),
            ok = lists:foreach(fun(Erased) -> ok = warp_subscription:ack(Sub, Erased) end,
                               [Erased || {erased, _} = Erased <- Acked]),
            Places = [{Shard, {Position, Seq}} || #{shard := Shard, position := Position, seq := Seq} <- Events],
            Next = Consumer#consumer{hold = Left, credit = warp_server_credit:ack(Places, Credit)},
            case {warp_subscription:cursor(Sub), warp_server_hold:is_done(Left)} of
                {{ok, _}, true} -> {ok, Next#consumer{due = infinity}};
                {{ok, _}, false} when Acked =:= [] -> {ok, Next};
                {{ok, _}, false} -> {ok, wait_anew(Next)};
                {{error, _} = Error, _} -> {Error, wait_anew(Next)}
            end;
        {error, not_given} ->
            {{error, {bad_option, <<"id">>, not_given}}, Consumer}
    end.

left_of(#consumer{due = infinity}) -> infinity;
left_of(#consumer{due = Due}) -> max(0, Due - now_ms()).

now_ms() -> erlang:monotonic_time(millisecond).

%% @doc Acknowledges for the client of a request. Errors: `{bad_option, <<"id">>, Why}'; `not_held' where the client has
%% the name no more; and those of `warp_subscription:cursor/1'.
-spec ack(map(), Context :: binary(), warp_server_access:caller()) -> ok | {error, term()}.
ack(#{name := Name, id := Text}, Context, Caller) ->
    case warp_server_hold:read_id(Text) of
        {ok, Id, N} ->
            case warp_server_holds:find(Id, {Context, Name}, Caller) of
                {ok, Pid} -> asked_to_ack(Pid, N);
                none -> {error, not_held}
            end;
        error ->
            {error, {bad_option, <<"id">>, not_an_id}}
    end.

asked_to_ack(Pid, N) ->
    try
        gen_server:call(Pid, {ack, N}, ?ACK_MS)
    catch
        exit:{timeout, _} -> {error, timeout};
        %% It has just let go of the name.
        exit:_ -> {error, not_held}
    end.

%% --------------------------------------------------------------------------------------------- Server-sent events

%% @doc Sends what comes, until the client is gone, its token ends or may do that no more, or it acknowledges nothing.
-spec events(consumer(), warp_server_response:response()) -> ok.
events(Consumer, Response) ->
    loop(Consumer, warp_server_response:first(200, warp_server_stream_core:events_head(), Response)).

loop(Consumer, Response) ->
    %% NOTE: a client that does not read costs no memory: nothing is asked for meanwhile.
    IsTaking = warp_server_response:is_taking(Response),
    #consumer{sub = Sub, may = May, heartbeat = Heartbeat} = Next =
        case IsTaking of true -> asked(Consumer); false -> Consumer end,
    receive
        closed ->
            warp_subscription:unsubscribe(Sub);
        {taken, Bytes} ->
            loop(Next, warp_server_response:taken(Bytes, Response));
        {?MODULE, Sub, Message} ->
            case May() of
                ok ->
                    {Shown, #consumer{id = Id} = Given} = message(Message, Next),
                    loop(Given, warp_server_response:push([text(One, Id) || One <- Shown], Response));
                {error, Reason} ->
                    ended(Reason, Next, Response)
            end;
        {'$gen_call', From, {ack, N}} ->
            {Answer, Acked} = acked(N, Next),
            ok = gen_server:reply(From, Answer),
            loop(Acked, Response);
        configured ->
            case May() of
                ok -> loop(Next, Response);
                {error, Reason} -> ended(Reason, Next, Response)
            end;
        {'DOWN', _, process, _, _} ->
            ended(subscription_ended, Next, Response)
    after min(Heartbeat, left_of(Next)) ->
        case left_of(Next) of
            0 -> ended(not_held, Next, Response);
            _ when IsTaking -> loop(Next, warp_server_response:push(<<":\n\n">>, Response));
            _ -> loop(Next, Response)
        end
    end.

ended(Reason, #consumer{sub = Sub}, Response) ->
    ok = warp_subscription:unsubscribe(Sub),
    {_, Problem} = warp_server_problem:json(Reason),
    case warp_server_response:is_taking(Response) of
        true -> warp_server_response:last(text(<<"ended">>, none, Problem), Response);
        false -> warp_server_response:abort(Response)
    end.

text({event, N, _, Json}, Id) -> text(<<"event">>, warp_server_hold:id(Id, N), Json);
text({erased, N, Entity}, Id) -> text(<<"erased">>, warp_server_hold:id(Id, N), entity(Entity));
text({active, Shards}, _) -> text(<<"active">>, none, warp_server_json:encode(#{shards => Shards}));
text(caught_up, _) -> text(<<"caught_up">>, none, <<"{}">>).

entity(Entity) -> warp_server_json:encode(#{entity => Entity}).

%% NOTE: JSON as it is made here has no line breaks.
text(Name, Id, Json) ->
    [<<"event: ">>, Name, $\n, [[<<"id: ">>, Id, $\n] || Id =/= none], <<"data: ">>, Json, <<"\n\n">>].

%% --------------------------------------------------------------------------------------------------- One answer

%% @doc What waits, as JSON. A process of its own holds the name from then on, where that is anything. Errors: those of
%% {@link begin_events/3}; `subscription_ended'; and that the client may not do that any more. `closed': it is gone.
-spec poll(map(), warp_core:ctx(), who()) -> {ok, iodata()} | closed | {error, term()}.
poll(Args, Ctx, Who) ->
    Request = self(),
    {Pid, Monitor} = spawn_monitor(fun() -> hold(Request, Args, Ctx, Who) end),
    receive
        {Pid, Answer} ->
            true = erlang:demonitor(Monitor, [flush]),
            Answer;
        {'DOWN', Monitor, process, _, _} -> {error, internal};
        closed -> closed
    end.

hold(Request, Args, Ctx, Who) ->
    Monitor = erlang:monitor(process, Request),
    try
        case begin_events(Args, Ctx, Who) of
            {ok, Consumer} ->
                collect(#poll{request = Request, monitor = Monitor, limit = given(limit, Args), since = now_ms(),
                              wait = given(wait, Args)}, Consumer);
            {error, _} = Error ->
                Request ! {self(), Error},
                ok
        end
    catch
        Class:Reason:Stack -> warp_server_log:crash(consume, Class, Reason, Stack)
    end.

collect(#poll{limit = Limit, count = Count, bytes = Bytes} = Poll, Consumer)
  when Count >= Limit; Bytes >= ?CHUNK_BYTES ->
    answer(Poll, Consumer);
collect(#poll{monitor = Monitor} = Poll, Consumer) ->
    #consumer{sub = Sub} = Next = asked(Consumer),
    receive
        {?MODULE, Sub, Message} ->
            {Shown, Given} = message(Message, Next),
            collect(lists:foldl(fun add/2, Poll, Shown), Given);
        {'DOWN', Monitor, process, _, _} ->
            warp_subscription:unsubscribe(Sub);
        {'DOWN', _, process, _, _} ->
            said({error, subscription_ended}, Poll, Next)
    after left_of(Poll, Next) ->
        answer(Poll, Next)
    end.

left_of(#poll{shown = [_ | _]}, #consumer{is_caught_up = true}) -> 0;
left_of(#poll{shown = [_ | _]}, _) -> ?GATHER_MS;
left_of(#poll{since = Since, wait = Wait}, #consumer{is_active = IsActive, is_caught_up = IsCaughtUp}) ->
    AtLeast = if IsCaughtUp -> 0; IsActive -> ?READ_MS; true -> ?JOIN_MS end,
    max(0, Since + max(Wait, AtLeast) - now_ms()).

add({event, _, _, Json} = Event, #poll{shown = Shown, count = Count, bytes = Bytes} = Poll) ->
    Poll#poll{shown = [Event | Shown], count = Count + 1, bytes = Bytes + byte_size(Json)};
add({erased, _, Entity} = Erased, #poll{shown = Shown} = Poll) ->
    Poll#poll{shown = [Erased | [Other || Other <- Shown, not is_event_of(Entity, Other)]]};
%% What came before comes again.
add({active, _}, Poll) -> Poll#poll{shown = [], count = 0, bytes = 0};
add(caught_up, Poll) -> Poll.

is_event_of(Entity, {event, _, Entity, _}) -> true;
is_event_of(_, _) -> false.

answer(#poll{shown = Shown} = Poll, #consumer{id = Id, may = May, is_active = IsActive} = Consumer) ->
    Messages = [json(One, Id) || One <- lists:reverse(Shown)],
    Json = warp_server_json:object([{<<"messages">>, warp_server_json:list(Messages)},
                                    {<<"active">>, atom_to_binary(IsActive)}]),
    case May() of
        ok when Shown =/= [] -> given(Json, Poll, Consumer);
        ok -> said({ok, Json}, Poll, Consumer);
        {error, _} = Error -> said(Error, Poll, Consumer)
    end.

json({event, N, _, Json}, Id) -> json(<<"event">>, N, Id, Json);
json({erased, N, Entity}, Id) -> json(<<"erased">>, N, Id, warp_server_json:encode(Entity)).

json(Name, N, Id, Json) ->
    warp_server_json:object([{<<"id">>, [$", warp_server_hold:id(Id, N), $"]}, {Name, Json}]).

%% Nothing is to be acknowledged.
said(Answer, #poll{request = Request}, #consumer{sub = Sub}) ->
    ok = warp_subscription:unsubscribe(Sub),
    Request ! {self(), Answer},
    ok.

given(Json, #poll{request = Request, monitor = Monitor}, #consumer{sub = Sub} = Consumer) ->
    %% NOTE: a client that has left meanwhile holds nothing.
    case erlang:demonitor(Monitor, [flush, info]) of
        true ->
            Request ! {self(), {ok, Json}},
            hold_on(wait_anew(Consumer));
        false ->
            warp_subscription:unsubscribe(Sub)
    end.

hold_on(#consumer{sub = Sub} = Consumer) ->
    receive
        {'$gen_call', From, {ack, N}} ->
            {Answer, #consumer{due = Due} = Next} = acked(N, Consumer),
            %% NOTE: the name is free when the client is told so.
            _ = [ok = warp_subscription:unsubscribe(Sub) || Due =:= infinity],
            ok = gen_server:reply(From, Answer),
            _ = [hold_on(Next) || Due =/= infinity],
            ok;
        {?MODULE, Sub, {active, _}} -> warp_subscription:unsubscribe(Sub);
        %% What the client is not told comes again.
        {?MODULE, Sub, _} -> hold_on(Consumer);
        {'DOWN', _, process, _, _} -> warp_subscription:unsubscribe(Sub)
    after left_of(Consumer) -> warp_subscription:unsubscribe(Sub)
    end.
