%% @private What is said of a crash of a process of sagas: where it was, and the shape of the reason. Not
%% the reason itself, nor the arguments of functions, since these hold payloads and plans.
-module(warp_saga_crash).

-export([guard/1, text/1, text/3]).

-export_type([crashed/0]).

%% What a process exits with in place of an error.
-type crashed() :: {crashed, binary()}.

-define(FRAMES, 8).

%% @doc Calls Fun. An error in it becomes an exit with `{crashed, Text}', which the VM does not log and
%% linked processes get.
-spec guard(fun(() -> Result)) -> Result.
guard(Fun) ->
    try
        Fun()
    catch
        exit:Reason -> exit(Reason);
        Class:Reason:Stack -> exit({crashed, text(Class, Reason, Stack)})
    end.

%% @doc The reason that a process ended with, for the log.
-spec text(term()) -> unicode:chardata().
text({crashed, Text}) -> Text;
text(Reason) -> warp_stray:shape(Reason).

-spec text(error | exit | throw, term(), list()) -> binary().
text(Class, Reason, Stack) ->
    Frames = [frame(Frame) || Frame <- lists:sublist(Stack, ?FRAMES)],
    Text = io_lib:format("~ts ~ts in ~ts", [Class, warp_stray:shape(Reason), lists:join(" from ", Frames)]),
    unicode:characters_to_binary(Text).

frame({Module, Function, Arguments, Location}) ->
    Arity = case is_list(Arguments) of true -> length(Arguments); false -> Arguments end,
    Line = proplists:get_value(line, Location, 0),
    io_lib:format("~tw:~tw/~b (line ~b)", [Module, Function, Arity, Line]);
frame(Other) ->
    warp_stray:shape(Other).
