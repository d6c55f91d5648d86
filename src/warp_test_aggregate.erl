%% @doc Tests of aggregates without a database: given these events, when others are appended or a function decides,
%% then this is stored or refused, and this is the state.
%%
%% ```
%% no_overdraft_test() ->
%%     Given = warp_test_aggregate:given(account:aggregate(), [credited(5)]),
%%     {error, {rejected, {missing, 4}}} = warp_test_aggregate:append(Given, debited(9)),
%%     {ok, Then} = warp_test_aggregate:append(Given, debited(2)),
%%     3 = warp_test_aggregate:state(Then).
%% '''
%%
%% The aggregate's functions are called as an entity calls them, with events as the log has them: with binaries as
%% keys, seqs from 1 and the time.
-module(warp_test_aggregate).

-export([given/2, append/2, decide/2, state/1]).

-export_type([entity/0]).

-record(entity, {name :: binary(), core :: warp_entity_core:core(), context :: warp_entity_core:context()}).
%% An entity that has some events and is nowhere stored.
-opaque entity() :: #entity{}.

-define(ID, <<"test">>).

%% @doc An entity of one aggregate that has these events, as if it had stored them some time ago: they are not
%% validated. Raises the error of {@link warp_core:start/1} for a definition that is wrong, that of {@link
%% warp_core:append_batch/2} for an event that is wrong or that `apply' crashes on, and `nif_not_loaded' where the
%% native library is missing.
-spec given(warp_core:aggregate(), [warp_core:new_event()]) -> entity().
given(Definition, Events) ->
    ok = ok(warp_nif:loaded()),
    Options = warp_check:options(#{aggregates => [Definition]}, warp_entity_options:start()),
    {ok, #{aggregates := Aggregates}} = ok(Options),
    [{Name, Aggregate}] = maps:to_list(Aggregates),
    Past = entity(Name, #{Name => maps:remove(validate, Aggregate)}),
    {ok, #entity{core = Core}} =
        case Events of
            [] -> {ok, Past};
            _ -> ok(append(Past, Events))
        end,
    {Seq, Time, States} = warp_entity_core:committed(Core),
    #entity{core = New} = Entity = entity(Name, Aggregates),
    Loaded = #{incarnation => 1, seq => Seq, recorded_at => Time, states => States, snapshot_seq => 0},
    Entity#entity{core = warp_entity_core:reset(Loaded, New)}.

ok({error, Reason}) -> error(Reason);
ok(Ok) -> Ok.

entity(Name, Aggregates) ->
    Context = #{aggregates => Aggregates, rules => warp_entity_pack:rules(Aggregates), clock => warp_clock:new()},
    #entity{name = Name, core = warp_entity_core:new(Context, ?ID), context = Context}.

%% @doc The entity after an event, or a batch of events, has been appended to it. Errors are those of {@link
%% warp_core:append_batch/2}; the entity is as it was then.
-spec append(entity(), warp_core:new_event() | [warp_core:new_event()]) ->
    {ok, entity()} | {error, warp_core:write_error()}.
append(_Entity, []) ->
    {error, empty_batch};
append(#entity{context = Context, name = Name} = Entity, Events) when is_list(Events) ->
    case warp_entity_pack:pack(Context, ?ID, Name, Events) of
        {ok, Pack} -> judged({append, Pack, any}, Entity);
        {error, _} = Error -> Error
    end;
append(Entity, Event) ->
    append(Entity, [Event]).

%% @doc What a function decides on the state, as in {@link warp_core:decide/3}: its events and its messages, which are
%% not sent, and the entity after these events. Errors are those of {@link warp_core:decide/3}.
-spec decide(entity(), fun((State :: term()) -> warp_core:decision(Reason))) ->
    {ok, {[warp_core:new_event()], [{pid(), term()}]}, entity()}
    | {error, Reason | warp_core:write_error()}.
decide(#entity{name = Name} = Entity, Fun) when is_function(Fun, 1) ->
    Made = make_ref(),
    Noting = fun(State) ->
        Decision = Fun(State),
        _ = put(Made, Decision),
        Decision
    end,
    Judged = judged({decide, Name, Noting}, Entity),
    case {Judged, erase(Made)} of
        {{ok, Next}, {ok, Events}} -> {ok, {Events, []}, Next};
        {{ok, Next}, {ok, Events, Messages}} -> {ok, {Events, Messages}, Next};
        {{error, _} = Error, _} -> Error
    end.

judged(Request, #entity{core = Core0} = Entity) ->
    case warp_entity_core:take(warp_entity_core:request(Request, {cast, ?ID}, Core0)) of
        {append, _Rows, Core1} ->
            {_Answers, Core} = warp_entity_core:settle({stored, 1}, Core1),
            {ok, Entity#entity{core = Core}};
        {refuse, {_Kind, _From, _Request, {error, _} = Error}, _Core} ->
            Error;
        %% A decision that stores nothing.
        {refuse, _Answer, Core} ->
            {ok, Entity#entity{core = Core}}
    end.

%% @doc The state of the entity. Raises the error of {@link warp_core:get/2} if there is none.
-spec state(entity()) -> term().
state(#entity{core = Core, name = Name}) ->
    {ok, State} = ok(warp_entity_core:read(Name, Core)),
    State.
