%% @private Tables for people: columns that are aligned, those of numbers to the right. Pure.
-module(warp_cli_table).

-export([format/2, row/1, pairs/1]).

-type align() :: left | right.

%% @doc A table with a line of titles, and without rows nothing but that line. The last column is not cut, so that what
%% is there can be copied.
-spec format([{align(), Title :: iodata()}], [[unicode:chardata()]]) -> unicode:chardata().
format(Columns, Rows) ->
    Titles = [Title || {_, Title} <- Columns],
    Lines = [[flat(Cell) || Cell <- Row] || Row <- [Titles | Rows]],
    Widths = [lists:max([string:length(lists:nth(N, Line)) || Line <- Lines]) || N <- lists:seq(1, length(Columns))],
    [line(lists:zip3(Line, Widths, [Align || {Align, _} <- Columns])) || Line <- Lines].

line(Cells) ->
    Padded = [pad(Cell, Width, Align) || {Cell, Width, Align} <- Cells],
    [string:trim(unicode:characters_to_list(lists:join("  ", Padded)), trailing), $\n].

pad(Cell, Width, right) -> string:pad(Cell, Width, leading);
pad(Cell, Width, left) -> string:pad(Cell, Width, trailing).

%% A control character could move the cursor of a terminal.
flat(Cell) ->
    [case C < 32 orelse C >= 127 andalso C < 160 of true -> $\x{FFFD}; false -> C end
     || C <- unicode:characters_to_list(Cell)].

%% @doc One line of a table whose other lines are not known yet.
-spec row([{Width :: non_neg_integer(), align(), unicode:chardata()}]) -> unicode:chardata().
row(Cells) ->
    line([{flat(Cell), Width, Align} || {Width, Align, Cell} <- Cells]).

%% @doc Names with their values, one a line.
-spec pairs([{Name :: iodata(), unicode:chardata()}]) -> unicode:chardata().
pairs(Pairs) ->
    Width = lists:max([0 | [string:length(Name) || {Name, _} <- Pairs]]),
    [[string:pad(Name, Width + 2), flat(Value), $\n] || {Name, Value} <- Pairs].
