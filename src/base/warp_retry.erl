%% @private Repeats a call, with pauses, until it works or a deadline is over.
-module(warp_retry).

-export([while/4]).

-export_type([how/0]).

%% How long to pause before each retry, and how many retries there are at most.
-type how() :: {PauseMs :: pos_integer(), Retries :: non_neg_integer() | infinity}.

%% @doc Calls `Try' once, and again after each pause, as long as `IsRetried' is true for its result and retries and
%% time are left. Gives the last result. The last pause ends at the deadline.
-spec while(IsRetried :: fun((Result) -> boolean()), how(), warp_deadline:deadline(), Try :: fun(() -> Result)) ->
    Result.
while(IsRetried, {PauseMs, Retries}, Deadline, Try) ->
    Result = Try(),
    case IsRetried(Result) andalso Retries > 0 andalso warp_deadline:left(Deadline) of
        false ->
            Result;
        0 ->
            Result;
        Left ->
            %% `infinity' is greater than any pause.
            ok = timer:sleep(min(PauseMs, Left)),
            while(IsRetried, {PauseMs, less(Retries)}, Deadline, Try)
    end.

less(infinity) -> infinity;
less(Retries) -> Retries - 1.
