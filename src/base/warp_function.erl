%% @private What happens to a user's functions when the module that they come from is reloaded.
%%
%% The VM keeps two versions of a module's code, and a fun belongs to the version that it was made in. When that
%% version is purged the fun cannot be called any more. `fun M:F/A' always means the newest version.
-module(warp_function).

-export([lasting/1, stale/3]).

-export_type([stale/0]).

%% The function that can no longer be called, as Erlang prints it, and the module that it comes from.
-type stale() :: #{module := module(), 'fun' := binary(), atom() => term()}.

%% @doc The function, as `fun M:F/A' if it is `fun F/A' of an exported function: both then call the same function.
-spec lasting(Fun) -> Fun when Fun :: fun().
lasting(Fun) ->
    [Type, Env, Module, Name, Arity] =
        [element(2, erlang:fun_info(Fun, Item)) || Item <- [type, env, module, name, arity]],
    %% A fun that another node made has no name, [], before its module is loaded here.
    Known = Type =:= local andalso Env =:= [] andalso is_atom(Name),
    case Known andalso erlang:function_exported(Module, Name, Arity) of
        true -> fun Module:Name/Arity;
        false -> Fun
    end.

%% @doc Whether a call of Fun failed with this error and stack because a function cannot be called any more: Fun
%% itself, or a fun that Fun had been given and that it called.
-spec stale(Reason :: term(), Stack :: [term()], fun()) -> {true, stale()} | false.
stale({badfun, Gone}, _Stack, _Fun) when is_function(Gone) ->
    %% A call of a fun whose code is loaded does not fail with `badfun'.
    {true, describe(Gone)};
stale(undef, [{Gone, _Args, _} | _], _Fun) when is_function(Gone) ->
    {true, describe(Gone)};
stale(undef, [{Module, Name, Args, _} | _], Fun) ->
    Info = [element(2, erlang:fun_info(Fun, Item)) || Item <- [type, module, name]],
    case Info =:= [external, Module, Name] andalso is_arity(Args, Fun) of
        true -> {true, describe(Fun)};
        false -> false
    end;
stale(_Reason, _Stack, _Fun) ->
    false.

is_arity(Args, Fun) when is_list(Args) -> is_function(Fun, length(Args));
is_arity(Arity, Fun) -> is_function(Fun, Arity).

describe(Fun) ->
    {module, Module} = erlang:fun_info(Fun, module),
    #{module => Module, 'fun' => list_to_binary(erlang:fun_to_list(Fun))}.
