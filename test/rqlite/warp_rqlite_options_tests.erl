-module(warp_rqlite_options_tests).
-include_lib("eunit/include/eunit.hrl").

-define(NODE, <<"http://127.0.0.1:4001">>).

check(Options) -> warp_rqlite_options:check(Options).

check_with(Options) -> check(Options#{nodes => [?NODE]}).

defaults_test() ->
    ?assertEqual({ok, #{nodes => ["http://127.0.0.1:4001"], auth => none, tls => #{},
                        timeout => 10000, level => weak}}, check_with(#{})).

urls_test() ->
    {ok, #{nodes := Nodes}} = check(#{nodes => ["https://db.example:4001/", <<"http://[::1]:4001">>, "http://h"]}),
    ?assertEqual(["https://db.example:4001", "http://[::1]:4001", "http://h"], Nodes).

bad_nodes_test() ->
    [?assertMatch({error, {nodes, _}}, check(#{nodes => Nodes}))
     || Nodes <- [[], ?NODE, [ok], [<<"127.0.0.1:4001">>], [<<"ftp://a">>], [<<"http://a/db">>],
                  [<<"http://a?x">>], [<<>>], [<<255>>], ["http://a:x"]]],
    ?assertEqual({error, {nodes, missing}}, check(#{})).

what_else_can_be_wrong_test() ->
    [?assertMatch({error, {Key, _}}, check_with(Options))
     || {Key, Options} <- [
        {colour, #{colour => red}},
        {username, #{password => <<"x">>}}, {password, #{username => <<"x">>}},
        {username, #{username => <<"a:b">>, password => <<"x">>}},
        {password, #{username => <<"a">>, password => x}},
        {tls, #{tls => true}}, {tls, #{tls => #{verify => none}}}, {tls, #{tls => #{cacertfile => ""}}},
        {tls, #{tls => #{certfile => "a"}}}, {tls, #{tls => #{keyfile => "a"}}},
        {timeout, #{timeout => 0}}, {timeout, #{timeout => infinity}}, {level, #{level => best}}]].

passwords_are_not_shown_test() ->
    {ok, Checked} = check_with(#{username => <<"warp">>, password => <<"geheim17">>}),
    {error, InUrl} = check(#{nodes => [<<"http://warp:geheim17@127.0.0.1:4001">>]}),
    Shown = iolist_to_binary(io_lib:format("~0p ~0p", [Checked, InUrl])),
    Encoded = base64:encode(<<"warp:geheim17">>),
    [?assertEqual(nomatch, binary:match(Shown, Secret)) || Secret <- [<<"geheim17">>, Encoded]],
    #{auth := Auth} = Checked,
    ?assertEqual("Basic " ++ binary_to_list(Encoded), Auth()).
