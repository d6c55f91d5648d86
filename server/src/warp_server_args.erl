%% @private The arguments of each operation: checks those of a call, and gives them with atoms as keys. Pure.
%%
%% What the engine checks by itself, such as an event, is handed on as it is.
-module(warp_server_args).

-export([check/3, names/1, after_text/1]).

-export_type([form/0]).

%% Whether values are JSON, or text as in the query of a URL.
-type form() :: json | text.

%% How long a call may wait, in milliseconds.
-define(MAX_WAIT_MS, 300000).
-define(MAX_LIMIT, 10000).
-define(MAX_CREDIT, 1000).
-define(MAX_SECONDS, 3600).

%% @doc Checks arguments. Errors: `{unknown_field, Name}', and `{bad_option, Name, Why}'.
-spec check(Operation :: atom(), #{binary() => term()}, form()) ->
    {ok, map()} | {error, unknown_operation | {unknown_field, binary()} | {bad_option, binary(), term()}}.
check(Operation, Given, Form) ->
    case arguments(Operation) of
        none -> {error, unknown_operation};
        Arguments -> each(Arguments, Given, Form, #{}, map_size(Given))
    end.

each([{Name, Need, Type} | Arguments], Given, Form, Checked, Left) ->
    Key = atom_to_binary(Name),
    case Given of
        #{Key := Value} ->
            case value(Type, Value, Form) of
                {ok, Right} -> each(Arguments, Given, Form, Checked#{Name => Right}, Left - 1);
                {error, Why} -> {error, {bad_option, Key, Why}}
            end;
        #{} when Need =:= required ->
            {error, {bad_option, Key, missing}};
        #{} ->
            each(Arguments, Given, Form, Checked, Left)
    end;
each([], _Given, _Form, Checked, 0) ->
    {ok, Checked};
each([], Given, _Form, Checked, _) ->
    [Unknown | _] = maps:keys(Given) -- [atom_to_binary(Name) || Name <- maps:keys(Checked)],
    {error, {unknown_field, Unknown}}.

%% @doc The names of an operation's arguments, those that it needs first.
-spec names(Operation :: atom()) -> [{atom(), required | optional}].
names(Operation) ->
    [{Name, Need} || {Name, Need, _} <- arguments(Operation)].

arguments(append) -> [entity(), {event, required, any} | writing()];
arguments(append_batch) -> [entity(), {events, required, any} | writing()];
arguments(get) ->
    [entity(), {aggregate, required, text}, {seq, optional, seq}, {time, optional, any_integer}, timeout()];
arguments(history) -> [entity(), {direction, optional, {one_of, [forward, backward]}}, timeout() | page(seq)];
arguments(export) -> [entity() | page(seq)];
arguments(delete) -> [entity(), timeout()];
arguments(command) -> [entity(), {name, required, text}, {input, optional, text}, timeout()];
arguments(entities) ->
    [{prefix, optional, text}, {aggregate, optional, text}, {'after', optional, place}, limit(), timeout()];
arguments(events) -> [{shard, optional, seq}, {'after', optional, positions}, limit(), timeout()];
arguments(query) ->
    [{sql, required, text}, {params, optional, any}, {max_rows, optional, {integer, 1, 1000000}}, timeout()];
arguments(saga) ->
    [{saga, required, text}, {steps, required, any}, {timeout, optional, {integer, 0, 16#ffffffff}},
     {retries, optional, seq}, wait()];
arguments(Operation) when Operation =:= saga_retry; Operation =:= saga_cancel -> [{saga, required, text}, wait()];
arguments(saga_resolve) -> [{saga, required, text}, {note, required, text}, wait()];
arguments(saga_status) -> [{saga, required, text}];
arguments(sagas) -> [{state, optional, {one_of, [stuck, pending]}}];
arguments(wait) -> [entity(), {seq, required, seq}, {projection, optional, boolean}, timeout()];
arguments(stats) -> [];
arguments(subscribe) ->
    [{entity, optional, text}, {from, optional, from}, {aggregates, optional, texts}, {types, optional, texts},
     {prefix, optional, text}, {name, optional, text}, {consumers, optional, {integer, 1, 4096}},
     {credit, optional, {integer, 1, ?MAX_CREDIT}}];
arguments(unsubscribe) -> [{subscription, required, seq}];
arguments(ack) -> [{subscription, required, seq}, {events, optional, places}, {erased, optional, text}];
arguments(Operation) when Operation =:= parked; Operation =:= forget -> [{name, required, text}];
arguments(Operation) when Operation =:= retry; Operation =:= skip -> [{name, required, text}, entity()];
arguments(token) -> [{seconds, optional, {integer, 1, ?MAX_SECONDS}}, {scopes, optional, scopes}];
arguments(_) -> none.

entity() -> {entity, required, text}.
timeout() -> {timeout, optional, {integer, 0, ?MAX_WAIT_MS}}.
wait() -> {wait, optional, {integer, 0, ?MAX_WAIT_MS}}.
limit() -> {limit, optional, {integer, 1, ?MAX_LIMIT}}.
writing() -> [{expected, optional, expected}, timeout()].
page(Type) -> [{from, optional, Type}, limit()].

value(any, Value, _) -> {ok, Value};
value(text, Value, _) when is_binary(Value) -> {ok, Value};
value(text, _, _) -> {error, not_text};
value(texts, Values, json) when is_list(Values) ->
    case lists:all(fun is_binary/1, Values) of
        true -> {ok, Values};
        false -> {error, not_a_list_of_names}
    end;
value(texts, _, _) -> {error, not_a_list_of_names};
value({integer, Min, Max}, Value, Form) ->
    case integer(Value, Form) of
        N when is_integer(N), N >= Min, N =< Max -> {ok, N};
        _ -> {error, {not_an_integer_between, Min, Max}}
    end;
value(seq, Value, Form) ->
    case integer(Value, Form) of
        N when is_integer(N), N >= 0 -> {ok, N};
        _ -> {error, {not_an_integer_from, 0}}
    end;
value(any_integer, Value, Form) ->
    case integer(Value, Form) of
        N when is_integer(N) -> {ok, N};
        error -> {error, not_an_integer}
    end;
value(boolean, Value, _) when is_boolean(Value) -> {ok, Value};
value(boolean, _, _) -> {error, {not_one_of, [true, false]}};
value({one_of, Atoms}, Value, _) ->
    case [Atom || Atom <- Atoms, atom_to_binary(Atom) =:= Value] of
        [Atom] -> {ok, Atom};
        [] -> {error, {not_one_of, Atoms}}
    end;
value(expected, <<"any">>, _) -> {ok, any};
value(expected, <<"no_stream">>, _) -> {ok, no_stream};
value(expected, N, json) when is_integer(N), N >= 0 -> {ok, N};
value(expected, _, _) -> {error, not_any_no_stream_or_a_seq};
value(from, <<"beginning">>, _) -> {ok, beginning};
value(from, <<"now">>, _) -> {ok, now};
value(from, #{<<"cursor">> := Cursor} = From, _) when map_size(From) =:= 1 -> {ok, {cursor, Cursor}};
value(from, #{<<"time">> := Time} = From, _) when map_size(From) =:= 1, is_integer(Time) -> {ok, {time, Time}};
value(from, _, _) -> {error, not_a_beginning};
value(places, Places, json) when is_list(Places) -> places(Places, []);
value(places, _, _) -> {error, not_a_list};
value(place, Text, _) -> decoded(Text, not_a_place, fun place/1);
value(positions, Text, _) -> decoded(Text, not_positions, fun positions/1);
value(scopes, Given, json) when is_list(Given) ->
    Scopes = [warp_server_scope:from_json(Scope) || Scope <- Given],
    case lists:member(error, Scopes) of
        true -> {error, not_scopes};
        false -> {ok, [Scope || {ok, Scope} <- Scopes]}
    end;
value(scopes, _, _) -> {error, not_scopes}.

integer(N, json) when is_integer(N) -> N;
integer(Text, text) when byte_size(Text) =< 20 ->
    try binary_to_integer(Text) catch error:badarg -> error end;
integer(_, _) -> error.

places([[Shard, Position, Seq] | Places], Read)
  when is_integer(Shard), is_integer(Position), is_integer(Seq) ->
    places(Places, [#{shard => Shard, position => Position, seq => Seq} | Read]);
places([], Read) ->
    {ok, lists:reverse(Read)};
places(_, _) ->
    {error, not_places}.

%% ------------------------------------------------------------------------- Where a page ended, as text for a URL

%% @doc The `next' of a page of entities or events as text.
-spec after_text(done | warp_core:place() | warp_core:positions()) -> null | binary().
after_text(done) -> null;
after_text({Shard, first}) -> encode(<<Shard:16>>);
after_text({Shard, {Hash, Life}}) -> encode(<<Shard:16, Hash:64, Life:64>>);
after_text(Positions) ->
    encode(<<<<Shard:16, Position:64>> || {Shard, Position} <- lists:sort(maps:to_list(Positions))>>).

place(<<Shard:16>>) -> {ok, {Shard, first}};
place(<<Shard:16, Hash:64/signed, Life:64/signed>>) -> {ok, {Shard, {Hash, Life}}};
place(_) -> error.

positions(Bytes) when byte_size(Bytes) rem 10 =:= 0 ->
    {ok, maps:from_list([{Shard, Position} || <<Shard:16, Position:64>> <= Bytes])};
positions(_) ->
    error.

encode(Bytes) -> warp_server_token:base64url(Bytes).

decoded(Text, Why, Read) ->
    case warp_server_token:from_base64url(Text) of
        {ok, Bytes} ->
            case Read(Bytes) of
                {ok, Value} -> {ok, Value};
                error -> {error, Why}
            end;
        error ->
            {error, Why}
    end.
