%% What is made of what was measured: medians, ratios, and their texts.
-module(warp_peers_figures).

-export([median/1, times_better/3, text/2, times_text/1]).
-export_type([unit/0, figure/0]).

-type unit() :: per_second | ms | bytes.
%% The rounds of one case and one subject; the median of them, or blank where one of them is.
-type figure() :: #{work := string(), 'case' := string(), unit := unit(), chart := boolean(),
                    subject := warp_peer:subject(), values := [number() | blank | failed],
                    median := number() | blank | failed}.

-spec median([number() | blank | failed, ...]) -> number() | blank | failed.
median(Values) ->
    case [Value || Value <- Values, is_atom(Value)] of
        [Why | _] -> Why;
        [] -> middle(lists:sort(Values), length(Values))
    end.

middle(Sorted, Count) when Count rem 2 =:= 1 ->
    lists:nth(Count div 2 + 1, Sorted);
middle(Sorted, Count) ->
    [Low, High | _] = lists:nthtail(Count div 2 - 1, Sorted),
    (Low + High) / 2.

%% How many times better the first is: more for each second, or fewer milliseconds or bytes.
-spec times_better(unit(), number() | atom(), number() | atom()) -> number() | blank.
times_better(_, A, B) when is_atom(A); is_atom(B) -> blank;
times_better(_, A, B) when A == 0; B == 0 -> blank;
times_better(per_second, A, B) -> A / B;
times_better(_, A, B) -> B / A.

-spec text(unit(), number() | blank | failed) -> string().
text(_, blank) -> "";
text(_, failed) -> "failed";
text(ms, Value) -> format(Value) ++ " ms";
text(bytes, Value) when Value >= 1.0e6 -> format(Value / 1.0e6) ++ " MB";
text(bytes, Value) -> format(Value) ++ " B";
text(per_second, Value) when Value >= 1.0e6 -> format(Value / 1.0e6) ++ " M/s";
text(per_second, Value) when Value >= 1.0e3 -> format(Value / 1.0e3) ++ " k/s";
text(per_second, Value) -> format(Value) ++ " /s".

-spec times_text(number() | blank) -> string().
times_text(blank) -> "";
times_text(Times) -> format(Times) ++ "x".

%% At most three digits, which is more than the figures are good for.
format(Value) when Value >= 99.95 -> integer_to_list(round(Value));
format(Value) when Value >= 9.995 -> float_to_list(Value * 1.0, [{decimals, 1}]);
format(Value) when Value >= 0.0995; Value == 0 -> float_to_list(Value * 1.0, [{decimals, 2}]);
format(Value) when Value >= 0.00995 -> float_to_list(Value * 1.0, [{decimals, 3}]);
format(Value) -> float_to_list(Value * 1.0, [{decimals, 4}]).
