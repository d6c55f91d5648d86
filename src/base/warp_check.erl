%% @private Options as users give them, checked before anything is done with them.
-module(warp_check).

-export([options/2]).
-export([integer/3, one_of/2, timeout/1]).

-export_type([option/0, check/0, error/0]).

%% What a check gives: the value to go on with, or what is wrong with the one that was given.
-type check() :: fun((term()) -> {ok, term()} | {error, term()}).
-type option() :: {Key :: atom(), Default :: term() | required, check()}.
-type error() ::
    {missing_option, atom()} | {unknown_option, term()} | {bad_option, atom(), term()}.

%% The longest that a process can wait, in milliseconds.
-define(MAX_TIMEOUT_MS, (1 bsl 32 - 1)).

%% @doc The options in Given, each checked, with defaults for those that are not there. A default is
%% taken as it is. The first error is that of an unknown option, else of the first option in the list.
-spec options(Given :: term(), [option()]) -> {ok, #{atom() => term()}} | {error, error()}.
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
            case Check(Value) of
                {ok, Right} -> each(Options, Given, Checked#{Key => Right});
                {error, Why} -> {error, {bad_option, Key, Why}}
            end;
        #{} when Default =:= required ->
            {error, {missing_option, Key}};
        #{} ->
            each(Options, Given, Checked#{Key => Default})
    end.

%% @doc An integer from Min to Max, which may be `infinity'.
-spec integer(term(), integer(), integer() | infinity) -> {ok, integer()} | {error, term()}.
integer(N, Min, Max) when is_integer(N), N >= Min, N =< Max -> {ok, N};
integer(_, Min, infinity) -> {error, {not_an_integer_from, Min}};
integer(_, Min, Max) -> {error, {not_an_integer_between, Min, Max}}.

-spec one_of(term(), [term()]) -> {ok, term()} | {error, {not_one_of, [term()]}}.
one_of(Value, Values) ->
    case lists:member(Value, Values) of
        true -> {ok, Value};
        false -> {error, {not_one_of, Values}}
    end.

%% @doc `infinity', or 0 to 2^32 - 1 milliseconds, which is as long as a process can wait.
-spec timeout(term()) -> {ok, timeout()} | {error, term()}.
timeout(infinity) -> {ok, infinity};
timeout(Millis) -> integer(Millis, 0, ?MAX_TIMEOUT_MS).
