%% @private Copies binaries that are much smaller than the binary that they were cut from. A binary match
%% copies nothing: a name of 100 bytes that was cut from a payload of 1 MB keeps the whole payload in
%% memory for as long as the name is kept. Pure.
-module(warp_compact).

-export([binary/1, term/2, is_cut/1]).

%% A binary that keeps at most this many bytes alive is not worth a copy.
-define(MIN_BYTES, 256).
%% Listing all keys and values of a map with at most this many keys is faster than iterating over it.
-define(SMALL_MAP, 32).

%% @doc The binary, as a copy if it keeps more than twice its size in memory.
-spec binary(binary()) -> binary().
binary(Binary) ->
    case is_cut(Binary) of
        true -> binary:copy(Binary);
        false -> Binary
    end.

%% @doc The term, with the binaries in its lists, tuples and maps copied as {@link binary/1} does. Where there is
%% nothing to copy the result is the same term, and nothing was allocated. Budget limits how many terms the
%% search visits, and how many words are copied. The search visits a shared part once for each place that refers
%% to it, so a small term can take many visits.
-spec term(Term, non_neg_integer()) -> Term when Term :: term().
term(Term, Budget) ->
    case scan(Term, Budget) of
        found ->
            {Copy, _Left} = copy(Term, Budget),
            pick(Copy, Term);
        _Left ->
            Term
    end.

%% @doc Whether the binary keeps more than twice its size in memory, and so much that a copy is worth it.
-spec is_cut(binary()) -> boolean().
is_cut(Binary) ->
    Kept = binary:referenced_byte_size(Binary),
    Kept > ?MIN_BYTES andalso Kept > 2 * byte_size(Binary).

%% Gives what is left of the budget, or `found' as soon as there is something to copy.
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

%% Gives `same' where there is nothing to copy, so that shared parts stay shared.
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
            %% Updating a map keeps the old key where the new one is equal to it.
            {_, _} -> (maps:remove(Key, pick(Copy, Map)))#{NewKey => pick(NewValue, Value)}
        end,
    copy_map(maps:next(Next), Map, Put, Left);
copy_map(_NoneOrEnough, _Map, Copy, Left) ->
    {Copy, Left}.

pick(same, Old) -> Old;
pick(New, _Old) -> New.
