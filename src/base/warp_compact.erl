%% @private Copies binaries that are small beside the one that they were cut from. A binary match
%% copies nothing: a name of 100 bytes, cut from a payload of 1 MB, keeps all of the payload in
%% memory for as long as the name is kept. Pure.
-module(warp_compact).

-export([binary/1, term/2]).

%% A binary that keeps less than this alive is not worth a copy.
-define(MIN_BYTES, 256).
%% Of a map that is not larger, listing all keys and values is faster than to iterate.
-define(SMALL_MAP, 32).

%% @doc The binary, as a copy if it keeps more than twice its size in memory.
-spec binary(binary()) -> binary().
binary(Binary) ->
    case is_cut(Binary) of
        true -> binary:copy(Binary);
        false -> Binary
    end.

%% @doc The term, with the binaries in its lists, tuples and maps copied as `binary/1' does. It is
%% the same term, and nothing was allocated, where there is nothing to copy. Budget is how many
%% terms are looked at, at most, and how many words are copied: parts that are shared are looked at
%% once for each place that they stand in, so a small term can be a long way.
-spec term(Term, non_neg_integer()) -> Term when Term :: term().
term(Term, Budget) ->
    case scan(Term, Budget) of
        found ->
            {Copy, _Left} = copy(Term, Budget),
            pick(Copy, Term);
        _Left ->
            Term
    end.

is_cut(Binary) ->
    Kept = binary:referenced_byte_size(Binary),
    Kept > ?MIN_BYTES andalso Kept > 2 * byte_size(Binary).

%% What is left of the budget, or that there is something to copy.
scan(_Term, found) ->
    found;
scan(_Term, 0) ->
    0;
scan(Binary, Left) when is_binary(Binary) ->
    case is_cut(Binary) of
        true -> found;
        false -> Left - 1
    end;
scan([Head | Tail], Left) ->
    scan(Tail, scan(Head, Left - 1));
scan(Tuple, Left) when is_tuple(Tuple) ->
    scan_tuple(Tuple, tuple_size(Tuple), Left - 1);
scan(Map, Left) when map_size(Map) =< ?SMALL_MAP ->
    scan(maps:values(Map), scan(maps:keys(Map), Left));
scan(Map, Left) when is_map(Map) ->
    scan_map(maps:next(maps:iterator(Map)), Left - 1);
scan(_Other, Left) ->
    Left - 1.

scan_tuple(_Tuple, 0, Left) -> Left;
scan_tuple(Tuple, N, Left) when is_integer(Left), Left > 0 ->
    scan_tuple(Tuple, N - 1, scan(element(N, Tuple), Left));
scan_tuple(_Tuple, _N, Left) -> Left.

scan_map({Key, Value, Next}, Left) when is_integer(Left), Left > 0 ->
    scan_map(maps:next(Next), scan(Value, scan(Key, Left)));
scan_map(_NoneOrEnough, Left) ->
    Left.

%% `same' where there is nothing to copy: what a term shares with others stays shared.
copy(_Term, Left) when Left =< 0 ->
    {same, 0};
copy(Binary, Left) when is_binary(Binary) ->
    case is_cut(Binary) of
        true -> {binary:copy(Binary), Left - 1 - byte_size(Binary) div 8};
        false -> {same, Left - 1}
    end;
copy([Head | Tail], Left0) ->
    {NewHead, Left1} = copy(Head, Left0 - 1),
    {NewTail, Left} = copy(Tail, Left1),
    case {NewHead, NewTail} of
        {same, same} -> {same, Left};
        {same, _} -> {[Head | NewTail], Left};
        {_, same} -> {[NewHead | Tail], Left};
        {_, _} -> {[NewHead | NewTail], Left}
    end;
copy(Tuple, Left) when is_tuple(Tuple) ->
    copy_tuple(Tuple, tuple_size(Tuple), same, Left - 1);
copy(Map, Left) when is_map(Map) ->
    copy_map(maps:next(maps:iterator(Map)), Map, same, Left - 1);
copy(_Other, Left) ->
    {same, Left - 1}.

copy_tuple(_Tuple, N, Copy, Left) when N =:= 0; Left =< 0 ->
    {Copy, Left};
copy_tuple(Tuple, N, Copy, Left0) ->
    case copy(element(N, Tuple), Left0) of
        {same, Left} -> copy_tuple(Tuple, N - 1, Copy, Left);
        {New, Left} -> copy_tuple(Tuple, N - 1, setelement(N, pick(Copy, Tuple), New), Left)
    end.

copy_map({Key, Value, Next}, Map, Copy, Left0) when Left0 > 0 ->
    {NewKey, Left1} = copy(Key, Left0),
    {NewValue, Left} = copy(Value, Left1),
    Put =
        case {NewKey, NewValue} of
            {same, same} -> Copy;
            {same, _} -> (pick(Copy, Map))#{Key := NewValue};
            %% A key that equals one that is there would not take its place.
            {_, _} -> (maps:remove(Key, pick(Copy, Map)))#{NewKey => pick(NewValue, Value)}
        end,
    copy_map(maps:next(Next), Map, Put, Left);
copy_map(_NoneOrEnough, _Map, Copy, Left) ->
    {Copy, Left}.

pick(same, Old) -> Old;
pick(New, _Old) -> New.
