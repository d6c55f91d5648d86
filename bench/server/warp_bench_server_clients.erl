%% Who appends: a client in Rust and warp-db in Node to the server, and the same client in Rust to PostgreSQL. All say
%% what they did in the same form.
-module(warp_bench_server_clients).

-export([start/3, name/1]).
-export_type([client/0]).

-type name() :: warp | node | postgres.
%% It takes so many connections at most.
-type client() :: #{name := string(), connections := pos_integer() | infinity, stop := fun(() -> ok),
                    run := fun((Connections :: pos_integer(), InFlight :: pos_integer(), Seconds :: pos_integer()) ->
                               warp_bench_run:figures())}.

-spec name(name()) -> string().
name(warp) -> "server";
name(node) -> "server, by warp-db in Node";
name(postgres) -> "PostgreSQL".

%% Installs and builds what it needs, or says why there is none.
-spec start(name(), Dir :: file:filename(), warp_bench_server_vm:server()) -> {ok, client()} | {missing, iodata()}.
start(Name, Dir, Server) ->
    {ok, Root} = file:get_cwd(),
    Env = #{root => Root},
    try started(Name, Dir, Server, Env) of
        {Most, Command, Stop} ->
            Run = fun(Connections, InFlight, Seconds) ->
                figures(Env, Command([integer_to_list(N) || N <- [Connections, InFlight, Seconds]]))
            end,
            {ok, #{name => name(Name), connections => Most, run => Run, stop => Stop}}
    catch
        throw:Why -> {missing, Why}
    end.

started(warp, _, #{address := Address, token := Token}, Env) ->
    Command = fun(Numbers) -> warp_bench_server_vm:load(["appends", Address, Token | Numbers]) end,
    %% The entities are in memory before anything counts.
    _ = figures(Env, Command(["1", "256", "1"])),
    {infinity, Command, fun() -> ok end};
started(node, _, #{address := Address, token := Token}, #{root := Root} = Env) ->
    _ = warp_peers_os:run(Env, [filename:join(Root, "bench/server/build"), "node"]),
    [_, Port] = string:split(Address, ":"),
    Script = filename:join(Root, "bench/server/appends.mjs"),
    {1, fun([_ | Numbers]) -> ["node", Script, Port, Token | Numbers] end, fun() -> ok end};
started(postgres, Dir, _, Env) ->
    {Peer, Address} = postgres(filename:join(Dir, "postgres"), Env),
    Command = fun(Numbers) -> warp_bench_server_vm:load(["postgres", Address | Numbers]) end,
    {infinity, Command, fun() -> warp_peers_postgres:close(Peer) end}.

%% As `make bench-peers' runs it, but that it listens at a port, as the server does.
postgres(Dir, #{root := Root} = Env) ->
    Bin = filename:join(Root, "_build/peers"),
    _ = warp_peers_os:run(Env, [filename:join(Root, "bench/peers/setup"), Bin, "postgres"]),
    ok = filelib:ensure_path(Dir),
    Port = integer_to_list(free_port()),
    true = os:putenv("PGPORT", Port),
    As = as(Dir, Env),
    {warp_peers_postgres:open(postgres, empty, Dir, Env#{bin => Bin, as => As, sockets => "127.0.0.1", dir => Dir}),
     "127.0.0.1:" ++ Port}.

free_port() ->
    {ok, Socket} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Socket),
    ok = gen_tcp:close(Socket),
    Port.

%% PostgreSQL does not run as root.
as(Dir, Env) ->
    case [list_to_integer(string:trim(os:cmd("id -" ++ What))) || What <- ["u", "u nobody", "g nobody"]] of
        [0, User, Group] ->
            ok = file:change_owner(Dir, User, Group),
            As = ["setpriv", "--reuid=" ++ integer_to_list(User), "--regid=" ++ integer_to_list(Group),
                  "--clear-groups"],
            try warp_peers_os:run(Env, As ++ ["test", "-w", Dir]) of
                _ -> As
            catch
                throw:_ -> throw(["the user nobody, who runs it, cannot write below ", Dir])
            end;
        _ ->
            []
    end.

figures(Env, Command) ->
    Said = list_to_binary(string:trim(warp_peers_os:run(Env, Command))),
    case warp_json:decode(Said) of
        {ok, #{<<"per_second">> := Rate, <<"p50_us">> := P50, <<"p99_us">> := P99}} -> {float(Rate), P50, P99};
        _ -> throw(io_lib:format("~ts printed ~ts", [hd(Command), Said]))
    end.
