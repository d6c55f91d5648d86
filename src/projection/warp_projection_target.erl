%% @private What a projection is written to: a database that speaks SQLite's dialect.
%%
%% Everything that makes projections right is common to all targets, and other modules make the SQL for it:
%% tables and columns, upserts, counts, which row belongs to which entity, erasure, and the checkpoint,
%% whose turn the statement itself checks. A target runs transactions and queries, and tells three
%% kinds of failure apart: the database refused a statement, a query is wrong, or the outcome is unknown.
%%
%% One process, the projection's writer, calls `open', `execute', `tidy' and `close'. Any number
%% of processes call `query', also while `execute' is under way. They find the result of `open' in a
%% table, so it has to be a small term that can be shared, such as a reference or a map.
-module(warp_projection_target).

-export([module/1, open/3, read/3, peek/2, execute/2, tidy/1, close/1]).

-export_type([open/0, target/0, config/0, about/0, statement/0, value/0, query_options/0, result/0]).

%% An open target, with its module.
-type open() :: {module(), target()}.
%% What a module's `open' gives.
-type target() :: term().
%% The map that stands in the option `projections' beside the target's name, as `check' gave it.
-type config() :: map().
-type about() :: #{
    %% The context's name.
    context := binary(),
    %% Its folder.
    dir := binary(),
    durability := full | normal,
    %% Who may read the files that are made.
    file_access := owner | umask
}.
%% SQL with numbered parameters (`?1', `?2', ...), and the rows of parameters it is run with, one
%% after the other. A statement without parameters has one empty row: `[[]]'. No statement depends
%% on the clock, on chance or on the order of rows: a target may carry it out on several machines.
-type statement() :: {Sql :: binary(), Rows :: [[value()]]}.
%% A binary is text, and UTF-8. It may contain anything else: quotes, NUL, `x''00'''. It must be
%% stored as that text, never as a BLOB. Integers fit in 64 bits with a sign. Booleans come to
%% `execute' as 1 and 0.
-type value() :: binary() | integer() | float() | null.
-type query_options() :: #{
    %% How many rows there may be.
    max_rows := pos_integer() | infinity,
    %% How long the query may take, in milliseconds.
    timeout := pos_integer(),
    %% How fresh the result has to be. `default' leaves that to the target; a target with one database file
    %% ignores it.
    level := default | none | weak | linearizable | strong | auto
}.
%% Integers in a column whose declared type begins with `BOOL' come as true and false when they are
%% 1 and 0. JSON comes as its text. A BLOB (a query can make one) is not text: `{blob, Bytes}'.
-type result() :: #{
    columns := [binary()],
    rows := [[binary() | integer() | float() | boolean() | null | {blob, binary()}]]
}.

%% Checks what the user gave in `start', and fills defaults in. Pure. `Why' comes to the user as
%% `{bad_option, projections, Why}'. The key `tables' is checked elsewhere, and left out here.
-callback check(config()) -> {ok, config()} | {error, Why :: term()}.

%% Opens the target. A server that cannot be reached yet is no error: `execute' returns `away' until it
%% can. Errors make the start of the context fail, like those of a shard.
-callback open(config(), about()) -> {ok, target()} | {error, Reason :: term()}.

%% Carries out all statements in ONE transaction, in their order, or none of them. `ok' means that
%% they are durable.
%%
%% `{refused, N, Message}': the database refused the Nth statement, counted from 1 (or its N is
%% unknown: 0); nothing was kept. The same statements would be refused again. A failure of a disk
%% or a network is not a refusal.
%% `{away, Why}': the outcome is unknown. Nothing was kept, or everything, or everything will be kept later:
%% the target is unreachable, full, busy, without a leader, or did not answer in time. The caller tries
%% again, after it has read where the checkpoint stands. A target that can find out by waiting for a
%% little should do so, but for no longer than about 10 seconds.
-callback execute(target(), [statement()]) ->
    ok | {error, {refused, non_neg_integer(), Message :: binary()} | {away, Why :: term()}}.

%% Runs one SELECT, or another statement that only reads. The database itself refuses to write. Users'
%% queries on the embedded target do not come here, but to `warp_query', with the same errors.
%%
%% Errors: `read_only', `{sql_error, Message}', `{too_many_rows, Max}', `{result_too_large, Bytes}',
%% `timeout', `overloaded', `{away, Why}', and `{bad_params, Why}' when there are too many parameters
%% or too few.
-callback query(target(), Sql :: binary(), [value()], query_options()) ->
    {ok, result()} | {error, term()}.

%% Called after a transaction that erased rows. Returns when their bytes are erased too, as far as the
%% target can do that.
-callback tidy(target()) -> ok | {error, {away, Why :: term()}}.

-callback close(target()) -> ok.

%% How long one of Warp's own queries may take, which the projection's writer makes.
-define(TIMEOUT_MS, 5000).

%% @doc The module of a target.
-spec module(embedded | rqlite) -> module().
module(embedded) -> warp_projection_embedded;
module(rqlite) -> warp_rqlite.

-spec open(module(), config(), about()) -> {ok, open()} | {error, Reason :: term()}.
open(Module, Config, About) ->
    case Module:open(Config, About) of
        {ok, Target} -> {ok, {Module, Target}};
        {error, _} = Error -> Error
    end.

%% @doc The rows of one of Warp's own queries, as fresh as the target can make them. Any failure makes the
%% target one that cannot be reached.
-spec read(open(), binary(), [value()]) -> {ok, [[term()]]} | {error, {away, term()}}.
read(Open, Sql, Params) ->
    read(Open, Sql, Params, strong).

%% @doc Likewise, of a query that need not be so fresh, and costs less.
-spec peek(open(), binary()) -> {ok, [[term()]]} | {error, {away, term()}}.
peek(Open, Sql) ->
    read(Open, Sql, [], weak).

read({Module, Target}, Sql, Params, Level) ->
    case Module:query(Target, Sql, Params, #{max_rows => infinity, timeout => ?TIMEOUT_MS, level => Level}) of
        {ok, #{rows := Rows}} -> {ok, Rows};
        {error, {away, _}} = Away -> Away;
        {error, Why} -> {error, {away, Why}}
    end.

-spec execute(open(), [statement()]) ->
    ok | {error, {refused, non_neg_integer(), Message :: binary()} | {away, Why :: term()}}.
execute({Module, Target}, Statements) -> Module:execute(Target, Statements).

-spec tidy(open()) -> ok | {error, {away, Why :: term()}}.
tidy({Module, Target}) -> Module:tidy(Target).

-spec close(open()) -> ok.
close({Module, Target}) -> Module:close(Target).
