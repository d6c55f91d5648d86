%% @private Crashes of processes of sagas. Linked processes and the log of the system get a text that holds
%% nothing of users: a reason and the arguments of functions may hold payloads and plans.
-module(warp_saga_crash).

-export([guard/1, reason/3, text/1]).

%% @doc Calls Fun. An error in it becomes an exit, which the VM does not log: see {@link reason/3}.
-spec guard(fun(() -> Result)) -> Result.
guard(Fun) ->
    try
        Fun()
    catch
        exit:Reason -> exit(Reason);
        Class:Reason:Stack -> exit(reason(Class, Reason, Stack))
    end.

%% @doc What a process ends with in place of what was caught.
-spec reason(error | exit | throw, term(), [term()]) -> {crashed, Text :: binary()}.
reason(Class, Reason, Stack) ->
    {crashed, unicode:characters_to_binary(warp_redact:crash(Class, Reason, Stack))}.

%% @doc The reason that a process ended with, for the log.
-spec text(term()) -> unicode:chardata().
text({crashed, Text}) -> Text;
text(Reason) -> warp_redact:reason(Reason).
