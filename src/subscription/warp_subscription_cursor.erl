%% @private Where a subscription stands, as a short text that its user keeps. Pure.
%%
%% For a context that is a position of each shard's log; a position is never given twice, so a cursor stays valid.
%% Behind it stands the seq up to which the row at that position was taken, when that was not all of it. For an
%% entity it is the life of the entity, named by the position of its first row, and a seq.
-module(warp_subscription_cursor).

-export([encode/2, decode/2]).

-export_type([cursor/0, source/0, places/0, mark/0]).

-type cursor() :: binary().
%% What the cursor belongs to: a context with so many shards, or an entity.
-type source() :: {shards, pos_integer()} | {entity, binary()}.
%% Position: all rows up to there. With a seq: of the row at that position, the events up to that seq.
-type mark() :: non_neg_integer() | {pos_integer(), warp_core:seq()}.
%% By shard; or the life of an entity, 0 for none, and the seq of the last event.
-type places() :: #{N :: non_neg_integer() => mark()} | {Life :: non_neg_integer(), warp_core:seq()}.

-define(VERSION, "w1").

%% @doc The text of a cursor: letters, digits, `-' and `_'.
-spec encode(source(), places()) -> cursor().
encode({shards, Shards}, Places) ->
    Sorted = lists:sort([{N, Mark} || {N, Mark} <- maps:to_list(Places), Mark =/= 0]),
    {_, Parts} = lists:foldl(fun({N, Mark}, {Before, Done}) -> {N, [Done, number(N - Before), mark(Mark)]} end,
                             {0, []}, Sorted),
    text($c, [number(Shards), Parts]);
encode({entity, Id}, {Life, Seq}) ->
    text($e, [<<(erlang:crc32(Id)):32>>, number(Life), number(Seq)]).

%% A position, twice, and one more when a seq follows.
mark({Position, Seq}) -> [number(2 * Position + 1), number(Seq)];
mark(Position) -> number(2 * Position).

text(Kind, Parts) ->
    Body = iolist_to_binary([Kind, Parts]),
    Sealed = <<Body/binary, (erlang:crc32(Body)):32>>,
    Text = base64:encode(Sealed),
    <<?VERSION, (<< <<(safe(C))>> || <<C>> <= Text, C =/= $= >>)/binary>>.

safe($+) -> $-;
safe($/) -> $_;
safe(C) -> C.

unsafe($-) -> $+;
unsafe($_) -> $/;
unsafe(C) -> C.

%% @doc Reads a cursor. Errors: `not_a_cursor'; `of_an_entity', `of_a_context' and `of_another_entity' when it belongs
%% to something else; `{of_so_many_shards, N}' when its context has another number of shards.
-spec decode(source(), term()) ->
    {ok, places()}
    | {error, not_a_cursor | of_an_entity | of_a_context | of_another_entity | {of_so_many_shards, pos_integer()}}.
decode(Of, <<?VERSION, Text/binary>>) when byte_size(Text) rem 4 =/= 1 ->
    Padding = binary:part(<<"==">>, 0, (4 - byte_size(Text) rem 4) rem 4),
    try base64:decode(<< <<(unsafe(C))>> || <<C>> <= <<Text/binary, Padding/binary>> >>) of
        Sealed when byte_size(Sealed) > 4 ->
            Size = byte_size(Sealed) - 4,
            <<Body:Size/binary, Check:32>> = Sealed,
            case erlang:crc32(Body) of
                Check -> body(Of, Body);
                _ -> {error, not_a_cursor}
            end;
        _ ->
            {error, not_a_cursor}
    catch
        error:_ -> {error, not_a_cursor}
    end;
decode(_Of, _Term) ->
    {error, not_a_cursor}.

body({shards, Shards}, <<$c, Body/binary>>) ->
    case number_of(Body) of
        {Shards, Rest} -> {ok, marks(Rest, 0, #{})};
        {Others, _} -> {error, {of_so_many_shards, Others}}
    end;
body({entity, Id}, <<$e, Check:32, Body/binary>>) ->
    {Life, Rest} = number_of(Body),
    {Seq, <<>>} = number_of(Rest),
    case erlang:crc32(Id) of
        Check -> {ok, {Life, Seq}};
        _ -> {error, of_another_entity}
    end;
body({shards, _}, <<$e, _/binary>>) ->
    {error, of_an_entity};
body({entity, _}, <<$c, _/binary>>) ->
    {error, of_a_context};
body(_Of, _Body) ->
    {error, not_a_cursor}.

marks(<<>>, _Before, Marks) ->
    Marks;
marks(Body, Before, Marks) ->
    {Step, Rest} = number_of(Body),
    N = Before + Step,
    case number_of(Rest) of
        {Odd, Behind} when Odd band 1 =:= 1 ->
            {Seq, Next} = number_of(Behind),
            marks(Next, N, Marks#{N => {Odd bsr 1, Seq}});
        {Even, Next} ->
            marks(Next, N, Marks#{N => Even bsr 1})
    end.

%% Seven bits in each byte, the lowest first; the highest bit says that there are more.
number(N) when N < 128 -> <<N>>;
number(N) -> <<1:1, N:7, (number(N bsr 7))/binary>>.

number_of(<<0:1, N:7, Rest/binary>>) ->
    {N, Rest};
number_of(<<1:1, Low:7, Rest/binary>>) ->
    {High, Behind} = number_of(Rest),
    {High bsl 7 bor Low, Behind}.
