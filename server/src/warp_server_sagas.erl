%% @private Carries out the operations of sagas.
-module(warp_server_sagas).

-export([run/3, shown/1]).

%% @doc Carries out an operation, see {@link warp_server_call:run/3}.
-spec run(atom(), map(), warp_core:ctx()) -> warp_server_call:result().
run(saga, #{saga := Id, steps := Groups} = Args, Ctx) ->
    case build(warp_saga:new(Id), Groups) of
        {ok, Saga} -> ended(warp_saga:commit(Saga, Ctx, waiting(saga, Args)));
        {error, _} = Error -> Error
    end;
run(saga_status, #{saga := Id}, Ctx) ->
    case warp_saga:status(Ctx, Id) of
        {ok, #{state := State} = Description} -> described(State, Description);
        {error, _} = Error -> Error
    end;
run(saga_retry, #{saga := Id} = Args, Ctx) -> ended(warp_saga:retry(Ctx, Id, waiting(saga_retry, Args)));
run(saga_cancel, #{saga := Id} = Args, Ctx) -> ended(warp_saga:cancel(Ctx, Id, waiting(saga_cancel, Args)));
run(saga_resolve, #{saga := Id, note := Note} = Args, Ctx) ->
    ended(warp_saga:resolve(Ctx, Id, Note, waiting(saga_resolve, Args)));
run(sagas, #{state := pending}, Ctx) -> listed(warp_saga:pending(Ctx));
run(sagas, _, Ctx) -> listed(warp_saga:stuck(Ctx)).

%% A call that does not say how long it waits does not wait for ever.
waiting(Operation, Args) ->
    maps:merge(#{wait => warp_server_args:default(Operation, wait)}, maps:with([timeout, retries, wait], Args)).

ended({ok, {Result, Description}}) -> described(Result, Description);
ended({error, _} = Error) -> Error.

described(Result, Description) ->
    Shown = shown(maps:remove(state, Description)),
    {ok, warp_server_json:encode(Shown#{result => string:uppercase(atom_to_binary(Result))})}.

listed({ok, Sagas}) -> {ok, warp_server_json:encode(#{sagas => [shown(Saga) || Saga <- Sagas]})};
listed({error, _} = Error) -> Error.

%% @doc What the engine tells of a saga, with each reason as the details of a problem.
-spec shown(term()) -> term().
shown(#{} = Description) -> maps:map(fun shown/2, Description).

%% What turned a saga back need be none of its steps.
shown(Key, none) when Key =:= step; Key =:= entity -> null;
shown(reason, Reason) -> warp_server_problem:object(Reason);
shown(state, State) -> string:uppercase(atom_to_binary(State));
shown(steps, Steps) when is_list(Steps) -> [shown(Step) || Step <- Steps];
shown(Key, #{} = Inner) when Key =:= failed; Key =:= blocked; Key =:= waiting -> shown(Inner);
shown(_, Value) -> warp_server_json:plain(Value).

%% Steps that stand in a list of their own run side by side. The engine says what is wrong with a step.
build(Saga, Groups) when is_list(Groups) ->
    {ok, lists:foldl(fun add/2, Saga, Groups)};
build(_, _) ->
    {error, {bad_option, <<"steps">>, not_a_list}}.

add(Steps, Saga) when is_list(Steps) -> warp_saga:parallel(Saga, [step(Step) || Step <- Steps]);
add(Step, Saga) -> warp_saga:step(Saga, step(Step)).

step(#{} = Given) -> maps:fold(fun(Key, Value, Step) -> Step#{field(Key) => part(Key, Value)} end, #{}, Given);
step(Other) -> Other.

field(<<"entity">>) -> entity;
field(<<"aggregate">>) -> aggregate;
field(<<"schema_vsn">>) -> schema_vsn;
field(<<"forward">>) -> forward;
field(<<"compensate">>) -> compensate;
field(Unknown) -> Unknown.

part(Key, #{} = Action) when Key =:= <<"forward">>; Key =:= <<"compensate">> ->
    maps:fold(fun(Name, Value, Parts) -> Parts#{action(Name) => Value} end, #{}, Action);
part(<<"schema_vsn">>, Vsn) -> warp_server_args:whole(Vsn);
part(_, Value) -> Value.

action(<<"type">>) -> type;
action(<<"payload">>) -> payload;
action(<<"run">>) -> run;
action(<<"input">>) -> args;
action(Unknown) -> Unknown.
