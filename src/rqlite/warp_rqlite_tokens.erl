%% @private Cuts SQL into tokens as SQLite does, as far as Warp has to see them. Pure.
-module(warp_rqlite_tokens).

-export([scan/1, numbered/1, single/1, text/1]).

-export_type([token/0]).

%% `blank': white space and comments. `piece': a string, a quoted name, an operator. Joined, the tokens are
%% the text that was cut. A `param' has a number after `numbered/1'.
-type token() ::
    {word | piece | blank | param, binary()} | {param, pos_integer()} | open | close | semicolon.

-define(MAX_PARAM, 32766).
-define(IS_BLANK(C), C =:= $\s; C =:= $\t; C =:= $\n; C =:= $\f; C =:= $\r).
-define(IS_WORD(C), C >= $a, C =< $z; C >= $A, C =< $Z; C >= $0, C =< $9; C =:= $_; C >= 128).
-define(IS_QUOTE(C), C =:= $'; C =:= $"; C =:= $`).

%% @doc The tokens of a text. Errors: a character that SQLite would take for the end of the text, or an
%% illegal token.
-spec scan(binary()) -> {ok, [token()]} | {error, binary()}.
scan(Sql) ->
    case {binary:match(Sql, <<0>>), warp_text:is_utf8(Sql)} of
        {nomatch, true} -> scan(Sql, []);
        {nomatch, false} -> {error, <<"the SQL is not UTF-8">>};
        _ -> {error, <<"a NUL character in the SQL">>}
    end.

scan(<<>>, Tokens) -> {ok, lists:reverse(Tokens)};
scan(<<"(", Rest/binary>>, Tokens) -> scan(Rest, [open | Tokens]);
scan(<<")", Rest/binary>>, Tokens) -> scan(Rest, [close | Tokens]);
scan(<<";", Rest/binary>>, Tokens) -> scan(Rest, [semicolon | Tokens]);
scan(<<"--", _/binary>> = Sql, Tokens) -> cut(blank, Sql, until(<<"\n">>, Sql, 2), Tokens);
scan(<<"/*", _/binary>> = Sql, Tokens) ->
    case until(<<"*/">>, Sql, 2) of
        none -> {error, <<"unterminated comment">>};
        Size -> cut(blank, Sql, Size, Tokens)
    end;
scan(<<"[", _/binary>> = Sql, Tokens) -> quoted(Sql, until(<<"]">>, Sql, 1), Tokens);
scan(<<"?", Rest/binary>> = Sql, Tokens) -> cut(param, Sql, 1 + digits(Rest), Tokens);
scan(<<Quote, Rest/binary>> = Sql, Tokens) when ?IS_QUOTE(Quote) ->
    quoted(Sql, closing(Quote, Rest, 1), Tokens);
scan(<<C, _/binary>> = Sql, Tokens) when ?IS_BLANK(C) -> cut(blank, Sql, blanks(Sql), Tokens);
scan(<<C, _/binary>> = Sql, Tokens) when ?IS_WORD(C) -> cut(word, Sql, word(Sql), Tokens);
scan(<<C, Rest/binary>> = Sql, Tokens) when C =:= $:; C =:= $@; C =:= $$; C =:= $# ->
    case word(Rest) of
        0 -> {error, <<"unrecognized token: \"", C, "\"">>};
        Size -> cut(param, Sql, 1 + Size, Tokens)
    end;
scan(Sql, Tokens) -> cut(piece, Sql, 1, Tokens).

cut(Kind, Sql, none, Tokens) -> cut(Kind, Sql, byte_size(Sql), Tokens);
cut(Kind, Sql, Size, Tokens) ->
    <<Token:Size/binary, Rest/binary>> = Sql,
    scan(Rest, [{Kind, Token} | Tokens]).

quoted(Sql, none, _Tokens) ->
    {error, <<"unrecognized token: ", (string:slice(Sql, 0, 30))/binary>>};
quoted(Sql, Size, Tokens) ->
    cut(piece, Sql, Size, Tokens).

until(Pattern, Sql, From) ->
    case binary:match(Sql, Pattern, [{scope, {From, byte_size(Sql) - From}}]) of
        {At, Size} -> At + Size;
        nomatch -> none
    end.

%% Two quotes are one quote of the text.
closing(Quote, Rest, Size) ->
    case Rest of
        <<Quote, Quote, More/binary>> -> closing(Quote, More, Size + 2);
        <<Quote, _/binary>> -> Size + 1;
        <<_, More/binary>> -> closing(Quote, More, Size + 1);
        <<>> -> none
    end.

blanks(Sql) -> run(fun(C) when ?IS_BLANK(C) -> true; (_) -> false end, Sql, 0).
word(Sql) -> run(fun(C) when ?IS_WORD(C) -> true; (C) -> C =:= $$ end, Sql, 0).
digits(Sql) -> run(fun(C) -> C >= $0 andalso C =< $9 end, Sql, 0).

run(Belongs, Sql, Size) ->
    case Sql of
        <<_:Size/binary, C, _/binary>> ->
            case Belongs(C) of
                true -> run(Belongs, Sql, Size + 1);
                false -> Size
            end;
        _ -> Size
    end.

%% @doc Each parameter with the number that SQLite would give it, and the highest number.
-spec numbered([token()]) -> {ok, [token()], Count :: non_neg_integer()} | {error, binary()}.
numbered(Tokens) ->
    try lists:mapfoldl(fun number/2, {0, #{}}, Tokens) of
        {Numbered, {Count, _Names}} -> {ok, Numbered, Count}
    catch
        throw:Why -> {error, Why}
    end.

number({param, <<"?">>}, {Max, Names}) ->
    {{param, fits(Max + 1)}, {Max + 1, Names}};
number({param, <<"?", Digits/binary>>}, {Max, Names}) ->
    N = fits(binary_to_integer(Digits)),
    {{param, N}, {max(N, Max), Names}};
number({param, Name}, {Max, Names}) when is_map_key(Name, Names) ->
    {{param, maps:get(Name, Names)}, {Max, Names}};
number({param, Name}, {Max, Names}) ->
    {{param, fits(Max + 1)}, {Max + 1, Names#{Name => Max + 1}}};
number(Token, Acc) ->
    {Token, Acc}.

fits(N) when N >= 1, N =< ?MAX_PARAM -> N;
fits(_) -> throw(<<"variable number must be between ?1 and ?32766">>).

%% @doc The tokens of one statement that can be put into brackets: without the semicolon that ends it, and
%% with brackets of its own that match.
-spec single([token()]) -> {ok, [token()]} | {error, binary()}.
single(Tokens) ->
    Statement = lists:reverse(lists:dropwhile(fun is_end/1, lists:reverse(Tokens))),
    case depth(Statement, 0) of
        0 when Statement =:= [] -> {error, <<"no statement">>};
        0 -> {ok, Statement};
        several -> {error, <<"more than one statement">>};
        _ -> {error, <<"unbalanced brackets">>}
    end.

is_end(semicolon) -> true;
is_end({blank, _}) -> true;
is_end(_) -> false.

depth(_, Depth) when Depth < 0 -> Depth;
depth([], Depth) -> Depth;
depth([open | Tokens], Depth) -> depth(Tokens, Depth + 1);
depth([close | Tokens], Depth) -> depth(Tokens, Depth - 1);
depth([semicolon | _], _) -> several;
depth([_ | Tokens], Depth) -> depth(Tokens, Depth).

%% @doc The text of tokens.
-spec text([token()]) -> iodata().
text(Tokens) ->
    [case Token of
         open -> "(";
         close -> ")";
         semicolon -> ";";
         {param, N} when is_integer(N) -> ["?", integer_to_binary(N)];
         {_, Text} -> Text
     end || Token <- Tokens].
