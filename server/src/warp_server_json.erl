%% @private What a call gives as JSON text.
-module(warp_server_json).

-export([encode/1, object/1, list/1, placed_event/1, plain/1, state/2]).

%% More bytes than any text has.
-define(ANY_SIZE, (1 bsl 40)).
-define(MAX_PRINTED, 1024).

%% @doc Terms that are known to have a form in JSON.
-spec encode(term()) -> binary().
encode(Term) ->
    {ok, Json} = warp_json:encode(Term, ?ANY_SIZE),
    Json.

%% @doc An object of members whose values are JSON text.
-spec object([{binary(), iodata()}]) -> iodata().
object(Members) ->
    [${, lists:join($,, [[$", Name, $", $:, Json] || {Name, Json} <- Members]), $}].

%% @doc A list of values that are JSON text.
-spec list([iodata()]) -> iodata().
list(Values) ->
    [$[, lists:join($,, Values), $]].

%% @doc An event for a subscriber, in the process of its subscription: where it stands, and the event as JSON.
-spec placed_event(warp_core:placed_event()) -> {Shard :: integer(), warp_server_credit:place(), binary()}.
placed_event(#{shard := Shard, position := Position, seq := Seq} = Event) ->
    {Shard, {Position, Seq}, encode(Event)}.

%% @doc A state, as its context's view shows it. One that has no form in JSON is `state_not_json'.
-spec state(State :: term(), View :: none | fun((term()) -> term())) -> {ok, iodata()} | {error, state_not_json}.
state(State, none) ->
    case warp_json:encode(State, ?ANY_SIZE) of
        {ok, Json} -> {ok, Json};
        {error, _} -> {error, state_not_json}
    end;
state(State, View) ->
    state(View(State), none).

%% @doc Any term in a form that JSON has: tuples as lists, and what else has none as text.
-spec plain(term()) -> term().
plain(Map) when is_map(Map) ->
    maps:fold(fun(Key, Value, Shown) -> Shown#{key(Key) => plain(Value)} end, #{}, Map);
plain(Tuple) when is_tuple(Tuple) -> [plain(Element) || Element <- tuple_to_list(Tuple)];
plain(List) when is_list(List) ->
    try
        [plain(Element) || Element <- List]
    catch
        error:_ -> printed(List)
    end;
plain(Value) when is_number(Value); is_atom(Value) -> Value;
plain(Text) when is_binary(Text) ->
    case unicode:characters_to_binary(Text) of
        Text -> Text;
        _ -> printed(Text)
    end;
plain(Other) -> printed(Other).

key(Key) when is_atom(Key) -> atom_to_binary(Key);
key(Key) ->
    case plain(Key) of
        Text when is_binary(Text) -> Text;
        _ -> printed(Key)
    end.

printed(Term) ->
    unicode:characters_to_binary(io_lib:format("~0tp", [Term], [{chars_limit, ?MAX_PRINTED}])).
