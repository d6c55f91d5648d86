%% The specs of the public functions say which errors they give: exactly those of the catalogue, each in its area.
-module(warp_specs_tests).
-include_lib("eunit/include/eunit.hrl").

-define(PUBLIC, [warp_core, warp_saga, warp_projection, warp_subscription, warp_cluster, warp_backup,
                 warp_test_context]).

%% ------------------------------------------------------------------ The tests

%% Also no `{error, term()}', and no tuple of another size than two.
every_error_has_a_shape_test() ->
    ?assertEqual([], [{Of, Kind} || {Of, {bad, _} = Kind} <- errors()]).

the_specs_have_the_reasons_of_the_catalogue_test() ->
    InSpecs = lists:usort([{Kind, area(Of)} || {Of, {_, _} = Kind} <- errors(), element(1, Kind) =/= bad]
                          ++ [{Kind, step} || Kind <- expand(type(warp_saga, step_error), warp_saga)]
                          ++ [{Kind, cluster} || Kind <- expand(type(warp_cluster, doubt), warp_cluster)]),
    InCatalogue = lists:usort([{kind(Shape), Area}
                               || #{reason := Shape, areas := Areas} <- warp_error:catalogue(), Area <- Areas]),
    ?assertEqual({not_in_the_catalogue, []}, {not_in_the_catalogue, InSpecs -- InCatalogue}),
    ?assertEqual({in_no_spec, []}, {in_no_spec, InCatalogue -- InSpecs}).

%% In which area of the catalogue the errors of a function stand.
area({warp_core, Function, _}) when Function =:= start; Function =:= start_link -> start;
area({warp_test_context, await_subscribers, _}) -> subscription;
area({warp_test_context, _, _}) -> start;
area({warp_core, verify, _}) -> verify;
area({warp_core, query, _}) -> query;
area({warp_core, await_projection, _}) -> projection;
area({warp_core, _, _}) -> entity;
area({warp_saga, _, _}) -> saga;
area({warp_projection, _, _}) -> projection;
area({warp_subscription, _, _}) -> subscription;
area({warp_cluster, _, _}) -> cluster;
area({warp_backup, _, _}) -> backup.

%% `{shard_unavailable, 2}' of `{shard_unavailable, N}', and `{overloaded, 0}' of an atom.
kind(Shape) ->
    {match, [Name]} = re:run(Shape, "[a-z_]+", [{capture, first, list}]),
    {ok, Tokens, _} = erl_scan:string(binary_to_list(Shape) ++ "."),
    {ok, [Form]} = erl_parse:parse_exprs(Tokens),
    case Form of
        {tuple, _, Elements} -> {list_to_atom(Name), length(Elements)};
        {atom, _, Atom} -> {Atom, 0}
    end.

%% ------------------------------------------------------------------ Reading specs

%% Each error of each exported function that is documented for users.
errors() ->
    lists:append([[{{Module, Name, Arity}, Kind} || Kind <- lists:usort(of_specs(Specs, Module))]
                  || Module <- ?PUBLIC, {{Name, Arity}, Specs} <- specs(Module),
                     not is_private(Module, Name, Arity)]).

%% These two are called by warp_core alone.
is_private(warp_projection, query, 4) -> true;
is_private(warp_projection, await, 2) -> true;
is_private(_Module, _Name, _Arity) -> false.

specs(Module) ->
    Exports = Module:module_info(exports),
    Specs = [{Of, Types} || {attribute, _, spec, {Of, Types}} <- forms(Module), lists:member(Of, Exports)],
    ?assertEqual([], [Of || {Name, _} = Of <- Exports, Name =/= module_info, not lists:keymember(Of, 1, Specs)]),
    Specs.

of_specs(Specs, Module) ->
    lists:append([in_result(result(Spec), Module) || Spec <- Specs]).

result({type, _, bounded_fun, [Fun, _]}) -> result(Fun);
result({type, _, 'fun', [_, Result]}) -> Result.

in_result({ann_type, _, [_, Type]}, Module) -> in_result(Type, Module);
in_result({type, _, union, Types}, Module) -> lists:append([in_result(Type, Module) || Type <- Types]);
in_result({type, _, tuple, [{atom, _, error}, Reason]}, Module) -> expand(Reason, Module);
in_result({type, _, tuple, [{atom, _, error} | _] = Elements}, _Module) -> [{bad, {a_tuple_of, length(Elements)}}];
in_result({user_type, _, Name, _}, Module) -> in_result(type(Module, Name), Module);
in_result(_Other, _Module) -> [].

%% The reasons that a type has.
expand({ann_type, _, [_, Type]}, Module) -> expand(Type, Module);
expand({type, _, union, Types}, Module) -> lists:append([expand(Type, Module) || Type <- Types]);
expand({atom, _, Atom}, _Module) -> [{Atom, 0}];
expand({type, _, tuple, [First | Rest]}, Module) -> [{Name, 1 + length(Rest)} || {Name, 0} <- expand(First, Module)];
expand({user_type, _, Name, _}, Module) -> expand(type(Module, Name), Module);
expand({remote_type, _, [{atom, _, Other}, {atom, _, Name}, _]}, _Module) -> expand(type(Other, Name), Other);
%% What a caller's own function refuses with.
expand({var, _, _}, _Module) -> [];
expand(Type, _Module) -> [{bad, lists:flatten(erl_pp:expr(Type))}].

type(Module, Name) ->
    case [Type || {attribute, _, Kind, {N, Type, _}} <- forms(Module),
                  lists:member(Kind, [type, opaque]), N =:= Name] of
        [Type] -> Type;
        [] -> error({no_type, Module, Name})
    end.

forms(Module) ->
    {ok, {Module, [{abstract_code, {_, Forms}}]}} = beam_lib:chunks(code:which(Module), [abstract_code]),
    Forms.
