%% The server: appends over WebSockets by a client in Rust and by warp-db in Node, beside rows of PostgreSQL in its own
%% protocol, all over TCP on this machine; and what open subscriptions take of memory.
-module(warp_bench_server).

-export([server/1]).

-import(warp_bench_run, [title/2, row/3, rate/1, micros/1]).

%% How often each figure is measured in turn; over how many connections, and with how many calls in flight on each; by
%% whom; and how many subscriptions are opened.
-define(SIZES, #{rounds => 3, appends => [{1, 1}, {1, 256}, {64, 1}, {64, 64}], clients => [warp, node, postgres],
                 subscriptions => 10000}).

%% `sizes' in the options replaces some of the sizes: a test makes it short by that.
-spec server(map()) -> ok.
server(#{dir := Given, shards := Shards, sizes := Sizes} = Options) ->
    Dir = filename:absname(Given),
    _ = file:del_dir_r(Dir),
    %% For bench/peers/serve, which runs the clients and PostgreSQL.
    ok = filelib:ensure_path(filename:join(Dir, "running")),
    true = os:putenv("WARP_PEERS_DIR", Dir),
    try warp_bench_server_vm:start(Dir, Shards) of
        Server ->
            try
                measured(Server, Options#{dir := Dir, sizes := maps:merge(?SIZES, Sizes)})
            after
                warp_bench_server_vm:stop(Server)
            end
    catch
        throw:Why -> io:format("~nThe server is skipped: ~ts~n", [Why])
    end,
    file:del_dir_r(Dir);
server(Options) ->
    server(Options#{sizes => #{}}).

measured(Server, #{dir := Dir, sizes := #{appends := Appends, clients := Names, subscriptions := Count}} = Options) ->
    io:format("~nThe server: its VM, its gateway, PostgreSQL and the clients share the ~b cores of this machine.~n"
              "So many calls as are in flight belong to each connection.~n", [erlang:system_info(schedulers_online)]),
    Clients = lists:append([client(Name, Dir, Server) || Name <- Names]),
    try
        lists:foreach(fun(Shape) -> appends(Shape, Clients, Options) end, Appends)
    after
        _ = [Stop() || #{stop := Stop} <- Clients]
    end,
    subscriptions(Server, Count).

client(Name, Dir, Server) ->
    case warp_bench_server_clients:start(Name, Dir, Server) of
        {ok, Client} -> [Client];
        {missing, Why} -> io:format("~n~ts is skipped: ~ts~n", [warp_bench_server_clients:name(Name), Why]), []
    end.

appends({Connections, InFlight}, Clients, #{seconds := Seconds, sizes := #{rounds := Rounds}}) ->
    title(["append, ", counted(Connections, " connection"), ", ", integer_to_list(InFlight), " in flight"],
          ["appends/s", "p50", "p99", "of server"]),
    Each = max(1, Seconds div Rounds),
    Able = [Client || #{connections := Most} = Client <- Clients, Connections =< Most],
    [{Servers, _, _} | _] = Measured =
        warp_bench_run:in_turn(Rounds, [fun() -> Run(Connections, InFlight, Each) end || #{run := Run} <- Able]),
    lists:foreach(
        fun({#{name := Name}, {Calls, P50, P99}}) ->
            row(Name, {per_second, Calls},
                [rate(Calls), micros(P50), micros(P99), io_lib:format("~.2f", [Calls / Servers])])
        end, lists:zip(Able, Measured)).

counted(1, Noun) -> ["1", Noun];
counted(N, Noun) -> [integer_to_list(N), Noun, "s"].

%% After all that was appended, which the VM has in memory.
subscriptions(Server, Count) ->
    title([integer_to_list(Count), " subscriptions, a socket each"], ["gateway", "VM", "both"]),
    Before = warp_bench_server_vm:memory(Server),
    memory("before, with the entities", Before),
    case warp_bench_server_vm:subscribe(Server, Count) of
        {ok, Open} ->
            After = warp_bench_server_vm:memory(Server),
            memory("while they are open", After),
            row("for each", {bytes, 0},
                [[integer_to_list((maps:get(Key, After) - maps:get(Key, Before)) div Count), " B"]
                 || Key <- [gateway, vm, both]]),
            warp_bench_server_vm:unsubscribe(Open);
        {error, Why} ->
            io:format("  not measured: ~ts~n", [Why])
    end.

memory(Name, #{gateway := Gateway, vm := Vm, both := Both}) ->
    row(Name, {bytes, Both}, [io_lib:format("~.1f MB", [Bytes / 1.0e6]) || Bytes <- [Gateway, Vm, Both]]).
