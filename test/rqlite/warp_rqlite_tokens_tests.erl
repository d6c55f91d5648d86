-module(warp_rqlite_tokens_tests).
-include_lib("eunit/include/eunit.hrl").

scan(Sql) ->
    {ok, Tokens} = warp_rqlite_tokens:scan(Sql),
    Tokens.

numbered(Sql) ->
    {ok, Tokens, Count} = warp_rqlite_tokens:numbered(scan(Sql)),
    {[N || {param, N} <- Tokens], Count}.

single(Sql) ->
    case warp_rqlite_tokens:single(scan(Sql)) of
        {ok, Tokens} -> {ok, iolist_to_binary(warp_rqlite_tokens:text(Tokens))};
        Error -> Error
    end.

tokens_joined_are_the_text_test() ->
    Texts = [<<"SELECT 'it''s', \"a\"\"b\", `c`, [d e] -- ?1 ; (\n, x'00' /* ) ; ? */ FROM t;">>,
             <<"select a.b,1.5e3||$x::text, :n@m#o">>, <<>>, <<"/*">>, <<"--">>,
             <<"\x{c3}\x{a4}('\x{f0}\x{9f}\x{98}\x{80}')">>],
    [?assertEqual(Text, iolist_to_binary(warp_rqlite_tokens:text(Tokens)))
     || Text <- Texts, {ok, Tokens} <- [warp_rqlite_tokens:scan(Text)]].

what_is_in_quotes_and_comments_is_no_token_test() ->
    ?assertEqual({[], 0}, numbered(<<"'?' \"?\" `?` [?] -- ?\n /* ? */">>)),
    ?assertEqual({ok, <<"SELECT ';' -- ;\n || ')'">>}, single(<<"SELECT ';' -- ;\n || ')'">>)).

parameters_are_numbered_as_sqlite_does_test() ->
    ?assertEqual({[1, 2], 2}, numbered(<<"?, ?">>)),
    ?assertEqual({[3, 4, 1], 4}, numbered(<<"?3, ?, ?1">>)),
    ?assertEqual({[1, 2, 1, 3], 3}, numbered(<<":a, @a, :a, $b">>)),
    ?assertMatch({error, _}, warp_rqlite_tokens:numbered(scan(<<"?0">>))),
    ?assertMatch({error, _}, warp_rqlite_tokens:numbered(scan(<<"?32767">>))).

one_statement_test() ->
    ?assertEqual({ok, <<"SELECT 1">>}, single(<<"SELECT 1 ; ; -- done\n /* x */">>)),
    ?assertMatch({error, _}, single(<<"SELECT 1; SELECT 2">>)),
    ?assertMatch({error, _}, single(<<"SELECT 1) SELECT (2">>)),
    ?assertMatch({error, _}, single(<<"SELECT (1">>)),
    ?assertMatch({error, _}, single(<<" -- nothing\n;">>)).

what_does_not_end_is_refused_test() ->
    [?assertMatch({error, _}, warp_rqlite_tokens:scan(Sql))
     || Sql <- [<<"'a">>, <<"'a''">>, <<"\"a">>, <<"[a">>, <<"`a">>, <<"/* a">>, <<"SELECT 1", 0>>, <<":">>]].

%% Many rows go as one statement where that means the same.
rows_become_one_json_parameter_test() ->
    Rows = [[<<"a">>, 1], [<<"b">>, 1.5], [<<"c">>, null]],
    {ok, Body, Of} = warp_rqlite_sql:request([
        {<<"INSERT INTO t (x, y) VALUES (?1, coalesce(?2, 0)) ON CONFLICT (x) DO UPDATE SET y = excluded.y">>,
         Rows},
        {<<"DELETE FROM t WHERE x = ?1">>, [[<<"d">>], [<<"e">>]]}]),
    ?assertEqual([1, 2, 2], Of),
    ?assertEqual(
        <<"[[\"INSERT INTO t (x, y) SELECT (value->>0), coalesce((value->>1), 0) FROM json_each(?1) "
          "WHERE true  ON CONFLICT (x) DO UPDATE SET y = excluded.y\","
          "\"[[\\\"a\\\",1],[\\\"b\\\",1.5000000000000000e0],[\\\"c\\\",null]]\"],"
          "[\"DELETE FROM t WHERE x = ?1\",\"d\"],[\"DELETE FROM t WHERE x = ?1\",\"e\"]]">>,
        Body).

rows_stay_where_it_would_mean_something_else_test() ->
    Elements = fun(Sql) ->
        {ok, _, Of} = warp_rqlite_sql:request([{Sql, [[1, 2], [3, 4]]}]),
        length(Of)
    end,
    ?assertEqual(2, Elements(<<"INSERT INTO t VALUES (?1, 1), (?2, 2)">>)),
    ?assertEqual(2, Elements(<<"INSERT INTO t VALUES (?1, 1) ON CONFLICT DO UPDATE SET x = ?2">>)),
    ?assertEqual(2, Elements(<<"UPDATE t SET x = ?1 WHERE y = ?2">>)),
    ?assertEqual(2, Elements(<<"INSERT INTO t SELECT ?1 WHERE ?2 IN (VALUES (1))">>)),
    ?assertEqual(1, Elements(<<"replace INTO t values (?1, ?2)">>)).

%% What rqlite would take for a BLOB goes in another form, and nothing else does.
text_like_a_blob_is_protected_test() ->
    Sent = fun(Text) ->
        {ok, Body, [1]} = warp_rqlite_sql:request([{<<"INSERT INTO t VALUES (?1, ?2)">>, [[Text, 7]]}]),
        Body
    end,
    [?assertEqual(<<"[[\"INSERT INTO t VALUES (substr(?1,2), ?2)\",\"=", Text/binary, "\",7]]">>, Sent(Text))
     || Text <- [<<"x'6869'">>, <<"X'00fF'">>, <<"x''">>, <<"  x'00' ">>, <<"x'0'">>]],
    [?assertEqual(<<"[[\"INSERT INTO t VALUES (?1, ?2)\",\"", Text/binary, "\",7]]">>, Sent(Text))
     || Text <- [<<"x'6g'">>, <<"x6869">>, <<"'x'00'">>, <<"x'00">>, <<"y'00'">>]].

what_json_cannot_hold_is_refused_with_its_number_test() ->
    ?assertMatch({error, {refused, 2, _}}, warp_rqlite_sql:request([
        {<<"INSERT INTO t VALUES (?1)">>, [[<<"a">>]]},
        {<<"INSERT INTO t VALUES (?1)">>, [[<<255>>]]}])),
    ?assertMatch({error, {refused, 1, _}}, warp_rqlite_sql:request([
        {<<"INSERT INTO t VALUES (?1)">>, [[<<"a">>], [<<255>>]]}])).
