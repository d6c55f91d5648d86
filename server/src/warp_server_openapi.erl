%% @private A description of the paths by OpenAPI 3.1, for people and tools that make clients.
%%
%% Paths and arguments are those of the router and of the checks. What they mean is in {@link warp_server_about}, and
%% the schemas are in {@link warp_server_schemas}.
-module(warp_server_openapi).

-export([json/0, document/0]).

%% @doc The description as JSON.
-spec json() -> binary().
json() ->
    warp_server_json:encode(document()).

%% @doc The description. A route whose operation nobody has described raises `{not_described, Operation}', an argument
%% that nobody has described `{not_described, Operation, Argument}'.
-spec document() -> map().
document() ->
    #{openapi => <<"3.1.0">>,
      info => #{title => <<"Warp">>, version => version(),
                description => <<"An event-sourced database. Everything here, and subscriptions, can also be had by "
                                 "the WebSocket /v1/socket with the subprotocol warp.v1.">>,
                license => #{name => <<"Apache-2.0">>, identifier => <<"Apache-2.0">>}},
      servers => [#{url => <<"/">>}],
      tags => [#{name => Tag, description => Text} || {Tag, Text} <- warp_server_about:tags()],
      components => #{securitySchemes => #{bearer => #{type => http, scheme => bearer}},
                      schemas => warp_server_schemas:named(), responses => shared()},
      security => [#{bearer => []}],
      paths => paths()}.

version() ->
    case application:get_key(warp_server, vsn) of
        {ok, Version} -> list_to_binary(Version);
        undefined -> <<"0">>
    end.

paths() ->
    lists:foldl(
        fun({Method, Path, Operation}, Paths) ->
            Described = #{string:lowercase(Method) => operation(Method, Path, Operation)},
            maps:update_with(text(Path), fun(Others) -> maps:merge(Others, Described) end, Described, Paths)
        end,
        #{},
        warp_server_router:routes()).

text(Path) -> iolist_to_binary([[$/, segment(Part)] || Part <- Path]).

segment(Name) when is_atom(Name) -> [${, atom_to_binary(Name), $}];
segment(Text) -> Text.

operation(Method, Path, Operation) ->
    #{tag := Tag, summary := Summary, answer := Answer} = About = about(Operation),
    InPath = [Name || Name <- Path, is_atom(Name)],
    Bound = [path_parameter(Operation, Name) || Name <- InPath],
    Described = #{operationId => Operation, tags => [Tag], summary => Summary,
                  responses => responses(Answer, errors(Method, InPath, Operation, About))},
    maps:merge(given(Method, Bound, InPath, Operation, Described),
               maps:from_list([{description, Details} || #{details := Details} <- [About]]
                              ++ [{security, []} || is_public(Operation)])).

about(Operation) ->
    case warp_server_about:operations() of
        #{Operation := About} -> About;
        #{} -> error({not_described, Operation})
    end.

is_public(Operation) -> Operation =:= health orelse Operation =:= openapi.

%% ------------------------------------------------------------------------------------------------ What is given

given(<<"POST">>, Bound, InPath, Operation, Described) ->
    Described#{parameters => Bound, requestBody => body(Operation, InPath)};
given(_, Bound, InPath, Operation, Described) ->
    Described#{parameters => Bound ++ [#{name => Name, in => query, required => Need =:= required,
                                         schema => schema(Need, Type), description => described(Operation, Name)}
                                       || {Name, Need, Type} <- arguments(Operation, InPath)]}.

%% The arguments that do not stand in the path.
arguments(Operation, InPath) ->
    case warp_server_args:arguments(Operation) of
        none -> [];
        Arguments -> [Argument || {Name, _, _} = Argument <- Arguments, not lists:member(Name, InPath)]
    end.

path_parameter(Operation, context) ->
    path_parameter(Operation, context, {text, 1, 200});
path_parameter(Operation, Name) ->
    {_, _, Type} = lists:keyfind(Name, 1, warp_server_args:arguments(Operation)),
    path_parameter(Operation, Name, Type).

%% A path cannot have NUL.
path_parameter(Operation, Name, Type) ->
    Schema = (warp_server_schemas:argument(Type))#{pattern => <<"^[^\\u0000]*$">>},
    #{name => Name, in => path, required => true, schema => Schema, description => described(Operation, Name)}.

schema({default, Value}, Type) -> (warp_server_schemas:argument(Type))#{default => Value};
schema(_, Type) -> warp_server_schemas:argument(Type).

described(Operation, Name) ->
    case warp_server_about:argument(Operation, Name) of
        {ok, Text} -> Text;
        error -> error({not_described, Operation, Name})
    end.

body(Operation, InPath) ->
    Schemas = [members(Form, InPath) || Form <- forms(Operation)],
    Schema = case Schemas of [Only] -> Only; _ -> #{oneOf => Schemas} end,
    #{required => lists:all(fun(#{required := Required}) -> Required =/= [] end, Schemas),
      content => #{<<"application/json">> => #{schema => Schema}}}.

%% One path appends an event or a batch.
forms(append) -> [append, append_batch];
forms(Operation) -> [Operation].

members(Form, InPath) ->
    Arguments = arguments(Form, InPath),
    lists:foldl(fun(Argument, Body) -> member(Form, Argument, Body) end,
                #{type => object, properties => #{}, required => [], additionalProperties => false}, Arguments).

%% The members of an event stand beside those of the append.
member(append, {event, _, _}, #{properties := Members, required := Required} = Body) ->
    #{'NewEvent' := #{properties := Fields, required := Needed}} = warp_server_schemas:named(),
    Body#{properties := maps:merge(Members, Fields), required := Required ++ Needed};
member(Form, {Name, Need, Type}, #{properties := Members, required := Required} = Body) ->
    Schema = (schema(Need, Type))#{description => described(Form, Name)},
    Body#{properties := Members#{Name => Schema}, required := Required ++ [Name || Need =:= required]}.

%% --------------------------------------------------------------------------------------------- What is answered

responses(Answer, Errors) ->
    ByStatus = maps:groups_from_list(fun({Status, _}) -> Status end, fun({_, Code}) -> Code end, Errors),
    maps:fold(fun(Status, Codes, Responses) ->
                  Responses#{integer_to_binary(Status) => refusal(Status, lists:usort(Codes))}
              end,
              (no_content(Answer))#{<<"200">> => answer(Answer)}, ByStatus).

no_content({stream, _}) ->
    #{<<"204">> => #{description => <<"Nothing came while the client waited.">>},
      <<"304">> => #{description => <<"What the client has is still the same.">>}};
no_content(_) ->
    #{}.

answer({json, Name}) ->
    #{description => <<"What was asked for.">>,
      content => #{<<"application/json">> => #{schema => warp_server_schemas:ref(Name)}}};
answer({stream, Name}) ->
    Text = #{type => string},
    #{description => <<"Events, and where the stream goes on.">>,
      headers => #{<<"Stream-Next-Offset">> => #{required => true, schema => Text},
                   <<"Stream-Up-To-Date">> => #{schema => #{const => <<"true">>}},
                   <<"Stream-Cursor">> => #{schema => Text}, <<"ETag">> => #{schema => Text}},
      content => #{<<"application/json">> => #{schema => #{type => array, items => warp_server_schemas:ref(Name)}},
                   <<"text/event-stream">> => #{schema => Text}}};
answer({consumed, Name}) ->
    #{description => <<"What is to be acknowledged.">>,
      content => #{<<"application/json">> => #{schema => warp_server_schemas:ref(Name)},
                   <<"text/event-stream">> => #{schema => #{type => string}}}};
answer({Type, Each}) ->
    #{description => Each, content => #{Type => #{schema => #{type => string}}}}.

%% What every request can get stands at one place.
refusal(Status, [Code] = Codes) ->
    case lists:member({Status, Code}, common()) of
        true -> #{'$ref' => <<"#/components/responses/", (atom_to_binary(Code))/binary>>};
        false -> problem(Status, Codes)
    end;
refusal(Status, Codes) ->
    problem(Status, Codes).

shared() ->
    maps:from_list([{Code, problem(Status, [Code])} || {Status, Code} <- common()]).

%% Those that are the only code of their status.
common() ->
    All = [{warp_server_problem:status(Code), Code} || Code <- every_request() ++ every_body()],
    [Each || {Status, _} = Each <- All, length([Status || {Same, _} <- All, Same =:= Status]) =:= 1].

problem(Status, Codes) ->
    Schema = (warp_server_schemas:ref('Problem'))#{properties => #{status => #{const => Status},
                                                                   code => #{enum => Codes}}},
    maps:merge(
        #{description => iolist_to_binary(lists:join(", ", [atom_to_binary(Code) || Code <- Codes])),
          content => #{<<"application/problem+json">> => #{schema => Schema}}},
        maps:from_list([{headers, #{Name => #{schema => #{type => string}, required => true}}}
                        || {Name, _} <- warp_server_problem:headers(Status)])).

%% The codes that an operation can give, with their statuses.
errors(Method, InPath, Operation, #{errors := Own}) ->
    Codes = every_request() ++ [Code || Method =:= <<"POST">>, Code <- every_body()]
        ++ [Code || not is_public(Operation), Code <- every_call()]
        ++ [Code || lists:member(context, InPath), Code <- [unknown_context, context_stopped, forbidden]] ++ Own,
    [{warp_server_problem:status(Operation, Code), Code} || Code <- Codes].

%% What the gateway refuses, and what can go wrong with each operation.
every_request() ->
    [bad_request, unauthorized, wrong_origin, wrong_host, headers_too_large, too_many_requests, overloaded, internal].

every_body() ->
    [bad_json, number_too_large, request_timeout, body_too_large, unsupported_media_type].

every_call() ->
    [unknown_field, bad_option].
