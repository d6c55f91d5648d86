%% The engine's sagas for the Gleam modules. This module reshapes terms and decides nothing.
-module(warp_saga_ffi).

-export([step/2, parallel/2, function/1, compensation/1]).
-export([commit/3, cancel/2, recover_pending/1, retry/2, resolve/3]).
-export([status/2, pending/1, stuck/1]).

-spec step(warp_saga:saga(), tuple()) -> warp_saga:saga().
step(Saga, Step) ->
    warp_saga:step(Saga, to_map(Step)).

-spec parallel(warp_saga:saga(), [tuple()]) -> warp_saga:saga().
parallel(Saga, Steps) ->
    warp_saga:parallel(Saga, [to_map(Step) || Step <- Steps]).

to_map({step, Entity, Aggregate, Vsn, Forward, Compensate}) ->
    #{entity => Entity, aggregate => Aggregate, schema_vsn => Vsn, forward => action(Forward),
      compensate => action(Compensate)}.

action({step_event, Type, Payload}) -> #{type => Type, payload => Payload};
action({append, #{type := Type, payload := Payload}}) -> #{type => Type, payload => Payload};
action({run, Name, Arguments}) -> #{run => Name, args => Arguments}.

-spec function(fun((term(), map()) -> {ok, map()} | {error, term()})) ->
    fun((term(), map()) -> {ok, map()} | {error, term()}).
function(Run) ->
    fun(State, Arguments) -> answer(Run(State, Arguments)) end.

-spec compensation(fun((term(), map(), map()) -> {ok, map()} | {error, term()})) ->
    fun((term(), map(), map()) -> {ok, map()} | {error, term()}).
compensation(Run) ->
    fun(State, Arguments, Forward) -> answer(Run(State, Arguments, Forward)) end.

%% The step names the aggregate, and the engine gives the event its id.
answer({ok, Event}) -> {ok, maps:with([type, payload, schema_vsn, metadata], Event)};
answer({error, Error}) -> {error, {warp_error, Error}}.

-spec commit(warp_saga:saga(), warp_core:ctx(), map()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
commit(Saga, Ctx, Options) ->
    map(fun outcome/1, warp_saga:commit(Saga, Ctx, Options)).

-spec cancel(warp_core:ctx(), binary()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
cancel(Ctx, Id) ->
    map(fun outcome/1, warp_saga:cancel(Ctx, Id)).

-spec retry(warp_core:ctx(), binary()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
retry(Ctx, Id) ->
    map(fun outcome/1, warp_saga:retry(Ctx, Id)).

-spec resolve(warp_core:ctx(), binary(), binary()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
resolve(Ctx, Id, Note) ->
    map(fun outcome/1, warp_saga:resolve(Ctx, Id, Note)).

-spec recover_pending(warp_core:ctx()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
recover_pending(Ctx) ->
    map(fun(#{committed := Committed, compensated := Compensated, stuck := Stuck,
              waiting := Waiting}) ->
                {recovered, Committed, Compensated, Stuck, Waiting}
        end,
        warp_saga:recover_pending(Ctx)).

-spec status(warp_core:ctx(), binary()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
status(Ctx, Id) ->
    map(fun(#{id := Saga, steps := Steps, started_at := Started, updated_at := Updated} = Map) ->
                {status, Saga, state(Map), steps(Steps), failure(failed, Map),
                 failure(blocked, Map), note(Map), Started, Updated}
        end,
        warp_saga:status(Ctx, Id)).

-spec pending(warp_core:ctx()) -> {ok, [tuple()]} | {error, warp_error_ffi:error()}.
pending(Ctx) ->
    map(fun(Sagas) ->
                [{pending, Id, state(Saga), Started}
                 || #{id := Id, started_at := Started} = Saga <- Sagas]
        end,
        warp_saga:pending(Ctx)).

-spec stuck(warp_core:ctx()) -> {ok, [tuple()]} | {error, warp_error_ffi:error()}.
stuck(Ctx) ->
    map(fun(Sagas) -> [outcome({stuck, Saga}) || Saga <- Sagas] end, warp_saga:stuck(Ctx)).

state(#{state := waiting, waiting := Waiting}) -> {is_waiting, waiting(Waiting)};
state(#{state := stuck}) -> is_stuck;
state(#{state := committed}) -> is_committed;
state(#{state := compensated}) -> is_compensated;
state(#{state := resolved}) -> is_resolved;
state(#{state := State}) -> State.

waiting(#{step := Step, entity := Entity, direction := Direction, reason := Reason, since := Since}) ->
    Way = case Direction of forward -> forward; compensate -> backward end,
    {waiting, Step, Entity, Way, warp_error_ffi:reason(Reason), Since}.

outcome({committed, #{id := Id, steps := Steps}}) ->
    {committed, Id, steps(Steps)};
outcome({compensated, #{id := Id, steps := Steps, failed := Failed}}) ->
    {compensated, Id, steps(Steps), failure(Failed)};
outcome({stuck, #{id := Id, steps := Steps, failed := Failed, blocked := Blocked} = Map}) ->
    {stuck, Id, steps(Steps), failure(Failed), failure(Blocked), note(Map)}.

failure(Key, Map) ->
    case Map of
        #{Key := Failure} -> {some, failure(Failure)};
        #{} -> none
    end.

failure(#{step := none, reason := timeout}) ->
    deadline_passed;
failure(#{step := none, reason := cancelled}) ->
    was_cancelled;
failure(#{step := none, reason := Reason}) ->
    {unknown_step_refused, warp_error_ffi:reason(Reason)};
failure(#{step := Step, entity := Entity, reason := Reason}) ->
    {step_refused, Step, Entity, warp_error_ffi:reason(Reason)}.

note(#{note := Note}) -> {some, Note};
note(#{}) -> none.

steps(Steps) ->
    [{step_result, Step, Entity, Aggregate, step_status(Status, Map)}
     || #{step := Step, entity := Entity, aggregate := Aggregate, status := Status} = Map <- Steps].

step_status(applied, #{seq := Seq}) ->
    {applied, Seq};
step_status(reversed, #{seq := Seq, compensation_seq := Compensation}) ->
    {reversed, Seq, Compensation};
step_status(refused, #{reason := Reason}) ->
    {step_not_taken, warp_error_ffi:reason(Reason)};
step_status(not_run, #{}) ->
    not_run;
step_status(not_reversed, #{seq := Seq, reason := Reason}) ->
    {not_reversed, Seq, {some, warp_error_ffi:reason(Reason)}};
step_status(not_reversed, #{seq := Seq}) ->
    {not_reversed, Seq, none}.

map(Fun, {ok, Value}) -> {ok, Fun(Value)};
map(_Fun, {error, Reason}) -> {error, warp_error_ffi:reason(Reason)}.
