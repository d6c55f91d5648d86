%% @private Reads the stream of an entity or a shard for a request, as Durable Streams has it: what there is, or what
%% comes. {@link warp_server_stream_core} says what the answers are.
%%
%% Everything is read by one subscription of the request's process, which asks it for as many events as it can hold. So
%% what is stored and what comes are the same to it, nothing comes twice, and all ends with the process.
-module(warp_server_stream).

-export([read/4, events/2, converted/1]).

-export_type([stream/0]).

-define(MAX_EVENTS, 1000).
%% About how many bytes an answer has at most.
-define(CHUNK_BYTES, (1 bsl 20)).
%% How long what is stored may take to come.
-define(READ_MS, 10000).

-type source() :: {entity, warp_core:entity()} | {shard, warp_core:ctx(), N :: non_neg_integer()}.
-type converted() :: {Entity :: binary(), {Shard :: non_neg_integer(), warp_server_credit:place(), Json :: binary()}}.
-record(stream, {
    source :: source(),
    sub :: warp_subscription:subscription(),
    credit = warp_server_credit:new(?MAX_EVENTS) :: warp_server_credit:credit(),
    %% Whether all that was stored has come.
    is_caught_up = false :: boolean(),
    %% Whether the client has read a life of the entity, and no other one may follow.
    is_begun :: boolean(),
    cursor = none :: none | binary(),
    %% What came and was not sent, the last one first, with the entities, and its bytes.
    events = [] :: [{Entity :: binary(), Json :: binary()}],
    bytes = 0 :: non_neg_integer(),
    %% What came after that, and does not fit into the same answer.
    ahead = [] :: [converted()],
    times :: #{atom() => pos_integer()},
    may :: warp_server_access:may()
}).
-opaque stream() :: #stream{}.

%% @doc Reads for a request with these arguments. Errors are those of `warp_subscription:subscribe/2'; `offset_gone'
%% where the events before the offset were deleted; `{no_shard, N}'; and `unauthorized' and `{forbidden, _}'
%% where the token ended meanwhile, or may do that no more. `closed': the client is gone.
-spec read(map(), warp_core:ctx(), {Method :: binary(), IfNoneMatch :: none | binary()},
           {warp_server_access:may(), warp_server_access:caller()}) ->
    {answer, warp_server_stream_core:answer()} | {events, stream()} | closed | {error, term()}.
read(Args, Ctx, {Method, IfNoneMatch}, Who) ->
    Source =
        case Args of
            #{entity := Id} -> {entity, warp_core:entity(Ctx, Id)};
            #{shard := N} -> {shard, Ctx, N}
        end,
    case warp_server_stream_core:asked(element(1, Source), Args) of
        {ok, Asked} when Method =:= <<"HEAD">> -> begun(head, Asked#{from := now}, Source, IfNoneMatch, Who);
        {ok, #{live := Live} = Asked} -> begun(Live, Asked, Source, IfNoneMatch, Who);
        {error, _} = Error -> Error
    end.

begun(How, #{from := From, cursor := Given}, Source, IfNoneMatch, {May, #{server := Server}}) ->
    #{live := Times} = warp_server_settings:read(Server),
    case subscribe(From, Source) of
        {ok, Sub} ->
            Stream = #stream{source = Source, sub = Sub, is_begun = is_life(From), times = Times, may = May,
                             cursor = cursor(How, Given)},
            Answer = answer(How, From, Stream, IfNoneMatch),
            _ = [ok = warp_subscription:unsubscribe(Sub) || How =/= sse],
            Answer;
        {error, {bad_option, shard, _}} ->
            {error, {no_shard, element(3, Source)}};
        {error, {bad_cursor, _}} ->
            %% The log is an older copy, which has not come so far.
            {error, offset_gone};
        {error, _} = Error ->
            Error
    end.

is_life({Life, _Seq}) -> Life > 0;
is_life(_) -> false.

cursor(How, Given) when How =:= 'long-poll'; How =:= sse ->
    warp_server_stream_core:cursor(Given, os:system_time(second), rand:uniform(3600));
cursor(_, _) ->
    none.

subscribe(From, Source) ->
    Options = #{credit => demand, convert => fun warp_server_stream:converted/1},
    case Source of
        {entity, Entity} -> subscribe(From, Entity, From, Options);
        {shard, Ctx, N} -> subscribe(From, Ctx, #{N => From}, Options#{shard => N})
    end.

subscribe(From, Of, _, Options) when From =:= beginning; From =:= now ->
    warp_subscription:subscribe(Of, Options#{from => From});
subscribe(_, Of, Place, Options) ->
    case warp_subscription:cursor_at(Of, Place) of
        {ok, Cursor} -> warp_subscription:subscribe(Of, Options#{from => {cursor, Cursor}});
        {error, _} = Error -> Error
    end.

%% @private What the subscription sends in place of an event.
-spec converted(warp_core:placed_event()) -> converted().
converted(#{entity := Entity} = Event) -> {Entity, warp_server_json:placed_event(Event)}.

%% ------------------------------------------------------------------------------------------------------ Answers

answer(head, _, Stream, _) ->
    with_offset(Stream, fun(Offset) -> {answer, warp_server_stream_core:tail(Offset)} end);
answer(none, now, Stream, _) ->
    with_offset(Stream, fun(Offset) -> {answer, warp_server_stream_core:empty(none, Offset, true, none)} end);
answer(none, _, Stream, IfNoneMatch) ->
    case collected(?READ_MS, asked(Stream)) of
        {ok, Read} ->
            whole(Read, fun(Answer) -> {answer, warp_server_stream_core:is_same(IfNoneMatch, Answer)} end);
        Other ->
            Other
    end;
answer(sse, _, Stream, _) ->
    case collected(?READ_MS, asked(Stream)) of
        {ok, Read} -> {events, Read};
        Other -> Other
    end;
answer('long-poll', _, #stream{may = May} = Stream, _) ->
    case collected(?READ_MS, asked(Stream)) of
        {ok, #stream{events = [], times = #{long_poll_ms := Millis}} = Read} ->
            case collected(Millis, Read) of
                {ok, Waited} ->
                    case May() of
                        ok -> waited(Waited);
                        {error, _} = Error -> Error
                    end;
                Other ->
                    Other
            end;
        {ok, Read} ->
            waited(Read);
        Other ->
            Other
    end.

waited(#stream{events = [], cursor = Cursor} = Stream) ->
    with_offset(Stream, fun(Offset) ->
        {answer, warp_server_stream_core:empty('long-poll', Offset, true, Cursor)}
    end);
waited(Stream) ->
    whole(Stream, fun(Answer) -> {answer, Answer} end).

whole(#stream{cursor = Cursor} = Stream, Give) ->
    with_offset(Stream, fun(Offset) ->
        Give(warp_server_stream_core:whole(texts(Stream), Offset, is_up_to_date(Stream), Cursor))
    end).

with_offset(Stream, Give) ->
    case offset(Stream) of
        {ok, Offset} -> Give(Offset);
        {error, _} = Error -> Error
    end.

%% Behind what came: all of that is acknowledged.
offset(#stream{source = Source, sub = Sub}) ->
    Of = element(2, Source),
    case warp_subscription:cursor(Sub) of
        {ok, Cursor} ->
            case {warp_subscription:place(Of, Cursor), Source} of
                {{ok, Place}, {entity, _}} -> {ok, warp_server_stream_core:offset(entity, Place)};
                {{ok, Places}, {shard, _, N}} -> {ok, warp_server_stream_core:offset(shard, maps:get(N, Places, 0))};
                {{error, _} = Error, _} -> Error
            end;
        {error, _} = Error ->
            Error
    end.

texts(#stream{events = Events}) -> lists:reverse([Json || {_, Json} <- Events]).

%% NOTE: where the subscription has sent as many events as it was asked for there may be others.
is_up_to_date(#stream{is_caught_up = IsCaughtUp, credit = Credit}) ->
    IsCaughtUp andalso warp_server_credit:is_asked(Credit).

%% ------------------------------------------------------------------------------------------ Server-sent events

%% @doc Sends what was read, and then what comes, until some time has passed. Waits while the client takes nothing.
-spec events(stream(), warp_server_response:response()) -> ok.
events(#stream{times = #{events_ms := Millis}} = Stream, Response) ->
    %% Not all at once, if all have connected at once.
    Until = erlang:monotonic_time(millisecond) + Millis - rand:uniform(max(1, Millis div 10)),
    emit(Stream, Until, warp_server_response:first(200, warp_server_stream_core:events_head(), Response)).

emit(#stream{events = Events, cursor = Cursor} = Stream, Until, Response) ->
    case offset(Stream) of
        {ok, Offset} ->
            Control = warp_server_stream_core:control(Offset, Cursor, is_up_to_date(Stream)),
            Data = [warp_server_stream_core:data(texts(Stream)) || Events =/= []],
            case warp_server_response:more([Data, Control], Response) of
                {ok, Sent} -> next(asked(Stream#stream{events = [], bytes = 0, is_begun = true}), Until, Sent);
                closed -> ok
            end;
        %% The client comes again, and is told why it gets nothing.
        {error, _} ->
            warp_server_response:last(<<>>, Response)
    end.

next(#stream{is_caught_up = IsCaughtUp} = Stream, Until, Response) ->
    Left = max(0, Until - erlang:monotonic_time(millisecond)),
    case collected(Left, Stream) of
        {ok, #stream{events = [], is_caught_up = IsCaughtUp}} -> warp_server_response:last(<<>>, Response);
        {ok, Read} -> emit(Read, Until, Response);
        {error, Reason} when Reason =:= unauthorized; element(1, Reason) =:= forbidden ->
            warp_server_response:abort(Response);
        {error, _} -> warp_server_response:last(<<>>, Response);
        closed -> ok
    end.

%% ---------------------------------------------------------------------------------------- What the subscription sends

%% Asks for more events, as many as can be held.
asked(#stream{sub = Sub, credit = Credit} = Stream) ->
    case warp_server_credit:ask(Credit) of
        {0, Same} -> Stream#stream{credit = Same};
        {Count, Asked} ->
            ok = warp_subscription:more(Sub, Count),
            Stream#stream{credit = Asked}
    end.

%% Takes what is stored, as much as one answer has; or what comes, once all that was stored has come. The events are
%% none where none come in that time; an error where that is so although something may be stored.
collected(Millis, #stream{ahead = Ahead} = Stream) ->
    Until = erlang:monotonic_time(millisecond) + Millis,
    case Ahead of
        [] -> collect(Until, Stream);
        _ -> collect(Until, asked(took(Ahead, Stream#stream{ahead = []})))
    end.

collect(Until, #stream{is_caught_up = IsCaughtUp, events = Events, bytes = Bytes} = Stream) ->
    #stream{sub = Sub, may = May} = Stream,
    Monitor = warp_subscription:monitor_of(Sub),
    receive
        %% NOTE: what comes next says whether the answer has reached the end, and is acknowledged when it is sent.
        {warp_subscription, Sub, {events, New}} when Bytes >= ?CHUNK_BYTES ->
            {ok, Stream#stream{ahead = New}};
        {warp_subscription, Sub, {events, New}} when IsCaughtUp ->
            {ok, took(New, Stream)};
        {warp_subscription, Sub, {events, New}} ->
            collect(Until, asked(took(New, Stream)));
        {warp_subscription, Sub, {caught_up, _}} when IsCaughtUp, Events =:= [] ->
            collect(Until, Stream);
        {warp_subscription, Sub, {caught_up, _}} ->
            {ok, Stream#stream{is_caught_up = true}};
        {warp_subscription, Sub, {checkpoint, _}} ->
            collect(Until, Stream);
        {warp_subscription, Sub, {erased, Entity}} ->
            case Stream of
                #stream{source = {entity, _}, is_begun = true} -> {error, offset_gone};
                #stream{} -> collect(Until, without(Entity, Stream))
            end;
        configured ->
            case May() of
                ok -> collect(Until, Stream);
                {error, _} = Error -> Error
            end;
        {'DOWN', Monitor, process, _, _} ->
            {error, subscription_ended};
        closed ->
            closed
    after max(0, Until - erlang:monotonic_time(millisecond)) ->
        case Stream of
            #stream{events = [], is_caught_up = false} -> {error, timeout};
            #stream{} -> {ok, Stream}
        end
    end.

%% NOTE: acknowledged at once, so that the cursor says where the stream is. What bounds the events is what is asked for.
took(New, #stream{sub = Sub, credit = Credit, events = Events, bytes = Bytes} = Stream) ->
    Places = [{Shard, Place} || {_, {Shard, Place, _}} <- New],
    {Shard, {Position, Seq}} = lists:last(Places),
    ok = warp_subscription:ack(Sub, #{shard => Shard, position => Position, seq => Seq}),
    Size = lists:sum([byte_size(Json) || {_, {_, _, Json}} <- New]),
    Came = warp_server_credit:ack([lists:last(Places)], warp_server_credit:came(Places, Size, Credit)),
    Stream#stream{credit = Came, bytes = Bytes + Size,
                  events = lists:foldl(fun({Entity, {_, _, Json}}, All) -> [{Entity, Json} | All] end, Events, New)}.

%% What was erased is sent no more.
without(Entity, #stream{events = Events, ahead = Ahead} = Stream) ->
    Others = fun({Of, _}) -> Of =/= Entity end,
    Left = lists:filter(Others, Events),
    Stream#stream{events = Left, bytes = lists:sum([byte_size(Json) || {_, Json} <- Left]),
                  ahead = lists:filter(Others, Ahead)}.
