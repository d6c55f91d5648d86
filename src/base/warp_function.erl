%% @private A user's functions: what happens to them when the module that they come from is reloaded, and where they
%% crashed.
%%
%% The VM keeps two versions of a module's code, and a fun belongs to the version that it was made in. When that
%% version is purged the fun cannot be called any more. `fun M:F/A' always means the newest version.
-module(warp_function).

-export([lasting/1, stale/3, crash/3]).

-export_type([stale/0, crash/0]).

%% The function that can no longer be called, as Erlang prints it, and the module that it comes from.
-type stale() :: #{module := module(), 'fun' := binary(), atom() => term()}.

%% A crash of a user's function: class and reason, and where.
-type crash() :: {error | exit | throw, Reason :: term(), Where :: [term()]}.

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

%% @doc The crash of a function that Warp has called. Of the stack it has the user's own frames, those above Warp's, and
%% without the arguments, which hold states and events.
-spec crash(error | exit | throw, Reason :: term(), Stack :: [term()]) -> crash().
crash(Class, Reason, []) ->
    {Class, Reason, []};
crash(Class, Reason, [First | Below]) ->
    %% The first frame is where it crashed, whatever the module is called.
    {Class, Reason, [frame(Frame) || Frame <- [First | lists:takewhile(fun is_users/1, Below)]]}.

is_users({Module, _, _, _}) when is_atom(Module) ->
    case atom_to_binary(Module) of
        <<"warp_", _/binary>> -> false;
        _ -> true
    end;
is_users(_Frame) ->
    true.

frame({Module, Function, Arguments, Location}) when is_list(Arguments) ->
    {Module, Function, length(Arguments), Location};
frame({Fun, Arguments, Location}) when is_list(Arguments) ->
    {Fun, length(Arguments), Location};
frame(Frame) ->
    Frame.
