%% @private The frames between the VM and the gateway, as bytes and as terms. Pure. The port adds and removes their
%% lengths.
-module(warp_server_frame).

-export([decode/1, term/1]).
-export([configure/1, ping/1, stop/1, head/5, data/3, message/4, close/3, abort/1]).

-export_type([channel/0, event/0]).

%% 0 is the link itself. The gateway numbers its requests and sockets from 1 on, and never uses a number again.
-type channel() :: non_neg_integer().
-type event() ::
    ready | failed | pong | refused | part | request | socket | calls | taken | closed | reloaded.

-define(IS_LAST, 1).
%% The tag of a compressed term.
-define(COMPRESSED, 80).

%% @doc What the gateway has sent. The body is what its kind says, and is not checked yet.
-spec decode(binary()) -> {channel(), event(), Body :: binary()} | {error, bad_frame}.
decode(<<Channel:64, Kind, Body/binary>>) ->
    case event(Kind) of
        unknown -> {error, bad_frame};
        Event -> {Channel, Event, Body}
    end;
decode(_) ->
    {error, bad_frame}.

event(1) -> ready;
event(2) -> failed;
event(3) -> pong;
event(4) -> refused;
event(5) -> part;
event(6) -> request;
event(7) -> socket;
event(8) -> calls;
event(9) -> taken;
event(10) -> closed;
event(11) -> reloaded;
event(_) -> unknown.

%% @doc The term in a body, which makes no new atom. One that is compressed is refused: the gateway sends none, and it
%% could be a thousand times as large as the frame.
-spec term(iodata()) -> {ok, term()} | {error, bad_frame}.
term(Body) ->
    case iolist_to_binary(Body) of
        <<131, ?COMPRESSED, _/binary>> -> {error, bad_frame};
        Bytes -> plain_term(Bytes)
    end.

plain_term(Bytes) ->
    try
        {ok, binary_to_term(Bytes, [safe])}
    catch
        error:badarg -> {error, bad_frame}
    end.

-spec configure(iodata()) -> iodata().
configure(Json) -> [<<0:64, 1>>, Json].

-spec ping(binary()) -> iodata().
ping(Bytes) -> [<<0:64, 2>>, Bytes].

-spec stop(Millis :: non_neg_integer()) -> iodata().
stop(Millis) -> <<0:64, 3, Millis:32>>.

%% @doc The head of a response, and the first bytes of its body or all of them.
-spec head(channel(), Status :: 100..599, more | last, [{binary(), iodata()}], iodata()) -> iodata().
head(Channel, Status, Place, Headers, Body) ->
    [<<Channel:64, 4, Status:16, (flags(Place)), (length(Headers)):16>>,
     [[byte_size(Name), Name, <<(iolist_size(Value)):16>>, Value] || {Name, Value} <- Headers], Body].

%% @doc More of the body of a response.
-spec data(channel(), more | last, iodata()) -> iodata().
data(Channel, Place, Bytes) ->
    [<<Channel:64, 5, (flags(Place))>>, Bytes].

%% @doc A piece of a message of a socket. The first piece says how many calls the message answers.
-spec message(channel(), more | last, Answered :: 0..65535, iodata()) -> iodata().
message(Channel, Place, Answered, Bytes) ->
    [<<Channel:64, 5, (flags(Place)), Answered:16>>, Bytes].

%% @doc Closes a socket, with a reason of at most 123 bytes.
-spec close(channel(), Code :: 1000..4999, Reason :: binary()) -> iodata().
close(Channel, Code, Reason) ->
    <<Channel:64, 6, Code:16, Reason/binary>>.

-spec abort(channel()) -> iodata().
abort(Channel) ->
    <<Channel:64, 7>>.

flags(more) -> 0;
flags(last) -> ?IS_LAST.
