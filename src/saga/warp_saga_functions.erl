%% @private The step functions that a context was started with.
-module(warp_saga_functions).

-export([find/3]).

%% @doc The step function of that name, if this start of the context has one that can be called.
-spec find(Name :: term(), forward | reverse, #{binary() => fun()}) ->
    {ok, fun()}
    | {error, {unknown_step, term()}
            | {step_arity, binary(), arity(), [arity()]}
            | {step_not_exported, binary(), mfa()}}.
find(Name, Side, Functions) ->
    Arities = case Side of forward -> [2]; reverse -> [2, 3] end,
    case Functions of
        #{Name := Fun} ->
            {arity, Arity} = erlang:fun_info(Fun, arity),
            case lists:member(Arity, Arities) andalso missing(Fun, Arity) of
                false -> {error, {step_arity, Name, Arity, Arities}};
                none -> {ok, Fun};
                Missing -> {error, {step_not_exported, Name, Missing}}
            end;
        #{} ->
            {error, {unknown_step, Name}}
    end.

%% What `fun module:function/2' names need not be there.
missing(Fun, Arity) ->
    case erlang:fun_info(Fun, type) of
        {type, local} ->
            none;
        {type, external} ->
            {module, Module} = erlang:fun_info(Fun, module),
            {name, Name} = erlang:fun_info(Fun, name),
            _ = [code:ensure_loaded(Module) || not erlang:function_exported(Module, Name, Arity)],
            case erlang:function_exported(Module, Name, Arity) of
                true -> none;
                false -> {Module, Name, Arity}
            end
    end.
