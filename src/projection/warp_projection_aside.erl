%% @private What is noted of an event that is set aside, for people. Pure.
-module(warp_projection_aside).

-export([note/2]).

-export_type([note/0]).

%% The event's seq, aggregate and type, and why it could not be projected.
-type note() :: {warp_core:seq(), Aggregate :: binary(), Type :: binary(), Reason :: binary()}.

-define(MAX_CHARS, 4000).

-spec note(warp_core:event(), Reason :: term()) -> note().
note(#{seq := Seq, aggregate := Aggregate, type := Type}, Reason) ->
    {Seq, Aggregate, Type, reason(Reason)}.

reason({timeout, Kind, Seconds}) ->
    text("timeout: ~ts had not returned after ~b seconds, and was ended", [called(Kind), Seconds]);
reason({killed, Kind, Bytes}) ->
    text("ended: the process that called ~ts was killed, twice; it may take ~b MiB of memory",
         [called(Kind), Bytes div (1024 * 1024)]);
reason({died, Kind, Shape}) ->
    text("ended: the process that called ~ts went away, twice: ~ts", [called(Kind), Shape]);
reason({refused, Message}) when is_binary(Message) ->
    <<"refused: ", Message/binary>>;
reason({Failed, {Class, Reason, Stack}}) when is_list(Stack) ->
    text("~ts: ~ts:~0tp in ~0tp", [Failed, Class, Reason, lists:sublist(Stack, 3)]);
reason(Reason) ->
    text("~0tp", [Reason]).

text(Format, Arguments) ->
    unicode:characters_to_binary(io_lib:format(Format, Arguments, [{chars_limit, ?MAX_CHARS}])).

called(project) -> "project";
called(apply) -> "apply (or migrate)";
called(load) -> "apply (or migrate), for an event before it,".
