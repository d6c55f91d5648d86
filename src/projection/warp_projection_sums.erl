%% @private Sums of counted columns, in SQL that never raises an error. Pure.
%%
%% The share of an entity is exact as long as only integers were added. It is `high * 2^64 + amount', since
%% the sum of two integers of 64 bits may need more than 64. With a float among them the share is a finite
%% float. A column is the sum of its row's shares: the integer, while that fits 64 bits, and else the
%% nearest finite float. So the same shares always have the same sum, whether they were added one by one
%% or together, and also after one was taken out.
-module(warp_projection_sums).

-export([plus/2, limbs/1, is_plain/1]).
-export([total/1, added_amount/0, added_high/0, running/2]).

-type number_() :: integer() | float().

-define(MAX_FLOAT, 1.7976931348623157e308).
%% Text of it, and of the number that carries from one limb to the next.
-define(MAX, "1.7976931348623157e308").
-define(CARRY, "18446744073709551616.0").
-define(MIN, "(-9223372036854775807 - 1)").
%% A float below this cannot be a sum of integers that did not fit 64 bits.
-define(BOUND, "4611686018427387904").

%% @doc The sum of two numbers; a float stays finite.
-spec plus(number_(), number_()) -> number_().
plus(A, B) ->
    try
        A + B
    catch
        error:badarith when A > 0 -> ?MAX_FLOAT;
        error:badarith -> -?MAX_FLOAT
    end.

%% @doc A number as the columns `amount' and `high'.
-spec limbs(number_()) -> {Amount :: number_(), High :: integer()}.
limbs(N) when is_float(N) ->
    {N, 0};
limbs(N) ->
    <<Amount:64/signed>> = <<N:64>>,
    {Amount, (N - Amount) bsr 64}.

%% @doc Whether a number is one that can be added to a column as it is.
-spec is_plain(number_()) -> boolean().
is_plain(N) when is_integer(N) -> N >= -(1 bsl 63) andalso N < 1 bsl 63;
is_plain(N) -> abs(N) < 1 bsl 62.

%% @doc The sum of the shares that a FROM with its WHERE gives; null without any.
-spec total(binary()) -> binary().
total(From) ->
    <<"(SELECT CASE WHEN n = 0 THEN NULL "
      "WHEN reals = 0 AND upper BETWEEN -2147483648 AND 2147483647 THEN (upper << 32) | lower "
      "WHEN reals = 0 THEN upper * 4294967296.0 + lower "
      "WHEN plain > -9e999 AND plain < 9e999 THEN plain "
      "ELSE ", (finite(<<"scaled * " ?CARRY>>))/binary, " END FROM (SELECT count(*) AS n, "
      "sum(typeof(amount) = 'real') AS reals, "
      "sum(high) * 4294967296 + sum(amount >> 32) + (sum(amount & 4294967295) >> 32) AS upper, "
      "sum(amount & 4294967295) & 4294967295 AS lower, "
      "total(amount) + total(high) * " ?CARRY " AS plain, "
      "total(amount / " ?CARRY ") + total(high) AS scaled ", From/binary, "))">>.

%% @doc What the column `amount' of a share becomes when the share of `excluded' is added.
-spec added_amount() -> binary().
added_amount() ->
    <<"CASE WHEN typeof(amount + excluded.amount) = 'integer' THEN amount + excluded.amount "
      "WHEN typeof(amount) = 'real' OR typeof(excluded.amount) = 'real' THEN ",
      (finite(<<"(amount + high * " ?CARRY ") + (excluded.amount + excluded.high * " ?CARRY ")">>))/binary,
      " WHEN amount > 0 THEN (amount + " ?MIN ") + (excluded.amount + " ?MIN ") "
      "ELSE (amount - " ?MIN ") + (excluded.amount - " ?MIN ") END">>.

%% @doc What the column `high' becomes.
-spec added_high() -> binary().
added_high() ->
    <<"CASE WHEN typeof(amount + excluded.amount) = 'integer' THEN high + excluded.high "
      "WHEN typeof(amount) = 'real' OR typeof(excluded.amount) = 'real' THEN 0 "
      "ELSE high + excluded.high + iif(amount > 0, 1, -1) END">>.

%% @doc What a column becomes when a plain number was added to a share: the cheap sum where that is exact,
%% else `Total'. A value that is no number counts as 0.
-spec running(binary(), binary()) -> binary().
running(Column, Total) ->
    Sum = <<Column/binary, " + excluded.", Column/binary>>,
    Small = <<" BETWEEN -" ?BOUND " AND " ?BOUND>>,
    <<"CASE WHEN typeof(", Column/binary, ") IN ('integer', 'real') AND (typeof(", Sum/binary,
      ") = 'integer' OR ", Column/binary, Small/binary, " AND ", Sum/binary, Small/binary, ") THEN ",
      Sum/binary, " ELSE ", Total/binary, " END">>.

finite(X) ->
    <<"max(-" ?MAX ", min(" ?MAX ", ", X/binary, "))">>.
