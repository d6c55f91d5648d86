%% @private One step of a saga: appends the event of the step, or that of its compensation, to the entity, and
%% says what the entity's answer means for the saga.
%%
%% A step runs on the node that has its entity, and with the aggregates and step functions of that node. On the way
%% there it can be delayed for longer than its saga waits. NOTE: so all attempts at one step run in order there
%% (`warp_cluster_call:order()'), as if they had come through the mailbox of the entity's process. What is sent for a
%% saga whose shard has another owner by now is refused, also when that owner's attempts have come by another way. Else
%% a step that was looked for and not found could be stored later.
-module(warp_saga_step).

-export([run/4, ahead/4, is_ahead_possible/3, probe/4]).
-export([serve/5]).

-include("../base/warp_entity.hrl").

-export_type([home/0]).

%% Where the saga lives: the shard, and which epoch it has while this node is its owner.
-type home() :: #{
    context := warp_context:context(),
    shard := non_neg_integer(),
    epoch := non_neg_integer(),
    atom() => term()
}.
%% `look': whether the step was done.
-type what() :: {run, forward | {reverse, warp_core:seq()}, first | again} | {look, forward | reverse}.

%% How long one attempt waits for its entity at most.
-define(PATIENCE_MS, 5000).
%% No log ends at this seq: an append that expects it stores nothing, but the entity looks up its id.
-define(NEVER, 1 bsl 62).

%% @doc Does a step, or reverses it, unless that was done before.
%%
%% An entity recognises the id of an event that was stored before. So an event with a fixed payload can be
%% sent again at once. What a step function decides, or what cannot be sent now, says nothing about what was
%% sent before: the step is looked for first.
-spec run(home(), warp_saga_plan:plan(), forward | {reverse, warp_core:seq()}, warp_saga_core:task()) ->
    warp_saga_core:outcome().
run(Home, Plan, Direction, {N, Time}) ->
    at_entity(Home, Plan, N, {run, Direction, Time}).

%% @doc Whether a step was applied, or reversed. The entity carries out what was sent to it before and only
%% then answers this.
-spec probe(home(), warp_saga_plan:plan(), forward | reverse, non_neg_integer()) -> warp_saga_core:outcome().
probe(Home, Plan, Side, N) ->
    at_entity(Home, Plan, N, {look, Side}).

at_entity(#{context := #{ref := Ref} = Context, shard := Shard, epoch := Epoch}, #{id := Id} = Plan, N, What) ->
    #{entity := Entity} = Step = planned(Plan, N),
    Millis = patience(Plan, What),
    Order = {warp_saga_plan:event_id(Id, side(What), N), Shard, Epoch},
    Call = {?MODULE, serve, [Ref, Id, Step, What, Millis], Order},
    case may_ask(What, Context, Entity, Id) of
        ok -> outcome(not_sent(at_owner(Context, Call, Millis), Context, Entity));
        {error, _} = Error -> outcome(Error)
    end.

%% NOTE: an entity of another node may have been deleted, and that node have forgotten the sagas that it refuses. This
%% one knows those that it has under way.
may_ask({look, _}, _Context, _Entity, _Id) -> ok;
may_ask({run, _, _}, Context, Entity, Id) -> warp_saga_erase:check_own(Context, Entity, Id).

planned(#{steps := Steps}, N) ->
    lists:nth(N + 1, Steps).

side({run, forward, _}) -> forward;
side({run, {reverse, _}, _}) -> reverse;
side({look, Side}) -> Side.

%% For how long an attempt waits for its entity: forward, no longer than the saga has time. What was sent may be
%% carried out all the same.
patience(#{deadline := Deadline}, {run, forward, _}) when is_integer(Deadline) ->
    Left = (Deadline - os:system_time(microsecond)) div 1000,
    max(1, min(?PATIENCE_MS, Left));
patience(_Plan, _What) ->
    ?PATIENCE_MS.

at_owner(Context, Call, Millis) ->
    [_, Id, #{entity := Entity} = Step, What, _] = element(3, Call),
    {ok, At} = warp_context:shard_of(Context, Entity),
    Deadline = warp_deadline:from(Millis),
    warp_cluster_call:run(Context, At, Call, {once, fun() -> Deadline end},
                          fun() -> here(Context, Id, Step, What, Deadline) end).

%% Whether nothing was sent, since it is not known where the entity is, or its node cannot be reached.
not_sent({error, {node_unavailable, _} = Reason}, _Context, _Entity) ->
    {not_sent, Reason};
not_sent({error, {shard_unavailable, N} = Reason} = Error, Context, Entity) ->
    {ok, At} = warp_context:shard_of(Context, Entity),
    case At =:= N andalso not warp_context_owners:is_here(Context, N) of
        true -> {not_sent, Reason};
        false -> Error
    end;
not_sent(Answer, _Context, _Entity) ->
    Answer.

%% @doc Does for another node what {@link run/4} and {@link probe/4} do there, with the entity's shard on this one.
-spec serve(warp_context:ref(), binary(), warp_saga_plan:step(), what(), pos_integer()) -> term().
serve(Ref, Id, Step, What, Millis) ->
    case warp_context:find(Ref) of
        {ok, Context} -> at_owner(Context, {?MODULE, serve, [Ref, Id, Step, What, Millis]}, Millis);
        not_found -> {error, context_stopped}
    end.

here(Context, Id, Step, {look, Side}, Deadline) ->
    look(Context, Id, Side, Step, Deadline);
here(Context, Id, Planned, {run, Direction, Time} = What, Deadline) ->
    Step = renamed(Context, Planned),
    Side = side(What),
    Action = case Side of forward -> maps:get(forward, Step); reverse -> maps:get(compensate, Step) end,
    case prepare(Action, Context, Id, Direction, Side, Step, Deadline) of
        {append, Pack} ->
            call(Context, Step, {checked, {warp_saga_erase, Id}, {append, Pack, any}}, Pack, Deadline);
        Prepared when Time =:= first ->
            attempt(Prepared);
        Prepared ->
            case look(Context, Id, Side, Step, Deadline) of
                absent -> attempt(Prepared);
                Known -> Known
            end
    end.

attempt({decide, Decide}) -> Decide();
attempt({error, _} = Error) -> Error.

look(#{saga_rules := Rules} = Context, Id, Side, #{n := N, entity := Entity} = Step, Deadline) ->
    Event = #{type => <<"Probe">>, payload => #{}, id => warp_saga_plan:event_id(Id, Side, N)},
    {ok, Pack} = warp_entity_pack:pack_with(Rules, Entity, warp_saga_plan:aggregate(false), [Event]),
    case call(Context, Step, {append, Pack, ?NEVER}, Pack, Deadline) of
        {error, {id_conflict, Seq}} ->
            {applied, Seq};
        {error, {wrong_expected_seq, _}} ->
            absent;
        {error, Reason} = Error ->
            case is_transient(Reason) of
                true -> Error;
                %% The entity cannot say now whether the event is there.
                false -> {not_known, Reason}
            end;
        Answer ->
            Answer
    end.

%% @doc Whether these steps can run ahead of the disk: their entities are in this node's journal, as their saga is.
-spec is_ahead_possible(home(), warp_saga_plan:plan(), [non_neg_integer()]) -> boolean().
is_ahead_possible(#{context := #{owners := Owners} = Context}, Plan, Ns) ->
    warp_context_owners:is_single(Owners) orelse lists:all(fun(N) -> is_here(Context, planned(Plan, N)) end, Ns).

is_here(Context, #{entity := Entity}) ->
    {ok, At} = warp_context:shard_of(Context, Entity),
    warp_context_owners:is_here(Context, At).

%% @doc Does a step that was never sent before, whose event is fixed, and whose entity is here. The event is tied to the
%% ticket, and so it is stored only if everything was that was tied to the ticket before it. Waits until the entity's
%% process has handed the event to the writer.
-spec ahead(home(), warp_saga_plan:plan(), warp_nif:ticket(), non_neg_integer()) ->
    warp_saga_core:outcome().
ahead(#{context := Context}, #{id := Id} = Plan, Ticket, N) ->
    Deadline = warp_deadline:from(patience(Plan, {run, forward, first})),
    #{entity := Entity, forward := Action} = Step = renamed(Context, planned(Plan, N)),
    case prepare(Action, Context, Id, forward, forward, Step, Deadline) of
        {append, #{packed := Packed} = Pack} ->
            ok = warp_nif:tie(Packed, Ticket),
            Request = {checked, {warp_saga_erase, Id}, {early, {append, Pack, any}}},
            case call(Context, Step, Request, Pack, Deadline) of
                %% The event was there before, so the saga is not new, and the entity may not have asked the writer.
                {stored_at, _} -> {transient, interrupted};
                %% NOTE: the entity's shard may have gone since it was looked at.
                Answer -> outcome(not_sent(Answer, Context, Entity))
            end;
        {error, _} = Error ->
            outcome(Error)
    end.

%% What does the step, if this start of the context has what it takes.
prepare({event, Type, Payload}, Context, Id, _Direction, Side, #{entity := Entity} = Step, _Deadline) ->
    Event = event(Id, Side, Step, #{type => Type, payload => Payload}),
    case warp_entity_pack:pack(Context, Entity, undefined, [Event]) of
        {ok, Pack} -> {append, Pack};
        {error, _} = Error -> Error
    end;
prepare({run, Name, Args}, Context, Id, Direction, Side, #{aggregate := Aggregate} = Step, Deadline) ->
    #{steps := Functions, aggregates := Aggregates} = Context,
    case warp_saga_functions:find(Name, Side, Functions) of
        {ok, Fun} when is_map_key(Aggregate, Aggregates) ->
            {decide, fun() -> decide(Context, Id, Direction, Side, Step, {Name, Fun, Args}, Deadline) end};
        {ok, _} ->
            {error, {unknown_aggregate, Aggregate}};
        {error, _} = Error ->
            Error
    end;
prepare(cleared, _Context, _Id, _Direction, _Side, _Step, _Deadline) ->
    {error, entity_deleted}.

%% The step, with the name that its aggregate has now.
renamed(#{aliases := Aliases}, #{aggregate := Planned} = Step) ->
    Step#{aggregate := maps:get(Planned, Aliases, Planned)}.

event(Id, Side, #{n := N, aggregate := Aggregate} = Step, Event) ->
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

decide(Context, Id, Direction, Side, #{entity := Entity, aggregate := Aggregate} = Step, {Name, Fun, Args}, Deadline) ->
    case forward_event(Context, Entity, Direction, Fun, Deadline) of
        {ok, Forward} ->
            Decide = fun(State) ->
                case call_step(Name, Fun, [State, Args | Forward]) of
                    {returned, {ok, #{type := _, payload := _} = Event}} ->
                        {ok, [event(Id, Side, Step, Event)]};
                    {stale, Gone} ->
                        {error, {stale_function, Gone}};
                    {returned, {error, Reason}} ->
                        {error, {step_refused, Reason}};
                    {returned, Other} ->
                        {error, {bad_return, Name, Other}}
                end
            end,
            Request = {checked, {warp_saga_erase, Id}, {decide, Aggregate, Decide}},
            call(Context, Step, Request, none, Deadline);
        {error, _} = Error ->
            Error
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
forward_event(Context, Entity, {reverse, Seq}, Fun, Deadline) when is_function(Fun, 3) ->
    Range = #{from => Seq, limit => 1, direction => forward},
    case warp_context:locate(Context, Entity) of
        {ok, {_N, Handle}} ->
            Read = fun() -> warp_entity_replay:history(Context, Handle, Entity, Range) end,
            case warp_entity_call:aside(Read, Deadline) of
                {ok, [Event]} -> {ok, [Event]};
                %% The entity was deleted. Its process will refuse the compensation and say so.
                {ok, []} -> {ok, [#{}]};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end;
forward_event(_Context, _Entity, _Direction, _Fun, _Deadline) ->
    {ok, []}.

call(#{ref := Ref} = Context, #{entity := Entity}, Request, Pack, Deadline) ->
    Bytes = case Pack of #{bytes := Size} -> Size; none -> 0 end,
    {ok, N} = warp_context:shard_of(Context, Entity),
    warp_entity_call:call(#warp_entity{ref = Ref, id = Entity, shard = N}, Request, Bytes, Deadline, once).

outcome({applied, _Seq} = Known) -> Known;
outcome(absent) -> absent;
outcome({not_sent, _Reason} = NotSent) -> NotSent;
outcome({not_known, Reason}) -> {transient, Reason};
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
is_transient({unknown_outcome, _}) -> true;
%% The saga has another owner, and this process ends.
is_transient({old_epoch, _}) -> true;
is_transient(_) -> false.
