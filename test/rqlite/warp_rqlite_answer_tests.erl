-module(warp_rqlite_answer_tests).
-include_lib("eunit/include/eunit.hrl").

execute(Body) -> warp_rqlite_answer:execute(200, Body, 2).

every_element_is_looked_at_test() ->
    ?assertEqual(ok, execute(<<"{\"results\":[{},{\"last_insert_id\":1,\"rows_affected\":1}]}">>)),
    ?assertEqual({refused, 2, <<"no such table: t">>},
                 execute(<<"{\"results\":[{\"rows_affected\":1},{\"error\":\"no such table: t\"}]}">>)),
    ?assertEqual({refused, 1, <<"UNIQUE constraint failed: t.x">>},
                 execute(<<"{\"results\":[{\"error\":\"UNIQUE constraint failed: t.x\"}]}">>)),
    ?assertEqual({away, incomplete_answer}, execute(<<"{\"results\":[{}]}">>)),
    ?assertEqual({away, incomplete_answer}, execute(<<"{\"results\":[{},{},{}]}">>)),
    ?assertEqual({away, incomplete_answer}, execute(<<"{\"results\":[]}">>)).

errors_of_the_whole_request_test() ->
    ?assertEqual({elsewhere, <<"not leader">>}, execute(<<"{\"results\":[],\"error\":\"not leader\"}">>)),
    ?assertEqual({away, <<"leadership lost while committing log">>},
                 execute(<<"{\"results\":[],\"error\":\"leadership lost while committing log\"}">>)),
    ?assertEqual({refused, 0, <<"disallowed pragma">>},
                 execute(<<"{\"results\":[],\"error\":\"disallowed pragma\"}">>)).

disks_and_locks_are_no_refusals_test() ->
    [?assertEqual({away, Message}, execute(<<"{\"results\":[{\"error\":\"", Message/binary, "\"}]}">>))
     || Message <- [<<"database or disk is full">>, <<"disk I/O error: no space left">>, <<"database is locked">>]].

other_statuses_test() ->
    Of = fun(Status, Body) -> warp_rqlite_answer:execute(Status, Body, 1) end,
    ?assertEqual({refused, 0, <<"invalid JSON body">>}, Of(400, <<"invalid JSON body\n">>)),
    ?assertEqual({away, {http_status, 400, <<"Client sent an HTTP request to an HTTPS server.">>}},
                 Of(400, <<"Client sent an HTTP request to an HTTPS server.\n">>)),
    ?assertEqual({refused, 0, <<"HTTP status 413">>}, Of(413, <<>>)),
    ?assertEqual({away, unauthorized}, Of(401, <<>>)),
    ?assertEqual({away, timeout}, Of(408, <<"timeout">>)),
    ?assertEqual({elsewhere, <<"leader not found">>}, Of(503, <<"leader not found\n">>)),
    ?assertEqual({elsewhere, <<"HTTP status 503">>}, Of(503, <<>>)),
    ?assertEqual({away, {http_status, 301, <<>>}}, Of(301, <<>>)),
    ?assertMatch({away, {http_status, 500, _}}, Of(500, <<"leader address: x", 255>>)),
    ?assertMatch({away, {not_an_answer_of_rqlite, <<"<html>">>}}, Of(200, <<"<html>">>)).

empty_parts_of_a_query_are_left_out_test() ->
    ?assertEqual({ok, #{columns => [<<"a">>], types => [<<"text">>], values => []}},
                 warp_rqlite_answer:query(200, <<"{\"results\":[{},{\"columns\":[\"a\"],\"types\":[\"text\"]}]}">>)),
    ?assertEqual({ok, #{columns => [], types => [], values => []}},
                 warp_rqlite_answer:query(200, <<"{\"results\":[{},{}]}">>)).
