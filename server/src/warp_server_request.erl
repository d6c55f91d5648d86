%% @private The process of one request by HTTP: reads it, carries it out, and answers it.
-module(warp_server_request).

-export([start_link/3]).

-define(IS_STREAM(Operation), Operation =:= entity_stream orelse Operation =:= shard_stream).

%% How long parts of a request may take. The gateway ends it earlier.
-define(SILENT_MS, 600000).

%% @doc Starts the process of a channel, which gets the frames of the channel as messages.
-spec start_link(warp_server_settings:id(), warp_server_frame:channel(), warp_server_writer:writer()) -> pid().
start_link(Server, Channel, Writer) ->
    spawn_link(fun() ->
        case gathered([]) of
            closed -> ok;
            Body -> serve(Body, Server, warp_server_response:new(Channel, Writer))
        end
    end).

gathered(Parts) ->
    receive
        {part, Bytes} -> gathered([Parts | Bytes]);
        {request, Bytes} -> [Parts | Bytes];
        closed -> closed
    after ?SILENT_MS -> closed
    end.

serve(Body, Server, Response) ->
    try answer(Body, Server) of
        {export, Lines, Export} -> body(export, fun() -> export(Lines, Export, Response) end, Response);
        {events, Stream} -> body(stream, fun() -> warp_server_stream:events(Stream, Response) end, Response);
        {consume, Consumer} -> body(consume, fun() -> warp_server_consume:events(Consumer, Response) end, Response);
        {Status, Headers, Content} -> warp_server_response:whole(Status, Headers, Content, Response);
        %% The client is gone.
        closed -> ok
    catch
        Class:Reason:Stack ->
            ok = warp_server_log:crash(request, Class, Reason, Stack),
            {Status, Headers, Content} = problem(internal, none),
            warp_server_response:whole(Status, Headers, Content, Response)
    end.

%% ------------------------------------------------------------------------------------------------- What is asked

answer(Body, Server) ->
    case warp_server_frame:term(Body) of
        {ok, #{<<"method">> := Method, <<"path">> := Path, <<"query">> := Query} = Request} ->
            case {warp_server_router:route(Method, Path), warp_server_access:caller(Server, Request)} of
                {{ok, Operation, Bound}, {ok, Caller}} ->
                    Given = {Method, maps:get(<<"body">>, Request, none), Query, Bound},
                    result(Operation, carry_out(Operation, Given, maps:get(<<"headers">>, Request, #{}), Caller));
                {{error, not_found}, _} ->
                    problem(no_path, none);
                {{error, {method_not_allowed, Methods} = Reason}, _} ->
                    {Status, Headers, Json} = problem(Reason, none),
                    {Status, [{<<"allow">>, lists:join(<<", ">>, Methods)} | Headers], Json}
            end
    end.

carry_out(health, _, _, _) ->
    {ok, <<"{\"status\":\"ok\"}">>};
carry_out(openapi, _, _, #{server := Server}) ->
    {ok, maps:get(openapi, warp_server_settings:read(Server))};
carry_out(Operation, {Method, _, _, _} = Given, Headers, Caller) ->
    case given(Operation, Given) of
        {ok, Named, Members, Form} ->
            case warp_server_call:prepare(Named, Members, Form, Caller) of
                {ok, {export, Args, {Ctx, _}}} ->
                    #{entity := Id} = Args,
                    warp_server_export:first(warp_core:entity(Ctx, Id), Args);
                {ok, {Stream, Args, {Ctx, #{name := Name}}}} when ?IS_STREAM(Stream) ->
                    May = warp_server_access:may(Stream, Args, Name, Caller),
                    warp_server_stream:read(Args, Ctx, {Method, maps:get(<<"if-none-match">>, Headers, none)},
                                            {May, Caller});
                {ok, {consume, #{name := Of} = Args, {Ctx, #{name := Name}}}} ->
                    May = warp_server_access:may(consume, Args, Name, Caller),
                    consume(Method, Args, Ctx, {{Name, Of}, May, Caller});
                {ok, {_, Args, Target}} ->
                    warp_server_call:run(Named, Args, {Target, Caller});
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% A client that sees nothing of an answer is given nothing.
consume(<<"HEAD">>, _, _, _) -> {ok, <<"{}">>};
consume(_, #{live := sse} = Args, Ctx, Who) ->
    case warp_server_consume:begin_events(Args, Ctx, Who) of
        {ok, Consumer} -> {consume, Consumer};
        {error, _} = Error -> Error
    end;
consume(_, Args, Ctx, Who) ->
    warp_server_consume:poll(Args, Ctx, Who).

%% The arguments, from path and query or body. What stands in the path can stand nowhere else.
given(Operation, {<<"POST">>, Body, [], Bound}) ->
    case {Operation, Body} of
        {append, #{<<"events">> := _}} -> merged(append_batch, Body, Bound, json);
        {append, #{}} ->
            Options = maps:with([<<"expected">>, <<"timeout">>], Body),
            Event = maps:without([<<"expected">>, <<"timeout">>], Body),
            merged(append, Options#{<<"event">> => Event}, Bound, json);
        {_, #{}} -> merged(Operation, Body, Bound, json);
        {Bodyless, none} when Bodyless =/= append -> merged(Operation, #{}, Bound, json);
        _ -> {error, {bad_request, <<"The body is no JSON object.">>}}
    end;
given(_, {<<"POST">>, _, [{Name, _} | _], _}) ->
    {error, {unknown_field, Name}};
given(Operation, {_, none, Given, Bound}) ->
    Names = [atom_to_binary(Name) || {Name, _, texts} <- warp_server_args:arguments(Operation)],
    {Lists, Query} = lists:partition(fun({Name, _}) -> lists:member(Name, Names) end, known(Operation, Given)),
    Members = maps:from_list(Query),
    Several = maps:groups_from_list(fun({Name, _}) -> Name end, fun({_, Text}) -> Text end, Lists),
    case map_size(Members) =:= length(Query) of
        true -> merged(Operation, maps:merge(Members, Several), Bound, text);
        false -> {error, {bad_request, <<"A parameter is given twice.">>}}
    end;
given(_, _) ->
    {error, {bad_request, <<"A request with this method has no body.">>}}.

%% Clients of Durable Streams rely on it that what a server does not know is ignored.
known(Operation, Query) when ?IS_STREAM(Operation) ->
    Known = [atom_to_binary(Name) || {Name, optional, _} <- warp_server_args:arguments(Operation)],
    [Parameter || {Name, _} = Parameter <- Query, lists:member(Name, Known)];
known(_, Query) ->
    Query.

merged(Operation, Members, Bound, Form) ->
    case maps:keys(maps:with(maps:keys(Bound), Members)) of
        [] -> {ok, Operation, maps:merge(Members, Bound), Form};
        [Name | _] -> {error, {unknown_field, Name}}
    end.

%% ------------------------------------------------------------------------------------------------- What is answered

result(_, {ok, Json}) -> {200, [{<<"content-type">>, <<"application/json">>}], Json};
result(export, {ok, Lines, Export}) -> {export, Lines, Export};
result(_, {answer, Answer}) -> Answer;
result(_, {Kind, _} = Events) when Kind =:= events; Kind =:= consume -> Events;
result(_, closed) -> closed;
result(Operation, {error, Reason}) -> problem(Reason, Operation).

problem(Reason, Operation) ->
    #{code := Code} = Object = warp_server_problem:object(Reason),
    ok = warp_server_call:log(Operation, Reason),
    Status = warp_server_problem:status(Operation, Code),
    {Status, [{<<"content-type">>, <<"application/problem+json">>} | warp_server_problem:headers(Status)],
     warp_server_json:encode(Object#{status := Status})}.

%% Sends a body piece by piece.
body(What, Send, Response) ->
    try
        Send()
    catch
        Class:Reason:Stack ->
            ok = warp_server_log:crash(What, Class, Reason, Stack),
            warp_server_response:abort(Response)
    end.

export(Lines, Export, Response) ->
    Headers = [{<<"content-type">>, <<"application/x-ndjson">>}],
    streamed(Lines, Export, warp_server_response:first(200, Headers, Response)).

streamed(Lines, done, Response) ->
    warp_server_response:last(Lines, Response);
streamed(Lines, Export, Response) ->
    case warp_server_response:more(Lines, Response) of
        {ok, Sent} ->
            case warp_server_export:next(Export) of
                {ok, More, Further} -> streamed(More, Further, Sent);
                {error, Reason} ->
                    ok = warp_server_log:problem(export, Reason),
                    warp_server_response:abort(Sent)
            end;
        closed ->
            ok
    end.
