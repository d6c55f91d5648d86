%% @private The statements that a projector's batch comes to. Pure.
-module(warp_projection_batch).

-export([statements/2, origin/2]).

-export_type([batch/0, origin/0]).

%% What a projector wants to have written, in one transaction.
-type batch() :: #{
    shard := non_neg_integer(),
    %% The epoch at which this node has the shard; 0 in a file of its own.
    epoch := non_neg_integer(),
    generation := pos_integer(),
    %% Where the shard's checkpoint stands, and the position that it is to be moved to.
    turn := non_neg_integer(),
    position := non_neg_integer(),
    %% The run of the shard's writer that wrote the row at that position.
    run := non_neg_integer(),
    %% How many events that is.
    events := non_neg_integer(),
    work := warp_projection_merge:work(),
    %% Events that are set aside, entities that go on behind theirs, and events that an operator left out.
    aside := [[warp_projection_target:value()]],
    clear := [{binary(), warp_core:seq() | done}],
    skip := [{binary(), warp_core:seq()}],
    %% By this the batch is recognized in the target.
    mark := pos_integer()
}.
%% What a statement is for: the check of who writes and of the turn, the event of that index, or it cannot be told.
-type origin() :: guard | pos_integer() | unknown.

%% @doc The statements of a batch whose turn it is, in their order, and the catalog after them.
%% `{impossible, Origin, Reason}': what the batch asks for is impossible.
-spec statements(batch(), warp_projection_catalog:catalog()) ->
    {ok, [{origin(), warp_projection_target:statement()}], warp_projection_catalog:catalog()}
    | {impossible, origin(), Reason :: term()}.
statements(#{generation := Generation, work := Work} = Batch, Catalog) ->
    {ok, Set} = warp_projection_catalog:set(Generation, Catalog),
    Schema = warp_projection_catalog:schema(Set, Catalog),
    case warp_projection_schema:grow(warp_projection_merge:needs(Work), Schema) of
        {ok, Growing, Grown} ->
            case changes(Set, Work, Grown) of
                {ok, Changes} ->
                    {Guards, Run, Moved} = checkpoint(Set, Batch, Catalog),
                    Ddl = warp_projection_sql_tables:statements(Set, Generation, Growing),
                    Noted = [warp_projection_sql_own:layout_changes() || Ddl =/= []],
                    Next = case Ddl of [] -> Moved; _ -> warp_projection_catalog:layout_changed(Moved) end,
                    {ok, [{guard, Guard} || Guard <- Guards] ++ of_none(Run ++ Noted ++ Ddl) ++ Changes
                         ++ of_none(notes(Set, Batch)),
                     warp_projection_catalog:put_schema(Set, Grown, Next)};
                {impossible, _, _} = Impossible ->
                    Impossible
            end;
        {error, Why} ->
            {impossible, unknown, Why}
    end.

of_none(Statements) -> [{unknown, Statement} || Statement <- Statements].

checkpoint(Set, #{shard := Shard, epoch := Epoch, turn := Turn, mark := Mark, position := Position, run := Run,
                  events := Events}, Catalog) ->
    {ok, #{events := Before, run := Known}} = warp_projection_catalog:checkpoint(Set, Shard, Catalog),
    Next = #{turn => Turn + 1, mark => Mark, position => Position, run => Run, events => Before + Events},
    {[warp_projection_sql_own:claim(Shard, Epoch, warp_projection_catalog:layout(Catalog)),
      warp_projection_sql_own:guard(Set, Shard, {Turn, Mark, Position}, Events)],
     [warp_projection_sql_own:set_run(Set, Shard, Run) || Run =/= Known],
     warp_projection_catalog:claim(Shard, Epoch, warp_projection_catalog:move(Set, Shard, Next, Catalog))}.

notes(Set, #{shard := Shard, aside := Aside, clear := Clear, skip := Skip}) ->
    warp_projection_sql_own:set_aside(Set, Aside)
        ++ lists:append([warp_projection_sql_own:clear_aside(Set, Entity, Seq) || {Entity, Seq} <- Clear])
        ++ warp_projection_sql_own:skip([[Entity, Seq, Shard] || {Entity, Seq} <- Skip]).

changes(_Set, none, _Schema) ->
    {ok, []};
changes(Set, {merged, Merged}, Schema) ->
    case warp_projection_sql_rows:merged(Set, Merged, Schema) of
        {ok, Statements} -> {ok, of_none(Statements)};
        {error, Why} -> {impossible, unknown, Why}
    end;
changes(Set, {sequence, Steps, _}, Schema) ->
    steps(Set, Steps, Schema, []).

steps(_Set, [], _Schema, Done) ->
    {ok, lists:append(lists:reverse(Done))};
steps(Set, [{Index, Entity, Seq, Op} | Steps], Schema, Done) ->
    case warp_projection_sql_rows:step(Set, {Entity, Seq}, Op, Schema) of
        {ok, Statements} -> steps(Set, Steps, Schema, [[{Index, S} || S <- Statements] | Done]);
        {error, Why} -> {impossible, Index, Why}
    end.

%% @doc What the Nth statement was for, counted from 1; a target that does not know which one it refused
%% says 0.
-spec origin(non_neg_integer(), [{origin(), warp_projection_target:statement()}]) -> origin().
origin(0, _Statements) -> unknown;
origin(N, Statements) -> element(1, lists:nth(N, Statements)).
