%% @private A small SQLite file of Warp's own, beside the shards. What is written is on disk when a function returns.
-module(warp_own_file).

-export([open/3, close/1, execute/2, read/3, tidy/1]).

-export_type([file/0, statement/0]).

-opaque file() :: warp_nif:projection().
%% SQL, and its parameters for each time that it is carried out.
-type statement() :: {Sql :: binary(), [[term()]]}.

-define(TIMEOUT_MS, 30000).

%% @doc Opens a file for the calling process, and creates it if there is none, and the tables.
-spec open(Path :: binary(), Tables :: [Sql :: binary()], warp_nif:access()) -> {ok, file()} | {error, term()}.
open(Path, Tables, Access) ->
    case warp_nif:projection_open(Path, true, Access) of
        {ok, File} ->
            case execute(File, [{Sql, [[]]} || Sql <- Tables]) of
                ok ->
                    {ok, File};
                {error, _} = Error ->
                    ok = close(File),
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Closes the file, and waits until it is closed.
-spec close(file()) -> ok.
close(File) ->
    warp_nif:projection_close(File).

%% @doc Carries out statements as one transaction.
-spec execute(file(), [statement()]) -> ok | {error, term()}.
execute(File, Statements) ->
    case warp_nif:projection_execute(File, [Statement || {_, [_ | _]} = Statement <- Statements]) of
        ok -> ok;
        {error, {away, Why}} -> {error, Why};
        {error, {refused, _, Message}} -> {error, {io_error, Message}};
        {error, _} = NotTried -> NotTried
    end.

%% @doc The rows that a query gives.
-spec read(file(), Sql :: binary(), [term()]) -> {ok, [[term()]]} | {error, term()}.
read(File, Sql, Params) ->
    case warp_nif:projection_read(File, Sql, Params, ?TIMEOUT_MS) of
        {ok, {_Columns, Rows}} -> {ok, Rows};
        {error, {away, Why}} -> {error, Why};
        {error, timeout} -> {error, {io_error, <<"a file of Warp's own could not be read in time">>}};
        {error, {result_too_large, _}} -> {error, {io_error, <<"a file of Warp's own has too many rows to read">>}};
        {error, {sql_error, Message}} -> {error, {io_error, Message}}
    end.

%% @doc Removes the bytes of deleted rows from the file.
-spec tidy(file()) -> ok | {error, term()}.
tidy(File) -> warp_nif:projection_tidy(File).
