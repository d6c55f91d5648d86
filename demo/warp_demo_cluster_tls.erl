%% Certificates for nodes that talk by TLS: an authority of their own, and one certificate for all nodes of the demo.
-module(warp_demo_cluster_tls).

-export([arguments/1]).

-include_lib("public_key/include/public_key.hrl").

%% Makes the files in a folder, and gives the arguments of `erl' that use them.
-spec arguments(file:filename()) -> [string()].
arguments(Dir) ->
    {ok, _} = application:ensure_all_started(public_key),
    ok = filelib:ensure_dir(filename:join(Dir, "x")),
    Key = [{digest, sha256}, {key, {namedCurve, secp256r1}}],
    %% A certificate names the hosts that may show it: what stands behind the @ of a node's name. OTP 25 looks for an
    %% address among the names, OTP 27 among the addresses.
    Names = [{dNSName, "127.0.0.1"}, {iPAddress, <<127, 0, 0, 1>>}],
    Hosts = #'Extension'{extnID = ?'id-ce-subjectAltName', extnValue = Names, critical = false},
    Chain = #{root => Key, intermediates => [], peer => [{extensions, [Hosts]} | Key]},
    Made = public_key:pkix_test_data(#{server_chain => Chain, client_chain => Chain}),
    #{server_config := Server, client_config := Client} = Made,
    Files = [{Role, side(Dir, Role, Config)} || {Role, Config} <- [{server, Server}, {client, Client}]],
    File = filename:join(Dir, "tls.config"),
    ok = file:write_file(File, io_lib:format("~tp.~n", [[{Role, options(Role, Of)} || {Role, Of} <- Files]])),
    ["-proto_dist", "inet_tls", "-ssl_dist_optfile", File].

%% Both sides show a certificate, and take only what the authority has signed.
options(server, Files) -> [{verify, verify_peer}, {fail_if_no_peer_cert, true}, {secure_renegotiate, true} | Files];
options(client, Files) -> [{verify, verify_peer} | Files].

side(Dir, Role, Config) ->
    {Kind, Key} = proplists:get_value(key, Config),
    [{cacertfile, pem(Dir, Role, "ca", [{'Certificate', Der, not_encrypted}
                                        || Der <- proplists:get_value(cacerts, Config)])},
     {certfile, pem(Dir, Role, "cert", [{'Certificate', proplists:get_value(cert, Config), not_encrypted}])},
     {keyfile, pem(Dir, Role, "key", [{Kind, Key, not_encrypted}])}].

pem(Dir, Role, Name, Entries) ->
    File = filename:join(Dir, atom_to_list(Role) ++ "-" ++ Name ++ ".pem"),
    ok = file:write_file(File, public_key:pem_encode(Entries)),
    ok = file:change_mode(File, 8#600),
    File.
