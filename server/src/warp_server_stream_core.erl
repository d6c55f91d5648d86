%% @private The read half of the Durable Streams protocol as Warp speaks it: what is asked for, offsets, cursors,
%% headers, and events as text. Pure.
%%
%% A stream is an entity, or a shard of a context. Its offsets are two numbers of a fixed width: of an entity its life
%% and the seq of the last event; of a shard the position of the first append that was not read whole, and the seq of
%% the last event of it that was read, or 0.
-module(warp_server_stream_core).

-export([asked/2, offset/2, cursor/3, whole/4, is_same/2, empty/4, tail/1, events_head/0, data/1, control/3]).

-export_type([kind/0, asked/0, place/0, answer/0]).

-type kind() :: entity | shard.
%% Where a stream was read up to, as a cursor of {@link warp_subscription} says it.
-type place() ::
    {Life :: non_neg_integer(), warp_core:seq()}
    | Position :: non_neg_integer() | {Position :: pos_integer(), warp_core:seq()}.
-type asked() :: #{
    from := beginning | now | place(),
    live := none | 'long-poll' | sse,
    %% What the answer before gave, if that is a number.
    cursor := none | non_neg_integer()
}.
-type answer() :: {Status :: 200..304, Headers :: [{binary(), iodata()}], Body :: iodata()}.

%% How many digits the numbers of an offset have: as many as the largest number has.
-define(DIGITS, 19).
-define(MAX, 9223372036854775807).
%% Cursors count intervals of so many seconds since 2024-10-09.
-define(INTERVAL_S, 20).
-define(EPOCH_S, 1728432000).
-define(MAX_CURSOR_DIGITS, 18).

%% @doc What the parameters ask for. Errors are those of {@link warp_server_args}.
-spec asked(kind(), map()) -> {ok, asked()} | {error, {bad_option, binary(), term()}}.
asked(_Kind, #{live := _} = Args) when not is_map_key(offset, Args) ->
    {error, {bad_option, <<"offset">>, missing}};
asked(Kind, Args) ->
    case from(Kind, maps:get(offset, Args, <<"-1">>)) of
        {ok, From} -> {ok, #{from => From, live => maps:get(live, Args, none), cursor => given(Args)}};
        error -> {error, {bad_option, <<"offset">>, not_an_offset}}
    end.

from(_, <<"-1">>) -> {ok, beginning};
from(_, <<"now">>) -> {ok, now};
from(Kind, <<First:?DIGITS/binary, $_, Second:?DIGITS/binary>>) -> place(Kind, number(First), number(Second));
from(_, _) -> error.

place(entity, 0, 0) -> {ok, {0, 0}};
place(entity, Life, Seq) when is_integer(Life), Life > 0, is_integer(Seq) -> {ok, {Life, Seq}};
place(shard, Position, 0) when is_integer(Position), Position > 0 -> {ok, Position - 1};
place(shard, Position, Seq) when is_integer(Position), Position > 0, is_integer(Seq) -> {ok, {Position, Seq}};
place(_, _, _) -> error.

number(Text) ->
    case [Digit || <<Digit>> <= Text, Digit < $0 orelse Digit > $9] of
        [] ->
            case binary_to_integer(Text) of
                N when N =< ?MAX -> N;
                _ -> error
            end;
        _ ->
            error
    end.

given(#{cursor := Text}) when byte_size(Text) =< ?MAX_CURSOR_DIGITS ->
    try max(0, binary_to_integer(Text)) catch error:badarg -> none end;
given(_) ->
    none.

%% @doc The offset of a place. Of two places of a stream the later one has the greater text.
-spec offset(kind(), place()) -> binary().
offset(entity, {Life, Seq}) -> offset_of(Life, Seq);
offset(shard, {Position, Seq}) -> offset_of(Position, Seq);
offset(shard, Position) -> offset_of(Position + 1, 0).

offset_of(First, Second) ->
    iolist_to_binary(io_lib:format("~*..0b_~*..0b", [?DIGITS, First, ?DIGITS, Second])).

%% @doc The cursor of a live answer: the number of the interval, and more than the one that the client has. `Jitter' is
%% 1 to 3600 seconds.
-spec cursor(none | non_neg_integer(), NowS :: integer(), Jitter :: 1..3600) -> binary().
cursor(Given, NowS, Jitter) ->
    Interval = max(0, NowS - ?EPOCH_S) div ?INTERVAL_S,
    integer_to_binary(case Given of
        N when is_integer(N), N >= Interval -> N + max(1, Jitter div ?INTERVAL_S);
        _ -> Interval
    end).

%% @doc The answer that has events. `Cursor' is none where the client does not wait for events.
-spec whole([binary()], Offset :: binary(), IsUpToDate :: boolean(), Cursor :: none | binary()) -> answer().
whole(Events, Offset, IsUpToDate, Cursor) ->
    Body = warp_server_json:list(Events),
    %% NOTE: what is between two offsets changes when an entity is deleted, and with the code that migrates events. So
    %% the tag follows from what is sent.
    Tag = [$", binary:encode_hex(erlang:md5(Body)), $:, Offset, $"],
    {200, [{<<"content-type">>, <<"application/json">>}, {<<"etag">>, Tag} | head(Offset, IsUpToDate, Cursor)], Body}.

%% @doc The answer to somebody who has what these tags are of: the same, or that it is the same.
-spec is_same(IfNoneMatch :: none | binary(), answer()) -> answer().
is_same(none, Answer) ->
    Answer;
is_same(IfNoneMatch, {200, Headers, _} = Answer) ->
    {_, Tag} = lists:keyfind(<<"etag">>, 1, Headers),
    Tags = [string:trim(Each) || Each <- binary:split(IfNoneMatch, <<",">>, [global])],
    Own = iolist_to_binary(Tag),
    case lists:any(fun(Each) -> Each =:= <<"*">> orelse Each =:= Own orelse Each =:= <<"W/", Own/binary>> end, Tags) of
        true -> {304, lists:keydelete(<<"content-type">>, 1, Headers), <<>>};
        false -> Answer
    end.

%% @doc The answer where nothing is to be read: at once for `now', and after a time for somebody who waits.
-spec empty(none | 'long-poll', Offset :: binary(), IsUpToDate :: boolean(), Cursor :: none | binary()) -> answer().
empty(none, Offset, IsUpToDate, Cursor) ->
    {200, [{<<"content-type">>, <<"application/json">>} | head(Offset, IsUpToDate, Cursor)], <<"[]">>};
empty('long-poll', Offset, IsUpToDate, Cursor) ->
    {204, head(Offset, IsUpToDate, Cursor), <<>>}.

%% @doc The answer to HEAD: where the stream ends.
-spec tail(Offset :: binary()) -> answer().
tail(Offset) ->
    {200, [{<<"content-type">>, <<"application/json">>} | head(Offset, false, none)], <<>>}.

head(Offset, IsUpToDate, Cursor) ->
    [{<<"stream-next-offset">>, Offset}, cached()]
    ++ [{<<"stream-up-to-date">>, <<"true">>} || IsUpToDate]
    ++ [{<<"stream-cursor">>, Cursor} || Cursor =/= none].

%% NOTE: a copy in a cache would outlive the deletion of an entity.
cached() -> {<<"cache-control">>, <<"private, no-store">>}.

%% @doc The headers of server-sent events.
-spec events_head() -> [{binary(), iodata()}].
events_head() ->
    [{<<"content-type">>, <<"text/event-stream">>}, {<<"cache-control">>, <<"private, no-store, no-cache">>}].

%% @doc Events as one server-sent event: a JSON array, one element a line.
-spec data([binary()]) -> iodata().
data(Events) ->
    Lines = lists:join($,, [binary:split(Event, [<<"\r\n">>, <<"\n">>, <<"\r">>], [global]) || Event <- Events]),
    [<<"event: data\ndata:[\n">>, [lines(Line) || Line <- joined(Lines)], <<"data:]\n\n">>].

%% A comma stands at the end of the line before it.
joined([Lines, $, | Others]) -> [lists:droplast(Lines) ++ [[lists:last(Lines), $,]] | joined(Others)];
joined(Last) -> Last.

lines(Lines) -> [[<<"data:">>, Line, $\n] || Line <- Lines].

%% @doc The server-sent event that says where the stream is.
-spec control(Offset :: binary(), Cursor :: binary(), IsUpToDate :: boolean()) -> iodata().
control(Offset, Cursor, IsUpToDate) ->
    Members = [{<<"streamNextOffset">>, [$", Offset, $"]}, {<<"streamCursor">>, [$", Cursor, $"]}]
        ++ [{<<"upToDate">>, <<"true">>} || IsUpToDate],
    [<<"event: control\ndata:">>, warp_server_json:object(Members), <<"\n\n">>].
