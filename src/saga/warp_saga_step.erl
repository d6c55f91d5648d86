%% @private One step of a saga: appends its event, or that of its compensation, to its entity, and
%% tells what an answer means for the saga.
-module(warp_saga_step).

-export([run/4, probe/4]).

-include("../warp.hrl").

%% How long one attempt waits for its entity.
-define(PATIENCE_MS, 5000).
%% No log ends there: an append that expects it stores nothing, but is looked up by its id.
-define(NEVER, 1 bsl 62).

%% @doc Does a step, or reverses it, unless that was done before.
-spec run(warp_context:context(), warp_saga_plan:plan(), forward | {reverse, warp_core:seq()},
          warp_saga_core:task()) -> warp_saga_core:outcome().
run(Context, #{id := Id} = Plan, Direction, {N, Time}) ->
    Step = step(Plan, N),
    {Side, Action} =
        case Direction of
            forward -> {forward, maps:get(forward, Step)};
            {reverse, _} -> {reverse, maps:get(compensate, Step)}
        end,
    case {Action, Time} of
        {{event, Type, Payload}, _} ->
            append(Context, Plan, Side, Step, #{type => Type, payload => Payload});
        {{run, Name, Args}, first} ->
            decide(Context, Plan, Direction, Step, Name, Args);
        {{run, Name, Args}, again} ->
            case probe(Context, Id, Side, Step) of
                absent -> decide(Context, Plan, Direction, Step, Name, Args);
                Known -> Known
            end;
        {cleared, _} ->
            case probe(Context, Id, Side, Step) of
                absent -> {refused, entity_deleted};
                Known -> Known
            end
    end.

%% @doc Whether a step was applied, or reversed. What was sent before is carried out before this
%% is answered.
-spec probe(warp_context:context(), binary(), forward | reverse, warp_saga_plan:step()) ->
    warp_saga_core:outcome().
probe(#context{saga_rules = Rules} = Context, Id, Side, #{n := N, entity := Entity}) ->
    Event = #{type => <<"Probe">>, payload => #{}, id => warp_saga_plan:event_id(Id, Side, N)},
    {ok, Pack} = warp_pack:pack_with(Rules, Entity, <<"$warp/saga">>, [Event]),
    case outcome(call(Context, Entity, {append, Pack, ?NEVER}, Pack, ?PATIENCE_MS)) of
        {refused, {id_conflict, Seq}} -> {applied, Seq};
        {refused, {wrong_expected_seq, _}} -> absent;
        %% Whether it is there cannot be told now.
        {refused, Reason} -> {transient, Reason};
        Outcome -> Outcome
    end.

step(#{steps := Steps}, N) ->
    lists:nth(N + 1, Steps).

append(Context, Plan, Side, #{entity := Entity} = Step, Event0) ->
    Event = event(Plan, Side, Step, Event0),
    case warp_pack:pack(Context, Entity, undefined, [Event]) of
        {ok, Pack} ->
            #{id := Id} = Plan,
            Request = {saga_step, Id, {append, Pack, any}},
            outcome(call(Context, Entity, Request, Pack, patience(Plan, Side)));
        {error, Reason} ->
            {refused, Reason}
    end.

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

decide(#context{steps = Functions} = Context, Plan, Direction, Step, Name, Args) ->
    #{entity := Entity, aggregate := Aggregate} = Step,
    Side = case Direction of forward -> forward; _ -> reverse end,
    case {function(Functions, Name), is_map_key(Aggregate, Context#context.aggregates)} of
        {none, _} ->
            {refused, {unknown_step, Name}};
        {_, false} ->
            {refused, {unknown_aggregate, Aggregate}};
        {Fun, true} ->
            case forward_event(Context, Entity, Direction, Fun) of
                {ok, Forward} ->
                    Decide = fun(State) ->
                        case apply(Fun, [State, Args | Forward]) of
                            {ok, #{type := _, payload := _} = Event} ->
                                {ok, [event(Plan, Side, Step, Event)]};
                            {error, _} = Error ->
                                Error;
                            Other ->
                                {error, {bad_return, Name, Other}}
                        end
                    end,
                    #{id := Id} = Plan,
                    Request = {saga_step, Id, {decide, Aggregate, Decide}},
                    outcome(call(Context, Entity, Request, none, patience(Plan, Side)));
                {error, _} = Error ->
                    outcome(Error)
            end
    end.

function(Functions, Name) ->
    maps:get(Name, Functions, none).

%% What the compensation's function gets beside its arguments, if it wants it.
forward_event(Context, Entity, {reverse, Seq}, Fun) when is_function(Fun, 3) ->
    #warp_entity{shard = N} = entity(Context, Entity),
    Range = #{from => Seq, limit => 1, direction => forward},
    case warp_context:shard(Context, N) of
        {ok, Handle} ->
            Read = fun() -> warp_replay:history(Context, Handle, Entity, Range) end,
            case warp_client:aside(Read, ?PATIENCE_MS) of
                {ok, [Event]} -> {ok, [Event]};
                %% The entity was deleted: its process will say so.
                {ok, []} -> {ok, [#{}]};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end;
forward_event(_Context, _Entity, _Direction, _Fun) ->
    {ok, []}.

%% Forward not longer than the saga has time. What was sent may be carried out all the same.
patience(#{deadline := Deadline}, forward) when is_integer(Deadline) ->
    Left = (Deadline - os:system_time(microsecond)) div 1000,
    max(1, min(?PATIENCE_MS, Left));
patience(_Plan, _Side) ->
    ?PATIENCE_MS.

entity(#context{ref = Ref, shards = Shards}, Id) ->
    {ok, N} = warp_nif:shard_of(Id, Shards),
    #warp_entity{ref = Ref, id = Id, shard = N}.

call(Context, Entity, Request, Pack, Patience) ->
    Bytes = case Pack of #{bytes := Size} -> Size; none -> 0 end,
    warp_client:call(entity(Context, Entity), Request, Bytes, Patience, once).

outcome({stored, _First, Seq}) -> {applied, Seq};
outcome({stored_at, [Seq]}) -> {applied, Seq};
outcome({error, Reason}) ->
    case is_transient(Reason) of
        true -> {transient, Reason};
        false -> {refused, Reason}
    end;
outcome(Other) -> {refused, Other}.

is_transient(overloaded) -> true;
is_transient(timeout) -> true;
is_transient(interrupted) -> true;
is_transient(disk_full) -> true;
is_transient(context_stopped) -> true;
is_transient({io_error, _}) -> true;
is_transient({shard_unavailable, _}) -> true;
is_transient({node_unavailable, _}) -> true;
is_transient(_) -> false.
