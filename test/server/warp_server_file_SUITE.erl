%% The configuration file of a server, which the gateway's program reads.
-module(warp_server_file_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].
all() -> [a_file_has_all_options, modules_are_named_as_their_languages_do, what_is_wrong_is_said,
          a_change_of_tokens_counts_while_it_runs, a_change_of_times_counts_while_it_runs].
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

a_file_has_all_options(Config) ->
    Code = filename:join(?config(dir, Config), "code"),
    ok = file:make_dir(Code),
    {ok, Options} = read(Config, "hosts = ['api.example.com']\norigins = ['https://example.com']\nserver = 'here'\n"
        "keys = ['00']\nlimits = {connections = 7}\nlive = {long_poll_ms = 9}\n"
        "[[contexts]]\nname = 'bank'\ndata_dir = 'data'\nmodule = 'lists'\ncode = ['co*']\n"
        "options = {shards = 2, durability = 'normal'}\n"
        "[[contexts]]\nname = 'log'\nlogs = ['Account']\n"
        "[[listeners]]\naddress = '::1'\nport = 9000\ncertificate = 'a.pem'\nkey = '/b.pem'\n"
        "[[tokens]]\nid = 'web'\nsha256 = 'ab'\nexpires = 2030-01-01T00:00:00Z\nconnections = 3\n"
        "[[tokens.scopes]]\noperations = ['read']\nprefix = 'all'\naggregates = 'all'\n"),
    Dir = ?config(dir, Config),
    ?assertEqual(
        #{hosts => [<<"api.example.com">>], origins => [<<"https://example.com">>], server => <<"here">>,
          keys => [<<"00">>], limits => #{connections => 7}, live => #{long_poll_ms => 9},
          contexts => [#{name => <<"bank">>, data_dir => under(Dir, "data"), module => lists,
                         options => #{shards => 2, durability => normal}},
                       #{name => <<"log">>, data_dir => under(Dir, "data"),
                         options => #{aggregates => [#{name => <<"Account">>, initial_state => null}]}}],
          listeners => [#{address => <<"::1">>, port => 9000,
                          tls => #{certificate => under(Dir, "a.pem"), key => <<"/b.pem">>}}],
          tokens => [#{id => <<"web">>, sha256 => <<"ab">>, expires => 1893456000, connections => 3,
                       scopes => [#{operations => [read], prefix => <<"all">>, aggregates => all}]}]},
        Options),
    ?assert(lists:member(Code, code:get_path())),
    true = code:del_path(Code).

under(Dir, Name) -> filename:join(unicode:characters_to_binary(Dir), Name).

modules_are_named_as_their_languages_do(Config) ->
    Module = fun(Name) ->
        Text = ["[[contexts]]\nname = 'a'\nmodule = '", Name, "'\n"],
        {ok, #{contexts := [#{module := Module}]}} = read(Config, Text),
        Module
    end,
    ?assertEqual([my_bank, 'Elixir.MyApp.Bank', my_app@bank],
                 [Module(Name) || Name <- ["my_bank", "MyApp.Bank", "my_app/bank"]]).

what_is_wrong_is_said(Config) ->
    Context = "[[contexts]]\nname = 'a'\n",
    [?assertMatch({Text, {match, _}}, {Text, re:run(Said, Part)})
     || {Text, Part} <- [{"contexts = 1\n", "contexts is no list"},
                         {"port = 1\n", "it has port, which means nothing. It may have contexts, listeners"},
                         {"[[contexts]\n", "warp.toml"},
                         {Context ++ "code = ['none/*']\n", "code names .*none/\\*, which is no folder"},
                         {Context ++ "module = 'a'\nlogs = ['b']\n", "logs stand beside a module"},
                         {"live = 5\n", "live is no table"},
                         {"[[listeners]]\nkey = 'a'\n", "key stands without a certificate"},
                         {"[[tokens]]\nexpires = 'soon'\n", "expires is no time such as"}],
        {error, {bad_configuration, Said}} <- [read(Config, Text)]],
    {error, {bad_configuration, Said}} = warp_server_file:read(filename:join(?config(dir, Config), "none.toml")),
    ?assertMatch({match, _}, re:run(Said, "none.toml")).

%% A file with one token, and with what stands before that.
text(Before, Token) ->
    [Before, "[[contexts]]\nname = 'file'\nlogs = ['Account']\n[[listeners]]\nport = 0\n",
     "[[tokens]]\nid = 'web'\nsha256 = '", warp_server_test:hash(Token), "'\n[[tokens.scopes]]\n"].

%% Runs the application with a file. Another suite may have started it without one.
running(Config, Text, Fun) ->
    _ = application:stop(warp_server),
    ok = application:set_env(warp_server, configuration, write(Config, Text)),
    {ok, _} = application:ensure_all_started(warp_server),
    try
        [Server] = [Pid || {server, Pid, _, _} <- supervisor:which_children(whereis_app())],
        Fun(Server)
    after
        ok = application:stop(warp_server),
        ok = application:unset_env(warp_server, configuration)
    end.

%% Nobody restarts it: the file is looked at once a second.
a_change_of_tokens_counts_while_it_runs(Config) ->
    running(Config, text("", "first"), fun(Server) ->
        Status = fun(Token) ->
            element(1, warp_server_test:request(Server, get, "/v1/contexts/file/stats", Token, none))
        end,
        ?assertEqual([200, 401], [Status(Token) || Token <- ["first", "second"]]),
        %% A file that is wrong changes nothing.
        _ = write(Config, text("nonsense", "second")),
        timer:sleep(2500),
        ?assertEqual([200, 401], [Status(Token) || Token <- ["first", "second"]]),
        _ = write(Config, text("", "second")),
        warp_test:wait_until(fun() -> [Status(Token) || Token <- ["first", "second"]] =:= [401, 200] end)
    end).

a_change_of_times_counts_while_it_runs(Config) ->
    running(Config, text("live = {long_poll_ms = 100}\n", "first"), fun(Server) ->
        Waits = fun() ->
            {Micros, {204, _, _}} = timer:tc(fun() ->
                warp_server_test:request(Server, get, "/v1/contexts/file/streams/entities/a?offset=now&live=long-poll",
                                         "first", none)
            end),
            Micros div 1000
        end,
        ?assert(Waits() < 1000),
        _ = write(Config, text("live = {long_poll_ms = 1500}\n", "first")),
        warp_test:wait_until(fun() -> Waits() >= 1500 end)
    end).

%% The supervisor of the application.
whereis_app() ->
    {ok, Master} = {ok, application_controller:get_master(warp_server)},
    {Sup, warp_server_app} = application_master:get_child(Master),
    Sup.

read(Config, Text) -> warp_server_file:read(write(Config, Text)).

write(Config, Text) ->
    File = filename:join(?config(dir, Config), "warp.toml"),
    ok = file:write_file(File, Text),
    File.
