%% Who asks and who answers: passwords, certificates.
-module(warp_rqlite_tls_SUITE).

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([log/2]).
-export([password/1, no_report_shows_a_password/1, certificates_are_checked/1,
         no_tls_where_it_is_wanted/1, client_certificates/1,
         certificate_files/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include_lib("public_key/include/public_key.hrl").

-define(OPTIONS, #{max_rows => 10, timeout => 20000, level => none}).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [password, no_report_shows_a_password, certificates_are_checked,
     no_tls_where_it_is_wanted, client_certificates, certificate_files].

init_per_suite(Config) ->
    case warp_rqlite_server:require(Config) of
        {skip, _} = Skip -> Skip;
        Found -> [{dir, warp_test:new_dir()} | Found]
    end.

end_per_suite(Config) ->
    warp_test:remove_dir(?config(dir, Config)).

password(Config) ->
    File = filename:join(?config(dir, Config), "auth.json"),
    ok = file:write_file(File, <<"[{\"username\":\"warp\",\"password\":\"s\xc3\xa4sam\",\"perms\":[\"all\"]},"
                                 "{\"username\":\"reader\",\"password\":\"r\",\"perms\":[\"query\"]}]">>),
    Node = node(Config, "auth", #{args => ["-auth", File], auth => <<"warp:s\xc3\xa4sam">>}),
    Url = warp_rqlite_server:url(Node),
    As = fun(Options) -> both(open([Url], Options)) end,
    Away = {error, {away, {list_to_binary(Url), unauthorized}}},
    ?assertEqual({ok, ok}, As(#{username => <<"warp">>, password => <<"s\x{e4}sam"/utf8>>})),
    ?assertEqual({ok, ok}, As(#{username => "warp", password => [$s, 228, $s, $a, $m]})),
    ?assertEqual({Away, ok}, As(#{username => <<"reader">>, password => <<"r">>})),
    ?assertEqual({Away, Away}, As(#{username => <<"warp">>, password => <<"wrong">>})),
    ?assertEqual({Away, Away}, As(#{})),
    warp_rqlite_server:kill(Node).

%% Neither what a process says of itself, nor what is logged when one crashes or is refused.
no_report_shows_a_password(Config) ->
    File = filename:join(?config(dir, Config), "other.json"),
    ok = file:write_file(File, <<"[{\"username\":\"warp\",\"password\":\"geheim17\",\"perms\":[\"all\"]}]">>),
    Node = node(Config, "other", #{args => ["-auth", File], auth => <<"warp:geheim17">>}),
    Start = fun(Folder, Password) ->
        warp_test:start(#{data_dir => filename:join(?config(dir, Config), Folder),
                          aggregates => [warp_read_model:aggregate()],
                          projections => {rqlite, #{nodes => [warp_rqlite_server:url(Node)],
                                                    username => <<"warp">>, password => Password}}})
    end,
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => self()}),
    Ctx = Start("right", "geheim17"),
    warp_read_model:load(Ctx, 1, 20),
    warp_read_model:assert_equal(Ctx, 60000),
    Processes = [Pid || Pid <- processes(), is_warps(Pid)],
    States = [sys:get_status(Pid) || Pid <- Processes],
    [exit(Pid, {crashed, Pid}) || Pid <- Processes],
    warp_test:wait_until(fun() -> catch warp_read_model:assert_equal(Ctx, 60000) =:= ok end, 60000),
    warp_test:stop(Ctx),
    Refused = Start("wrong", "geheim18"),
    warp_test:wait_until(fun() ->
        {ok, #{state := State}} = warp_projection:status(Refused),
        State =/= up andalso State =/= new
    end),
    warp_test:stop(Refused),
    ok = logger:remove_handler(?MODULE),
    Shown = unicode:characters_to_binary(io_lib:format("~0tp~ts", [States, logged()])),
    ?assert(length(Processes) > 3),
    ?assertNotEqual(nomatch, binary:match(Shown, <<"crashed">>)),
    ?assertNotEqual(nomatch, binary:match(Shown, <<"unauthorized">>)),
    [?assertEqual({Secret, nomatch}, {Secret, binary:match(Shown, Secret)})
     || Password <- [<<"geheim17">>, <<"geheim18">>],
        Secret <- [Password, base64:encode(<<"warp:", Password/binary>>)]],
    warp_rqlite_server:kill(Node).

is_warps(Pid) ->
    case process_info(Pid, dictionary) of
        {dictionary, Dictionary} ->
            case proplists:get_value('$initial_call', Dictionary) of
                {Module, init, 1} -> lists:prefix("warp_projection_", atom_to_list(Module));
                _ -> false
            end;
        undefined -> false
    end.

%% A handler of logger's.
log(Event, #{config := Pid}) ->
    Pid ! {logged, logger_formatter:format(Event, #{})}.

logged() ->
    receive {logged, Text} -> [Text | logged()] after 0 -> [] end.

certificates_are_checked(Config) ->
    {Ours, Others} = {certificates(Config, "ours"), certificates(Config, "others")},
    Node = tls_node(Config, "tls", Ours, []),
    Url = warp_rqlite_server:url(Node),
    Localhost = "https://localhost:" ++ lists:last(string:split(Url, ":", all)),
    With = fun(At, Tls) -> both(open([At], #{tls => Tls})) end,
    ?assertEqual({ok, ok}, With(Url, #{cacertfile => ca(Ours)})),
    ?assertMatch({{error, {away, {_, {tls, unknown_ca, _}}}}, {error, {away, {_, {tls, unknown_ca, _}}}}},
                 With(Url, #{cacertfile => ca(Others)})),
    ?assertMatch({{error, {away, {_, {tls, unknown_ca, _}}}}, _}, With(Url, #{})),
    %% The certificate is of 127.0.0.1.
    ?assertMatch({{error, {away, {_, {tls, _, _}}}}, _}, With(Localhost, #{cacertfile => ca(Ours)})),
    warp_rqlite_server:kill(Node).

no_tls_where_it_is_wanted(Config) ->
    Ours = certificates(Config, "ours"),
    Tls = tls_node(Config, "wanted", Ours, []),
    "https" ++ Rest = warp_rqlite_server:url(Tls),
    ?assertMatch({{error, {away, {_, {http_status, 400, _}}}}, {error, {away, _}}}, both(open(["http" ++ Rest], #{}))),
    warp_rqlite_server:kill(Tls),
    Plain = node(Config, "plain", #{}),
    "http" ++ More = warp_rqlite_server:url(Plain),
    ?assertMatch({{error, {away, {_, _}}}, {error, {away, _}}},
                 both(open(["https" ++ More], #{tls => #{cacertfile => ca(Ours)}}))),
    warp_rqlite_server:kill(Plain).

client_certificates(Config) ->
    Ours = certificates(Config, "ours"),
    Node = tls_node(Config, "mutual", Ours, ["-http-verify-client", "-http-ca-cert", ca(Ours)]),
    Url = warp_rqlite_server:url(Node),
    With = fun(Tls) -> both(open([Url], #{tls => Tls#{cacertfile => ca(Ours)}})) end,
    ?assertEqual({ok, ok}, With(#{certfile => file(Ours, "client.pem"), keyfile => file(Ours, "client.key")})),
    ?assertMatch({error, {away, _}},
                 warp_rqlite:execute(open([Url], #{tls => #{cacertfile => ca(Ours)}}), [{<<"SELECT 1">>, [[]]}])),
    warp_rqlite_server:kill(Node).

certificate_files(Config) ->
    Empty = filename:join(?config(dir, Config), "empty.pem"),
    ok = file:write_file(Empty, <<>>),
    Open = fun(File) ->
        {ok, Checked} = warp_rqlite:check(#{nodes => ["https://127.0.0.1:4001"], tls => #{cacertfile => File}}),
        warp_rqlite:open(Checked, #{})
    end,
    ?assertEqual({error, {cannot_read, "/no/such.pem", enoent}}, Open("/no/such.pem")),
    ?assertEqual({error, {no_certificate_in, Empty}}, Open(Empty)).

%% What a write and a read come to.
both(Target) ->
    Written = warp_rqlite:execute(Target, [{<<"CREATE TABLE IF NOT EXISTS t (a)">>, [[]]}]),
    Read = case warp_rqlite:query(Target, <<"SELECT 1">>, [], ?OPTIONS) of
               {ok, #{rows := [[1]]}} -> ok;
               Error -> Error
           end,
    warp_rqlite:close(Target),
    {Written, Read}.

open(Urls, Options) ->
    {ok, Checked} = warp_rqlite:check(Options#{nodes => Urls, timeout => 20000}),
    {ok, Target} = warp_rqlite:open(Checked, #{}),
    Target.

node(Config, Name, Opts) ->
    warp_rqlite_server:start(filename:join(?config(dir, Config), Name), Opts).

tls_node(Config, Name, Certificates, Args) ->
    Tls = ["-http-cert", file(Certificates, "server.pem"), "-http-key", file(Certificates, "server.key")],
    node(Config, Name, #{https => true, args => Tls ++ Args, certificates => Certificates}).

ca(Certificates) -> file(Certificates, "ca.pem").

file(Certificates, Name) -> filename:join(Certificates, Name).

%% A folder with an authority's certificate, and those of a server on 127.0.0.1 and of a client.
certificates(Config, Name) ->
    Dir = filename:join(?config(dir, Config), Name),
    case filelib:is_dir(Dir) of
        true -> ok;
        false ->
            ok = filelib:ensure_path(Dir),
            Here = #'Extension'{extnID = ?'id-ce-subjectAltName', extnValue = [{iPAddress, <<127, 0, 0, 1>>}],
                                critical = false},
            How = [{digest, sha256}, {key, {namedCurve, secp256r1}}],
            Chain = #{root => How, intermediates => [], peer => How},
            #{server_config := Server, client_config := Client} = public_key:pkix_test_data(
                #{server_chain => Chain#{peer => [{extensions, [Here]} | How]}, client_chain => Chain}),
            write(Dir, "server", Server),
            write(Dir, "client", Client),
            Authorities = proplists:get_value(cacerts, Server) ++ proplists:get_value(cacerts, Client),
            pem(Dir, "ca.pem", [{'Certificate', Der, not_encrypted} || Der <- Authorities])
    end,
    Dir.

write(Dir, Name, Config) ->
    pem(Dir, Name ++ ".pem", [{'Certificate', proplists:get_value(cert, Config), not_encrypted}]),
    {Type, Key} = proplists:get_value(key, Config),
    pem(Dir, Name ++ ".key", [{Type, Key, not_encrypted}]).

pem(Dir, Name, Entries) ->
    ok = file:write_file(filename:join(Dir, Name), public_key:pem_encode(Entries)).
