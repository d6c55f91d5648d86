%% The description of the paths: it has what the server has, and nothing else. scripts/check-openapi compares it with
%% what a server answers.
-module(warp_server_openapi_tests).
-include_lib("eunit/include/eunit.hrl").

every_route_is_described_test_() ->
    Described = warp_server_about:operations(),
    [{said("~s ~0tp has the operation ~p: describe it in warp_server_about:operations/0", [Method, Path, Operation]),
      ?_assert(is_map_key(Operation, Described))}
     || {Method, Path, Operation} <- warp_server_router:routes()].

every_described_operation_has_a_route_test() ->
    ?assertEqual([], maps:keys(warp_server_about:operations())
                     -- [Operation || {_, _, Operation} <- warp_server_router:routes()]).

every_argument_is_described_test_() ->
    [{said("~p takes ~p: describe it in warp_server_about:arguments/0", [Operation, Name]),
      ?_assertMatch({ok, _}, warp_server_about:argument(Operation, Name))}
     || {Operation, Name} <- taken()].

every_description_is_of_an_argument_test() ->
    Unused = [Key || Key <- maps:keys(warp_server_about:arguments()), not lists:member(Key, taken()),
                     not lists:keymember(Key, 2, taken())],
    ?assertEqual([], Unused).

%% What an operation takes stands in the path, in the query or in the body, with the same need for it.
operations_take_what_they_are_described_with_test_() ->
    [{said("~s ~p", [Method, Operation]), ?_assertEqual(expected(Operation, Path), lists:sort(given(Described)))}
     || {Method, Path, Operation, Described} <- operations(), Operation =/= append].

%% An event stands in the body itself.
events_are_appended_alone_or_as_a_batch_test() ->
    [#{requestBody := #{content := #{<<"application/json">> := #{schema := #{oneOf := [One, Batch]}}}}}] =
        [Described || {_, _, append, Described} <- operations()],
    #{'NewEvent' := #{properties := Fields}} = warp_server_schemas:named(),
    ?assertEqual(lists:sort([expected, timeout | maps:keys(Fields)]), lists:sort(maps:keys(maps:get(properties, One)))),
    ?assertEqual([payload, type], lists:sort(maps:get(required, One))),
    ?assertEqual([events, expected, timeout], lists:sort(maps:keys(maps:get(properties, Batch)))),
    ?assertEqual([events], maps:get(required, Batch)),
    %% Those are the fields that the server knows.
    Known = warp_server_call:event(maps:from_list([{atom_to_binary(Field), 1} || Field <- maps:keys(Fields)])),
    ?assertEqual(lists:sort(maps:keys(Fields)), lists:sort(maps:keys(Known))).

references_lead_somewhere_test() ->
    #{components := #{schemas := Schemas, responses := Responses}} = Document = warp_server_openapi:document(),
    Names = ["#/components/schemas/" ++ atom_to_list(Name) || Name <- maps:keys(Schemas)]
        ++ ["#/components/responses/" ++ atom_to_list(Name) || Name <- maps:keys(Responses)],
    ?assertEqual([], lists:usort(references(Document)) -- [list_to_binary(Name) || Name <- Names]),
    %% And none is there for nothing.
    ?assertEqual([], [list_to_binary(Name) || Name <- Names] -- references(Document)).

answers_have_statuses_test_() ->
    [{said("~s ~p", [Method, Operation]),
      ?_test(begin
                 #{responses := Responses} = Described,
                 ?assert(is_map_key(<<"200">>, Responses)),
                 ?assert(is_map_key(<<"401">>, Responses)),
                 ?assert(is_map_key(<<"500">>, Responses)),
                 ?assertEqual(Method =:= <<"POST">>, is_map_key(<<"415">>, Responses)),
                 ?assertEqual(lists:member(context, Path), is_map_key(<<"404">>, Responses)),
                 ?assertEqual(Operation =:= health orelse Operation =:= openapi,
                              maps:get(security, Described, none) =:= [])
             end)}
     || {Method, Path, Operation, Described} <- operations()].

%% The defaults that are said are those that the engine has.
defaults_are_those_of_the_engine_test_() ->
    Checked = fun({ok, Options}) -> Options; (Options) -> Options end,
    [{atom_to_list(Operation), ?_assertEqual(maps:with(maps:keys(Defaults), Checked(Options)), Defaults)}
     || {Operation, Options} <- [{append, warp_entity_options:append(#{})},
                                 {append_batch, warp_entity_options:append(#{})},
                                 {get, warp_entity_options:read(#{})},
                                 {history, warp_entity_options:history(#{})},
                                 {delete, warp_entity_options:delete(#{})},
                                 {command, warp_entity_options:decide(#{})},
                                 {entities, warp_entity_options:entities(#{})},
                                 {events, warp_entity_options:events(#{}, 1)},
                                 {query, warp_projection_options:query(#{})},
                                 %% Its wait is the server's own.
                                 {saga, (Checked(warp_saga_options:commit(#{})))#{wait := 30000}}],
        Defaults <- [maps:from_list([{Name, Default}
                                     || {Name, {default, Default}, _} <- warp_server_args:arguments(Operation)])]].

%% ------------------------------------------------------------------------------------------------------- Helpers

operations() ->
    #{paths := Paths} = warp_server_openapi:document(),
    [{Method, Path, Operation, Described}
     || {Method, Path, Operation} <- warp_server_router:routes(), #{operationId := Of} = Described <- described(Paths),
        Of =:= Operation].

described(Paths) -> [Described || {_, Methods} <- maps:to_list(Paths), {_, Described} <- maps:to_list(Methods)].

%% The names of the arguments of all operations that have a path, with the operations.
taken() ->
    [{Operation, context} || {_, Path, Operation} <- warp_server_router:routes(), lists:member(context, Path)]
    ++ [{Form, Name} || {_, _, Operation} <- warp_server_router:routes(),
                        Form <- case Operation of append -> [append, append_batch]; _ -> [Operation] end,
                        Arguments <- [warp_server_args:arguments(Form)], Arguments =/= none,
                        {Name, _, _} <- Arguments].

expected(Operation, Path) ->
    Arguments = case warp_server_args:arguments(Operation) of none -> []; Known -> Known end,
    lists:sort([{context, true} || lists:member(context, Path)]
               ++ [{Name, Need =:= required} || {Name, Need, _} <- Arguments]).

given(#{parameters := Parameters} = Described) ->
    [{Name, Required} || #{name := Name, required := Required} <- Parameters]
    ++ case Described of
           #{requestBody := #{content := #{<<"application/json">> := #{schema := Schema}}}} ->
               #{properties := Members, required := Required, additionalProperties := false} = Schema,
               [{Name, lists:member(Name, Required)} || Name <- maps:keys(Members)];
           #{} -> []
       end.

references(#{'$ref' := Ref} = Map) -> [Ref | references(maps:remove('$ref', Map))];
references(Map) when is_map(Map) -> references(maps:values(Map));
references(List) when is_list(List) -> lists:append([references(Each) || Each <- List]);
references(_) -> [].

said(Format, Arguments) -> lists:flatten(io_lib:format(Format, Arguments)).
