%% @private The target `embedded': one SQLite file beside the shards, `projections.db', written
%% through the NIF. No server.
%%
%% Its transactions are not fsynced one by one: rows and checkpoint go together, so after a power
%% failure the file is as it was some transactions ago, and the projectors go on from there.
-module(warp_proj_embedded).
-behaviour(warp_proj_target).

-export([file/1]).
-export([check/1, open/2, execute/2, query/4, tidy/1, close/1]).

%% More rows of parameters are not copied for another thread, but written by a dirty scheduler.
-define(FEW_ROWS, 500).
%% How long after the timeout of a query its answer is waited for.
-define(GRACE_MS, 5000).

%% @doc The file, in the context's folder.
-spec file(binary()) -> binary().
file(Dir) -> filename:join(Dir, <<"projections.db">>).

-spec check(warp_proj_target:config()) -> {ok, warp_proj_target:config()} | {error, term()}.
check(Config) when map_size(Config) =:= 0 -> {ok, Config};
check(Config) -> {error, {unknown_key, hd(maps:keys(Config))}}.

-spec open(warp_proj_target:config(), warp_proj_target:about()) ->
    {ok, warp_nif:projection()} | {error, term()}.
open(_Config, #{dir := Dir, file_access := Access}) ->
    warp_nif:projection_open(file(Dir), false, Access).

-spec execute(warp_nif:projection(), [warp_proj_target:statement()]) ->
    ok | {error, {refused, non_neg_integer(), binary()} | {away, term()}}.
execute(Projection, Statements) ->
    case lists:sum([length(Rows) || {_, Rows} <- Statements]) > ?FEW_ROWS of
        true ->
            warp_nif:projection_execute_batch(Projection, Statements);
        false ->
            case warp_nif:projection_execute(Projection, Statements) of
                {error, {io_error, _} = NotTried} -> {error, {away, NotTried}};
                Result -> Result
            end
    end.

-spec query(warp_nif:projection(), binary(), [warp_proj_target:value()],
            warp_proj_target:query_options()) ->
    {ok, warp_proj_target:result()} | {error, term()}.
query(Projection, Sql, Params, #{max_rows := Max, timeout := Timeout}) ->
    Rows = case Max of infinity -> 1 bsl 62; _ -> Max end,
    %% The answer comes as a message: a process of its own gets it, or nobody does.
    Ask = fun() ->
        Tag = make_ref(),
        case warp_nif:projection_query(Projection, Sql, Params, Rows, Timeout, Tag) of
            ok -> receive {Tag, Result} -> Result end;
            {error, overloaded} -> {error, overloaded};
            {error, Reason} -> {error, {away, Reason}}
        end
    end,
    case warp_client:aside(Ask, warp_proj_options:within(Timeout, ?GRACE_MS)) of
        {ok, {Columns, Found}} -> {ok, #{columns => Columns, rows => Found}};
        {error, interrupted} -> {error, {away, interrupted}};
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
