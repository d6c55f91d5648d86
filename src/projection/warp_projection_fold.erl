%% @private Makes commands of events: computes the state that each event leads to, and calls the user's
%% `project' with it. States that were used lately stay in memory, and others go to a file on disk. A state
%% that is in neither is folded from the log.
%%
%% This runs in a projector's worker, which may be ended in any call of the user's code.
-module(warp_projection_fold).

-export([new/3, names/1, forget/2, trim/1, fetch/2, events/5]).

-export_type([fold/0, outcome/0, blamed/0]).

-record(fold, {
    context :: warp_context:context(),
    at :: warp_projection_user_code:at(),
    declared :: warp_projection_schema:declared(),
    %% The aggregates that have a `project'.
    aggregates :: #{binary() => warp_aggregate:aggregate()},
    %% The names of those of them that have a state.
    folding :: [binary()],
    %% States by entity, with the seq of the last event in them: those used lately, and those used before.
    young = #{} :: states(),
    old = #{} :: states(),
    %% States on disk, and those that were read from there for the rows at hand.
    kept :: warp_projection_states:kept(),
    found = #{} :: states()
}).

-opaque fold() :: #fold{}.
-type states() :: #{binary() => {warp_core:seq(), warp_aggregate:states()}}.
-type outcome() ::
    {ok, warp_projection_merge:projected()}
    %% This event and all behind it are not projected.
    | {aside, warp_core:event(), Reason :: term()}.
%% Events that the target refused, or in which the worker was ended.
-type blamed() :: #{{binary(), warp_core:seq()} =>
                        {refused, term()} | {ended, warp_projection_user_code:kind(), Reason :: term()}}.

%% How many entities' states one half of the cache holds, and how large their process may become.
-define(MAX_STATES, 20000).
-define(MAX_WORDS, 8 * 1024 * 1024).
%% How many terms of an entity's states are searched for binaries that `apply' cut out of payloads.
-define(COMPACT_BUDGET, 1000).

-spec new(warp_context:context(), warp_projection_user_code:at(), warp_projection_states:kept()) -> fold().
new(#{aggregates := All, projections := #{tables := Declared}} = Context, At, Kept) ->
    Projecting = maps:filter(fun(_, A) -> is_map_key(project, A) end, All),
    Folding = [Name || {Name, A} <- maps:to_list(Projecting), warp_aggregate:folds(A)],
    #fold{context = Context, at = At, declared = Declared, aggregates = Projecting, folding = Folding, kept = Kept}.

%% @doc The aggregates whose events are projected, by all of their names.
-spec names(fold()) -> [binary()].
names(#fold{aggregates = Aggregates, context = #{aliases := Aliases}}) ->
    warp_aggregate:stored_names(maps:keys(Aggregates), Aliases).

%% @doc Drops all states of an entity that was erased.
-spec forget(binary(), fold()) -> fold().
forget(Entity, #fold{kept = Kept} = Fold) ->
    drop(Entity, Fold#fold{kept = warp_projection_states:forget(Entity, Kept)}).

drop(Entity, #fold{young = Young, old = Old, found = Found} = Fold) ->
    Fold#fold{young = maps:remove(Entity, Young), old = maps:remove(Entity, Old),
              found = maps:remove(Entity, Found)}.

%% @doc Moves states to disk when they take too much memory. Called between two batches.
-spec trim(fold()) -> fold().
trim(Fold) ->
    case erlang:process_info(self(), total_heap_size) of
        {_, Words} when Words > ?MAX_WORDS -> age(#{}, Fold#fold{found = #{}});
        _ -> Fold#fold{found = #{}}
    end.

%% @doc Reads from disk, all at once, the states that rows of the log will need.
-spec fetch([{pos_integer(), binary(), warp_core:seq(), warp_core:seq(), [warp_core:event()]}], fold()) ->
    fold().
fetch(Rows, #fold{young = Young, old = Old, kept = Kept} = Fold) ->
    case warp_projection_states:is_empty(Kept) of
        true ->
            Fold;
        false ->
            Missing = [Entity || {_, Entity, First, _, [_ | _]} <- Rows, First > 1,
                                 not is_map_key(Entity, Young), not is_map_key(Entity, Old)],
            {Found, Next} = warp_projection_states:find(lists:usort(Missing), Kept),
            Fold#fold{found = Found, kept = Next}
    end.

%% @doc Projects events of one entity, which are in order and begin at seq First. Last is the entity's seq
%% after them, events of other aggregates included. Blamed are events that the target refused or whose
%% call did not return. Skipped events are left out if they fail. An error means that the log cannot be
%% read or that a function is stale; then no event is to blame.
-spec events(warp_cluster_log:log(), {binary(), warp_core:seq(), warp_core:seq()}, [warp_core:event()],
             {blamed(), Skipped :: #{{binary(), warp_core:seq()} => []}}, fold()) ->
    {[outcome()], fold()} | {error, term()}.
events(_Handle, _Row, [], _Blamed, Fold) ->
    %% States of the entity, if there are any, are older now; the seq tells that when the next event comes.
    {[], Fold};
events(Handle, {Entity, First, Last}, [#{seq := Seq} | _] = Stored, {Refused, _} = Blamed, Fold) ->
    #fold{context = #{aliases := Aliases}} = Fold,
    Events = warp_aggregate:current(Stored, Aliases),
    States =
        case Refused of
            #{{Entity, Seq} := {ended, load, Why}} ->
                {ok, maps:from_list([{Name, {error, Why}} || Name <- Fold#fold.folding])};
            #{} ->
                states(Handle, {Entity, Seq}, First, Fold)
        end,
    case States of
        {ok, Before} ->
            Projected = project(Events, Entity, Blamed, Before, Fold, []),
            ok = warp_projection_user_code:ends(Fold#fold.at),
            case Projected of
                {error, _} = Error -> Error;
                {Outcomes, Next} -> {Outcomes, keep(Entity, Last, warp_compact:term(Next, ?COMPACT_BUDGET), Fold)}
            end;
        {error, _} = Error ->
            Error
    end.

states(_Handle, _Event, _First, #fold{folding = []}) ->
    {ok, #{}};
states(_Handle, _Event, 1, #fold{folding = Folding, aggregates = Aggregates}) ->
    {ok, warp_aggregate:initial(maps:with(Folding, Aggregates))};
states(Handle, {Entity, Seq}, First, #fold{young = Young, old = Old, found = Found} = Fold) ->
    Before = First - 1,
    case {Young, Old, Found} of
        {#{Entity := {Before, States}}, _, _} -> {ok, States};
        {_, #{Entity := {Before, States}}, _} -> {ok, States};
        {_, _, #{Entity := {Before, States}}} -> {ok, States};
        {_, _, _} ->
            #fold{folding = Folding, aggregates = Aggregates, context = Context, at = At} = Fold,
            Seen = maps:map(fun(_, A) -> seen(A, At, Seq) end, maps:with(Folding, Aggregates)),
            load(Folding, Handle, Entity, Before, Fold#fold{context = Context#{aggregates := Seen}}, #{})
    end.

%% The same aggregate, but the projector sees each call of its functions. Folding a long log takes long, and
%% must not be taken for a function that hangs.
seen(Aggregate, At, Seq) ->
    maps:map(
        fun(Key, Function) when Key =:= apply; Key =:= migrate ->
                fun(A, B) ->
                    ok = warp_projection_user_code:loads(At, Seq),
                    try Function(A, B) after warp_projection_user_code:ends(At) end
                end;
           (_Key, Value) ->
                Value
        end,
        Aggregate).

load([], _Handle, _Entity, _Seq, _Fold, States) ->
    {ok, States};
load([Name | Names], Handle, Entity, Seq, #fold{context = Context} = Fold, States) ->
    case warp_entity_replay:state_at(Context, Handle, Entity, Name, {seq, Seq}) of
        {ok, State} ->
            load(Names, Handle, Entity, Seq, Fold, States#{Name => {ok, State}});
        {error, {Kind, {Class, Reason, Stack}} = Why} when Kind =:= apply_failed; Kind =:= migrate_failed ->
            %% The called functions are wrappers, so the replay could not tell which function is stale.
            #fold{aggregates = #{Name := Aggregate}} = Fold,
            Function = case Kind of apply_failed -> apply; migrate_failed -> migrate end,
            case warp_aggregate:failed(Function, Kind, {Class, Reason, Stack}, Aggregate) of
                {stale_function, _} = Stale -> {error, Stale};
                _ -> load(Names, Handle, Entity, Seq, Fold, States#{Name => {error, Why}})
            end;
        {error, {bad_return, _, _} = Why} ->
            load(Names, Handle, Entity, Seq, Fold, States#{Name => {error, Why}});
        {error, _} = Error ->
            Error
    end.

project([], _Entity, _Blamed, States, _Fold, Done) ->
    {lists:reverse(Done), States};
project([#{aggregate := Name, seq := Seq} = Event | Events], Entity, Blamed, States, Fold, Done) ->
    #fold{aggregates = #{Name := Aggregate}} = Fold,
    {Refused, Skipped} = Blamed,
    Blame = maps:get({Entity, Seq}, Refused, {none}),
    case one(Aggregate, Name, Entity, Event, States, {Fold, Blame}) of
        {ok, [], Next} ->
            project(Events, Entity, Blamed, Next, Fold, Done);
        {ok, Ops, Next} when element(1, Blame) =/= refused ->
            project(Events, Entity, Blamed, Next, Fold, [{ok, {Entity, Seq, Ops}} | Done]);
        {ok, _Ops, Next} when is_map_key({Entity, Seq}, Skipped) ->
            project(Events, Entity, Blamed, Next, Fold, Done);
        {ok, _Ops, _Next} ->
            {lists:reverse([{aside, Event, Blame} | Done]), none};
        {failed, {stale_function, _} = Reason, _Next} ->
            %% Nothing is wrong with the event: it waits, with all that come behind it.
            {error, Reason};
        {failed, _Reason, Next} when is_map_key({Entity, Seq}, Skipped) ->
            project(Events, Entity, Blamed, Next, Fold, Done);
        {failed, Reason, _Next} ->
            {lists:reverse([{aside, Event, Reason} | Done]), none}
    end.

one(_Aggregate, Name, _Entity, _Event, States, {_Fold, {ended, apply, Reason}}) ->
    {failed, Reason, States#{Name => {error, Reason}}};
one(#{initial_state := Initial} = Aggregate, Name, Entity, #{seq := Seq} = Event, States,
    {#fold{at = At, declared = Declared}, Blame}) ->
    ok = warp_projection_user_code:begins(At, Seq, apply),
    Before = maps:get(Name, States, {ok, Initial}),
    case after_event(Before, Aggregate, Event) of
        {ok, State, Migrated} ->
            Next =
                case States of
                    #{Name := _} -> States#{Name := {ok, State}};
                    #{} -> States
                end,
            case Blame of
                {ended, project, Reason} ->
                    {failed, Reason, Next};
                _ ->
                    ok = warp_projection_user_code:begins(At, Seq, project),
                    commands(Aggregate, {Entity, State, Migrated}, Declared, Next)
            end;
        {error, Reason} ->
            %% Events behind it have no state either.
            {failed, Reason, States#{Name => {error, Reason}}}
    end.

commands(#{project := Project} = Aggregate, {Entity, State, Migrated}, Declared, Next) ->
    try Project(Entity, State, Migrated) of
        Commands ->
            case warp_projection_command:check(Commands, Declared) of
                {ok, Ops} -> {ok, Ops, Next};
                {error, Why} -> {failed, Why, Next}
            end
    catch
        Class:Reason:Stack ->
            {failed, warp_aggregate:failed(project, project_failed, {Class, Reason, Stack}, Aggregate), Next}
    end.

after_event({ok, State}, Aggregate, Event) -> warp_aggregate:follow(Aggregate, State, Event);
after_event({error, _} = Error, _Aggregate, _Event) -> Error.

%% The events behind one that is set aside are not projected, so no state is needed for them.
keep(Entity, _Last, none, Fold) ->
    drop(Entity, Fold);
keep(_Entity, _Last, _States, #fold{folding = []} = Fold) ->
    Fold;
keep(Entity, Last, States, #fold{young = Young} = Fold) when map_size(Young) < ?MAX_STATES ->
    Fold#fold{young = Young#{Entity => {Last, States}}};
keep(Entity, Last, States, Fold) ->
    age(#{Entity => {Last, States}}, Fold).

%% Makes the states used lately the ones used before. Those used before go to disk, unless they were used
%% since.
age(Youngest, #fold{young = Young, old = Old, kept = Kept} = Fold) ->
    Leaving = [{Entity, Seq, States}
               || {Entity, {Seq, States}} <- maps:to_list(Old), not is_map_key(Entity, Young)],
    Fold#fold{young = Youngest, old = Young, kept = warp_projection_states:keep(Leaving, Kept)}.
