%% What the suites of the server share: a server with contexts in a fresh folder, clients, and a callback module.
-module(warp_server_test).
-behaviour(warp_server).

-export([context/1, withdraw/2, secret/2, crash/2, view/1]).
-export([start/2, stop/1, port/1, options/2, tokens/0, hash/1, os_pid/1, gateway_pid/1, workers/0]).
-export([get/2, get/3, post/3, post/4, request/5, request/6, json/1, decoded/1]).
-export([events/3, next_event/1, next_event/2, next_message/1, next_message/2, all_events/1]).

-include_lib("common_test/include/ct.hrl").

%% ------------------------------------------------------------------------------------------------------ A context

context(_Name) ->
    #{aggregates => [#{name => <<"Account">>, initial_state => 0, apply => fun balance/2, validate => fun covered/2},
                     #{name => <<"Pair">>, initial_state => {0, none}, apply => fun pair/2},
                     #{name => <<"Raw">>, initial_state => {no, json}}],
      shards => 2, durability => normal, projections => embedded,
      commands => #{<<"withdraw">> => {<<"Account">>, fun ?MODULE:withdraw/2},
                    <<"secret">> => {<<"Account">>, fun ?MODULE:secret/2},
                    <<"crash">> => {<<"Account">>, fun ?MODULE:crash/2}},
      views => #{<<"Pair">> => fun ?MODULE:view/1}}.

balance(Balance, #{payload := #{<<"amount">> := Amount}}) -> Balance + Amount.

covered(Balance, #{payload := #{<<"amount">> := Amount}}) when Balance + Amount < 0 -> {error, {overdrawn, Balance}};
covered(_, #{type := <<"Crash">>}) -> error({crashed, <<"a secret">>});
covered(_, _) -> ok.

pair({Count, _}, #{type := Type}) -> {Count + 1, Type}.

view({Count, Type}) -> #{count => Count, last => Type}.

withdraw(Balance, #{<<"amount">> := Amount}) when Amount =< Balance ->
    {ok, [#{type => <<"Withdrawn">>, payload => #{amount => -Amount}}]};
withdraw(Balance, _) ->
    {error, {insufficient, Balance}}.

secret(_, Input) -> {error, Input}.

crash(_, Input) -> error({crashed, Input}).

%% ------------------------------------------------------------------------------------------------------- Servers

%% Starts a server that ends with `stop/1', on a port that the system chooses.
start(Config, Changes) ->
    process_flag(trap_exit, true),
    {ok, Server} = warp_server:start_link(options(Config, Changes)),
    Server.

stop(Server) -> warp_server:stop(Server).

options(Config, Changes) ->
    maps:merge(#{contexts => [#{name => <<"bank">>, data_dir => ?config(dir, Config), module => ?MODULE}],
                 listeners => [#{port => 0}], tokens => tokens()}, Changes).

tokens() ->
    [#{id => <<"admin">>, sha256 => hash("admin-token"), scopes => [#{}], connections => 20000, in_flight => 20000,
       subscriptions => 20000},
     #{id => <<"alice">>, sha256 => hash("alice-token"),
       scopes => [#{context => <<"bank">>, prefix => <<"user/alice">>, operations => [read, append, subscribe],
                    aggregates => [<<"Account">>]}]},
     #{id => <<"reader">>, sha256 => hash("reader-token"), scopes => [#{operations => [read, list]}]}].

hash(Token) -> binary:encode_hex(crypto:hash(sha256, Token)).

%% Of a server, or of one in another VM.
port({port, Port}) -> Port;
port(Server) ->
    [{_, Port} | _] = warp_server:addresses(Server),
    Port.

%% The pid of the gateway's process in the operating system.
os_pid(Server) -> element(2, erlang:port_info(gateway_pid(Server), os_pid)).

gateway_pid(Server) ->
    Link = warp_server_sup:link(Server),
    {links, Links} = process_info(Link, links),
    [Port] = [Each || Each <- Links, is_port(Each)],
    Port.

%% What carries out calls of sockets.
workers() ->
    [Pid || Pid <- processes(), {initial_call, {warp_server_socket, work, 3}} <- [process_info(Pid, initial_call)]].

%% ---------------------------------------------------------------------------------------------- Requests by HTTP

%% All give the status and the body, decoded where it is JSON.
get(Server, Path) -> get(Server, Path, "admin-token").
get(Server, Path, Token) -> body(request(Server, get, Path, Token, none)).

post(Server, Path, Body) -> post(Server, Path, Body, "admin-token").
post(Server, Path, Body, Token) -> body(request(Server, post, Path, Token, Body)).

body({Status, _Headers, Body}) -> {Status, Body}.

%% The status, the headers and the body.
request(Server, Method, Path, Token, Body) -> request(Server, Method, Path, Token, Body, []).

request(Server, Method, Path, Token, Body, More) ->
    Text = case Body of none -> <<>>; _ -> json(Body) end,
    {ok, Tcp} = gen_tcp:connect("127.0.0.1", port(Server), [binary, {active, false}, {packet, http_bin}]),
    ok = gen_tcp:send(Tcp, [string:uppercase(atom_to_list(Method)), " ", Path, " HTTP/1.1\r\nHost: localhost\r\n"
                            "Connection: close\r\n", ["Authorization: Bearer " ++ Token ++ "\r\n" || Token =/= none],
                            ["Content-Type: application/json\r\n" || Text =/= <<>>],
                            ["Content-Length: " ++ integer_to_list(byte_size(Text)) ++ "\r\n"
                             || Method =:= post orelse Text =/= <<>>],
                            [[Name, ": ", Value, "\r\n"] || {Name, Value} <- More], "\r\n", Text]),
    {ok, {http_response, _, Status, _}} = gen_tcp:recv(Tcp, 0, 20000),
    Headers = headers(Tcp),
    ok = inet:setopts(Tcp, [{packet, raw}]),
    Got =
        case Headers of
            _ when Method =:= head; Status =:= 204; Status =:= 304 -> <<>>;
            #{<<"content-length">> := <<"0">>} -> <<>>;
            #{<<"content-length">> := Length} -> received(Tcp, binary_to_integer(Length));
            #{<<"transfer-encoding">> := <<"chunked">>} -> iolist_to_binary(chunks(Tcp))
        end,
    ok = gen_tcp:close(Tcp),
    {Status, Headers, case Headers of
                          #{<<"content-type">> := <<"application/json">>} -> decoded(Got);
                          #{<<"content-type">> := <<"application/problem+json">>} -> decoded(Got);
                          #{} -> Got
                      end}.

headers(Tcp) ->
    case gen_tcp:recv(Tcp, 0, 5000) of
        {ok, {http_header, _, Name, _, Value}} when is_atom(Name) ->
            (headers(Tcp))#{string:lowercase(atom_to_binary(Name)) => Value};
        {ok, {http_header, _, Name, _, Value}} -> (headers(Tcp))#{string:lowercase(Name) => Value};
        {ok, http_eoh} -> #{}
    end.

received(Tcp, Length) ->
    {ok, Bytes} = gen_tcp:recv(Tcp, Length, 20000),
    Bytes.

%% Fails where the last one does not come.
chunks(Tcp) ->
    ok = inet:setopts(Tcp, [{packet, line}]),
    {ok, Line} = gen_tcp:recv(Tcp, 0, 20000),
    ok = inet:setopts(Tcp, [{packet, raw}]),
    case binary_to_integer(string:trim(Line), 16) of
        0 -> [];
        Length ->
            Bytes = received(Tcp, Length),
            <<"\r\n">> = received(Tcp, 2),
            [Bytes | chunks(Tcp)]
    end.

%% Server-sent events of a path: the status, the headers, and what `next_event' takes.
events(Server, Path, Token) ->
    {ok, Tcp} = gen_tcp:connect("127.0.0.1", port(Server), [binary, {active, false}, {packet, http_bin}]),
    ok = gen_tcp:send(Tcp, ["GET ", Path, " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ", Token, "\r\n\r\n"]),
    {ok, {http_response, _, Status, _}} = gen_tcp:recv(Tcp, 0, 20000),
    Headers = headers(Tcp),
    ok = inet:setopts(Tcp, [{packet, raw}]),
    {Status, Headers, Tcp}.

%% The next event as `{Name, Json}'; `ended', or `cut' where the body was not finished.
next_event(Tcp) -> next_event(Tcp, 10000).

next_event(Tcp, Timeout) ->
    case next_message(Tcp, Timeout) of
        {Name, _Id, Json} -> {Name, Json};
        comment -> next_event(Tcp, Timeout);
        Other -> Other
    end.

%% The same with the id, which is `none' where it has none; or `comment'.
next_message(Tcp) -> next_message(Tcp, 10000).

next_message(Tcp, Timeout) ->
    Read = case get({events, Tcp}) of undefined -> <<>>; Before -> Before end,
    case binary:split(Read, <<"\n\n">>) of
        [Event, Rest] ->
            _ = put({events, Tcp}, Rest),
            message_of(binary:split(Event, <<"\n">>, [global]));
        [_] ->
            case chunk(Tcp, Timeout) of
                {ok, <<>>} -> ended;
                {ok, More} ->
                    _ = put({events, Tcp}, <<Read/binary, More/binary>>),
                    next_message(Tcp, Timeout);
                {error, timeout} -> timeout;
                {error, _} -> cut
            end
    end.

message_of([<<":", _/binary>>]) -> comment;
message_of([<<"event: ", Name/binary>> | Lines]) ->
    Data = lists:join($\n, [Line || <<"data:", Line/binary>> <- Lines]),
    Id = case [Id || <<"id: ", Id/binary>> <- Lines] of [One] -> One; [] -> none end,
    {binary_to_atom(Name), Id, decoded(iolist_to_binary(Data))}.

%% All events until the body ends.
all_events(Tcp) ->
    case next_event(Tcp) of
        {_, _} = Event -> [Event | all_events(Tcp)];
        End -> [End]
    end.

chunk(Tcp, Timeout) ->
    ok = inet:setopts(Tcp, [{packet, line}]),
    Line = gen_tcp:recv(Tcp, 0, Timeout),
    ok = inet:setopts(Tcp, [{packet, raw}]),
    case Line of
        {ok, Text} ->
            Length = binary_to_integer(string:trim(Text), 16),
            case gen_tcp:recv(Tcp, Length + 2, Timeout) of
                {ok, <<Bytes:Length/binary, "\r\n">>} -> {ok, Bytes};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

json(Text) when is_binary(Text) -> Text;
json(Term) ->
    {ok, Json} = warp_json:encode(Term, 1 bsl 30),
    Json.

decoded(<<>>) -> <<>>;
decoded(Text) ->
    {ok, #{<<"v">> := Value}} = warp_json:decode(<<"{\"v\":", Text/binary, "}">>),
    Value.
