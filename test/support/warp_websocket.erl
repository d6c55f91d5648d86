%% A small client of WebSockets (RFC 6455) for tests, whose messages are JSON text. And the codec of its frames, which
%% has masks on both sides.
-module(warp_websocket).

-export([open/2, open/3, send/2, recv/1, recv/2, close/1, call/2, frame/3, decode/1]).

%% Gives the socket, or the status with which the server refused it.
open(Port, Token) ->
    open(Port, Token, []).

open(Port, Token, Headers) ->
    {ok, Tcp} = gen_tcp:connect("127.0.0.1", Port, [binary, {active, false}, {nodelay, true}]),
    ok =
        gen_tcp:send(Tcp, ["GET /v1/socket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ", base64:encode(rand:bytes(16)), "\r\n"
                            "Sec-WebSocket-Protocol: warp.v1\r\nAuthorization: Bearer ", Token, "\r\n",
                            [[Name, ": ", Value, "\r\n"] || {Name, Value} <- Headers], "\r\n"]),
    {Head, Rest} = head(Tcp, <<>>),
    case Head of
        <<"HTTP/1.1 101", _/binary>> -> {ok, {Tcp, store(Rest)}};
        <<"HTTP/1.1 ", Status:3/binary, _/binary>> ->
            ok = gen_tcp:close(Tcp),
            {error, binary_to_integer(Status)}
    end.

head(Tcp, Read) ->
    case binary:split(Read, <<"\r\n\r\n">>) of
        [Head, Rest] -> {Head, Rest};
        [_] ->
            {ok, More} = gen_tcp:recv(Tcp, 0, 5000),
            head(Tcp, <<Read/binary, More/binary>>)
    end.

%% What was read and belongs to the next frame is kept by a key in the process dictionary.
store(Bytes) ->
    Key = {?MODULE, make_ref()},
    _ = put(Key, Bytes),
    Key.

send({Tcp, _}, Json) ->
    gen_tcp:send(Tcp, frame(1, Json, masked)).

%% One message: decoded JSON (of a list: all of its elements), `{close, Code, Reason}', or `closed'.
recv(Socket) ->
    recv(Socket, 5000).

recv({_, Key} = Socket, Timeout) ->
    case erase({Key, others}) of
        undefined -> recv(Socket, Timeout, []);
        Others -> Others
    end.

recv({Tcp, Key} = Socket, Timeout, Parts) ->
    Buffer = get(Key),
    case decode(Buffer) of
        {more, _} ->
            case gen_tcp:recv(Tcp, 0, Timeout) of
                {ok, Bytes} ->
                    _ = put(Key, <<Buffer/binary, Bytes/binary>>),
                    recv(Socket, Timeout, Parts);
                {error, timeout} -> timeout;
                {error, _} -> closed
            end;
        {Fin, Opcode, Payload, Rest} ->
            _ = put(Key, Rest),
            case {Opcode, Fin} of
                {8, _} ->
                    <<Code:16, Reason/binary>> = Payload,
                    {close, Code, Reason};
                {9, _} ->
                    _ = gen_tcp:send(Tcp, frame(10, Payload, masked)),
                    recv(Socket, Timeout, Parts);
                {10, _} -> recv(Socket, Timeout, Parts);
                {_, 0} -> recv(Socket, Timeout, [Parts | Payload]);
                {_, 1} ->
                    {ok, #{<<"v">> := Value}} = warp_json:decode(iolist_to_binary(["{\"v\":", Parts, Payload, "}"])),
                    Value
            end
    end.

%% Sends a call and gives the answer to it. What else comes meanwhile is received later.
call(Socket, #{id := Id} = Call) ->
    {ok, Json} = warp_json:encode(Call, 1 bsl 30),
    ok = send(Socket, Json),
    answer(Socket, Id).

answer({_, Key} = Socket, Id) -> answer(Socket, Key, Id, []).

answer(Socket, Key, Id, Before) ->
    case recv(Socket) of
        Message when is_map(Message); is_list(Message) ->
            All = case Message of #{} -> [Message]; _ -> Message end,
            {Answers, Others} = lists:partition(fun(#{<<"id">> := Of}) -> Of =:= Id; (_) -> false end, All),
            case Answers of
                [] -> answer(Socket, Key, Id, Before ++ Others);
                [Answer] ->
                    _ = [put({Key, others}, Before ++ Others) || Before ++ Others =/= []],
                    case Answer of
                        #{<<"ok">> := Result} -> {ok, Result};
                        #{<<"error">> := Problem} -> {error, Problem}
                    end
            end;
        Other ->
            Other
    end.

close({Tcp, Key}) ->
    _ = erase(Key),
    gen_tcp:close(Tcp).

%% ------------------------------------------------------------------------------------------------------- Frames

frame(Opcode, Payload, Masked) ->
    Bytes = iolist_to_binary(Payload),
    Length =
        case byte_size(Bytes) of
            Size when Size < 126 -> <<Size:7>>;
            Size when Size < 65536 -> <<126:7, Size:16>>;
            Size -> <<127:7, Size:64>>
        end,
    case Masked of
        masked ->
            Mask = rand:bytes(4),
            [<<1:1, 0:3, Opcode:4, 1:1, Length/bitstring>>, Mask, mask(Bytes, Mask)];
        plain -> [<<1:1, 0:3, Opcode:4, 0:1, Length/bitstring>>, Bytes]
    end.

mask(Bytes, Mask) ->
    Size = byte_size(Bytes),
    Long = binary:part(binary:copy(Mask, Size div 4 + 1), 0, Size),
    crypto:exor(Bytes, Long).

decode(<<Fin:1, _:3, Opcode:4, Masked:1, 126:7, Size:16, Rest/binary>>) -> decode(Fin, Opcode, Masked, Size, Rest);
decode(<<Fin:1, _:3, Opcode:4, Masked:1, 127:7, Size:64, Rest/binary>>) -> decode(Fin, Opcode, Masked, Size, Rest);
decode(<<Fin:1, _:3, Opcode:4, Masked:1, Size:7, Rest/binary>>) when Size < 126 ->
    decode(Fin, Opcode, Masked, Size, Rest);
decode(Bytes) -> {more, Bytes}.

decode(Fin, Opcode, 0, Size, Bytes) ->
    case Bytes of
        <<Payload:Size/binary, Rest/binary>> -> {Fin, Opcode, Payload, Rest};
        _ -> {more, Bytes}
    end;
decode(Fin, Opcode, 1, Size, Bytes) ->
    case Bytes of
        <<Mask:4/binary, Payload:Size/binary, Rest/binary>> -> {Fin, Opcode, mask(Payload, Mask), Rest};
        _ -> {more, Bytes}
    end.
