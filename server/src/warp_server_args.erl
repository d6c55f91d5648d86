%% @private The arguments of each operation: checks those of a call, and gives them with atoms as keys. Pure.
%%
%% What the engine checks by itself, such as an event, is handed on as it is.
-module(warp_server_args).

-export([check/3, arguments/1, default/2, whole/1, after_text/1]).

-export_type([form/0, argument/0, need/0, type/0]).

%% Whether values are JSON, or text as in the query of a URL.
-type form() :: json | text.
-type argument() :: {Name :: atom(), need(), type()}.
%% A default is that of the engine, which fills it in.
-type need() :: required | optional | {default, integer() | boolean() | atom()}.
-type type() ::
    %% Text of so many bytes, which the engine checks; `any' is ignored where it makes no sense.
    {text, Min :: 0 | 1, Max :: pos_integer() | any}
    | {integer, Min :: integer(), Max :: integer()}
    | {one_of, [atom()]}
    | boolean
    %% A list of text; in a URL a parameter that may be given several times.
    | texts
    %% An object, which the gateway hands on as JSON text.
    | object
    %% An event, several, the steps of a saga, the parameters of a query: the engine checks them.
    | {engine, event | events | steps | params}
    | expected | scopes
    %% Where a page of entities or of events ended.
    | place | positions
    %% Of subscriptions: where they begin, and which events are acknowledged.
    | from | places.

%% How long a call may wait, in milliseconds.
-define(MAX_WAIT_MS, 300000).
-define(MAX_LIMIT, 10000).
-define(MAX_CREDIT, 1000).
%% How long a client may acknowledge nothing of what it was given by HTTP.
-define(HOLD_MS, 60000).
-define(MAX_HOLD_MS, 3600000).
-define(MAX_SECONDS, 3600).
%% Where seqs and times in microseconds end.
-define(MAX_INTEGER, 16#7fffffffffffffff).
-define(READ_MS, 5000).
-define(DELETE_MS, 10000).
%% How long a call waits for a saga.
-define(SAGA_MS, 30000).
-define(PAGE, 1000).

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

%% @doc What an operation takes. `none': there is no such operation.
-spec arguments(Operation :: atom()) -> [argument()] | none.
arguments(append) -> [entity(), {event, required, {engine, event}} | writing()];
arguments(append_batch) -> [entity(), {events, required, {engine, events}} | writing()];
arguments(get) ->
    [entity(), {aggregate, required, name()}, {seq, optional, seq()},
     {time, optional, {integer, -?MAX_INTEGER, ?MAX_INTEGER}}, timeout(?READ_MS)];
arguments(history) ->
    [entity(), {from, optional, from_seq()}, {direction, {default, forward}, {one_of, [forward, backward]}}, limit(),
     timeout(?READ_MS)];
arguments(export) ->
    [entity(), {from, optional, from_seq()}, {limit, optional, {integer, 1, ?MAX_INTEGER}}];
arguments(delete) -> [entity(), timeout(?DELETE_MS)];
arguments(command) -> [entity(), {name, required, name()}, {input, optional, object}, timeout(?READ_MS)];
arguments(entities) ->
    [{prefix, optional, prefix()}, {aggregate, optional, name()}, {'after', optional, place}, limit(),
     timeout(?READ_MS)];
arguments(events) ->
    [{shard, optional, {integer, 0, 4095}}, {'after', optional, positions}, limit(), timeout(?READ_MS)];
arguments(query) ->
    [{sql, required, {text, 1, 1 bsl 20}}, {params, optional, {engine, params}},
     {max_rows, {default, 10000}, {integer, 1, 1000000}}, {timeout, {default, ?READ_MS}, {integer, 1, ?MAX_WAIT_MS}}];
arguments(saga) ->
    [saga(), {steps, required, {engine, steps}}, {timeout, optional, {integer, 0, 16#ffffffff}},
     {retries, {default, 10}, {integer, 0, 1000000}}, wait()];
arguments(Operation) when Operation =:= saga_retry; Operation =:= saga_cancel -> [saga(), wait()];
arguments(saga_resolve) -> [saga(), {note, required, {text, 1, 4096}}, wait()];
arguments(saga_status) -> [saga()];
arguments(sagas) -> [{state, {default, stuck}, {one_of, [stuck, pending]}}];
arguments(wait) ->
    [entity(), {seq, required, seq()}, {projection, {default, false}, boolean}, timeout(?READ_MS)];
arguments(stats) -> [];
arguments(subscribe) ->
    [{entity, optional, id()}, {from, optional, from}, {aggregates, optional, texts}, {types, optional, texts},
     {prefix, optional, prefix()}, {name, optional, {text, 1, 200}}, {consumers, optional, {integer, 1, 4096}},
     {credit, {default, 100}, {integer, 1, ?MAX_CREDIT}}];
arguments(unsubscribe) -> [{subscription, required, seq()}];
arguments(ack) -> [{subscription, required, seq()}, {events, optional, places}, {erased, optional, id()}];
arguments(Operation) when Operation =:= parked; Operation =:= forget -> [subscription()];
arguments(consume) ->
    [subscription(), {live, optional, {one_of, [sse]}}, {limit, {default, 100}, {integer, 1, ?MAX_CREDIT}},
     {wait, {default, 0}, {integer, 0, ?MAX_WAIT_MS}}, {hold, {default, ?HOLD_MS}, {integer, 1, ?MAX_HOLD_MS}},
     {from, optional, {one_of, [beginning, now]}}, {cursor, optional, {text, 0, any}},
     {time, optional, {integer, -?MAX_INTEGER, ?MAX_INTEGER}}, {aggregates, optional, texts}, {types, optional, texts},
     {prefix, optional, {text, 0, any}}, {consumers, optional, {integer, 1, 4096}}];
arguments(acknowledge) -> [subscription(), {id, required, {text, 1, any}}];
arguments(Operation) when Operation =:= retry; Operation =:= skip -> [subscription(), entity()];
arguments(entity_stream) -> [entity() | streaming()];
arguments(shard_stream) -> [{shard, required, {integer, 0, 4095}} | streaming()];
arguments(token) -> [{seconds, {default, 60}, {integer, 1, ?MAX_SECONDS}}, {scopes, optional, scopes}];
arguments(_) -> none.

%% @doc The default of an argument that has one.
-spec default(Operation :: atom(), Name :: atom()) -> integer() | boolean() | atom().
default(Operation, Name) ->
    {_, {default, Value}, _} = lists:keyfind(Name, 1, arguments(Operation)),
    Value.

entity() -> {entity, required, id()}.
saga() -> {saga, required, {text, 1, 500}}.
subscription() -> {name, required, {text, 1, 200}}.
id() -> {text, 1, 512}.
name() -> {text, 1, 512}.
prefix() -> {text, 0, 512}.
seq() -> {integer, 0, ?MAX_INTEGER}.
from_seq() -> {integer, 1, ?MAX_INTEGER}.
timeout(Default) -> {timeout, {default, Default}, {integer, 0, ?MAX_WAIT_MS}}.
wait() -> {wait, {default, ?SAGA_MS}, {integer, 0, ?MAX_WAIT_MS}}.
limit() -> {limit, {default, ?PAGE}, {integer, 1, ?MAX_LIMIT}}.
streaming() ->
    [{offset, optional, {text, 1, 64}}, {live, optional, {one_of, ['long-poll', sse]}},
     {cursor, optional, {text, 0, any}}].
writing() -> [{expected, {default, any}, expected}, timeout(?READ_MS)].

value({engine, _}, Value, _) -> {ok, Value};
value({text, _, _}, Value, _) when is_binary(Value) -> {ok, Value};
value({text, _, _}, _, _) -> {error, not_text};
value(object, Value, json) when is_binary(Value) -> {ok, Value};
value(object, _, _) -> {error, not_an_object};
%% NOTE: `length' fails for what has a list's beginning alone, which a broken gateway could send.
value(texts, Values, _) when length(Values) >= 0 ->
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
value(boolean, Value, _) when is_boolean(Value) -> {ok, Value};
value(boolean, _, _) -> {error, {not_one_of, [true, false]}};
value({one_of, Atoms}, Value, _) ->
    case [Atom || Atom <- Atoms, atom_to_binary(Atom) =:= Value] of
        [Atom] -> {ok, Atom};
        [] -> {error, {not_one_of, Atoms}}
    end;
value(expected, <<"any">>, _) -> {ok, any};
value(expected, <<"no_stream">>, _) -> {ok, no_stream};
value(expected, Value, Form) ->
    case integer(Value, Form) of
        N when is_integer(N), N >= 0 -> {ok, N};
        _ -> {error, not_any_no_stream_or_a_seq}
    end;
value(from, <<"beginning">>, _) -> {ok, beginning};
value(from, <<"now">>, _) -> {ok, now};
value(from, #{<<"cursor">> := Cursor} = From, _) when map_size(From) =:= 1 -> {ok, {cursor, Cursor}};
value(from, #{<<"time">> := Time} = From, _) when map_size(From) =:= 1, is_integer(Time) -> {ok, {time, Time}};
value(from, _, _) -> {error, not_a_beginning};
value(places, Places, json) when is_list(Places) -> places(Places, []);
value(places, _, _) -> {error, not_a_list};
value(place, Text, _) -> decoded(Text, not_a_place, fun place/1);
value(positions, Text, _) -> decoded(Text, not_positions, fun positions/1);
value(scopes, Given, json) when length(Given) >= 0 ->
    Scopes = [warp_server_scope:from_json(Scope) || Scope <- Given],
    case lists:member(error, Scopes) of
        true -> {error, not_scopes};
        false -> {ok, [Scope || {ok, Scope} <- Scopes]}
    end;
value(scopes, _, _) -> {error, not_scopes}.

%% @doc A number without a fraction as an integer: JSON knows no difference between 1.0 and 1, and some programs write
%% all numbers as floats.
-spec whole(term()) -> term().
whole(Value) when is_float(Value), trunc(Value) == Value -> trunc(Value);
whole(Value) -> Value.

integer(Value, json) -> whole(Value);
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
