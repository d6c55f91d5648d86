%% @private Checks the commands that `project' returns, and brings them into one form. Pure, except that the
%% NIF makes the text of JSON.
-module(warp_projection_command).

-export([check/2, name/1, value/1]).

-export_type([op/0, row_id/0, typed/0, type/0]).

-type row_id() :: binary() | integer().
%% The type of a column whose first value this is.
-type type() :: text | integer | float | bool | json | any.
-type typed() :: {type(), warp_projection_target:value()}.
-type op() ::
    {upsert, Table :: binary(), row_id(), #{Column :: binary() => typed()}}
    | {increment, Table :: binary(), row_id(), #{Column :: binary() => integer() | float()}}
    | {delete, Table :: binary(), row_id()}.

-define(MAX_NAME_BYTES, 60).
-define(MAX_ID_BYTES, 1024).
-define(MAX_TEXT_BYTES, 1048576).

%% @doc Checks what one call of `project' returned.
-spec check(term(), warp_projection_schema:declared()) -> {ok, [op()]} | {error, term()}.
check([], _Declared) ->
    {ok, []};
check(Commands, Declared) ->
    try
        Ops = ops(Commands),
        ok = lists:foreach(fun(Op) -> fits(Op, Declared) end, Ops),
        {ok, Ops}
    catch
        throw:Why -> {error, Why}
    end.

%% SQLite converts what is written to a column of numbers before it compares it with the column's CHECK. So text that
%% reads as a number has to be refused here.
fits({delete, _, _}, _Declared) ->
    ok;
fits({_, Table, _, Given}, Declared) ->
    case Declared of
        #{Table := #{columns := Columns}} -> maps:foreach(fun(Name, Value) -> fits(Name, Value, Columns) end, Given);
        #{} -> ok
    end.

fits(Name, Value, Columns) ->
    case {Columns, Value} of
        {#{Name := integer}, {Type, _}} when Type =:= text; Type =:= json; Type =:= float ->
            throw({bad_value, Name, not_an_integer});
        {#{Name := integer}, Number} when is_float(Number) ->
            throw({bad_value, Name, not_an_integer});
        {#{Name := float}, {Type, _}} when Type =:= text; Type =:= json ->
            throw({bad_value, Name, not_a_number});
        _ ->
            ok
    end.

ops([]) -> [];
ops([Command | Commands]) -> [op(Command) | ops(Commands)];
ops(_Other) -> throw({bad_commands, not_a_list}).

op({upsert, Table, Id, Columns}) when is_map(Columns) ->
    {upsert, known(table, Table), known_id(Id), columns(Columns, fun typed/2)};
op({increment, Table, Id, Columns}) when is_map(Columns), map_size(Columns) > 0 ->
    {increment, known(table, Table), known_id(Id), columns(Columns, fun number/2)};
op({delete, Table, Id}) ->
    {delete, known(table, Table), known_id(Id)};
op(Other) ->
    throw({bad_command, Other}).

columns(Columns, Value) ->
    Checked = maps:fold(
        fun(Name0, Given, Acc) ->
            Name = known(column, Name0),
            _ = [throw({bad_column, Name0, twice}) || is_map_key(Name, Acc)],
            Acc#{Name => Value(Name, Given)}
        end,
        #{},
        Columns),
    _ = [throw({bad_column, Own, reserved})
         || Own <- [<<"id">>, <<"_entity">>, <<"_seq">>], is_map_key(Own, Checked)],
    Checked.

known(Kind, Given) ->
    case name(Given) of
        {ok, Name} -> Name;
        {error, Why} when Kind =:= table -> throw({bad_table, Given, Why});
        {error, Why} -> throw({bad_column, Given, Why})
    end.

known_id(Given) ->
    case row_id(Given) of
        {ok, Id} -> Id;
        {error, Why} -> throw({bad_row_id, Given, Why})
    end.

typed(Name, Given) ->
    case value(Given) of
        {ok, Typed} -> Typed;
        {error, Why} -> throw({bad_value, Name, Why})
    end.

number(_Name, N) when is_float(N) -> N;
number(_Name, N) when is_integer(N), N >= -(1 bsl 63), N < 1 bsl 63 -> N;
number(Name, _Other) -> throw({bad_value, Name, not_a_number}).

%% @doc The name of a table or column, in lower case: SQL does not tell case apart.
-spec name(term()) -> {ok, binary()} | {error, term()}.
name(Name) when is_atom(Name) ->
    name(atom_to_binary(Name));
name(<<First, _/binary>> = Name) when
    First >= $a, First =< $z; First >= $A, First =< $Z; First =:= $_
->
    Size = byte_size(Name),
    case letters(Name, false) of
        bad -> {error, only_letters_digits_underscore};
        _ when Size > ?MAX_NAME_BYTES -> {error, {too_long, Size, ?MAX_NAME_BYTES}};
        mixed -> free(<< <<(lower(C))>> || <<C>> <= Name >>);
        low -> free(Name)
    end;
name(Name) when is_binary(Name) ->
    {error, only_letters_digits_underscore};
name(_Name) ->
    {error, not_a_name}.

free(<<"_warp", _/binary>>) -> {error, reserved};
free(<<"sqlite_", _/binary>>) -> {error, reserved};
free(Name) -> {ok, Name}.

letters(<<C, Rest/binary>>, Mixed) when C >= $a, C =< $z; C =:= $_; C >= $0, C =< $9 ->
    letters(Rest, Mixed);
letters(<<C, Rest/binary>>, _Mixed) when C >= $A, C =< $Z -> letters(Rest, true);
letters(<<>>, true) -> mixed;
letters(<<>>, false) -> low;
letters(_, _) -> bad.

lower(C) when C >= $A, C =< $Z -> C + 32;
lower(C) -> C.

%% @doc The id of a row: text of 1 to 1024 bytes, or an integer of 64 bits.
-spec row_id(term()) -> {ok, row_id()} | {error, term()}.
row_id(Id) when is_binary(Id) ->
    case warp_text:check(Id, ?MAX_ID_BYTES) of
        ok -> {ok, Id};
        {error, _} = Error -> Error
    end;
row_id(Id) when is_integer(Id), Id >= -(1 bsl 63), Id < 1 bsl 63 ->
    {ok, Id};
row_id(_Id) ->
    {error, not_a_binary_or_integer}.

%% @doc A value as the database gets it, with its type.
-spec value(term()) -> {ok, typed()} | {error, term()}.
value(Text) when is_binary(Text), byte_size(Text) > ?MAX_TEXT_BYTES ->
    {error, {too_large, byte_size(Text), ?MAX_TEXT_BYTES}};
value(Text) when is_binary(Text) ->
    case warp_text:is_utf8(Text) of
        true -> {ok, {text, Text}};
        false -> {error, not_utf8}
    end;
value(N) when is_integer(N), N >= -(1 bsl 63), N < 1 bsl 63 ->
    {ok, {integer, N}};
value(N) when is_integer(N) ->
    {error, {too_large, 64, bits}};
%% SQLite keeps -0.0 as 0.0.
value(F) when is_float(F) ->
    {ok, {float, F + 0.0}};
value(true) ->
    {ok, {bool, 1}};
value(false) ->
    {ok, {bool, 0}};
value(Null) when Null =:= null; Null =:= nil; Null =:= undefined ->
    {ok, {any, null}};
value({json, Term}) ->
    case warp_json:encode(Term, ?MAX_TEXT_BYTES) of
        {ok, Text} -> {ok, {json, Text}};
        {error, _} = Error -> Error
    end;
value(Atom) when is_atom(Atom) ->
    {error, {not_a_value, Atom}};
value(_Other) ->
    {error, not_a_value}.
