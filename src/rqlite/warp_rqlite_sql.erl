%% @private Puts statements and queries into a form in which rqlite does with them what is meant. Pure.
-module(warp_rqlite_sql).

-export([request/1, query/2, columns_request/1, rows_request/3, is_statement_request/1, rows/4]).

-export_type([query/0]).

%% A query with its parameters, ready to be put into brackets.
-opaque query() :: {Sql :: binary(), Params :: [term()]}.

%% @doc The body of a request for statements, and for each of its elements the statement (counted
%% from 1) that it belongs to.
-spec request([warp_projection_target:statement()]) ->
    {ok, Json :: binary(), Of :: [pos_integer()]} | {error, {refused, pos_integer(), binary()}}.
request(Statements) ->
    try
        Elements = [{N, Element} || {N, Statement} <- numbered(Statements),
                                    Element <- elements(N, Statement)],
        {ok, encode_all(Elements), [N || {N, _} <- Elements]}
    catch
        throw:{refused, _, _} = Refused -> {error, Refused}
    end.

numbered(List) -> lists:zip(lists:seq(1, length(List)), List).

encode_all(Elements) ->
    case warp_json:encode_long([Element || {_, Element} <- Elements]) of
        {ok, Json} -> Json;
        {error, _} ->
            throw(hd([{refused, N, describe(Why)}
                      || {N, Element} <- Elements,
                         {error, Why} <- [warp_json:encode_long(Element)]]))
    end.

describe(Why) ->
    warp_text:format("~tp", [Why]).

%% Many rows are sent as one JSON array that SQLite takes apart. That is several times faster than a
%% statement for each row, and no text in it is taken for a BLOB.
elements(N, {Sql, [_, _ | _] = Rows}) ->
    case as_select(Sql) of
        {ok, Select} ->
            case warp_json:encode_padded(Rows) of
                {ok, Json} ->
                    %% Older versions of SQLite cut a text in JSON short at a NUL.
                    case binary:match(Json, <<"\\u0000">>) of
                        nomatch -> [[Select, Json]];
                        _ -> [one_row(Sql, Row) || Row <- Rows]
                    end;
                {error, Why} ->
                    throw({refused, N, describe(Why)})
            end;
        none ->
            [one_row(Sql, Row) || Row <- Rows]
    end;
elements(_N, {Sql, Rows}) ->
    [one_row(Sql, Row) || Row <- Rows].

one_row(Sql, Row) ->
    case lists:any(fun is_risky/1, Row) of
        false ->
            [Sql | Row];
        true ->
            {ok, Tokens} = warp_rqlite_tokens:scan(Sql),
            {ok, Numbered, _} = warp_rqlite_tokens:numbered(Tokens),
            {Safe, Params} = protect(Numbered, Row),
            [iolist_to_binary(warp_rqlite_tokens:text(Safe)) | Params]
    end.

%% `INSERT .. VALUES (?1, f(?2)) ..' as `INSERT .. SELECT value->>0, f(value->>1) FROM ..'.
as_select(Sql) ->
    case warp_rqlite_tokens:scan(Sql) of
        {ok, Tokens} ->
            {ok, Numbered, _} = warp_rqlite_tokens:numbered(Tokens),
            case split_values(Numbered) of
                {Before, Values, After} ->
                    {ok, iolist_to_binary([
                        warp_rqlite_tokens:text(Before), "SELECT ",
                        [of_row(Token) || Token <- Values],
                        " FROM json_each(?1) WHERE true ", warp_rqlite_tokens:text(After)])};
                none -> none
            end;
        {error, _} -> none
    end.

of_row({param, N}) -> ["(value->>", integer_to_binary(N - 1), ")"];
of_row(Token) -> warp_rqlite_tokens:text([Token]).

split_values([{word, First} | _] = Tokens) ->
    IsInsert = lists:member(string:uppercase(First), [<<"INSERT">>, <<"REPLACE">>]),
    case lists:splitwith(fun(Token) -> not is_values(Token) end, Tokens) of
        {Before, [_Values | Rest]} when IsInsert ->
            case group(lists:dropwhile(fun is_blank/1, Rest)) of
                {Values, After} ->
                    Plain = not lists:any(fun is_param/1, Before ++ After)
                        andalso not lists:any(fun is_values/1, After)
                        andalso not continues(lists:dropwhile(fun is_blank/1, After)),
                    case Plain of
                        true -> {Before, Values, After};
                        false -> none
                    end;
                none -> none
            end;
        _ -> none
    end;
split_values(_) ->
    none.

group([open | Tokens]) -> group(Tokens, 1, []);
group(_) -> none.

group([close | After], 1, Inside) -> {lists:reverse(Inside), After};
group([close | Tokens], Depth, Inside) -> group(Tokens, Depth - 1, [close | Inside]);
group([open | Tokens], Depth, Inside) -> group(Tokens, Depth + 1, [open | Inside]);
group([Token | Tokens], Depth, Inside) -> group(Tokens, Depth, [Token | Inside]);
group([], _, _) -> none.

is_values({word, Word}) -> string:uppercase(Word) =:= <<"VALUES">>;
is_values(_) -> false.

is_blank({blank, _}) -> true;
is_blank(_) -> false.

is_param({param, _}) -> true;
is_param(_) -> false.

continues([{piece, <<",">>} | _]) -> true;
continues(_) -> false.

%% Some versions of rqlite store such a text, given as a parameter, as the BLOB that it names.
is_risky(<<C, _/binary>> = Text) when C =:= $x; C =:= $X; C =< $\s; C >= 128 ->
    try re:run(Text, "^\\s*[xX]'[0-9a-fA-F]*'\\s*$", [unicode, ucp, {capture, none}]) =:= match
    catch error:badarg -> false
    end;
is_risky(_) ->
    false.

%% Such a text is sent with a character before it, which the statement removes.
protect(Numbered, Params) ->
    Risky = [N || {N, Param} <- numbered(Params), is_risky(Param)],
    Tokens = lists:flatmap(
        fun({param, N} = Token) ->
                case lists:member(N, Risky) of
                    true ->
                        [{word, <<"substr">>}, open, Token, {piece, <<",">>}, {word, <<"2">>}, close];
                    false -> [Token]
                end;
           (Token) -> [Token]
        end, Numbered),
    {Tokens, [case is_risky(Param) of true -> <<"=", Param/binary>>; false -> Param end
              || Param <- Params]}.

%% @doc A user's query, if it is one statement and has as many parameters as were given.
-spec query(binary(), [term()]) ->
    {ok, query()} | {error, {sql_error, binary()} | {bad_params, term()}}.
query(Sql, Params) ->
    try
        Tokens = right(warp_rqlite_tokens:scan(Sql)),
        Single = right(warp_rqlite_tokens:single(Tokens)),
        case warp_rqlite_tokens:numbered(Single) of
            {ok, Numbered, Count} when Count =:= length(Params) ->
                {Safe, Sent} = protect(Numbered, Params),
                {ok, {iolist_to_binary(warp_rqlite_tokens:text(Safe)), Sent}};
            {ok, _, Count} ->
                {error, {bad_params, {expected, Count, given, length(Params)}}};
            {error, Why} ->
                {error, {sql_error, Why}}
        end
    catch
        throw:Error -> {error, {sql_error, Error}}
    end.

right({ok, Value}) -> Value;
right({error, Why}) -> throw(Why).

%% A connection of rqlite looks for changes of the tables when it executes a statement, but not before it
%% counts the columns of a query. So each request executes this first.
-define(LOOK, [<<"SELECT count(*) FROM sqlite_schema WHERE 0">>]).

%% @doc The body of a request for the names and declared types of a query's columns. In brackets a
%% query can be nothing but a query. What is asked for comes as the second of two results, as with
%% the other two requests.
-spec columns_request(query()) -> {ok, binary()} | {error, term()}.
columns_request({Sql, Params}) ->
    Wrapped = <<"WITH warp_query AS (\n", Sql/binary, "\n)\nSELECT * FROM warp_query LIMIT 0">>,
    warp_json:encode_long([?LOOK, [Wrapped | Params]]).

%% @doc The body of a request that finds out whether the text is a statement at all.
-spec is_statement_request(query()) -> {ok, binary()} | {error, term()}.
is_statement_request({Sql, Params}) ->
    warp_json:encode_long([?LOOK, [<<"EXPLAIN ", Sql/binary>> | Params]]).

%% @doc The body of a request for the rows of a query with that many columns. JSON does not tell
%% 1.0 from 1, nor a BLOB from a text, and columns that were declared as dates or booleans would
%% come in another form: so each row brings the first letters of its values' types, and no value
%% is a plain column. JSON has no infinite numbers at all: `~' stands for the type of one.
-spec rows_request(query(), Columns :: pos_integer(), pos_integer() | infinity) ->
    {ok, binary()} | {error, term()}.
rows_request({Sql, Params}, Columns, MaxRows) ->
    Names = ["c" ++ integer_to_list(N) || N <- lists:seq(1, Columns)],
    Values = [["CASE WHEN typeof(", C, ")='blob' THEN hex(", C, ") WHEN ", is_infinite(C), " THEN NULL ELSE ", C,
               " END"] || C <- Names],
    Letters = [["CASE WHEN ", is_infinite(C), " THEN '~' ELSE substr(typeof(", C, "),1,1) END"] || C <- Names],
    Limit = [["\nLIMIT ", integer_to_list(MaxRows + 1)] || MaxRows =/= infinity],
    Wrapped = [
        "WITH warp_query(", lists:join(",", Names), ") AS (\n", Sql, "\n)\nSELECT ",
        lists:join("||", Letters), ",", lists:join(",", Values), " FROM warp_query", Limit],
    warp_json:encode_long([?LOOK, [iolist_to_binary(Wrapped) | Params]]).

is_infinite(C) ->
    ["(typeof(", C, ")='real' AND (", C, ">=9e999 OR ", C, "<=-9e999))"].

%% @doc The result of the two requests.
-spec rows([binary()], [binary()], [[term()]], pos_integer() | infinity) ->
    {ok, warp_projection_target:result()} | {error, {too_many_rows, pos_integer()} | {sql_error, binary()}}.
rows(_Columns, _Types, Values, MaxRows) when length(Values) > MaxRows ->
    {error, {too_many_rows, MaxRows}};
rows(Columns, Types, Values, _MaxRows) ->
    Bools = [is_bool(Type) || Type <- Types],
    Names = names(Columns, []),
    case [At || [Letters | _] <- Values, {At, _} <- [binary:match(Letters, <<"~">>)]] of
        [] ->
            {ok, #{columns => Names, rows => [row(Letters, Row, Bools) || [Letters | Row] <- Values]}};
        [At | _] ->
            Name = lists:nth(At + 1, Names),
            {error, {sql_error, <<"column ", (integer_to_binary(At + 1))/binary, " (", Name/binary,
                                  ") is infinite, which no Erlang float can be">>}}
    end.

is_bool(Type) -> string:prefix(string:lowercase(Type), "bool") =/= nomatch.

row(<<Letter, Letters/binary>>, [Value | Row], [IsBool | Bools]) ->
    [value(Letter, Value, IsBool) | row(Letters, Row, Bools)];
row(<<>>, [], []) ->
    [].

value($n, null, _) -> null;
value($t, Text, _) -> Text;
value($i, 1, true) -> true;
value($i, 0, true) -> false;
value($i, Integer, _) -> Integer;
value($r, Number, _) when is_float(Number); abs(Number) < 1 bsl 53 -> float(Number);
%% Beyond, float/1 does not always give the nearest one; reading the digits does.
value($r, Integer, _) -> binary_to_float(<<(integer_to_binary(Integer))/binary, ".0">>);
value($b, Hex, _) -> {blob, binary:decode_hex(Hex)}.

%% In brackets, columns of one name are told apart by `:1' and so on; outside they are not.
names([], _Seen) -> [];
names([Name | Names], Seen) ->
    Own = case re:run(Name, "^(.*):[0-9]+$", [dotall, {capture, all_but_first, binary}]) of
              {match, [Base]} ->
                  case lists:member(Base, Seen) of
                      true -> Base;
                      false -> Name
                  end;
              nomatch -> Name
          end,
    [Own | names(Names, [Own | Seen])].
