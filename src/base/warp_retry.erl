%% @private Tries something again, with pauses, until a deadline.
-module(warp_retry).

-export([while/4]).

%% @doc Calls `Try' once, and again after each pause of so many milliseconds, for as long as `IsRetried'
%% holds for its result and time is left. Gives the last result. The last pause ends at the deadline.
-spec while(IsRetried :: fun((Result) -> boolean()), PauseMs :: pos_integer(), warp_deadline:deadline(),
            Try :: fun(() -> Result)) -> Result.
while(IsRetried, PauseMs, Deadline, Try) ->
    Result = Try(),
    case IsRetried(Result) andalso warp_deadline:left(Deadline) of
        false ->
            Result;
        0 ->
            Result;
        Left ->
            %% `infinity' is greater than any pause.
            ok = timer:sleep(min(PauseMs, Left)),
            while(IsRetried, PauseMs, Deadline, Try)
    end.
