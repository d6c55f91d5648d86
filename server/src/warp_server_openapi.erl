%% @private A description of the paths by OpenAPI, for tools. It follows from the router and the arguments.
-module(warp_server_openapi).

-export([json/0]).

%% @doc The description as JSON.
-spec json() -> binary().
json() ->
    warp_server_json:encode(
      #{openapi => <<"3.1.0">>, info => #{title => <<"Warp">>, version => version()},
        components => #{securitySchemes => #{bearer => #{type => http, scheme => bearer}}},
        security => [#{bearer => []}], paths => paths()}).

version() ->
    case application:get_key(warp_server, vsn) of
        {ok, Version} -> list_to_binary(Version);
        undefined -> <<"0">>
    end.

paths() ->
    lists:foldl(
        fun({Method, Path, Operation}, Paths) ->
            maps:update_with(text(Path), fun(Others) -> maps:merge(Others, method(Method, Path, Operation)) end,
                             method(Method, Path, Operation), Paths)
        end,
        #{},
        warp_server_router:routes()).

text(Path) -> iolist_to_binary([[$/, segment(Part)] || Part <- Path]).

segment(Name) when is_atom(Name) -> [${, atom_to_binary(Name), $}];
segment(Text) -> Text.

method(Method, Path, Operation) ->
    InPath = [Name || Name <- Path, is_atom(Name)],
    Others = [Argument || Operation =/= health, Operation =/= openapi, {Name, _} = Argument <- names(Operation),
                          not lists:member(Name, InPath)],
    Path1 = [#{name => Name, in => path, required => true, schema => #{type => string}} || Name <- InPath],
    Described = #{operationId => Operation, responses => responses()},
    #{string:lowercase(Method) => case Method of
        <<"POST">> -> Described#{parameters => Path1, requestBody => body(Others)};
        _ -> Described#{parameters => Path1 ++ [#{name => Name, in => query, required => Need =:= required,
                                                  schema => #{type => string}} || {Name, Need} <- Others]}
    end}.

%% An event stands in the body itself, with the options beside it; or a list of events.
names(append) -> [{type, optional}, {payload, optional}, {events, optional}, {aggregate, optional}, {id, optional},
                  {schema_vsn, optional}, {metadata, optional}, {expected, optional}, {timeout, optional}];
names(Operation) -> warp_server_args:names(Operation).

body(Members) ->
    Schema = #{type => object, properties => maps:from_list([{Name, #{}} || {Name, _} <- Members]),
               required => [Name || {Name, required} <- Members], additionalProperties => false},
    #{content => #{<<"application/json">> => #{schema => Schema}}}.

responses() ->
    #{<<"200">> => #{description => <<"What was asked for">>},
      <<"default">> => #{description => <<"Problem details (RFC 9457)">>,
                         content => #{<<"application/problem+json">> => #{schema => #{type => object}}}}}.
