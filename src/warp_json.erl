%% @private JSON text, made and read by the NIF: on a normal scheduler while it is short.
-module(warp_json).

-export([encode/1, encode_long/1, encode_padded/1, decode/1]).

%% @doc A term as JSON text. Binaries are strings and have to be UTF-8, maps are objects, atoms are
%% strings but for true, false, null and nil. No one binary in it should be long.
-spec encode(term()) -> {ok, binary()} | {error, term()}.
encode(Term) ->
    encode(Term, false).

%% @doc The same for what is long anyway, or may hold a long binary: at once on a dirty scheduler.
-spec encode_long(term()) -> {ok, binary()} | {error, term()}.
encode_long(Term) ->
    warp_nif:json_encode_dirty(Term, false).

%% @doc As `encode', with 17 digits in each float, for SQLite's JSON functions.
-spec encode_padded(term()) -> {ok, binary()} | {error, term()}.
encode_padded(Term) ->
    encode(Term, true).

encode(Term, Padded) ->
    case warp_nif:json_encode(Term, Padded) of
        dirty -> warp_nif:json_encode_dirty(Term, Padded);
        Encoded -> Encoded
    end.

%% @doc The object that a JSON text is, as a map with binary keys.
-spec decode(binary()) -> {ok, map()} | {error, term()}.
decode(Text) ->
    case warp_nif:json_decode(Text) of
        dirty -> warp_nif:json_decode_dirty(Text);
        Decoded -> Decoded
    end.
