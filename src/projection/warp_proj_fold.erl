%% @private From events to commands: the state that each event leads to, and what the user's
%% `project' makes of it. States are kept for a while, since the next event of an entity is often
%% near; what is not kept is folded from the log.
-module(warp_proj_fold).

-export([new/1, names/1, forget/2, forget_all/1, trim/1, events/5]).

-include("../warp.hrl").

-export_type([fold/0, outcome/0]).

-record(fold, {
    context :: #context{},
    %% Those that project.
    aggregates :: #{binary() => warp_aggregate:aggregate()},
    %% Those of them that have a state.
    folding :: [binary()],
    %% States by entity, with the seq that they include: those used lately, and those before.
    young = #{} :: states(),
    old = #{} :: states()
}).

-opaque fold() :: #fold{}.
-type states() :: #{binary() => {warp_core:seq(), warp_aggregate:states()}}.
-type outcome() ::
    {ok, warp_proj_changes:projected()}
    %% This event, and all behind it, are not projected.
    | {aside, warp_core:event(), Reason :: term()}.

%% How many entities' states one half of the cache holds, and how large their process may become.
-define(MAX_STATES, 20000).
-define(MAX_WORDS, 8 * 1024 * 1024).
%% How many terms of an entity's states are looked at for what `apply' cut out of payloads.
-define(COMPACT_BUDGET, 1000).

-spec new(warp_context:context()) -> fold().
new(#context{aggregates = All} = Context) ->
    Projecting = maps:filter(fun(_, A) -> is_map_key(project, A) end, All),
    Folding = [Name || {Name, A} <- maps:to_list(Projecting), warp_aggregate:folds(A)],
    #fold{context = Context, aggregates = Projecting, folding = Folding}.

%% @doc The aggregates whose events are projected.
-spec names(fold()) -> [binary()].
names(#fold{aggregates = Aggregates}) -> maps:keys(Aggregates).

-spec forget(binary(), fold()) -> fold().
forget(Entity, #fold{young = Young, old = Old} = Fold) ->
    Fold#fold{young = maps:remove(Entity, Young), old = maps:remove(Entity, Old)}.

-spec forget_all(fold()) -> fold().
forget_all(Fold) ->
    Fold#fold{young = #{}, old = #{}}.

%% @doc Lets go of states while they take too much.
-spec trim(fold()) -> fold().
trim(#fold{young = Young} = Fold) ->
    case erlang:process_info(self(), total_heap_size) of
        {_, Words} when Words > ?MAX_WORDS -> Fold#fold{young = #{}, old = Young};
        _ -> Fold
    end.

%% @doc Projects events of one entity, which are in order and begin at seq First. Last is the seq
%% that the entity is at behind them, events of other aggregates included. Blamed are events that
%% the target refused; those skipped are left out if they fail.
-spec events(warp_nif:shard(), {binary(), warp_core:seq(), warp_core:seq()}, [warp_core:event()],
             {Blamed :: #{{binary(), warp_core:seq()} => term()},
              Skipped :: #{{binary(), warp_core:seq()} => []}}, fold()) ->
    {[outcome()], fold()} | {error, term()}.
events(_Handle, _Row, [], _Blamed, Fold) ->
    %% Its states, if there are any, no longer fit; the next event finds that out by the seq.
    {[], Fold};
events(Handle, {Entity, First, Last}, Events, Blamed, Fold) ->
    case states(Handle, Entity, First, Fold) of
        {ok, States} ->
            case project(Events, Entity, Blamed, States, Fold, []) of
                {error, _} = Error ->
                    Error;
                {Outcomes, Next} ->
                    {Outcomes, keep(Entity, Last, warp_compact:term(Next, ?COMPACT_BUDGET), Fold)}
            end;
        {error, _} = Error ->
            Error
    end.

states(_Handle, _Entity, _First, #fold{folding = []}) ->
    {ok, #{}};
states(_Handle, _Entity, 1, #fold{folding = Folding, aggregates = Aggregates}) ->
    {ok, warp_aggregate:initial(maps:with(Folding, Aggregates))};
states(Handle, Entity, First, #fold{young = Young, old = Old} = Fold) ->
    Before = First - 1,
    case Young of
        #{Entity := {Before, States}} ->
            {ok, States};
        #{} ->
            case Old of
                #{Entity := {Before, States}} -> {ok, States};
                #{} -> load(Fold#fold.folding, Handle, Entity, Before, Fold, #{})
            end
    end.

load([], _Handle, _Entity, _Seq, _Fold, States) ->
    {ok, States};
load([Name | Names], Handle, Entity, Seq, #fold{context = Context} = Fold, States) ->
    case warp_replay:state_at(Context, Handle, Entity, Name, {seq, Seq}) of
        {ok, State} ->
            load(Names, Handle, Entity, Seq, Fold, States#{Name => {ok, State}});
        {error, {Kind, _} = Why} when Kind =:= apply_failed; Kind =:= migrate_failed ->
            load(Names, Handle, Entity, Seq, Fold, States#{Name => {error, Why}});
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
    case one(Aggregate, Name, Entity, Event, States) of
        {ok, [], Next} ->
            project(Events, Entity, Blamed, Next, Fold, Done);
        {ok, Ops, Next} when not is_map_key({Entity, Seq}, Refused) ->
            project(Events, Entity, Blamed, Next, Fold, [{ok, {Entity, Seq, Ops}} | Done]);
        {ok, _Ops, Next} when is_map_key({Entity, Seq}, Skipped) ->
            project(Events, Entity, Blamed, Next, Fold, Done);
        {ok, _Ops, _Next} ->
            {lists:reverse([{aside, Event, maps:get({Entity, Seq}, Refused)} | Done]), none};
        {error, {stale_function, _} = Reason, _Next} ->
            %% Nothing is wrong with the event: it waits, and with it all that comes behind it.
            {error, Reason};
        {error, _Reason, Next} when is_map_key({Entity, Seq}, Skipped) ->
            project(Events, Entity, Blamed, Next, Fold, Done);
        {error, Reason, _Next} ->
            {lists:reverse([{aside, Event, Reason} | Done]), none}
    end.

one(#{project := Project, initial_state := Initial} = Aggregate, Name, Entity, Event, States) ->
    Before = maps:get(Name, States, {ok, Initial}),
    case after_event(Before, Aggregate, Event) of
        {ok, State, Migrated} ->
            Next =
                case States of
                    #{Name := _} -> States#{Name := {ok, State}};
                    #{} -> States
                end,
            try Project(Entity, State, Migrated) of
                Commands ->
                    case warp_proj_command:check(Commands) of
                        {ok, Ops} -> {ok, Ops, Next};
                        {error, Why} -> {error, Why, Next}
                    end
            catch
                Class:Reason:Stack ->
                    Crash = {Class, Reason, Stack},
                    {error, warp_aggregate:failed(project, project_failed, Crash, Aggregate), Next}
            end;
        {error, Reason} ->
            %% Without a state there is none for what comes behind it either.
            {error, Reason, States#{Name => {error, Reason}}}
    end.

after_event({ok, State}, Aggregate, Event) -> warp_aggregate:follow(Aggregate, State, Event);
after_event({error, _} = Error, _Aggregate, _Event) -> Error.

%% An entity with an event set aside is not followed on.
keep(Entity, _Last, none, Fold) ->
    forget(Entity, Fold);
keep(_Entity, _Last, _States, #fold{folding = []} = Fold) ->
    Fold;
keep(Entity, Last, States, #fold{young = Young} = Fold) when map_size(Young) < ?MAX_STATES ->
    Fold#fold{young = Young#{Entity => {Last, States}}};
keep(Entity, Last, States, #fold{young = Young} = Fold) ->
    Fold#fold{young = #{Entity => {Last, States}}, old = Young}.
