%% @doc Projections: tables that follow from events, to be queried with SQL.
%%
%% An aggregate's `project(EntityId, State, Event)' returns commands; State is the state behind the
%% event. They are made with {@link upsert/3}, {@link increment/3} and {@link delete/2}, and carried
%% out exactly once, in order per entity, a little after the event was stored. Tables and columns
%% come into being as commands use them.
%%
%% ```
%% project => fun(Id, #{total := Total}, #{payload := #{<<"customer">> := Customer}}) ->
%%     [warp_projection:upsert(<<"orders">>, Id, #{customer => Customer, total => Total}),
%%      warp_projection:increment(<<"customers">>, Customer, #{orders => 1})]
%% end
%% '''
%%
%% <b>Whose a row is.</b> A row belongs to the entity that upserted it first, and only that may
%% upsert or delete it again. Any entity may increment columns of any row: what each one added is
%% remembered. Deleting an entity takes out its rows and what it added, of all tables.
%%
%% <b>What cannot be projected</b>, since `project' crashes or the database refuses a command, is set
%% aside: that event, and all behind it of the same entity, since an entity's events are projected in
%% order. Nothing else waits for it. See {@link set_aside/1}, {@link retry/2} and {@link skip/2}.
-module(warp_projection).

-export([upsert/3, increment/3, delete/2]).
-export([set_aside/1, set_aside/2, retry/2, skip/2]).
-export([rebuild/1, await_rebuild/2, cancel_rebuild/1, rebuild_progress/1, status/1]).
-export([query/4, await/2]).

-include("base/warp_entity.hrl").

-export_type([command/0, name/0, row_id/0, value/0, entry/0, error/0]).

%% Letters, digits and `_', not a digit first, at most 60 bytes; not beginning with `_warp' or
%% `sqlite_'. Upper and lower case are the same.
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
    %% For people.
    reason := binary(),
    at := warp_core:micros(),
    %% How many events of the entity wait behind it.
    waiting := non_neg_integer(),
    event := warp_core:event() | undefined
}.
%% Errors of any function of this module.
-type error() ::
    context_stopped
    | no_projections
    | interrupted
    %% The limit of time that the function has, or that was given to it, is over.
    | timeout
    %% The target cannot be reached or used now.
    | {target_away, term()}.
%% Errors of what concerns one entity.
-type entity_error() ::
    error() | {bad_entity_id, term()} | not_set_aside | rebuild_due | {set_aside, warp_core:seq()} | {stalled, term()}.

-define(LIMIT, 100).
-define(PAUSE_MS, 20).
%% Of a query: its text, how many parameters SQLite takes, and those in all, each of which counts for a
%% few bytes at least.
-define(MAX_SQL_BYTES, (1024 * 1024)).
-define(MAX_PARAMS, 32766).
-define(MAX_PARAM_BYTES, (64 * 1024 * 1024)).
-define(PARAM_BYTES, 16).
%% How long an operator's request is waited for, and the event of one entry of it.
-define(PATIENCE_MS, 30000).
-define(EVENT_MS, 5000).

%% @doc Sets columns of a row, which is made if need be; other columns stay as they are. The columns
%% `id', `_entity' (whose row it is) and `_seq' (of the event that wrote it last) are Warp's own.
%%
%% Each value keeps its type, whatever else is in the column. But that a column holds booleans is
%% known from its first value, or from its declaration: without that they are read as 1 and 0.
-spec upsert(name(), row_id(), #{name() => value()}) -> command().
upsert(Table, Id, Columns) -> {upsert, Table, Id, Columns}.

%% @doc Adds numbers to columns of a row, which is made if need be. A column counts from 0; what is
%% no number counts as 0. A sum of integers is exact while it fits 64 bits and is the nearest float past
%% them, however large its parts were on the way; a sum with floats in it stays finite. From its first
%% increment on, a column holds counts: what an entity sets there is its share of the sum, and no text can be set.
-spec increment(name(), row_id(), #{name() => number()}) -> command().
increment(Table, Id, Columns) -> {increment, Table, Id, Columns}.

%% @doc Deletes a row: what the entity set in it, and what it added. The row goes when nothing that
%% others added is left in it.
-spec delete(name(), row_id()) -> command().
delete(Table, Id) -> {delete, Table, Id}.

%% @equiv set_aside(Ctx, 100)
-spec set_aside(warp_core:ctx()) -> {ok, [entry()]} | {error, error()}.
set_aside(Ctx) -> set_aside(Ctx, ?LIMIT).

%% @doc Events that were set aside, oldest first: one per entity, the one that the others of that
%% entity wait behind. `event' is undefined where it cannot be read, or not within 30 seconds for all.
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
        case warp_context:locate(Context, Id) of
            {ok, {_N, Handle}} -> {waiting(Handle, Id, Seq), event(Context, Handle, Id, Seq, Deadline)};
            {error, _} -> {0, undefined}
        end,
    #{entity => Id, seq => Seq, aggregate => Aggregate, type => Type, reason => Reason, at => At,
      waiting => Waiting, event => Event}.

%% How many events of the entity are behind the one that was set aside.
waiting(Handle, Id, Seq) ->
    case warp_nif:last_row(Handle, Id) of
        {ok, {_, Last, _}} -> max(0, Last - Seq);
        _ -> 0
    end.

%% Aside, since the aggregate's `migrate' is called, which may never return.
event(Context, Handle, Id, Seq, Deadline) ->
    Read = fun() ->
        warp_entity_replay:history(Context, Handle, Id, #{from => Seq, limit => 1, direction => forward})
    end,
    Soon = warp_deadline:earlier(Deadline, warp_deadline:from(?EVENT_MS)),
    case not warp_deadline:is_over(Deadline) andalso warp_entity_call:aside(Read, Soon) of
        {ok, [#{seq := Seq} = Event]} -> Event;
        _ -> undefined
    end.

%% @doc Projects what was set aside of an entity, or of all, again, with what waits behind it.
%% `{error, {set_aside, Seq}}': it failed again, at that event; of all, the first error is given
%% when each was tried. `{error, timeout}' after 30 seconds: what was begun goes on by itself, what was
%% not begun is not tried; {@link set_aside/1} tells. `{error, {stalled, Why}}': the shard is not projected
%% now, as {@link status/1} shows.
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

%% @doc Leaves the event that was set aside of an entity out for good, and goes on behind it. Errors
%% and the limit of time are those of {@link retry/2}.
-spec skip(warp_core:ctx(), binary()) ->
    ok | {error, entity_error()}.
skip(Ctx, Entity) ->
    go_on(Ctx, skip, Entity, warp_deadline:from(?PATIENCE_MS)).

go_on(Ctx, How, Id, Deadline) ->
    with(Ctx, fun(Context) ->
        case warp_context:shard_of(Context, Id) of
            {ok, N} ->
                with_projector(Context, N, fun(Pid) ->
                    case warp_deadline:is_over(Deadline) of
                        true -> {error, timeout};
                        false -> warp_projection_projector:retry(Pid, How, Id, Deadline)
                    end
                end);
            {error, _} = Error -> Error
        end
    end).

%% @doc Makes all tables again from the log, while the previous ones are queried; then exchanges them in one
%% transaction. Returns at once. A rebuild that was cancelled, or cut short by a crash, goes on where it
%% was. This is the way after a change of `project' (raise the aggregate's `version': then
%% {@link status/1} says that a rebuild is due). `{error, timeout}' after 30 seconds: the target or the
%% projection's writer takes long; {@link rebuild_progress/1} tells whether it was begun.
-spec rebuild(warp_core:ctx()) -> ok | {error, already_running | {target_refused, binary()} | error()}.
rebuild(Ctx) -> with_manager(Ctx, fun(Pid) -> warp_projection_rebuild:rebuild(Pid, ?PATIENCE_MS) end).

%% @doc Waits until a rebuild has ended, for `infinity' or up to 2^32 - 1 milliseconds.
-spec await_rebuild(warp_core:ctx(), timeout()) ->
    ok | {error, cancelled | not_running | {bad_option, timeout, term()} | error()}.
await_rebuild(Ctx, Timeout) ->
    case warp_projection_options:timeout(Timeout) of
        ok -> with_manager(Ctx, fun(Pid) -> warp_projection_rebuild:await(Pid, Timeout) end);
        {error, _} = Error -> Error
    end.

%% @doc Stops a rebuild. What it has done is kept, for {@link rebuild/1} to go on from. `{error, timeout}'
%% after 30 seconds, as for {@link rebuild/1}.
-spec cancel_rebuild(warp_core:ctx()) -> ok | {error, not_running | {target_refused, binary()} | error()}.
cancel_rebuild(Ctx) -> with_manager(Ctx, fun(Pid) -> warp_projection_rebuild:cancel(Pid, ?PATIENCE_MS) end).

%% @doc How far a rebuild is: events done and in all (an estimate), events per second, and how many
%% seconds are left at that rate. Waits for nothing.
-spec rebuild_progress(warp_core:ctx()) -> {ok, warp_projection_progress:progress()} | {error, error()}.
rebuild_progress(Ctx) -> with(Ctx, fun(Context) -> {ok, warp_projection_progress:rebuild(Context)} end).

%% @doc How the target is, and how far each shard's projector is behind its log: `behind_seconds' is the
%% age of the oldest event that is not projected. Of each shard, `state' says how its projector is, `since'
%% since when (microseconds), and `why':
%%
%% `starting', `live' (it is at the end of the log), `catching_up' (it is behind, and goes on), or
%% `stalled': it stands still, because
%% `{rebuild_due, the_log_is_another_one | the_log_has_lost_events}' (the tables have events that are
%% not in the log: nothing more of the shard is projected before a rebuild), `{set_aside, 10000}' (so
%% many entities of the shard are), `{stale_function, _}', `{away, _}' (the target),
%% `{shard_unavailable, N}', `{log, _}' (the log cannot be read), or it has waited for some seconds for
%% `{calling, project | apply | load, #{position, seq}}' (a call of the aggregate's code, which is ended
%% after 10 seconds), `reading' (the log), `writing', `joining' (the writer) or `paused' (a rebuild takes
%% over). Waits for nothing.
-spec status(warp_core:ctx()) -> {ok, map()} | {error, error()}.
status(Ctx) -> with(Ctx, fun(Context) -> {ok, warp_projection_stats:context(Context)} end).

%% @private `warp_core:query/4'.
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

%% How much of a limit text leaves, looked at before anything of it is copied.
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
        %% Warp's own tables are not there yet.
        {error, {sql_error, _}} -> {error, {target_away, not_reached_yet}};
        {error, timeout} -> {error, timeout};
        {error, {target_away, _}} = Away -> Away;
        {error, Why} -> {error, {target_away, Why}}
    end.

%% @private `warp_core:await_projection/2'.
-spec await(#warp_entity{}, timeout()) ->
    ok | {error, rebuild_due | {set_aside, warp_core:seq()} | {bad_option, timeout, term()} | error()
                 | warp_core:error()}.
await(Entity, Timeout) ->
    case warp_projection_options:timeout(Timeout) of
        ok -> await_checked(Entity, Timeout);
        {error, _} = Error -> Error
    end.

await_checked(#warp_entity{ref = Ref, id = Id}, Timeout) ->
    Deadline = warp_deadline:from(Timeout),
    with(Ref, fun(Context) ->
        case warp_context:locate(Context, Id) of
            {ok, {N, Handle} = Shard} ->
                case warp_nif:last_row(Handle, Id) of
                    {ok, none} -> ok;
                    {ok, {_, _, Position}} -> await(Context, Id, Shard, Position, Deadline);
                    {error, closed} -> {error, {shard_unavailable, N}};
                    {error, _} = Failed -> Failed
                end;
            {error, _} = Error ->
                Error
        end
    end).

await(#{ref := Ref}, Id, {N, Handle}, Position, Deadline) ->
    Await = fun(Pid) -> warp_projection_projector:await(Pid, Id, Handle, Position, Deadline) end,
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
    case warp_context:find(Ctx) of
        {ok, #{projections := none}} -> {error, no_projections};
        {ok, Context} -> Fun(Context);
        not_found -> {error, context_stopped}
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
