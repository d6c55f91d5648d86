%% @private The table that the processes of a context's projection share: which process does what, how
%% the target is, and how far each projector is. This module alone knows the keys of the table.
%%
%% The table goes with the projection's supervisor, and a restarted supervisor makes another one. Those
%% who read find nothing meanwhile; those who write crash, and are restarted with the supervisor.
-module(warp_projection_table).

-export([new/1]).
-export([put_process/3, process/2]).
-export([put_target/2, target/1, put_target_state/2, target_state/1, put_tables/2, tables/1]).
-export([is_shared/1, followed/1, epoch/2]).
-export([put_generation/2, generation/1, put_rebuild/2, rebuild/1]).
-export([put_projector/3, projector/2, projectors/2, projectors_of/2, take_projector/2]).
-export([put_position/3, positions/2, position/2, take_position/2]).
-export([put_state/3, states/2, state/2]).

-export_type([part/0, key/0, position/0, state/0, target_state/0, rebuild/0]).

%% The processes of which a context has one.
-type part() :: writer | projectors | manager | queries.
%% A projector: its shard, and the generation of tables that it fills.
-type key() :: {non_neg_integer(), pos_integer()}.
%% How far a projector is.
-type position() :: #{
    %% The position in the log up to which all is in the target, and how many events that were.
    position := non_neg_integer(),
    events := non_neg_integer(),
    %% When the oldest event was recorded that the projector has read and that is not in the target.
    oldest := none | warp_core:micros(),
    %% How many entities are set aside.
    set_aside := non_neg_integer(),
    %% Where the projector last saw the log end.
    log_end := non_neg_integer()
}.
%% How a projector is, since when, and why. `live': it is at the end of the log. `catching_up': it is
%% behind, and goes on. `stalled': it does not go on.
-type state() :: {starting | live | catching_up | stalled, Since :: warp_core:micros(), Why :: term()}.
-type target_state() :: up | {away, term()} | {error, term()}.
-type rebuild() :: #{
    state := none | running | cancelled,
    %% The tables were made by another version of the aggregates.
    due := boolean(),
    %% Of a rebuild that runs: when it was begun or resumed, and how many events it had projected by then.
    began := none | {Millis :: integer(), Events :: non_neg_integer()},
    %% Of the tables that are queried.
    generation := none | pos_integer()
}.

%% @doc The table for a context that is starting. The calling process owns it.
-spec new(warp_context:context()) -> ok.
new(Context) ->
    Table = ets:new(warp_projection, [public, set, {read_concurrency, true}]),
    warp_context:register(Context, projection, Table).

%% ------------------------------------------------------------------ Processes

-spec put_process(warp_context:context(), part(), pid()) -> ok.
put_process(Context, Part, Pid) -> put(Context, Part, Pid).

-spec process(warp_context:context(), part()) -> {ok, pid()} | none.
process(Context, Part) -> get(Context, Part).

%% ------------------------------------------------------------------ The target

-spec put_target(warp_context:context(), {module(), warp_projection_target:target()}) -> ok.
put_target(Context, Target) -> put(Context, target, Target).

%% @doc The target, once it was opened, and its module.
-spec target(warp_context:context()) -> {ok, {module(), warp_projection_target:target()}} | none.
target(Context) -> get(Context, target).

-spec put_target_state(warp_context:context(), target_state()) -> ok.
put_target_state(Context, State) -> put(Context, target_state, State).

-spec target_state(warp_context:context()) -> target_state().
target_state(Context) ->
    case get(Context, target_state) of
        {ok, State} -> State;
        none -> {away, starting}
    end.

-spec put_tables(warp_context:context(), [binary()]) -> ok.
put_tables(Context, Tables) -> put(Context, tables, Tables).

%% @doc The tables of commands, as far as they are known.
-spec tables(warp_context:context()) -> [binary()].
tables(Context) ->
    case get(Context, tables) of
        {ok, Tables} -> Tables;
        none -> []
    end.

%% ------------------------------------------------------------------ Nodes that share a target

%% @doc Whether other nodes write to the target as well, each what follows from the shards that it has.
-spec is_shared(warp_context:context()) -> boolean().
is_shared(#{projections := #{target := Target}, owners := Owners}) ->
    Target =/= embedded andalso not warp_context_owners:is_single(Owners).

%% @doc The shards that this node projects: those that are here, or all, to a file of its own.
-spec followed(warp_context:context()) -> [non_neg_integer()].
followed(#{shards := Shards} = Context) ->
    case is_shared(Context) of
        true -> warp_context_owners:here(Context);
        false -> lists:seq(0, Shards - 1)
    end.

%% @doc The epoch at which this node has a shard; 0 where no other node writes to the target.
-spec epoch(warp_context:context(), non_neg_integer()) -> non_neg_integer().
epoch(Context, N) ->
    case is_shared(Context) of
        true -> warp_context_owners:epoch(Context, N);
        false -> 0
    end.

%% ------------------------------------------------------------------ Generations of tables

-spec put_generation(warp_context:context(), pos_integer()) -> ok.
put_generation(Context, Generation) -> put(Context, generation, Generation).

%% @doc The generation of the tables that are queried, once the target was reached.
-spec generation(warp_context:context()) -> {ok, pos_integer()} | none.
generation(Context) -> get(Context, generation).

-spec put_rebuild(warp_context:context(), rebuild()) -> ok.
put_rebuild(Context, Rebuild) -> put(Context, rebuild, Rebuild).

-spec rebuild(warp_context:context()) -> rebuild().
rebuild(Context) ->
    case get(Context, rebuild) of
        {ok, Rebuild} -> Rebuild;
        none -> #{state => none, due => false, began => none, generation => none}
    end.

%% ------------------------------------------------------------------ Projectors

-spec put_projector(warp_context:context(), key(), pid()) -> ok.
put_projector(Context, {N, Generation}, Pid) -> put(Context, {projector, N, Generation}, Pid).

-spec projector(warp_context:context(), key()) -> {ok, pid()} | none.
projector(Context, {N, Generation}) -> get(Context, {projector, N, Generation}).

%% @doc The projectors of a generation, with their shards.
-spec projectors(warp_context:context(), pos_integer()) -> [{N :: non_neg_integer(), pid()}].
projectors(Context, Generation) ->
    [{N, Pid} || {{_, N, _}, Pid} <- all(Context, {projector, '_', Generation})].

%% @doc The projectors of a shard: two while a rebuild is made.
-spec projectors_of(warp_context:context(), N :: non_neg_integer()) -> [pid()].
projectors_of(Context, N) ->
    [Pid || {_, Pid} <- all(Context, {projector, N, '_'})].

%% @doc Removes all that the table has of a projector.
-spec take_projector(warp_context:context(), key()) -> ok.
take_projector(Context, {N, Generation} = Key) ->
    ok = take(Context, {projector, N, Generation}),
    ok = take_position(Context, Key),
    take(Context, {state, N, Generation}).

-spec put_position(warp_context:context(), key(), position()) -> ok.
put_position(Context, {N, Generation}, Position) -> put(Context, {position, N, Generation}, Position).

%% @doc How far a projector is; none for one that has not found out, and for one whose tables have events
%% that are not in the log.
-spec position(warp_context:context(), key()) -> {ok, position()} | none.
position(Context, {N, Generation}) -> get(Context, {position, N, Generation}).

%% @doc How far the projectors of a generation are, by shard.
-spec positions(warp_context:context(), pos_integer()) -> #{N :: non_neg_integer() => position()}.
positions(Context, Generation) ->
    maps:from_list([{N, Position} || {{_, N, _}, Position} <- all(Context, {position, '_', Generation})]).

-spec take_position(warp_context:context(), key()) -> ok.
take_position(Context, {N, Generation}) -> take(Context, {position, N, Generation}).

-spec put_state(warp_context:context(), key(), state()) -> ok.
put_state(Context, {N, Generation}, State) -> put(Context, {state, N, Generation}, State).

-spec state(warp_context:context(), key()) -> {ok, state()} | none.
state(Context, {N, Generation}) -> get(Context, {state, N, Generation}).

%% @doc How the projectors of a generation are.
-spec states(warp_context:context(), pos_integer()) -> [state()].
states(Context, Generation) ->
    [State || {_, State} <- all(Context, {state, '_', Generation})].

%% ------------------------------------------------------------------ The table

put(Context, Key, Value) ->
    true = ets:insert(table(Context), {Key, Value}),
    ok.

get(Context, Key) ->
    try ets:lookup(table(Context), Key) of
        [{_, Value}] -> {ok, Value};
        [] -> none
    catch
        error:badarg -> none
    end.

take(Context, Key) ->
    true = ets:delete(table(Context), Key),
    ok.

all(Context, Key) ->
    try
        ets:match_object(table(Context), {Key, '_'})
    catch
        error:badarg -> []
    end.

%% NOTE: between two supervisors of the projection the context has no table, or one that is gone.
table(Context) ->
    case warp_context:registered(Context, projection) of
        {ok, Table} -> Table;
        none -> error(badarg)
    end.
