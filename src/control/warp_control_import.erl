%% @private Puts events back that a client of the control socket has in a file. The client says where the file is, and
%% this VM reads it there: one event a line, as `events' gives them.
-module(warp_control_import).

-export([run/2]).

%% More than an import may have: as text events say more than what is stored of them.
-define(MAX_BYTES, 256 * 1024 * 1024).
-define(FIELDS, #{<<"type">> => type, <<"payload">> => payload, <<"aggregate">> => aggregate, <<"id">> => id,
                  <<"schema_vsn">> => schema_vsn, <<"metadata">> => metadata, <<"seq">> => seq,
                  <<"recorded_at">> => recorded_at, <<"entity">> => entity}).

%% @doc Puts the events in a file back into an entity. Errors: `{cannot_read, File, Reason}'; `{bad_event, N, undefined,
%% Why}': a line is no JSON object; and those of `warp_core:import/2'.
-spec run(warp_core:entity(), File :: term()) -> {ok, map()} | {error, term()}.
run(Entity, File) when is_binary(File) ->
    case read(File) of
        {ok, Text} ->
            case events(lines(Text), 1, []) of
                {ok, Events} ->
                    case warp_core:import(Entity, Events) of
                        {ok, Last} -> {ok, #{events => Last}};
                        {error, _} = Error -> Error
                    end;
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end;
run(_Entity, _NoFile) ->
    {error, {bad_option, file, not_a_path}}.

%% NOTE: only what is a file is opened. A pipe would hold this process up for as long as nobody writes to it.
read(File) ->
    case {filelib:is_regular(File), filelib:file_size(File)} of
        {true, Bytes} when Bytes > ?MAX_BYTES ->
            {error, {import_too_large_bytes, Bytes, ?MAX_BYTES}};
        {true, _} ->
            case file:read_file(File) of
                {ok, Text} -> {ok, Text};
                {error, Why} -> {error, {cannot_read, File, Why}}
            end;
        {false, _} ->
            {error, {cannot_read, File, missing(file:read_file_info(File))}}
    end.

missing({error, Why}) -> Why;
missing({ok, _}) -> not_a_file.

lines(Text) ->
    [Line || Line <- binary:split(Text, [<<"\n">>, <<"\r">>], [global]), Line =/= <<>>].

events([], _N, Events) ->
    {ok, lists:reverse(Events)};
events([Line | Lines], N, Events) ->
    case warp_json:decode(Line) of
        {ok, Event} -> events(Lines, N + 1, [named(Event) | Events]);
        {error, Why} -> {error, {bad_event, N, undefined, Why}}
    end.

%% A field that events do not have keeps its name, and is named in the error.
named(Event) ->
    maps:fold(fun(Name, Value, Named) -> Named#{maps:get(Name, ?FIELDS, Name) => Value} end, #{}, Event).
