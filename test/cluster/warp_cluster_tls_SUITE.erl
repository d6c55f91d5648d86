%% A cluster whose nodes talk by TLS, set up with the commands, the file and the flags of docs/cluster.md.
-module(warp_cluster_tls_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([only_certificates_of_the_authority_get_in/1, the_name_of_the_host_is_checked/1, the_authority_is_changed/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [only_certificates_of_the_authority_get_in, the_name_of_the_host_is_checked, the_authority_is_changed].

%% Two authorities, as the document makes them for a change of the authority; and as many that nobody knows.
init_per_suite(Config) ->
    case os:find_executable("openssl") of
        false ->
            {skip, "there is no openssl"};
        _ ->
            Dir = warp_test:new_dir(),
            Ours = filename:join(Dir, "ours"),
            Others = filename:join(Dir, "others"),
            ok = make_certificates(Ours),
            ok = make_certificates(Others),
            [{made, Dir}, {ours, Ours}, {others, Others} | Config]
    end.

end_per_suite(Config) -> warp_test:remove_dir(proplists:get_value(made, Config)).

init_per_testcase(_Case, Config) ->
    [{dir, warp_test:new_dir()} | Config].

end_per_testcase(_Case, Config) ->
    warp_test:remove_dir(proplists:get_value(dir, Config)).

%% ------------------------------------------------------------------ What the document says

%% The blocks of the section, by language, in order.
blocks(Language) ->
    {ok, Text} = file:read_file(filename:join(warp_fault_vm:root(), "docs/cluster.md")),
    [_, Behind] = string:split(Text, "\n### TLS\n"),
    [Section | _] = string:split(Behind, "\n### "),
    {match, Blocks} = re:run(Section, "^```" ++ Language ++ "\n(.*?)^```$",
                             [global, multiline, dotall, {capture, [1], list}]),
    [on_this_machine(Block) || [Block] <- Blocks].

on_this_machine(Text) -> lists:flatten(string:replace(Text, "10.0.0.", "127.0.0.", all)).

make_certificates(Dir) ->
    [First, _Start, Second] = blocks("sh"),
    ok = filelib:ensure_path(Dir),
    Script = filename:join(Dir, "make.sh"),
    ok = file:write_file(Script, ["set -eu\ncd \"$(dirname \"$0\")\"\n", First, "mkdir first\nmv 127.* first\n",
                                  Second, "mkdir second\nmv 127.* second\necho made\n"]),
    ?assertMatch({match, _}, re:run(os:cmd("bash " ++ Script ++ " 2>&1"), "^made$", [multiline])),
    ok.

%% The flags of a VM whose files are in a folder of its own in place of /etc/warp.
flags(Dir, Files) ->
    ok = filelib:ensure_path(Dir),
    ok = put_files(Dir, Files),
    [Conf] = blocks("erlang"),
    [_, "erl -name " ++ Command, _] = blocks("sh"),
    In = fun(Text) -> lists:flatten(string:replace(Text, "/etc/warp", Dir, all)) end,
    ok = file:write_file(filename:join(Dir, "ssl_dist.conf"), In(Conf)),
    [_Name | Flags] = string:lexemes(In(Command), " \n"),
    Flags.

put_files(Dir, Files) ->
    lists:foreach(fun({Name, File}) -> {ok, _} = file:copy(File, filename:join(Dir, Name)) end, Files).

%% The files of a host: which authorities it knows, and who made its certificate.
files(Made, Authorities, Round, Host) ->
    In = fun(Name) -> filename:join(Made, Name) end,
    [{"ca.pem", In(Authorities)}, {"node.pem", In(filename:join(Round, Host ++ ".pem"))},
     {"node.key", In(filename:join(Round, Host ++ ".key"))}].

%% ------------------------------------------------------------------ Nodes

start(Name, Config, Flags) -> start(Name, Config, Flags, "127.0.0.1").

start(Name, Config, Flags, Host) ->
    warp_cluster_vm:start(Name, proplists:get_value(dir, Config), Flags, #{host => Host}).

%% The folder with the files of a node.
tls(Name, Config) -> filename:join([proplists:get_value(dir, Config), tls, Name]).

ours(Config) -> files(proplists:get_value(ours, Config), "warp-authority.pem", "first", "127.0.0.1").

two(Config) ->
    Vms = [start(Name, Config, flags(tls(Name, Config), ours(Config))) || Name <- [a, b]],
    ok = warp_cluster_vm:open_all(Vms, #{}),
    Vms.

kill(Vms) -> lists:foreach(fun warp_cluster_vm:kill/1, Vms).

connects(From, To) ->
    Node = warp_cluster_vm:node_of(To),
    warp_cluster_vm:run(From, fun() -> net_kernel:connect_node(Node) end).

members(Vm) ->
    {ok, Members} = warp_cluster_vm:run(Vm, fun() -> warp_cluster:members(warp_cluster_vm:ctx()) end),
    [Node || #{node := Node, is_linked := true} <- Members].

settled(Vm) ->
    ok = warp_cluster_vm:run(Vm, fun() -> warp_cluster:migrate(warp_cluster_vm:ctx(), #{timeout => 60000}) end).

append_each(Vm) ->
    warp_cluster_vm:run(Vm, fun() ->
        lists:usort([element(1, warp_core:append(warp_cluster_vm:entity(<<"e", N>>), warp_test:credited(1)))
                     || N <- lists:seq($a, $z)])
    end).

only_certificates_of_the_authority_get_in(Config) ->
    [A, B] = Vms = two(Config),
    ok = settled(A),
    {ok, #{shards := Shards}} = warp_cluster_vm:run(B, fun() -> warp_cluster:status(warp_cluster_vm:ctx()) end),
    ?assertEqual([4, 4], [length(Ns) || Ns <- maps:values(Shards)]),
    ?assertEqual([ok], append_each(B)),
    Known = files(proplists:get_value(others, Config), "warp-authority.pem", "first", "127.0.0.1"),
    %% It knows our authority, and has a certificate of another one.
    Others = [hd(ours(Config)) | tl(Known)],
    Outsiders = [start(other, Config, flags(tls(other, Config), Others)),
                 start(bare, Config, without_certificate(flags(tls(bare, Config), ours(Config)))),
                 start(plain, Config, [])],
    Joining = [spawn(fun() -> warp_cluster_vm:open(Vm, [A], #{}) end) || Vm <- Outsiders],
    ?assertEqual([[false, false], [false, false], [false, false]],
                 [[connects(Vm, A), connects(A, Vm)] || Vm <- Outsiders]),
    timer:sleep(3000),
    ?assertEqual([true, true, true], [is_process_alive(Pid) || Pid <- Joining]),
    Two = lists:sort([warp_cluster_vm:node_of(Vm) || Vm <- Vms]),
    ?assertEqual([Two, Two], [members(Vm) || Vm <- Vms]),
    ?assertEqual([ok], append_each(A)),
    _ = [exit(Pid, kill) || Pid <- Joining],
    kill(Vms ++ Outsiders).

without_certificate(Flags) ->
    Conf = lists:last(Flags),
    {ok, [Options]} = file:consult(Conf),
    Without = [{Role, [Option || {Key, _} = Option <- Of, Key =/= certfile, Key =/= keyfile]} || {Role, Of} <- Options],
    ok = file:write_file(Conf, io_lib:format("~tp.~n", [Without])),
    Flags.

%% A node cannot be taken for another one by who has the certificate of that one's neighbour.
the_name_of_the_host_is_checked(Config) ->
    A = start(a, Config, flags(tls(a, Config), ours(Config))),
    Neighbours = files(proplists:get_value(ours, Config), "warp-authority.pem", "first", "127.0.0.2"),
    B = start(b, Config, flags(tls(b, Config), Neighbours)),
    ?assertEqual(false, connects(A, B)),
    kill([A, B]).

%% Around the nodes three times, as the document says.
the_authority_is_changed(Config) ->
    Vms = two(Config),
    Made = proplists:get_value(ours, Config),
    Rounds = [files(Made, "both.pem", "first", "127.0.0.1"), files(Made, "both.pem", "second", "127.0.0.1"),
              files(Made, "warp-authority-2.pem", "second", "127.0.0.1")],
    [A, B] = lists:foldl(fun(Files, Now) -> around(Files, Now, Config) end, Vms, Rounds),
    %% The old authority is out.
    Old = start(old, Config, flags(tls(old, Config), files(Made, "both.pem", "first", "127.0.0.1"))),
    ?assertEqual(false, connects(Old, A)),
    kill([A, B, Old]).

around(Files, [A, B], Config) ->
    NewA = again(a, A, B, Files, Config),
    [NewA, again(b, B, NewA, Files, Config)].

again(Name, Vm, Other, Files, Config) ->
    ok = warp_cluster_vm:stop(Vm),
    New = start(Name, Config, flags(tls(Name, Config), Files)),
    ok = warp_cluster_vm:open(New, [Other], #{}),
    ok = warp_test:wait_until(fun() -> length(members(New)) =:= 2 andalso append_each(New) =:= [ok] end, 20000),
    New.
