%% @private Pieces of SQL that all statements of projections are made of. Pure.
%%
%% The names of tables and columns were checked before they come here (`warp_projection_command'), and
%% are quoted all the same. Values are parameters.
-module(warp_projection_sql).

-export([run/1, bit/1, table/2, counts/1, quote/1, commas/1, params/1]).

%% @doc A statement that has no parameters.
-spec run(binary()) -> warp_projection_target:statement().
run(Sql) -> {Sql, [[]]}.

%% @doc The value of the column `building' in Warp's own tables.
-spec bit(warp_projection_schema:set()) -> binary().
bit(live) -> <<"0">>;
bit(building) -> <<"1">>.

%% @doc The quoted name that a table of commands has in the database.
-spec table(warp_projection_schema:set(), binary()) -> binary().
table(live, Table) -> quote(Table);
table(building, Table) -> quote(<<"_warp_new_", Table/binary>>).

%% @doc The table that has the share of each entity in each counted column.
-spec counts(warp_projection_schema:set()) -> binary().
counts(live) -> <<"_warp_counts">>;
counts(building) -> <<"_warp_counts_new">>.

-spec quote(binary()) -> binary().
quote(Name) -> <<$", Name/binary, $">>.

-spec commas([binary()]) -> binary().
commas(Parts) -> iolist_to_binary(lists:join(<<", ">>, Parts)).

%% @doc `?1, ?2' and so on, up to that number.
-spec params(pos_integer()) -> binary().
params(N) -> commas([<<$?, (integer_to_binary(I))/binary>> || I <- lists:seq(1, N)]).
