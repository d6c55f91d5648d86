%% @private The target `embedded': one SQLite file beside the shards, `projections.db', which the NIF writes.
%%
%% Its transactions are not fsynced one by one. Rows and checkpoint change together, so after a power
%% failure the file is as it was some transactions ago, and the projectors go on from there.
-module(warp_projection_embedded).
-behaviour(warp_projection_target).

-export([file/1]).
-export([check/1, open/2, execute/2, query/4, tidy/1, close/1]).

%% Up to so many rows of parameters are copied for the NIF's own thread. A dirty scheduler writes more than
%% that, without a copy.
-define(FEW_ROWS, 500).

%% @doc The file, in the context's folder.
-spec file(binary()) -> binary().
file(Dir) -> filename:join(Dir, <<"projections.db">>).

-spec check(warp_projection_target:config()) -> {ok, warp_projection_target:config()} | {error, term()}.
check(Config) when map_size(Config) =:= 0 -> {ok, Config};
check(Config) -> {error, {unknown_key, hd(maps:keys(Config))}}.

-spec open(warp_projection_target:config(), warp_projection_target:about()) ->
    {ok, warp_nif:projection()} | {error, term()}.
open(_Config, #{dir := Dir, file_access := Access}) ->
    warp_nif:projection_open(file(Dir), false, Access).

-spec execute(warp_nif:projection(), [warp_projection_target:statement()]) ->
    ok | {error, {refused, non_neg_integer(), binary()} | {away, term()}}.
execute(Projection, Statements) ->
    case lists:sum([length(Rows) || {_, Rows} <- Statements]) > ?FEW_ROWS of
        true ->
            warp_nif:projection_execute_batch(Projection, Statements);
        false ->
            case warp_nif:projection_execute(Projection, Statements) of
                {error, {away, _}} = Failed -> Failed;
                {error, {refused, _, _}} = Failed -> Failed;
                {error, NotTried} -> {error, {away, NotTried}};
                ok -> ok
            end
    end.

%% @doc Warp's own reads, which are short and trusted. Users' queries go through `warp_query'.
-spec query(warp_nif:projection(), binary(), [warp_projection_target:value()],
            warp_projection_target:query_options()) ->
    {ok, warp_projection_target:result()} | {error, term()}.
query(Projection, Sql, Params, #{timeout := Timeout}) ->
    case warp_nif:projection_read(Projection, Sql, Params, Timeout) of
        {ok, {Columns, Rows}} -> {ok, #{columns => Columns, rows => Rows}};
        {error, _} = Error -> Error
    end.

-spec tidy(warp_nif:projection()) -> ok | {error, {away, term()}}.
tidy(Projection) ->
    case warp_nif:projection_tidy(Projection) of
        ok -> ok;
        {error, Reason} -> {error, {away, Reason}}
    end.

-spec close(warp_nif:projection()) -> ok.
close(Projection) ->
    warp_nif:projection_close(Projection).
