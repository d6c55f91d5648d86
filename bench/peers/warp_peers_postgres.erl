%% PostgreSQL: pgbench with prepared statements is the load, but for COPY, which it cannot do. The server and its
%% clients speak over a Unix socket, or over TCP where `sockets' is an address.
-module(warp_peers_postgres).
-behaviour(warp_peer).

-export([open/4, close/1, fill/2, measure/4, memory_per_event/0]).

-define(PAYLOAD, "{\"amount\":5,\"from\":\"acct-00001234\",\"ok\":true}").
-define(ENTITIES, 10000).
-define(ACCOUNTS, "1000").
-define(BATCH, 500).
-define(SCHEMA, "
    CREATE TABLE events (entity text COLLATE \"C\", seq bigint, type text NOT NULL, payload json NOT NULL,
                         PRIMARY KEY (entity, seq));
    CREATE TABLE states (entity text COLLATE \"C\" PRIMARY KEY, seq bigint NOT NULL, balance bigint NOT NULL)
        WITH (fillfactor = 50);
    CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 50);
    INSERT INTO accounts SELECT i, 0 FROM generate_series(1, " ?ACCOUNTS ") AS i;
    CREATE TABLE transfers (id bigserial PRIMARY KEY, debited int, credited int, amount int)").

open(_, _, Dir, #{as := As, sockets := Sockets} = Env) ->
    Data = filename:join(Dir, "data"),
    New = not filelib:is_dir(Data),
    Make = As ++ [bin(Env, "initdb"), "-A", "trust", "-U", "bench", "--no-sync", "-D", Data],
    _ = [warp_peers_os:run(Env, Make) || New],
    Start = erlang:monotonic_time(microsecond),
    Server = warp_peers_os:serve(Env, "INT", As ++ [bin(Env, "postgres"), "-D", Data | listen(Sockets) ++ settings()]),
    ok = warp_peers_os:until(Server, fun() -> ready(Env) end),
    Took = (erlang:monotonic_time(microsecond) - Start) / 1000,
    Peer = #{server => Server, dir => Dir, start_ms => Took, env => Env},
    _ = [sql(Peer, ?SCHEMA) || New],
    Peer.

listen("/" ++ _ = Folder) -> ["-k", Folder, "-c", "listen_addresses="];
listen(Address) -> ["-k", "", "-c", "listen_addresses=" ++ Address].

%% Every commit is fsynced, as it comes. Memory and the size of the log are what a server for this would be given.
settings() ->
    lists:append([["-c", Setting] || Setting <- [
        "max_connections=1100", "fsync=on", "synchronous_commit=on", "full_page_writes=on",
        "shared_buffers=1GB", "max_wal_size=8GB", "checkpoint_timeout=15min"]]).

bin(#{bin := Bin}, Program) ->
    filename:join([Bin, "postgres", Program]).

ready(#{sockets := Sockets} = Env) ->
    os:cmd(bin(Env, "pg_isready") ++ " -q -h " ++ Sockets ++ "; echo $?") =:= "0\n".

close(#{server := Server}) ->
    warp_peers_os:stop(Server).

sql(#{env := #{sockets := Sockets} = Env}, Sql) ->
    string:trim(warp_peers_os:run(Env, [bin(Env, "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
                                        "-h", Sockets, "-U", "bench", "-d", "postgres", "-c", Sql])).

memory_per_event() -> 0.

%% The index is made after the rows, which is how much is loaded.
fill(Peer, Store) ->
    _ = sql(Peer, "ALTER TABLE events DROP CONSTRAINT events_pkey"),
    case Store of
        {filled, Events, Each} ->
            rows(Peer, "old-", 0, Events div Each - 1, Each);
        {victims, Events, Each, Victims} ->
            %% Others stand between, as they do where events come in one by one.
            rows(Peer, "victim-", 1, Victims + 20, Each),
            rows(Peer, "old-", 0, Events div Each - 1, Each)
    end,
    _ = sql(Peer, "ALTER TABLE events ADD PRIMARY KEY (entity, seq)"),
    _ = sql(Peer, "VACUUM (ANALYZE) events"),
    _ = sql(Peer, "CHECKPOINT"),
    ok.

rows(Peer, Prefix, First, Last, Each) ->
    _ = sql(Peer, io_lib:format("INSERT INTO events SELECT '~s' || e, s, 'Credited', '~s'"
                                " FROM generate_series(1, ~b) AS s, generate_series(~b, ~b) AS e",
                                [Prefix, ?PAYLOAD, Each, First, Last])),
    ok.

measure(#{start_ms := Ms}, start, _, _) ->
    Ms;
measure(#{server := Server}, memory, _, _) ->
    {os_pid, Pid} = erlang:port_info(Server, os_pid),
    warp_peers_os:memory(Pid);
measure(Peer, bytes, {filled, Events, _}, _) ->
    list_to_integer(sql(Peer, "SELECT pg_total_relation_size('events')")) / Events;
measure(Peer, {read, N}, _, _) ->
    once(Peer, io_lib:format("SELECT seq, type, payload FROM events WHERE entity = 'victim-~b' ORDER BY seq;", [N]));
measure(Peer, {delete, N}, _, _) ->
    once(Peer, io_lib:format("DELETE FROM events WHERE entity = 'victim-~b';", [N]));
measure(Peer, {mix, Callers}, _, #{seconds := Seconds}) ->
    Tag = tag(),
    _ = sql(Peer, ["INSERT INTO states SELECT 'mix-", Tag, "-' || i, 0, 0 FROM generate_series(1, 10000) AS i"]),
    timed(Peer, Callers, Seconds, fun(_) -> mix(Tag) end);
measure(Peer, {batches, Callers}, _, #{seconds := Seconds}) ->
    Rows = timed(Peer, Callers, Seconds, fun batch/1),
    Copied = copy(Peer, Callers, Seconds),
    ?BATCH * max(Rows, Copied);
measure(Peer, {singles, Callers}, _, #{seconds := Seconds}) ->
    timed(Peer, Callers, Seconds, fun single/1);
measure(Peer, {transfers, Callers}, _, #{seconds := Seconds}) ->
    timed(Peer, Callers, Seconds, fun(_) -> [{transfer(), 1}] end).

%% A new connection is slow at first, so that many connections need a while to warm up; on a busy machine longer than
%% is tried first. Counts what pgbench says of the seconds that follow. The scripts depend on a tag, so that no key
%% comes twice.
timed(Peer, Callers, Seconds, Scripts) ->
    timed(Peer, Callers, Seconds, Scripts, 1 + Callers div 100).

timed(Peer, Callers, Seconds, Scripts, Warm) ->
    Text = pgbench(Peer, Callers, ["-P", "1", "-T", integer_to_list(Warm + Seconds + 1)], Scripts(tag())),
    case warp_peers_pgbench:rate(Text, Warm, 2 * Callers) of
        {_, Counted} when Counted < Seconds - 0.5, Warm < 100 -> timed(Peer, Callers, Seconds, Scripts, 2 * Warm);
        {_, Counted} when Counted < Seconds - 0.5 -> throw(["the connections did not get warm\n", Text]);
        {Rate, _} -> Rate
    end.

%% How long one transaction took, in milliseconds.
once(Peer, Statement) ->
    warp_peers_pgbench:latency(pgbench(Peer, 1, ["-t", "1"], [{Statement, 1}])).

tag() ->
    integer_to_list(erlang:system_time(microsecond), 36).

%% Callers share the entities out among them, and each takes its own in turn.
turns() ->
    "\\set k :k + 1\n"
    "\\set e :client_id + :callers * mod(:k, :slice)\n".

single(Tag) ->
    [{[turns(), "\\set s 1 + :k / :slice\n",
       "INSERT INTO events VALUES ('acct-", Tag, "-' || :e, :s, 'Credited', :payload);\n"], 1}].

%% One statement with one array of payloads, which the server takes apart.
batch(Tag) ->
    [{[turns(), "\\set s :k / :slice * 500\n",
       "INSERT INTO events SELECT 'acct-", Tag, "-' || :e, :s + n, 'Credited', p"
       " FROM unnest(:payloads::json[]) WITH ORDINALITY AS t(p, n);\n"], 1}].

mix(Tag) ->
    Draw = "\\set e random_zipfian(1, 10000, 1.001)\n",
    [{[Draw, "SELECT seq, balance FROM states WHERE entity = 'mix-", Tag, "-' || :e;\n"], 8},
     {[Draw, "WITH s AS (UPDATE states SET seq = seq + 1, balance = balance + 5"
             " WHERE entity = 'mix-", Tag, "-' || :e RETURNING entity, seq)"
             " INSERT INTO events SELECT entity, seq, 'Credited', :payload::json FROM s;\n"], 2}].

%% Locks the two rows in the order of their keys, so that no two transfers wait for each other.
transfer() ->
    "\\set a random(1, " ?ACCOUNTS ")\n"
    "\\set b 1 + (:a + random(0, " ?ACCOUNTS " - 2)) % " ?ACCOUNTS "\n"
    "BEGIN;\n"
    "SELECT id FROM accounts WHERE id IN (:a, :b) ORDER BY id FOR UPDATE;\n"
    "UPDATE accounts SET balance = balance - 5 WHERE id = :a;\n"
    "UPDATE accounts SET balance = balance + 5 WHERE id = :b;\n"
    "INSERT INTO transfers (debited, credited, amount) VALUES (:a, :b, 5);\n"
    "COMMIT;\n".

%% What pgbench prints.
pgbench(#{env := #{dir := Base, sockets := Sockets} = Env}, Callers, Length, Scripts) ->
    Files = [begin
                 File = filename:join(Base, "script-" ++ integer_to_list(N) ++ ".sql"),
                 ok = file:write_file(File, Script),
                 File ++ "@" ++ integer_to_list(Weight)
             end || {N, {Script, Weight}} <- lists:zip(lists:seq(1, length(Scripts)), Scripts)],
    Payloads = ["{", lists:join(",", lists:duplicate(?BATCH, io_lib:format("~p", [?PAYLOAD]))), "}"],
    Variables = [["k=-1"], ["callers=", integer_to_list(Callers)],
                 ["slice=", integer_to_list(?ENTITIES div Callers)], ["payload=", ?PAYLOAD]]
                ++ [["payloads=", Payloads] || string:find(element(1, hd(Scripts)), ":payloads") =/= nomatch],
    warp_peers_os:run(Env, [bin(Env, "pgbench"), "-n", "-M", "prepared", "-h", Sockets, "-U", "bench",
                            "-c", integer_to_list(Callers), "-j", integer_to_list(min(Callers, 2))]
                           ++ Length ++ lists:append([["-f", File] || File <- Files])
                           ++ lists:append([["-D", lists:flatten(V)] || V <- Variables]) ++ ["postgres"]).

copy(#{env := #{bin := Bin, sockets := Sockets} = Env}, Callers, Seconds) ->
    warp_peers_os:number(Env, [filename:join(Bin, "postgres_copy"), "host=" ++ Sockets ++ " user=bench dbname=postgres",
                               integer_to_list(Callers), integer_to_list(Seconds), tag()]).
