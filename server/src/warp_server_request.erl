%% @private The process of one request by HTTP: reads it, carries it out, and answers it.
-module(warp_server_request).

-export([start_link/3]).

-record(state, {
    channel :: warp_server_frame:channel(),
    writer :: warp_server_writer:writer(),
    window = warp_server_window:new() :: warp_server_window:window()
}).

-define(PIECE_BYTES, 65536).
%% How long parts of a request may take, and how long a client may take no bytes. The gateway ends both earlier.
-define(SILENT_MS, 600000).

%% @doc Starts the process of a channel, which gets the frames of the channel as messages.
-spec start_link(warp_server_settings:id(), warp_server_frame:channel(), warp_server_writer:writer()) -> pid().
start_link(Server, Channel, Writer) ->
    spawn_link(fun() ->
        case gathered([]) of
            closed -> ok;
            Body -> serve(Body, Server, #state{channel = Channel, writer = Writer})
        end
    end).

gathered(Parts) ->
    receive
        {part, Bytes} -> gathered([Parts | Bytes]);
        {request, Bytes} -> [Parts | Bytes];
        closed -> closed
    after ?SILENT_MS -> closed
    end.

serve(Body, Server, State) ->
    try answer(Body, Server) of
        {stream, Lines, Export} -> stream(Lines, Export, State);
        {Status, Headers, Content} -> respond(Status, Headers, Content, State)
    catch
        Class:Reason:Stack ->
            ok = warp_server_log:crash(request, Class, Reason, Stack),
            {Status, Headers, Content} = problem(internal, none),
            respond(Status, Headers, Content, State)
    end.

%% ------------------------------------------------------------------------------------------------- What is asked

answer(Body, Server) ->
    case warp_server_frame:term(Body) of
        {ok, #{<<"method">> := Method, <<"path">> := Path, <<"query">> := Query} = Request} ->
            case {warp_server_router:route(Method, Path), warp_server_access:caller(Server, Request)} of
                {{ok, Operation, Bound}, {ok, Caller}} ->
                    Given = {Method, maps:get(<<"body">>, Request, none), Query, Bound},
                    result(Operation, carry_out(Operation, Given, Caller));
                {{error, not_found}, _} ->
                    problem(no_path, none);
                {{error, {method_not_allowed, Methods} = Reason}, _} ->
                    {Status, Headers, Json} = problem(Reason, none),
                    {Status, [{<<"allow">>, lists:join(<<", ">>, Methods)} | Headers], Json}
            end
    end.

carry_out(health, _, _) ->
    {ok, <<"{\"status\":\"ok\"}">>};
carry_out(openapi, _, _) ->
    {ok, warp_server_openapi:json()};
carry_out(Operation, Given, Caller) ->
    case given(Operation, Given) of
        {ok, Named, Members, Form} ->
            case warp_server_call:prepare(Named, Members, Form, Caller) of
                {ok, {export, Args, {Ctx, _}}} ->
                    #{entity := Id} = Args,
                    warp_server_export:first(warp_core:entity(Ctx, Id), Args);
                {ok, {_, Args, Target}} ->
                    warp_server_call:run(Named, Args, {Target, Caller});
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

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
given(Operation, {_, none, Query, Bound}) ->
    Members = maps:from_list(Query),
    case map_size(Members) =:= length(Query) of
        true -> merged(Operation, Members, Bound, text);
        false -> {error, {bad_request, <<"A parameter is given twice.">>}}
    end;
given(_, _) ->
    {error, {bad_request, <<"A request with this method has no body.">>}}.

merged(Operation, Members, Bound, Form) ->
    case maps:keys(maps:with(maps:keys(Bound), Members)) of
        [] -> {ok, Operation, maps:merge(Members, Bound), Form};
        [Name | _] -> {error, {unknown_field, Name}}
    end.

%% ------------------------------------------------------------------------------------------------- What is answered

result(_, {ok, Json}) -> {200, [{<<"content-type">>, <<"application/json">>}], Json};
result(export, {ok, Lines, Export}) -> {stream, Lines, Export};
result(Operation, {error, Reason}) -> problem(Reason, Operation).

problem(Reason, Operation) ->
    #{code := Code} = Object = warp_server_problem:object(Reason),
    ok = warp_server_call:log(Operation, Reason),
    Status = warp_server_problem:status(Operation, Code),
    {Status, [{<<"content-type">>, <<"application/problem+json">>} | warp_server_problem:headers(Status)],
     warp_server_json:encode(Object#{status := Status})}.

respond(Status, Headers, Content, #state{channel = Channel, writer = Writer} = State) ->
    case iolist_size(Content) of
        Size when Size =< ?PIECE_BYTES ->
            warp_server_writer:send(Writer, warp_server_frame:head(Channel, Status, last, Headers, Content));
        _ ->
            ok = warp_server_writer:send(Writer, warp_server_frame:head(Channel, Status, more, Headers, <<>>)),
            _ = sent(pieces(iolist_to_binary(Content), last, Channel), State),
            ok
    end.

stream(Lines, Export, #state{channel = Channel, writer = Writer} = State) ->
    Headers = [{<<"content-type">>, <<"application/x-ndjson">>}],
    ok = warp_server_writer:send(Writer, warp_server_frame:head(Channel, 200, more, Headers, <<>>)),
    try
        streamed(Lines, Export, State)
    catch
        Class:Reason:Stack ->
            ok = warp_server_log:crash(export, Class, Reason, Stack),
            warp_server_writer:send(Writer, warp_server_frame:abort(Channel))
    end.

streamed(Lines, done, #state{channel = Channel} = State) ->
    _ = sent(pieces(iolist_to_binary(Lines), last, Channel), State),
    ok;
streamed(Lines, Export, #state{channel = Channel, writer = Writer} = State) ->
    case sent(pieces(iolist_to_binary(Lines), more, Channel), State) of
        {ok, Sent} ->
            case warp_server_export:next(Export) of
                {ok, More, Further} -> streamed(More, Further, Sent);
                {error, Reason} ->
                    ok = warp_server_log:problem(export, Reason),
                    warp_server_writer:send(Writer, warp_server_frame:abort(Channel))
            end;
        closed ->
            ok
    end.

pieces(<<Piece:?PIECE_BYTES/binary, Rest/binary>>, Place, Channel) when Rest =/= <<>> ->
    [{?PIECE_BYTES, warp_server_frame:data(Channel, more, Piece)} | pieces(Rest, Place, Channel)];
pieces(<<>>, more, _Channel) ->
    [];
pieces(Last, Place, Channel) ->
    [{byte_size(Last), warp_server_frame:data(Channel, Place, Last)}].

%% Sends pieces as the client takes them, until all are on their way.
sent(Pieces, #state{window = Window} = State) ->
    on_their_way(warp_server_window:put(Pieces, Window), State).

on_their_way({Frames, Window}, #state{writer = Writer} = State) ->
    ok = lists:foreach(fun(Frame) -> warp_server_writer:send(Writer, Frame) end, Frames),
    case warp_server_window:is_empty(Window) of
        true -> {ok, State#state{window = Window}};
        false ->
            receive
                {taken, <<Bytes:32>>} -> on_their_way(warp_server_window:taken(Bytes, Window), State);
                closed -> closed
            after ?SILENT_MS -> closed
            end
    end.
