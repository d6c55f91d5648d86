%% @private Points in time by which a caller wants an answer. A function that takes a timeout makes a
%% deadline of it once and hands the deadline on, so that everything it does, with all retries and pauses,
%% ends by then.
-module(warp_deadline).

-export([from/1, left/1, is_over/1, earlier/2, later/2, longest/0]).

-export_type([deadline/0]).

%% Milliseconds of the VM's monotonic time.
-type deadline() :: integer() | infinity.

%% The longest time that the VM can wait for a message, in milliseconds.
-define(LONGEST_MS, 16#ffffffff).

%% @doc The deadline in so many milliseconds.
-spec from(timeout()) -> deadline().
from(infinity) -> infinity;
from(Timeout) -> erlang:monotonic_time(millisecond) + Timeout.

%% @doc How many milliseconds are left until the deadline: 0 when it is over, and never more than the
%% VM can wait for a message.
-spec left(deadline()) -> timeout().
left(infinity) -> infinity;
left(Deadline) -> min(?LONGEST_MS, max(0, Deadline - erlang:monotonic_time(millisecond))).

%% @doc Whether a deadline is over.
-spec is_over(deadline()) -> boolean().
is_over(Deadline) -> left(Deadline) =:= 0.

%% @doc The earlier one of two deadlines.
-spec earlier(deadline(), deadline()) -> deadline().
%% In Erlang's order of terms any integer is less than the atom `infinity'.
earlier(A, B) -> min(A, B).

%% @doc The deadline, so many milliseconds later: for a caller who waits for an answer that comes at the deadline.
-spec later(deadline(), non_neg_integer()) -> deadline().
later(infinity, _Millis) -> infinity;
later(Deadline, Millis) -> Deadline + Millis.

%% @doc The longest timeout in milliseconds, apart from `infinity'.
-spec longest() -> pos_integer().
longest() -> ?LONGEST_MS.
