%% A cluster without epmd, with the flags of docs/cluster.md: each node listens on the same port of its own address.
-module(warp_cluster_epmdless_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1]).
-export([nodes_find_each_other_by_the_port/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [nodes_find_each_other_by_the_port].

init_per_suite(Config) ->
    case gen_tcp:listen(0, [{ip, {127, 0, 0, 3}}]) of
        {ok, Socket} ->
            {ok, Port} = inet:port(Socket),
            ok = gen_tcp:close(Socket),
            [{port, integer_to_list(Port)}, {dir, warp_test:new_dir()} | Config];
        %% As on macOS.
        {error, Why} ->
            {skip, io_lib:format("this machine has no address 127.0.0.3: ~tp", [Why])}
    end.

end_per_suite(Config) -> warp_test:remove_dir(proplists:get_value(dir, Config)).

%% The flags behind the name of the node, for that address and port.
flags(Host, Port) ->
    {ok, Text} = file:read_file(filename:join(warp_fault_vm:root(), "docs/cluster.md")),
    [_, Section] = string:split(Text, "\n### Without epmd\n"),
    {match, [Flags]} = re:run(Section, "^erl -name \\S+ (.*)$", [multiline, {capture, [1], list}]),
    Here = string:replace(Flags, "9100", Port, all),
    [string:trim(Flag, both, "'") || Flag <- string:lexemes(string:replace(Here, "10,0,0,1", Host, all), " ")].

start(Name, Last, Config) ->
    Flags = flags(lists:concat(["127,0,0,", Last]), proplists:get_value(port, Config)),
    %% Where nobody listens: an epmd that runs for others on this machine is not asked.
    NoEpmd = ["-epmd_port", "1"],
    warp_cluster_vm:start(Name, proplists:get_value(dir, Config), Flags ++ NoEpmd,
                          #{host => lists:concat(["127.0.0.", Last])}).

nodes_find_each_other_by_the_port(Config) ->
    [A, B, C] = Vms = [start(Name, Last, Config) || {Name, Last} <- [{a, 2}, {b, 3}, {c, 4}]],
    ok = warp_cluster_vm:open_all(Vms, #{}),
    ok = warp_cluster_vm:run(C, fun() -> warp_cluster:migrate(warp_cluster_vm:ctx(), #{timeout => 60000}) end),
    Status = fun() -> {ok, #{shards := Shards}} = warp_cluster:status(warp_cluster_vm:ctx()), Shards end,
    ?assertEqual([2, 3, 3], lists:sort([length(Ns) || Ns <- maps:values(warp_cluster_vm:run(B, Status))])),
    Append = fun() ->
        lists:usort([element(1, warp_core:append(warp_cluster_vm:entity(<<"e", N>>), warp_test:credited(1)))
                     || N <- lists:seq($a, $z)])
    end,
    ?assertEqual([ok], warp_cluster_vm:run(A, Append)),
    Names = fun() -> erl_epmd:names() end,
    ?assertEqual({error, address}, warp_cluster_vm:run(A, Names)),
    %% One that was killed is found again, since nobody has to have forgotten it.
    ok = warp_cluster_vm:kill(B),
    Again = start(b, 3, Config),
    ok = warp_cluster_vm:open(Again, [A], #{}),
    ok = warp_test:wait_until(fun() -> warp_cluster_vm:run(C, Append) =:= [ok] end, 20000),
    lists:foreach(fun warp_cluster_vm:kill/1, [A, Again, C]).
