%% What the comparison asks of each peer, and the peers that there are.
-module(warp_peer).

-export([module/1, label/1, names/0]).
-export_type([subject/0, store/0, op/0, env/0, peer/0]).

%% What a column or a bar stands for. A number is a number of shards.
-type subject() :: {warp | warp_log, pos_integer()}
                 | postgres | redis | mnesia | mnesia_unsynced | sqlite | limit.
%% What is stored before a measurement begins: nothing; so many events, so many for each entity; or these and beside
%% them entities whose events, so many each, were appended one by one and in turn.
-type store() :: empty
               | {filled, Events :: pos_integer(), Each :: pos_integer()}
               | {victims, Events :: non_neg_integer(), Each :: pos_integer(), Victims :: pos_integer()}.
-type op() :: {singles | batches | transfers | mix, Callers :: pos_integer()}
            | {read | delete, Victim :: pos_integer()}
            | start | bytes | memory.
%% `as' is a command that runs another one as the user of the servers, and `sockets' the folder of their sockets.
-type env() :: #{dir := string(), sockets := string(), bin := string(), root := string(), as := [string()],
                 seconds := pos_integer(), _ => _}.
-type peer() :: #{start_ms := number(), _ => _}.

%% Starts the peer on its folder, which exists and is empty the first time. Comes back when the peer would answer.
-callback open(subject(), store(), Dir :: string(), env()) -> peer().
-callback close(peer()) -> ok.
-callback fill(peer(), store()) -> ok.
%% Calls per second, but events per second for batches; milliseconds; or bytes, of the disk for each event that the
%% store has or of memory in all. Blank: the peer has no such thing.
-callback measure(peer(), op(), store(), env()) -> number() | blank.
%% How much memory each stored event takes at least.
-callback memory_per_event() -> number().

-spec module(subject()) -> module().
module({_, _}) -> warp_peers_warp;
module(postgres) -> warp_peers_postgres;
module(redis) -> warp_peers_redis;
module(mnesia) -> warp_peers_mnesia;
module(mnesia_unsynced) -> warp_peers_mnesia;
module(sqlite) -> warp_peers_sqlite;
module(limit) -> warp_peers_limit.

-spec label(subject()) -> string().
label({warp, 1}) -> "Warp, 1 shard";
label({warp, Shards}) -> "Warp, " ++ integer_to_list(Shards) ++ " shards";
label({warp_log, _}) -> "Warp, no fold";
label(postgres) -> "PostgreSQL";
label(redis) -> "Redis";
label(mnesia) -> "Mnesia";
label(mnesia_unsynced) -> "Mnesia, not synced";
label(sqlite) -> "SQLite";
label(limit) -> "the disk's limit".

%% What --peers takes.
-spec names() -> [atom()].
names() ->
    [warp, postgres, redis, mnesia, mnesia_unsynced, sqlite, limit].
