%% @private Checks a map of options against a list of known options. Pure. Each room declares its options in
%% this form.
-module(warp_check).

-export([options/2, one/3, integer/3, one_of/2, timeout/1]).

-export_type([option/0, check/0, wrong/0, error/0]).

%% The name of an option, its default, and the check of a given value. The check gives the value to use, or
%% says what is wrong with the given one.
-type option() :: {Key :: atom(), Default :: required | term(), check()}.
-type check() :: fun((term()) -> {ok, Value :: term()} | {error, Why :: term()}).
-type wrong() :: {unknown_option, Key :: term()} | {bad_option, Key :: atom(), Why :: term()}.
-type error() :: {missing_option, Key :: atom()} | wrong().

%% @doc Checks options and fills in defaults. Errors: `{bad_option, options, not_a_map}', `{missing_option, Key}',
%% `{unknown_option, Key}', and `{bad_option, Key, Why}' with what the option's check gave.
-spec options(Given :: term(), [option()]) -> {ok, map()} | {error, error()}.
options(Given, Options) when is_map(Given) ->
    case maps:keys(maps:without([Key || {Key, _, _} <- Options], Given)) of
        [] -> each(Options, Given, #{});
        [Unknown | _] -> {error, {unknown_option, Unknown}}
    end;
options(_Given, _Options) ->
    {error, {bad_option, options, not_a_map}}.

each([], _Given, Checked) ->
    {ok, Checked};
each([{Key, Default, Check} | Options], Given, Checked) ->
    case Given of
        #{Key := Value} ->
            case one(Key, Value, Check) of
                {ok, Right} -> each(Options, Given, Checked#{Key => Right});
                {error, _} = Error -> Error
            end;
        #{} when Default =:= required ->
            {error, {missing_option, Key}};
        #{} ->
            each(Options, Given, Checked#{Key => Default})
    end.

%% @doc Checks one value, such as an argument of a function.
-spec one(Key :: atom(), Value :: term(), check()) -> {ok, Value :: term()} | {error, {bad_option, atom(), term()}}.
one(Key, Value, Check) ->
    case Check(Value) of
        {ok, _} = Right -> Right;
        {error, Why} -> {error, {bad_option, Key, Why}}
    end.

%% @doc A check: an integer from `Min' to `Max'.
-spec integer(term(), Min :: integer(), Max :: integer() | infinity) ->
    {ok, integer()} | {error, {not_an_integer_from, integer()} | {not_an_integer_between, integer(), integer()}}.
integer(N, Min, Max) when is_integer(N), N >= Min, N =< Max -> {ok, N};
integer(_, Min, infinity) -> {error, {not_an_integer_from, Min}};
integer(_, Min, Max) -> {error, {not_an_integer_between, Min, Max}}.

%% @doc A check: one of these values.
-spec one_of(term(), [term()]) -> {ok, term()} | {error, {not_one_of, [term()]}}.
one_of(Value, Values) ->
    case lists:member(Value, Values) of
        true -> {ok, Value};
        false -> {error, {not_one_of, Values}}
    end.

%% @doc A check: `infinity', or 0 to 2^32 - 1 milliseconds, the longest time that the VM can wait.
-spec timeout(term()) -> {ok, timeout()} | {error, {not_an_integer_between, integer(), integer()}}.
timeout(infinity) -> {ok, infinity};
timeout(Millis) -> integer(Millis, 0, warp_deadline:longest()).
