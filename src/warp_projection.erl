%% @doc Projections: tables that follow from events, to be queried with SQL.
%%
%% An aggregate's `project(EntityId, State, Event)' returns a list of commands, made with {@link upsert/3},
%% {@link increment/3} and {@link delete/2}. State is the state after the event. Warp carries the commands out exactly
%% once, in order per entity, a little after the event was stored. It creates tables and columns when commands use
%% them first.
%%
%% ```
%% project => fun(Id, #{total := Total}, #{payload := #{<<"customer">> := Customer}}) ->
%%     [warp_projection:upsert(<<"orders">>, Id, #{customer => Customer, total => Total}),
%%      warp_projection:increment(<<"customers">>, Customer, #{orders => 1})]
%% end
%% '''
%%
%% <b>Rows have owners.</b> A row belongs to the entity that upserted it first, and no other entity may upsert or
%% delete it. Any entity may increment columns of any row, and Warp remembers how much each entity added. Deleting an
%% entity removes its rows, and all that it added to others, from all tables.
%%
%% <b>Events that cannot be projected</b>, since `project' crashes or the database refuses a command, are set aside,
%% with all later events of the same entity, since an entity's events are projected in order. No other entity waits
%% for them. See {@link set_aside/1}, {@link retry/2} and {@link skip/2}.
%%
%% <b>In a cluster</b> each node has an embedded projection of its own, of all shards. The functions of this module are
%% about that of the node where they are called. An rqlite is shared: each node brings the shards that it has, and the
%% functions do the same on all nodes, except that {@link status/1} and {@link rebuild_progress/1} show the shards that
%% this node has.
-module(warp_projection).

-export([upsert/3, increment/3, delete/2]).
-export([set_aside/1, set_aside/2, retry/2, skip/2]).
-export([rebuild/1, await_rebuild/2, cancel_rebuild/1, rebuild_progress/1, status/1]).
-export([query/4, await/2]).

-include("base/warp_entity.hrl").

-export_type([command/0, name/0, row_id/0, value/0, entry/0, error/0]).

%% The name of a table or column: letters, digits and `_', at most 60 bytes. A name does not begin with a digit, `_warp'
%% or `sqlite_'. Upper and lower case are the same.
-type name() :: binary() | atom().
%% UTF-8 of 1 to 1024 bytes, or an integer of 64 bits.
-type row_id() :: binary() | integer().
%% Text (UTF-8, at most 1 MiB), an integer of 64 bits, a float, a boolean, null, or any JSON.
-type value() :: binary() | integer() | float() | boolean() | null | {json, term()}.
-opaque command() ::
    {upsert, name(), row_id(), #{name() => value()}}
    | {increment, name(), row_id(), #{name() => number()}}
    | {delete, name(), row_id()}.
%% An event that was set aside.
-type entry() :: #{
    entity := binary(),
    seq := warp_core:seq(),
    aggregate := binary(),
    type := binary(),
    %% Why the event could not be projected, as text for people.
    reason := binary(),
    %% When it was set aside.
    at := warp_core:micros(),
    %% How many later events of the entity wait.
    waiting := non_neg_integer(),
    %% `undefined' where the event could not be read in time.
    event := warp_core:event() | undefined
}.
%% Errors of any function of this module.
-type error() ::
    context_stopped
    %% The context has no projections.
    | no_projections
    %% A process of the projection is being restarted. Try again.
    | interrupted
    %% The function's own limit of time, or the given one, is over.
    | timeout
    %% The target is unreachable, or cannot be used now.
    | {target_away, term()}
    %% The node that has the entity's shard cannot be reached.
    | {node_unavailable, node()}.
%% Errors of functions that concern one entity.
-type entity_error() ::
    error() | {bad_entity_id, term()} | not_set_aside | rebuild_due | {set_aside, warp_core:seq()} | {stalled, term()}
    %% The connection to the node that has the shard was lost on the way.
    | {unknown_outcome, node()}.

%% How many entries `set_aside/1' gives.
-define(LIMIT, 100).
%% The pause before `await/2' asks a projector again that is being restarted.
-define(PAUSE_MS, 20).
%% Limits of a query: the bytes of its text, how many parameters SQLite takes, and the bytes of all parameters, where
%% each one counts for `PARAM_BYTES' at least.
-define(MAX_SQL_BYTES, (1024 * 1024)).
-define(MAX_PARAMS, 32766).
-define(MAX_PARAM_BYTES, (64 * 1024 * 1024)).
-define(PARAM_BYTES, 16).
%% How long an operator's request waits, and how long it waits for the event of one entry.
-define(PATIENCE_MS, 30000).
-define(EVENT_MS, 5000).

%% @doc A command that sets columns of a row, and creates the row if there is none. Other columns stay as they are. Warp
%% has the columns `id', `_entity' (the row's owner) and `_seq' (of the event that wrote the row last) for itself.
%%
%% Each value keeps its type, whatever else is in the column. Only booleans depend on the column: it holds booleans if
%% its first value or its declaration was one, and otherwise queries give them as 1 and 0.
-spec upsert(name(), row_id(), #{name() => value()}) -> command().
upsert(Table, Id, Columns) -> {upsert, Table, Id, Columns}.

%% @doc A command that adds numbers to columns of a row, and creates the row if there is none. A column counts from 0,
%% and a value that is no number counts as 0. A sum of integers is exact while it fits 64 bits and the nearest float
%% otherwise, however large its parts were on the way. A sum with floats in it stays finite.
%%
%% From its first increment on a column holds a sum. An entity that sets the column sets its own share of the sum, and
%% cannot set text.
-spec increment(name(), row_id(), #{name() => number()}) -> command().
increment(Table, Id, Columns) -> {increment, Table, Id, Columns}.

%% @doc A command that deletes what the entity set in a row and what it added to it. Warp removes the row when other
%% entities have added nothing to it.
-spec delete(name(), row_id()) -> command().
delete(Table, Id) -> {delete, Table, Id}.

%% @equiv set_aside(Ctx, 100)
-spec set_aside(warp_core:ctx()) -> {ok, [entry()]} | {error, error()}.
set_aside(Ctx) -> set_aside(Ctx, ?LIMIT).

%% @doc Events that were set aside, oldest first, and Limit at most: of each entity the one that its later events wait
%% behind. Waits up to 30 seconds to read the events. `event' is `undefined' where an event cannot be read, or not in
%% that time.
-spec set_aside(warp_core:ctx(), pos_integer()) ->
    {ok, [entry()]} | {error, {bad_option, limit, term()} | error()}.
set_aside(Ctx, Limit) ->
    case warp_projection_options:limit(Limit) of
        ok -> entries(Ctx, Limit);
        {error, _} = Error -> Error
    end.

entries(Ctx, Limit) ->
    Sql = <<"SELECT entity, seq, aggregate, type, reason, at FROM _warp_set_aside "
            "WHERE building = 0 ORDER BY at, entity LIMIT ?1">>,
    Deadline = warp_deadline:from(?PATIENCE_MS),
    with(Ctx, fun(Context) ->
        case read(Context, Sql, [Limit], Deadline) of
            {ok, Rows} -> {ok, [entry(Context, Row, Deadline) || Row <- Rows]};
            {error, _} = Error -> Error
        end
    end).

entry(Context, [Id, Seq, Aggregate, Type, Reason, At], Deadline) ->
    {Waiting, Event} =
        case log_of(Context, Id) of
            {ok, {_N, Log}} -> {waiting(Log, Id, Seq), event(Context, Log, Id, Seq, Deadline)};
            {error, _} -> {0, undefined}
        end,
    #{entity => Id, seq => Seq, aggregate => Aggregate, type => Type, reason => Reason, at => At,
      waiting => Waiting, event => Event}.

%% How many events of the entity come after the one that was set aside.
waiting(Log, Id, Seq) ->
    case warp_cluster_log:last_row(Log, Id) of
        {ok, {_, Last, _}} -> max(0, Last - Seq);
        _ -> 0
    end.

%% Another process reads the event, since the aggregate's `migrate' may never return.
event(Context, Log, Id, Seq, Deadline) ->
    Read = fun() ->
        warp_entity_replay:history(Context, Log, Id, #{from => Seq, limit => 1, direction => forward})
    end,
    Soon = warp_deadline:earlier(Deadline, warp_deadline:from(?EVENT_MS)),
    case not warp_deadline:is_over(Deadline) andalso warp_entity_call:aside(Read, Soon) of
        {ok, [#{seq := Seq} = Event]} -> Event;
        _ -> undefined
    end.

%% @doc Projects the events again that were set aside of an entity, or of all entities, and the events that wait behind
%% them. Of all entities, tries each one, and then gives the first error.
%%
%% Errors: `{set_aside, Seq}': the event with that seq failed again. `not_set_aside': no event of the entity is set
%% aside. `timeout' after 30 seconds: an entity whose retry has begun goes on by itself, and others are not tried;
%% {@link set_aside/1} shows which are left. `{stalled, Why}' and `rebuild_due': the shard is not projected now, as
%% {@link status/1} shows. `{bad_entity_id, Why}', and those of `t:error()'. `{unknown_outcome, Node}': the connection
%% to the node that has the shard was lost on the way; {@link set_aside/1} shows whether it worked.
-spec retry(warp_core:ctx(), binary() | all) ->
    ok | {error, entity_error()}.
retry(Ctx, all) ->
    Deadline = warp_deadline:from(?PATIENCE_MS),
    with(Ctx, fun(Context) ->
        case read(Context, <<"SELECT entity FROM _warp_set_aside WHERE building = 0">>, [], Deadline) of
            {ok, Rows} ->
                Results = [go_on(Ctx, retry, Entity, Deadline) || [Entity] <- Rows],
                case [Error || {error, Why} = Error <- Results, Why =/= not_set_aside] of
                    [] -> ok;
                    [First | _] -> First
                end;
            {error, _} = Error ->
                Error
        end
    end);
retry(Ctx, Entity) ->
    go_on(Ctx, retry, Entity, warp_deadline:from(?PATIENCE_MS)).

%% @doc Leaves out the event that was set aside of an entity, for good, and projects the events after it. Errors and the
%% limit of time are those of {@link retry/2}.
-spec skip(warp_core:ctx(), binary()) ->
    ok | {error, entity_error()}.
skip(Ctx, Entity) ->
    go_on(Ctx, skip, Entity, warp_deadline:from(?PATIENCE_MS)).

go_on(Ctx, How, Id, Deadline) ->
    with(Ctx, fun(Context) ->
        case warp_context:shard_of(Context, Id) of
            {ok, N} ->
                %% NOTE: not made again where its outcome is not known. It could skip the next event that fails.
                at_projector(Context, N, {?MODULE, How, [Ctx, Id]}, once, Deadline, fun() ->
                    go_on_here(Context, How, Id, N, Deadline)
                end);
            {error, _} = Error -> Error
        end
    end).

go_on_here(Context, How, Id, N, Deadline) ->
    with_projector(Context, N, fun(Pid) ->
        case warp_deadline:is_over(Deadline) of
            true -> {error, timeout};
            false -> warp_projection_projector:retry(Pid, How, Id, Deadline)
        end
    end).

%% @doc Begins to make all tables again from the log, while queries read the previous tables. At the end one transaction
%% replaces these. Does not wait for that. A rebuild that was cancelled, or interrupted by a crash, goes on where it
%% was.
%%
%% Where nodes share an rqlite, all of them make its tables, and the rebuild waits for nodes that are down and for those
%% with another version of the aggregates.
%%
%% Rebuild after a change of `project': raise the aggregate's `version', and {@link status/1} says that a rebuild is
%% due.
%%
%% Errors: `already_running', and those of `t:error()'. `timeout' after 30 seconds: the target or the projection's
%% writer takes long, and {@link rebuild_progress/1} shows whether the rebuild has begun.
-spec rebuild(warp_core:ctx()) -> ok | {error, already_running | {target_refused, binary()} | error()}.
rebuild(Ctx) -> with_manager(Ctx, fun(Pid) -> warp_projection_rebuild:rebuild(Pid, ?PATIENCE_MS) end).

%% @doc Waits until a rebuild has ended, for `infinity' or up to 2^32 - 1 milliseconds. Errors: `cancelled',
%% `not_running', `{bad_option, timeout, Why}', and those of `t:error()'.
-spec await_rebuild(warp_core:ctx(), timeout()) ->
    ok | {error, cancelled | not_running | {bad_option, timeout, term()} | error()}.
await_rebuild(Ctx, Timeout) ->
    case warp_projection_options:timeout(Timeout) of
        ok -> with_manager(Ctx, fun(Pid) -> warp_projection_rebuild:await(Pid, Timeout) end);
        {error, _} = Error -> Error
    end.

%% @doc Stops a rebuild. Warp keeps what it has done, and {@link rebuild/1} goes on from there. Errors: `not_running',
%% and those of `t:error()', with `timeout' after 30 seconds as in {@link rebuild/1}.
-spec cancel_rebuild(warp_core:ctx()) -> ok | {error, not_running | {target_refused, binary()} | error()}.
cancel_rebuild(Ctx) -> with_manager(Ctx, fun(Pid) -> warp_projection_rebuild:cancel(Pid, ?PATIENCE_MS) end).

%% @doc How far a rebuild is: how many events are done and how many there are (an estimate), events per second, and how
%% many seconds are left at that rate. Waits for no process. Errors: `no_projections' and `context_stopped'.
-spec rebuild_progress(warp_core:ctx()) -> {ok, warp_projection_progress:progress()} | {error, error()}.
rebuild_progress(Ctx) -> with(Ctx, fun(Context) -> {ok, warp_projection_progress:rebuild(Context)} end).

%% @doc The state of the target, and of each shard's projector. `behind_seconds' is the age of the oldest event that is
%% not projected. Of each shard, `state' is the state of its projector, `since' says since when (in microseconds since
%% 1970), and `why' gives the reason. Waits for no process, and no longer than a second for other nodes. Errors:
%% `no_projections' and `context_stopped'.
%%
%% The states are `starting', `live' (the projector is at the end of the log), `catching_up' (it is behind, and goes
%% on), and `stalled'. A projector is stalled for one of these reasons:
%% <ul>
%% <li>`{rebuild_due, the_log_is_another_one | the_log_has_lost_events}': the tables have events that are not in the
%% log. Nothing more of the shard is projected before a rebuild.</li>
%% <li>`{set_aside, 10000}': events of so many entities of the shard are set aside.</li>
%% <li>`{stale_function, What}': a function of an aggregate cannot be called any more.</li>
%% <li>`{away, Why}': the target is unreachable.</li>
%% <li>`{shard_unavailable, N}' or `{log, Why}': the log cannot be read.</li>
%% <li>`{node_unavailable, Node}': the shard's node cannot be reached.</li>
%% <li>`{calling, project | apply | load, #{position, seq}}': a call of the aggregate's code has taken some seconds.
%% Warp ends it after 10 seconds.</li>
%% <li>`reading', `writing', `joining' or `paused': the projector has waited some seconds for the log, for the target,
%% for the writer of the tables, or for a rebuild that takes over.</li>
%% </ul>
-spec status(warp_core:ctx()) -> {ok, map()} | {error, error()}.
status(Ctx) -> with(Ctx, fun(Context) -> {ok, warp_projection_stats:context(Context)} end).

%% @private See {@link warp_core:query/4}.
-spec query(warp_core:ctx(), iodata(), [value()], map()) ->
    {ok, warp_projection_target:result()} | {error, warp_core:query_error()}.
query(Ctx, Sql, Params, Given) ->
    case {warp_projection_options:query(Given), params(Params, 1, ?MAX_PARAM_BYTES, []), text(Sql)} of
        {{error, _} = Error, _, _} -> Error;
        {_, {error, _} = Error, _} -> Error;
        {_, _, {error, _} = Error} -> Error;
        {{ok, Options}, {ok, Values}, {ok, Text}} ->
            with(Ctx, fun(Context) -> ask(Context, Text, Values, Options) end)
    end.

ask(#{projections := #{target := embedded}} = Context, Sql, Params, Options) ->
    case warp_projection_query:run(Context, Sql, Params, Options) of
        {error, {away, Why}} -> {error, {target_away, Why}};
        Result -> Result
    end;
ask(Context, Sql, Params, Options) ->
    select(Context, Sql, Params, Options).

text(Sql) ->
    try left(Sql, ?MAX_SQL_BYTES) >= 0 andalso unicode:characters_to_binary(Sql) of
        Text when is_binary(Text), byte_size(Text) =< ?MAX_SQL_BYTES -> {ok, Text};
        {_, _, _} -> {error, {sql_error, <<"not UTF-8">>}};
        _ -> {error, {sql_error, <<"more than 1 MiB of SQL: pass what is long as parameters">>}}
    catch
        error:_ -> {error, {sql_error, <<"not text">>}}
    end.

%% How much of a limit the text leaves. Counts before anybody copies the text.
left(_Text, Left) when Left < 0 -> Left;
left(Text, Left) when is_binary(Text) -> Left - byte_size(Text);
left(Char, Left) when is_integer(Char) -> Left - 1;
left([Text | More], Left) -> left(More, left(Text, Left));
left([], Left) -> Left.

params(_Params, _N, Left, _Values) when Left < 0 ->
    {error, {bad_params, {too_large, ?MAX_PARAM_BYTES}}};
params([], _N, _Left, Values) ->
    {ok, lists:reverse(Values)};
params(_Params, N, _Left, _Values) when N > ?MAX_PARAMS ->
    {error, {bad_params, {too_many, ?MAX_PARAMS}}};
params([Param | Params], N, Left, Values) ->
    case warp_projection_command:value(Param) of
        {ok, {_, Value}} when is_binary(Value) ->
            params(Params, N + 1, Left - byte_size(Value) - ?PARAM_BYTES, [Value | Values]);
        {ok, {_, Value}} ->
            params(Params, N + 1, Left - ?PARAM_BYTES, [Value | Values]);
        {error, Why} ->
            {error, {bad_param, N, Why}}
    end;
params(_Other, _N, _Left, _Values) ->
    {error, {bad_params, not_a_list}}.

select(Context, Sql, Params, Options) ->
    case warp_projection_table:target(Context) of
        {ok, {Module, Target}} ->
            case Module:query(Target, Sql, Params, Options) of
                {error, {away, Why}} -> {error, {target_away, Why}};
                Result -> Result
            end;
        none ->
            {error, {target_away, not_reached_yet}}
    end.

read(Context, Sql, Params, Deadline) ->
    Options = #{max_rows => infinity, timeout => max(1, warp_deadline:left(Deadline)), level => strong},
    case select(Context, Sql, Params, Options) of
        {ok, #{rows := Rows}} -> {ok, Rows};
        %% Warp has not created its own tables in the target yet.
        {error, {sql_error, _}} -> {error, {target_away, not_reached_yet}};
        {error, timeout} -> {error, timeout};
        {error, {target_away, _}} = Away -> Away;
        {error, Why} -> {error, {target_away, Why}}
    end.

%% @private See {@link warp_core:await_projection/2}.
-spec await(#warp_entity{}, timeout()) ->
    ok | {error, rebuild_due | {set_aside, warp_core:seq()} | {bad_option, timeout, term()} | error()
                 | warp_core:error()}.
await(Entity, Timeout) ->
    case warp_projection_options:timeout(Timeout) of
        ok -> await_checked(Entity, Timeout);
        {error, _} = Error -> Error
    end.

await_checked(#warp_entity{ref = Ref, id = Id} = Entity, Timeout) ->
    Deadline = warp_deadline:from(Timeout),
    with(Ref, fun(Context) ->
        case warp_context:shard_of(Context, Id) of
            {ok, N} ->
                Call = {warp_core, await_projection, [Entity, Timeout]},
                at_projector(Context, N, Call, repeatable, Deadline, fun() -> await_here(Context, Id, N, Deadline) end);
            {error, _} = Error ->
                Error
        end
    end).

await_here(Context, Id, N, Deadline) ->
    %% A shard that moves to another node has no log for a moment.
    Moves = fun(Result) ->
        Result =:= {error, {shard_unavailable, N}} andalso not warp_context_owners:is_here(Context, N)
    end,
    Last = warp_retry:while(Moves, {?PAUSE_MS, infinity}, Deadline, fun() ->
        warp_context:with_log(Context, N, fun(Log) ->
            case warp_cluster_log:last_row(Log, Id) of
                {ok, Row} -> {ok, {Log, Row}};
                {error, _} = Error -> Error
            end
        end)
    end),
    case Last of
        {ok, {_, none}} -> ok;
        {ok, {Log, {_, _, Position}}} -> await(Context, Id, {N, Log}, Position, Deadline);
        {error, _} = Error -> Error
    end.

await(#{ref := Ref}, Id, {N, Log}, Position, Deadline) ->
    Await = fun(Pid) -> warp_projection_projector:await(Pid, Id, Log, Position, Deadline) end,
    Result = warp_retry:while(fun is_restarting/1, {?PAUSE_MS, infinity}, Deadline, fun() ->
        with(Ref, fun(Context) -> with_projector(Context, N, Await) end)
    end),
    case is_restarting(Result) of
        true -> {error, timeout};
        false -> Result
    end.

%% The projector is being started or restarted, or another one has taken its place.
is_restarting({error, interrupted}) -> true;
is_restarting({error, {target_away, _}}) -> true;
is_restarting(_Result) -> false.

with(Ctx, Fun) ->
    case warp_context:of_handle(Ctx) of
        {ok, #{projections := none}} -> {error, no_projections};
        {ok, Context} -> Fun(Context);
        not_found -> {error, context_stopped}
    end.

%% A projection in a file of its own is one of each node. One that nodes share is fed by the node that has the shard.
at_projector(#{projections := #{target := embedded}}, _N, _Call, _Safety, _Deadline, Here) ->
    Here();
at_projector(Context, N, Call, Safety, Deadline, Here) ->
    warp_cluster_call:run(Context, N, Call, {Safety, fun() -> Deadline end}, Here).

log_of(Context, Id) ->
    case warp_context:shard_of(Context, Id) of
        {ok, N} ->
            case warp_context:log(Context, N) of
                {ok, Log} -> {ok, {N, Log}};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

with_manager(Ctx, Fun) ->
    with(Ctx, fun(Context) ->
        case warp_projection_table:process(Context, manager) of
            {ok, Pid} -> Fun(Pid);
            none -> {error, interrupted}
        end
    end).

with_projector(Context, N, Fun) ->
    case warp_projection_table:generation(Context) of
        {ok, Generation} ->
            case warp_projection_table:projector(Context, {N, Generation}) of
                {ok, Pid} -> Fun(Pid);
                none -> {error, interrupted}
            end;
        none ->
            {error, {target_away, not_reached_yet}}
    end.
