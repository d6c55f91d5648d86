%% @private What the control socket says, as lines of JSON.
-module(warp_control_json).

-export([item/1, progress/1, ok/1, error/1, plain/1]).

-define(ANY_SIZE, (1 bsl 40)).
-define(MAX_PRINTED, 1024).

%% @doc One of many things that an answer has, such as an event.
-spec item(term()) -> iodata().
item(Term) -> line(<<"item">>, encode(Term)).

%% @doc How far a request is.
-spec progress(term()) -> iodata().
progress(Term) -> line(<<"progress">>, encode(plain(Term))).

%% @doc The answer.
-spec ok(term()) -> iodata().
ok(Term) -> line(<<"ok">>, encode(plain(Term))).

%% @doc An error: its reason, what it means, and what to do.
-spec error(Reason :: term()) -> iodata().
error(Reason) -> line(<<"error">>, encode(described(Reason))).

line(Name, Json) -> [<<"{\"">>, Name, <<"\":">>, Json, $}].

encode(Term) ->
    {ok, Json} = warp_json:encode(Term, ?ANY_SIZE),
    Json.

described({bad_request, Text}) ->
    #{reason => bad_request, meaning => Text, to_do => <<"Use a `warp' of the same version as the running VM's.">>};
described(changed) ->
    #{reason => changed, meaning => <<"The entity was deleted meanwhile, or its shard moved.">>,
      to_do => <<"Ask again.">>};
described(Reason) ->
    case warp_error:describe(Reason) of
        {ok, #{reason := Name, meaning := Meaning, to_do := ToDo}} ->
            #{reason => Name, meaning => Meaning, to_do => ToDo};
        unknown ->
            #{reason => other, meaning => printed(Reason), to_do => <<>>}
    end.

%% @doc Any term in a form that JSON has: tuples as lists, reasons of errors as their text, and what else has none as
%% Erlang prints it.
-spec plain(term()) -> term().
plain(Map) when is_map(Map) ->
    maps:fold(fun(Key, Value, Shown) -> Shown#{key(Key) => member(Key, Value)} end, #{}, Map);
plain(Tuple) when is_tuple(Tuple) -> [plain(Element) || Element <- tuple_to_list(Tuple)];
plain(List) when is_list(List) ->
    try
        [plain(Element) || Element <- List]
    catch
        error:_ -> printed(List)
    end;
plain(none) -> null;
plain(Value) when is_number(Value); is_atom(Value) -> Value;
plain(Text) when is_binary(Text) ->
    case unicode:characters_to_binary(Text) of
        Text -> Text;
        _ -> printed(Text)
    end;
plain(Other) -> printed(Other).

member(Key, Reason) when (Key =:= why orelse Key =:= reason orelse Key =:= error), Reason =/= none,
                         not is_binary(Reason) ->
    case warp_error:describe(Reason) of
        {ok, #{meaning := Meaning}} -> Meaning;
        unknown -> printed(Reason)
    end;
member(_Key, Value) -> plain(Value).

key(Key) when is_binary(Key); is_integer(Key) ->
    case plain(Key) of
        Text when is_binary(Text) -> Text;
        N -> integer_to_binary(N)
    end;
key(Key) when is_atom(Key) -> atom_to_binary(Key);
key(Key) -> printed(Key).

printed(Term) ->
    unicode:characters_to_binary(io_lib:format("~0tp", [Term], [{chars_limit, ?MAX_PRINTED}])).
