%% Reads a CSV file of any size in chunks. A field may stand in quotes, and then hold commas, line
%% ends and doubled quotes; lines end with LF or CRLF. A blank line is a row with one empty field.
-module(warp_demo_csv).

-export([open/1, header/1, read/1, bytes_read/1, size/1, close/1]).
-export([quote/1]).
-export_type([csv/0]).

-define(SMALLEST_CHUNK, 1024).
-define(LARGEST_CHUNK, 256 * 1024).
-define(LONGEST_ROW, 16 * 1024 * 1024).

-type row() :: [binary()].
-opaque csv() :: #{file := file:io_device(), size := non_neg_integer(), header := row(),
                   read := non_neg_integer(), rows := non_neg_integer(), rest := binary(),
                   ahead := [row()], ended := boolean()}.

-spec open(file:filename_all()) -> {ok, csv()} | {error, iodata()}.
open(Path) ->
    case file:open(Path, [read, raw, binary]) of
        {ok, File} ->
            Begin = after_mark(File),
            Csv = #{file => File, size => filelib:file_size(Path), header => [],
                    read => Begin, rows => 0, rest => <<>>, ahead => [], ended => false},
            read_header(Csv, Path);
        {error, Reason} ->
            {error, [Path, ": ", file:format_error(Reason)]}
    end.

%% Some programs begin a text file with a byte order mark, which is no part of its text.
after_mark(File) ->
    case file:read(File, 3) of
        {ok, <<16#EF, 16#BB, 16#BF>>} ->
            3;
        _ ->
            {ok, 0} = file:position(File, 0),
            0
    end.

read_header(Csv, Path) ->
    case next_rows(Csv) of
        {ok, [Header | Rows], Read} ->
            {ok, Read#{header := Header, ahead := Rows}};
        eof ->
            {error, [Path, " is empty"]};
        {error, Why} ->
            {error, [Path, ": ", Why]}
    end.

-spec header(csv()) -> row().
header(#{header := Header}) -> Header.

-spec bytes_read(csv()) -> non_neg_integer().
bytes_read(#{read := Read}) -> Read.

-spec size(csv()) -> non_neg_integer().
size(#{size := Size}) -> Size.

-spec close(csv()) -> ok.
close(#{file := File}) ->
    ok = file:close(File).

%% The next rows, numbered from 1 after the header.
-spec read(csv()) -> {ok, [{pos_integer(), row()}], csv()} | eof | {error, iodata()}.
read(#{ahead := [_ | _] = Rows} = Csv) ->
    number(Rows, Csv#{ahead := []});
read(Csv) ->
    case next_rows(Csv) of
        {ok, Rows, Read} -> number(Rows, Read);
        Other -> Other
    end.

number(Rows, #{rows := Before} = Csv) ->
    {Numbered, Last} = lists:mapfoldl(fun(Row, N) -> {{N + 1, Row}, N + 1} end, Before, Rows),
    {ok, Numbered, Csv#{rows := Last}}.

%% At least one row, unless the file has ended.
next_rows(#{ended := true}) ->
    eof;
next_rows(#{file := File, rest := Rest, read := Read, size := Size} = Csv) ->
    case file:read(File, max(?SMALLEST_CHUNK, min(?LARGEST_CHUNK, Size div 64))) of
        {ok, Bytes} ->
            More = Csv#{read := Read + byte_size(Bytes)},
            case rows(<<Rest/binary, Bytes/binary>>, more) of
                {[], Longer} when byte_size(Longer) > ?LONGEST_ROW -> too_long(Csv);
                {[], Longer} -> next_rows(More#{rest := Longer});
                {Rows, Left} -> {ok, Rows, More#{rest := Left}}
            end;
        eof ->
            case rows(Rest, last) of
                {[], <<>>} -> eof;
                {Rows, <<>>} -> {ok, Rows, Csv#{rest := <<>>, ended := true}};
                {_, _} -> too_long(Csv)
            end;
        {error, Reason} ->
            {error, file:format_error(Reason)}
    end.

too_long(#{rows := Rows}) ->
    {error, ["after row ", integer_to_list(Rows), " comes a field whose quote never closes"]}.

%% The complete rows in Bytes, and what is left of them: the beginning of the next row. With `last`
%% the end of the bytes ends a row, and what is left is a row whose quote never closes.
-spec rows(binary(), more | last) -> {[row()], binary()}.
rows(Bytes, End) ->
    field(Bytes, Bytes, 0, 0, End, [], []).

%% From: where the row began; At: where the field began.
field(<<$", Rest/binary>>, All, From, At, End, Fields, Rows) ->
    quoted(Rest, All, From, At + 1, 0, End, Fields, Rows);
field(Rest, All, From, At, End, Fields, Rows) ->
    plain(Rest, All, From, At, 0, End, Fields, Rows).

plain(<<$,, Rest/binary>>, All, From, At, Len, End, Fields, Rows) ->
    Field = binary_part(All, At, Len),
    field(Rest, All, From, At + Len + 1, End, [Field | Fields], Rows);
plain(<<$\n, Rest/binary>>, All, _From, At, Len, End, Fields, Rows) ->
    Row = lists:reverse(Fields, [binary_part(All, At, Len)]),
    Next = At + Len + 1,
    field(Rest, All, Next, Next, End, [], [Row | Rows]);
plain(<<$\r, $\n, Rest/binary>>, All, _From, At, Len, End, Fields, Rows) ->
    Row = lists:reverse(Fields, [binary_part(All, At, Len)]),
    Next = At + Len + 2,
    field(Rest, All, Next, Next, End, [], [Row | Rows]);
plain(<<_, Rest/binary>>, All, From, At, Len, End, Fields, Rows) ->
    plain(Rest, All, From, At, Len + 1, End, Fields, Rows);
plain(<<>>, All, From, _At, _Len, last, _Fields, Rows) when From =:= byte_size(All) ->
    {lists:reverse(Rows), <<>>};
plain(<<>>, All, _From, At, Len, last, Fields, Rows) ->
    Row = lists:reverse(Fields, [binary_part(All, At, Len)]),
    {lists:reverse(Rows, [Row]), <<>>};
plain(<<>>, All, From, _At, _Len, more, _Fields, Rows) ->
    {lists:reverse(Rows), rest(All, From)}.

%% A quote ends the field only where a separator, a line end or the end of the file follows; any
%% other is part of the text, as the sqlite3 shell takes it too.
quoted(<<$", $", Rest/binary>>, All, From, At, Len, End, Fields, Rows) ->
    quoted(Rest, All, From, At, Len + 2, End, Fields, Rows);
quoted(<<$", $,, Rest/binary>>, All, From, At, Len, End, Fields, Rows) ->
    Field = unquoted(binary_part(All, At, Len)),
    field(Rest, All, From, At + Len + 2, End, [Field | Fields], Rows);
quoted(<<$", $\n, Rest/binary>>, All, _From, At, Len, End, Fields, Rows) ->
    Row = lists:reverse(Fields, [unquoted(binary_part(All, At, Len))]),
    Next = At + Len + 2,
    field(Rest, All, Next, Next, End, [], [Row | Rows]);
quoted(<<$", $\r, $\n, Rest/binary>>, All, _From, At, Len, End, Fields, Rows) ->
    Row = lists:reverse(Fields, [unquoted(binary_part(All, At, Len))]),
    Next = At + Len + 3,
    field(Rest, All, Next, Next, End, [], [Row | Rows]);
quoted(<<$">>, All, _From, At, Len, last, Fields, Rows) ->
    Row = lists:reverse(Fields, [unquoted(binary_part(All, At, Len))]),
    {lists:reverse(Rows, [Row]), <<>>};
quoted(<<_, Rest/binary>>, All, From, At, Len, End, Fields, Rows) when Rest =/= <<>> ->
    quoted(Rest, All, From, At, Len + 1, End, Fields, Rows);
quoted(_, All, From, _At, _Len, _End, _Fields, Rows) ->
    {lists:reverse(Rows), rest(All, From)}.

unquoted(Text) ->
    binary:replace(Text, <<"\"\"">>, <<"\"">>, [global]).

rest(All, From) ->
    binary_part(All, From, byte_size(All) - From).

%% A value as a field that this module, and any other reader of CSV, reads back as it was.
-spec quote(binary() | integer()) -> iodata().
quote(Value) when is_integer(Value) ->
    integer_to_binary(Value);
quote(Value) ->
    [$", binary:replace(Value, <<"\"">>, <<"\"\"">>, [global]), $"].
