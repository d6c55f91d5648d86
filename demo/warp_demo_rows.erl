%% Any CSV file with a header: an entity per value of one column, an event per row, with the other
%% columns as its payload.
-module(warp_demo_rows).
-behaviour(warp_demo_data).

-export([context/0, words/0, aggregate/0, reader/2, columns/0, values/1, direct/4,
         tables/0, ids_stand_alone/0, describe/1, describe_event/1, moments/1]).

context() -> <<"rows">>.

words() ->
    #{event => "row", events => "rows", entity => "id", entities => "ids"}.

aggregate() ->
    #{name => <<"rows">>,
      initial_state => #{rows => 0, last_row => 0, last => #{}},
      apply => fun(#{rows := Rows} = State, #{id := <<"row-", N/binary>>, payload := Payload}) ->
                   State#{rows := Rows + 1, last_row := binary_to_integer(N), last := Payload}
               end,
      project => fun(Id, #{rows := Rows, last_row := Last}, _Event) ->
                     [warp_projection:upsert(ids, Id, #{rows => Rows, last_row => Last})]
                 end}.

reader(Header, IdColumn) ->
    Names = lists:zipwith(fun name/2, Header, lists:seq(1, length(Header))),
    fun(_N, [<<>>]) when length(Names) > 1 ->
            blank;
       (N, Fields) ->
            {Id, Payload} = columns(Names, Fields, IdColumn, <<>>, #{}),
            {Id, #{id => <<"row-", (integer_to_binary(N))/binary>>,
                   type => <<"Row">>, payload => Payload}}
    end.

name(<<>>, N) -> unnamed(N);
name(Name, _) -> Name.

unnamed(N) -> <<"column ", (integer_to_binary(N))/binary>>.

%% A row that is too short lacks its last columns, one that is too long has some without a name.
columns([Name | Names], [Field | Fields], Name, _, Payload) ->
    columns(Names, Fields, Name, binary:copy(Field), Payload);
columns([Name | Names], [Field | Fields], IdColumn, Id, Payload) ->
    columns(Names, Fields, IdColumn, Id, Payload#{Name => value(Field)});
columns([_ | _], [], _, Id, Payload) ->
    {Id, Payload};
columns([], Fields, _, Id, Payload) ->
    Given = map_size(Payload) + 1,
    {_, All} = lists:foldl(fun(Field, {N, Acc}) -> {N + 1, Acc#{unnamed(N) => value(Field)}} end,
                           {Given + 1, Payload}, Fields),
    {Id, All}.

%% Text that is a number in JSON becomes that number; so 007 and +1 stay text.
value(<<>>) -> null;
value(<<$-, C, _/binary>> = Text) when C >= $0, C =< $9 -> number(Text, 1);
value(<<C, _/binary>> = Text) when C >= $0, C =< $9 -> number(Text, 0);
value(Text) -> binary:copy(Text).

number(Text, Sign) ->
    case Text of
        <<_:Sign/binary, $0, C, _/binary>> when C >= $0, C =< $9 -> binary:copy(Text);
        _ when byte_size(Text) > 300 -> binary:copy(Text);
        _ -> try binary_to_integer(Text) catch error:badarg -> float_or_text(Text) end
    end.

float_or_text(Text) ->
    try binary_to_float(Text) catch error:badarg -> binary:copy(Text) end.

columns() ->
    [{"rows", "integer"}, {"last_row", "integer"}].

values(#{rows := Rows, last_row := LastRow}) ->
    [Rows, LastRow].

%% The shell numbers rows as they come, blank lines too, as the demo's reader does.
direct(Csv, Header, IdColumn, Refused) ->
    Columns = ["c" ++ integer_to_list(N) || N <- lists:seq(1, length(Header))],
    {IdColumn, Id} = lists:keyfind(IdColumn, 1, lists:zip(Header, Columns)),
    Blank = case Columns of
                [_] -> "";
                [First, Second | _] -> [" and not (", First, " = '' and ", Second, " is null)"]
            end,
    [["create table source(", lists:join(" text, ", Columns), " text)"],
     "create table refused(row integer primary key)",
     [".import --csv --skip 1 ", warp_demo_sqlite:quote(Csv), " source"],
     [".import --csv ", warp_demo_sqlite:quote(Refused), " refused"],
     ["insert into direct select ", Id, ", count(*), max(rowid) from source "
      "where rowid not in (select row from refused)", Blank, " group by ", Id]].

tables() ->
    [{"ids", columns(), "select * from direct"}].

ids_stand_alone() -> false.

describe(#{rows := Rows, last_row := LastRow, last := Last}) ->
    [warp_demo_text:count(Rows), " rows, last row ", warp_demo_text:count(LastRow), ": ",
     warp_demo_text:short(warp_demo_json:encode(Last), 120)].

describe_event(#{seq := Seq, payload := Payload}) ->
    io_lib:format("~7b  ~ts", [Seq, warp_demo_text:short(warp_demo_json:encode(Payload), 120)]).

moments(_History) ->
    [].
