%% @private One step of a saga: appends the event of the step, or that of its compensation, to the entity, and
%% says what the entity's answer means for the saga.
-module(warp_saga_step).

-export([run/4, ahead/4, probe/4]).

-include("../base/warp_entity.hrl").

%% How long one attempt waits for its entity at most.
-define(PATIENCE_MS, 5000).
%% No log ends at this seq: an append that expects it stores nothing, but the entity looks up its id.
-define(NEVER, 1 bsl 62).

%% @doc Does a step, or reverses it, unless that was done before.
%%
%% An entity recognises the id of an event that was stored before. So an event with a fixed payload can be
%% sent again at once. What a step function decides, or what cannot be sent now, says nothing about what was
%% sent before: the step is looked for first.
-spec run(warp_context:context(), warp_saga_plan:plan(), forward | {reverse, warp_core:seq()},
          warp_saga_core:task()) -> warp_saga_core:outcome().
run(Context, #{id := Id} = Plan, Direction, {N, Time}) ->
    Step = step(Context, Plan, N),
    {Side, Action} =
        case Direction of
            forward -> {forward, maps:get(forward, Step)};
            {reverse, _} -> {reverse, maps:get(compensate, Step)}
        end,
    case prepare(Action, Context, Plan, Direction, Side, Step) of
        {append, Pack} ->
            append(Context, Plan, Side, maps:get(entity, Step), Pack);
        Prepared when Time =:= first ->
            attempt(Prepared);
        Prepared ->
            case probe(Context, Id, Side, Step) of
                absent -> attempt(Prepared);
                Known -> Known
            end
    end.

%% @doc Does a step that was never sent before, and whose event is fixed. The event is tied to the ticket, and so it
%% is stored only if everything was that was tied to the ticket before it. Waits until the entity's process has
%% handed the event to the writer.
-spec ahead(warp_context:context(), warp_saga_plan:plan(), warp_nif:ticket(), non_neg_integer()) ->
    warp_saga_core:outcome().
ahead(Context, #{id := Id} = Plan, Ticket, N) ->
    #{entity := Entity, forward := Action} = Step = step(Context, Plan, N),
    case prepare(Action, Context, Plan, forward, forward, Step) of
        {append, #{packed := Packed} = Pack} ->
            ok = warp_nif:tie(Packed, Ticket),
            Request = {checked, {warp_saga_erase, Id}, {early, {append, Pack, any}}},
            Answer = call(Context, Entity, Request, Pack, deadline(Plan, forward)),
            case Answer of
                %% The event was there before, so the saga is not new, and the entity may not have asked the writer.
                {stored_at, _} -> {transient, interrupted};
                _ -> outcome(Answer)
            end;
        {error, _} = Error ->
            outcome(Error)
    end.

attempt({decide, Decide}) -> Decide();
attempt({error, _} = Error) -> outcome(Error).

%% What does the step, if this start of the context has what it takes.
prepare({event, Type, Payload}, Context, Plan, _Direction, Side, #{entity := Entity} = Step) ->
    Event = event(Plan, Side, Step, #{type => Type, payload => Payload}),
    case warp_entity_pack:pack(Context, Entity, undefined, [Event]) of
        {ok, Pack} -> {append, Pack};
        {error, _} = Error -> Error
    end;
prepare({run, Name, Args}, Context, Plan, Direction, Side, #{aggregate := Aggregate} = Step) ->
    #{steps := Functions, aggregates := Aggregates} = Context,
    case warp_saga_functions:find(Name, Side, Functions) of
        {ok, Fun} when is_map_key(Aggregate, Aggregates) ->
            {decide, fun() -> decide(Context, Plan, Direction, Side, Step, {Name, Fun, Args}) end};
        {ok, _} ->
            {error, {unknown_aggregate, Aggregate}};
        {error, _} = Error ->
            Error
    end;
prepare(cleared, _Context, _Plan, _Direction, _Side, _Step) ->
    {error, entity_deleted}.

%% @doc Whether a step was applied, or reversed. The entity carries out what was sent to it before and only
%% then answers this.
-spec probe(warp_context:context(), binary(), forward | reverse, warp_saga_plan:step()) ->
    warp_saga_core:outcome().
probe(#{saga_rules := Rules} = Context, Id, Side, #{n := N, entity := Entity}) ->
    Event = #{type => <<"Probe">>, payload => #{}, id => warp_saga_plan:event_id(Id, Side, N)},
    {ok, Pack} = warp_entity_pack:pack_with(Rules, Entity, warp_saga_plan:aggregate(false), [Event]),
    case outcome(call(Context, Entity, {append, Pack, ?NEVER}, Pack, warp_deadline:from(?PATIENCE_MS))) of
        {refused, {id_conflict, Seq}} -> {applied, Seq};
        {refused, {wrong_expected_seq, _}} -> absent;
        %% The entity cannot say now whether the event is there.
        {refused, Reason} -> {transient, Reason};
        Outcome -> Outcome
    end.

%% The step, with the name that its aggregate has now.
step(#{aliases := Aliases}, #{steps := Steps}, N) ->
    #{aggregate := Planned} = Step = lists:nth(N + 1, Steps),
    Step#{aggregate := maps:get(Planned, Aliases, Planned)}.

append(Context, #{id := Id} = Plan, Side, Entity, Pack) ->
    Request = {checked, {warp_saga_erase, Id}, {append, Pack, any}},
    outcome(call(Context, Entity, Request, Pack, deadline(Plan, Side))).

event(#{id := Id}, Side, #{n := N, aggregate := Aggregate} = Step, Event) ->
    Own = #{aggregate => Aggregate,
            id => warp_saga_plan:event_id(Id, Side, N),
            metadata => metadata(Id, N, maps:get(metadata, Event, #{}))},
    case Step of
        #{schema_vsn := default} -> maps:merge(Event, Own);
        #{schema_vsn := Vsn} -> maps:merge(#{schema_vsn => Vsn}, maps:merge(Event, Own))
    end.

metadata(Id, N, Given) when is_map(Given) ->
    Given#{<<"correlation">> => Id,
           <<"causation">> => <<Id/binary, "/step/", (integer_to_binary(N))/binary>>};
metadata(_Id, _N, NotAMap) ->
    NotAMap.

decide(Context, #{id := Id} = Plan, Direction, Side, Step, {Name, Fun, Args}) ->
    #{entity := Entity, aggregate := Aggregate} = Step,
    case forward_event(Context, Entity, Direction, Fun) of
        {ok, Forward} ->
            Decide = fun(State) ->
                case call_step(Name, Fun, [State, Args | Forward]) of
                    {returned, {ok, #{type := _, payload := _} = Event}} ->
                        {ok, [event(Plan, Side, Step, Event)]};
                    {stale, Gone} ->
                        {error, {stale_function, Gone}};
                    {returned, {error, Reason}} ->
                        {error, {step_refused, Reason}};
                    {returned, Other} ->
                        {error, {bad_return, Name, Other}}
                end
            end,
            Request = {checked, {warp_saga_erase, Id}, {decide, Aggregate, Decide}},
            outcome(call(Context, Entity, Request, none, deadline(Plan, Side)));
        {error, _} = Error ->
            outcome(Error)
    end.

%% The function is gone when its module was reloaded twice.
call_step(Name, Fun, Args) ->
    try
        {returned, apply(Fun, Args)}
    catch
        error:Reason:Stack ->
            case warp_function:stale(Reason, Stack, Fun) of
                {true, Gone} -> {stale, Gone#{step => Name}};
                false -> erlang:raise(error, Reason, Stack)
            end
    end.

%% The event of the step, for a function of a compensation that takes it beside its arguments.
forward_event(Context, Entity, {reverse, Seq}, Fun) when is_function(Fun, 3) ->
    Range = #{from => Seq, limit => 1, direction => forward},
    case warp_context:locate(Context, Entity) of
        {ok, {_N, Handle}} ->
            Read = fun() -> warp_entity_replay:history(Context, Handle, Entity, Range) end,
            case warp_entity_call:aside(Read, warp_deadline:from(?PATIENCE_MS)) of
                {ok, [Event]} -> {ok, [Event]};
                %% The entity was deleted. Its process will refuse the compensation and say so.
                {ok, []} -> {ok, [#{}]};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end;
forward_event(_Context, _Entity, _Direction, _Fun) ->
    {ok, []}.

%% Until when an attempt waits for its entity: forward, no longer than the saga has time. What was sent may be
%% carried out all the same.
deadline(#{deadline := Deadline}, forward) when is_integer(Deadline) ->
    Left = (Deadline - os:system_time(microsecond)) div 1000,
    warp_deadline:from(max(1, min(?PATIENCE_MS, Left)));
deadline(_Plan, _Side) ->
    warp_deadline:from(?PATIENCE_MS).

entity(#{ref := Ref} = Context, Id) ->
    {ok, N} = warp_context:shard_of(Context, Id),
    #warp_entity{ref = Ref, id = Id, shard = N}.

call(Context, Entity, Request, Pack, Deadline) ->
    Bytes = case Pack of #{bytes := Size} -> Size; none -> 0 end,
    warp_entity_call:call(entity(Context, Entity), Request, Bytes, Deadline, once).

outcome({stored, _First, Seq}) -> {applied, Seq};
outcome({stored_at, [Seq]}) -> {applied, Seq};
outcome({accepted, _First, Seq}) -> {accepted, Seq};
%% Something before it was not stored, and so it was not either.
outcome({error, void_ticket}) -> {transient, interrupted};
%% NOTE: before the others. A step function may refuse with a reason that looks like one of Warp's own.
outcome({error, {step_refused, Reason}}) ->
    {refused, Reason};
outcome({error, Reason}) ->
    case {is_transient(Reason), is_lacking(Reason)} of
        {true, _} -> {transient, Reason};
        {_, true} -> {waiting, Reason};
        _ -> {refused, Reason}
    end;
outcome(Other) -> {refused, Other}.

%% Another start of the context may have what this one lacks. Nothing was refused.
is_lacking({unknown_aggregate, _}) -> true;
is_lacking({unknown_step, _}) -> true;
is_lacking({step_arity, _, _, _}) -> true;
is_lacking({step_not_exported, _, _}) -> true;
is_lacking({stale_function, _}) -> true;
is_lacking(_) -> false.

is_transient(overloaded) -> true;
is_transient(timeout) -> true;
is_transient(interrupted) -> true;
is_transient(disk_full) -> true;
is_transient(context_stopped) -> true;
is_transient({io_error, _}) -> true;
is_transient({internal, _}) -> true;
is_transient({shard_unavailable, _}) -> true;
is_transient({node_unavailable, _}) -> true;
is_transient(_) -> false.
